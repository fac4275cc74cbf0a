"""Asset checks: what must hold of facts and judgement. Cheap, each can fail, run hourly and from the UI.

What lives here: one query each and its verdict. What never does: repairing.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of decorated functions as objects.

from datetime import datetime
from typing import Final

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetCheckSeverity, AssetKey, asset_check

from sentinet_dagster.partitions import HOUR, partition_range, tagged_range
from sentinet_dagster.resources import Timescale

__all__ = ["CHECKS", "no_range_keeps_failing"]

KEPT_UP_S: Final = 60.0


@asset_check(
    asset=AssetKey(["market", "trades"]), description="Trade numbers that skip are inside a known feed gap."
)
def trades_have_no_unexplained_gaps(
    context: AssetCheckExecutionContext, timescale: Timescale
) -> AssetCheckResult:
    """A hole in a venue's numbering that no row of market.feed_gaps overlaps is loss that nobody has seen."""
    start, end = _range(context, timescale)
    rows = timescale.fetch("unexplained_gaps", start=start, end=end)
    return _result(
        start, end, len(rows) == 0, holes={str(row["instrument_id"]): row["missing_trades"] for row in rows}
    )


@asset_check(
    asset=AssetKey(["surveillance", "windows"]),
    description="Where an instrument has a window, every instrument has.",
)
def windows_have_no_holes(context: AssetCheckExecutionContext, timescale: Timescale) -> AssetCheckResult:
    """Windows are written for all instruments together; a missing one means a range was judged in part."""
    start, end = _range(context, timescale)
    (row,) = timescale.fetch("window_coverage", start=start, end=end)
    return _result(
        start, end, not row["with_holes"], windows=row["windows"], instruments_with_holes=row["with_holes"]
    )


@asset_check(
    asset=AssetKey(["surveillance", "alerts"]),
    description="Alerts carry evidence and windows that are still there.",
)
def alerts_stand_on_evidence(context: AssetCheckExecutionContext, timescale: Timescale) -> AssetCheckResult:
    """An alert in force without evidence, or whose window was not judged again with it, cannot be
    defended."""
    start, end = _range(context, timescale)
    (row,) = timescale.fetch("alert_evidence", start=start, end=end)
    return _result(start, end, row["baseless"] == 0, alerts=row["alerts"], baseless=row["baseless"])


@asset_check(
    asset=AssetKey(["surveillance", "alerts"]),
    description="What was received is judged within a minute. The freshness policy cannot tell: a backfill "
    "of past hours makes the asset fresh, too.",
)
def alerts_keep_up(timescale: Timescale) -> AssetCheckResult:
    """On the clock of received data: a quiet market is not late."""
    rows = timescale.fetch("keeping_up")
    behind = rows[0]["behind_s"] if rows else None
    return AssetCheckResult(
        passed=behind is None or behind <= KEPT_UP_S,
        severity=AssetCheckSeverity.ERROR,
        metadata={} if behind is None else {"behind_s": behind},
    )


@asset_check(
    asset=AssetKey(["surveillance", "alerts"]),
    description="No range has failed to be judged several times in a row. The sensor says it at once, too.",
)
def no_range_keeps_failing(timescale: Timescale) -> AssetCheckResult:
    """Surveillance that has stopped must not look like a quiet market. Not bound to a range: any open report
    counts."""
    rows = timescale.fetch("open_failed_ranges")
    return AssetCheckResult(
        passed=not rows,
        severity=AssetCheckSeverity.ERROR,
        metadata={row["hour"].isoformat(): f"{row['attempts']} attempts: {row['error']}" for row in rows},
    )


def _range(context: AssetCheckExecutionContext, timescale: Timescale) -> tuple[datetime, datetime]:
    """The range in the run's tags, else its partitions, else the last full hour of the database's clock."""
    tagged = tagged_range(context.run.tags) or partition_range(context.run.tags)
    if tagged is not None:
        return tagged
    clock: datetime = timescale.fetch("ledger_edge")[0]["clock"]
    end = clock.replace(minute=0, second=0, microsecond=0)
    return end - HOUR, end


def _result(start: datetime, end: datetime, passed: bool, **found: object) -> AssetCheckResult:
    return AssetCheckResult(
        passed=passed,
        severity=AssetCheckSeverity.WARN,
        metadata={"range_start": start.isoformat(), "range_end": end.isoformat(), **found},  # type: ignore[dict-item]
    )


CHECKS: Final = [
    trades_have_no_unexplained_gaps,
    windows_have_no_holes,
    alerts_stand_on_evidence,
    alerts_keep_up,
    no_range_keeps_failing,
]

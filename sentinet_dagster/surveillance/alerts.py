"""Findings → alerts: neighbouring windows of one cause are one alert that grows and closes.

What lives here: the sessions, identity, what an alert shows, and which stored alerts a new judgement changes.
What never does: which window fires (`findings.py`), and what people make of an alert (the database).

An alert opens at the first window that fires. A later one joins it if the two windows that fire next to one
another are no further apart than the cool-down, and if the alert does not grow longer than `LONGEST`; else it
opens the next alert. Both are one comparison: a window joins if it ends no later than the alert's
`closes_at`.

Which windows belong together depends on where the first of them lies, as far back as they follow one another.
What is stored makes that bounded: judging [start, end) again cannot move an alert that opened before `start`.
So everything is known from the firings since the stored alerts that reach to `start`; and after `end` from
the first firing at which an alert opens as it did before (see `settle`). Live, backfilled and late data come
to the same alerts in the end, whatever the order of the ranges.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final
from uuid import UUID, uuid5

import numpy as np
import polars as pl

from sentinet_dagster.surveillance.grid import microseconds
from sentinet_dagster.surveillance.rolling import Ints
from sentinet_dagster.surveillance.schema import ALERTS, FIRINGS, SESSIONS, STANDING, WINDOW, WINDOW_US
from sentinet_dagster.surveillance.settings import COOL_DOWN, LONGEST_COOL_DOWN

__all__ = [
    "LONGEST",
    "REACH",
    "Settlement",
    "Withdrawn",
    "alert_id",
    "alerts_of",
    "build_alerts",
    "build_sessions",
    "reaching",
    "settle",
]

LONGEST: Final = timedelta(hours=1)
"""The longest span of one alert; what goes on firing opens a follow-up."""

REACH: Final = LONGEST + LONGEST_COOL_DOWN
"""How far before a range an alert can have opened that still grows in it."""

_KEY: Final = ["detector", "detector_version", "instrument_id"]
_OPENING: Final = [*_KEY, "window_start"]
_NAMESPACE: Final = UUID(
    "6f2a1c7e-3f0b-5a52-9d6c-51f6b5a0c3de"
)  # drawn once; changing it renames every alert
_SEVERITIES: Final = ("info", "warning", "critical")


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A stored alert that no longer holds, and the alert that has its windows now, if one has."""

    alert_id: str
    superseded_by: str | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a judged range comes to."""

    sessions: pl.DataFrame  # schema.SESSIONS: to be stored, new or known
    withdrawn: Sequence[Withdrawn]
    moved: pl.DataFrame  # schema.STANDING: the stored alerts that are withdrawn, or may have shrunk
    is_complete: bool  # False: firings after `until` may change a session: ask with a later `until`


def alert_id(detector: str, version: int, instrument_id: int, window_start: datetime) -> str:
    """The identity of an alert: judging the same windows again finds the same alert.

    >>> from datetime import UTC
    >>> alert_id("spoofing", 1, 7, datetime(2024, 8, 8, tzinfo=UTC))
    '196f6ea7-36d5-57a3-bf3c-22162c4f6311'
    """
    name = f"{detector}|{version}|{instrument_id}|{microseconds(window_start)}"
    return str(uuid5(_NAMESPACE, name))


def build_sessions(firings: pl.DataFrame, cool_downs: pl.DataFrame) -> pl.DataFrame:
    """Which firings are one alert. The first firing of a detector on an instrument opens one.

    Args:
        firings: schema.FIRINGS; at most one row a detector, version, instrument and window.
        cool_downs: detector, instrument_id, cool_down (Duration); who is not named has `COOL_DOWN`.

    Returns:
        schema.SESSIONS, sorted by detector, version, instrument and opening window.
    """
    if firings.is_empty():
        return SESSIONS.empty()
    ordered = (
        firings.join(cool_downs, on=["detector", "instrument_id"], how="left")
        .sort(_OPENING)
        .with_columns(pl.col("cool_down").fill_null(COOL_DOWN).cast(pl.Duration("us")))
    )
    opens = _openings(ordered)
    last = np.append(opens[1:], len(ordered)) - 1
    peak_score, peak = _peaks(ordered["score"].to_numpy(), opens, last)
    ranks = ordered["severity"].replace_strict(_SEVERITIES, range(len(_SEVERITIES)), return_dtype=pl.Int64)
    severity = np.maximum.reduceat(ranks.to_numpy(), opens)
    same = pl.struct(_KEY) == pl.struct(_KEY).shift(1)
    previous = pl.col("window_start").shift(1)
    after_pause = same & (pl.col("window_start") - previous > pl.col("cool_down"))
    at = ordered.with_columns(pl.when(after_pause).then(previous).alias("paused_since"))
    sessions = at[opens].with_columns(
        pl.Series("severity", [_SEVERITIES[rank] for rank in severity]),
        pl.Series("completeness", np.minimum.reduceat(ordered["completeness"].to_numpy(), opens)),
        ordered["window_start"][last].alias("last_window_start"),
        pl.Series("windows_fired", last - opens + 1),
        pl.Series("peak_score", peak_score),
        ordered["window_start"][peak].alias("peak_window_start"),
    )
    closes_at = pl.min_horizontal(
        pl.col("last_window_start") + WINDOW + pl.col("cool_down"), pl.col("window_start") + LONGEST
    )
    return SESSIONS.conform(sessions.with_columns(closes_at=closes_at))


def _openings(ordered: pl.DataFrame) -> Ints:
    """The rows that open an alert."""
    time = ordered["window_start"].to_physical().to_numpy()
    runs = ordered.select(pl.struct(_KEY).rle_id()).to_series().to_numpy()
    apart = np.diff(time) > ordered["cool_down"].to_physical().to_numpy()[1:]
    begins = np.flatnonzero(np.concatenate(([True], apart | (np.diff(runs) != 0), [True])))
    opens: list[int] = []
    longest = LONGEST // timedelta(microseconds=1) - WINDOW_US
    for begin, stop in pairwise(begins.tolist()):
        row = begin
        while row < stop:
            opens.append(row)
            row += int(np.searchsorted(time[row:stop], time[row] + longest, side="right"))
    return np.array(opens, dtype=np.int64)


def _peaks(score: np.ndarray[Any, np.dtype[np.float64]], opens: Ints, last: Ints) -> tuple[Any, Ints]:
    """The greatest score of each session, and the first row that has it."""
    greatest = np.maximum.reduceat(score, opens)
    is_peak = score == np.repeat(greatest, last - opens + 1)
    rows = np.where(is_peak, np.arange(len(score)), len(score))
    return greatest, np.minimum.reduceat(rows, opens)


def reaching(standing: pl.DataFrame, start: datetime) -> pl.DataFrame:
    """The stored alerts that firings from `start` on may still join, the latest of each instrument.

    Args:
        standing: schema.STANDING, of openings from start - REACH on.

    Returns:
        detector, detector_version, instrument_id, since: where the alert opened.
    """
    return (
        standing.filter(
            pl.col("window_start") < start, pl.col("last_window_start") >= start - LONGEST_COOL_DOWN
        )
        .group_by(_KEY)
        .agg(pl.col("window_start").max().alias("since"))
        .sort(_KEY)
    )


def settle(
    firings: pl.DataFrame,
    standing: pl.DataFrame,
    cool_downs: pl.DataFrame,
    start: datetime,
    end: datetime,
    until: datetime,
) -> Settlement:
    """What becomes of alerts now that [start, end) is judged anew.

    After `end` nothing changes from the first firing at which an alert opens as it did before: where one is
    stored, or where the firing before it lies after `end`, too, and further away than the cool-down.

    Args:
        firings: schema.FIRINGS of [start, until), and before it those since `reaching(standing, start)`.
        standing: schema.STANDING, of openings in [start - REACH, until).
        cool_downs: as for `build_sessions`.
        start, end, until: multiples of 5 s; `until` is at least LONGEST after `end`.
    """
    sessions = build_sessions(firings, cool_downs)
    known = standing.select(_OPENING).with_columns(is_stored=pl.lit(True))
    opens_again = pl.col("is_stored") | (pl.col("paused_since") >= end)
    unchanged = (
        sessions.join(known, on=_OPENING, how="left")
        .filter(pl.col("window_start") >= end, opens_again)
        .group_by(_KEY)
        .agg(pl.col("window_start").min().alias("unchanged_from"))
    )
    in_doubt = pl.col("unchanged_from").is_null() | (pl.col("window_start") < pl.col("unchanged_from"))
    kept = sessions.join(unchanged, on=_KEY, how="left").filter(in_doubt).select(SESSIONS.names)
    # A stored alert after `end` whose window did not fire is for whoever judges that window.
    gone = (
        standing.filter(pl.col("window_start") >= start)
        .join(unchanged, on=_KEY, how="left")
        .filter(in_doubt)
        .join(kept, on=_OPENING, how="anti")
    )
    fired = gone.join(firings, on=_OPENING, how="semi")
    withdrawn = pl.concat([gone.filter(pl.col("window_start") < end), fired]).unique("alert_id")
    # What a stored alert that gives way held from `until` on opens or joins another one now.
    reaches_on = gone.filter(pl.col("last_window_start") >= until)
    return Settlement(
        sessions=kept.sort(_OPENING),
        withdrawn=_withdrawn(withdrawn.sort("window_start", "alert_id"), kept),
        moved=pl.concat([withdrawn.select(STANDING.names), standing.join(kept, on=_OPENING, how="semi")]),
        is_complete=kept.filter(pl.col("closes_at") > until).is_empty() and reaches_on.is_empty(),
    )


def _withdrawn(gone: pl.DataFrame, kept: pl.DataFrame) -> list[Withdrawn]:
    found = []
    for row in gone.iter_rows(named=True):
        heirs = kept.filter(
            pl.col("detector") == row["detector"],
            pl.col("instrument_id") == row["instrument_id"],
            pl.col("window_start") <= row["last_window_start"],
            pl.col("last_window_start") >= row["window_start"],
        ).sort("window_start", "detector_version")
        heir = alert_id(*heirs.select(_OPENING).row(0)) if len(heirs) else None
        found.append(Withdrawn(row["alert_id"], heir))
    return found


def build_alerts(sessions: pl.DataFrame, findings: pl.DataFrame) -> pl.DataFrame:
    """The alerts of these sessions.

    Args:
        sessions: schema.SESSIONS.
        findings: schema.FINDINGS: at least the opening and the peak window of each session.

    Returns:
        schema.ALERTS, sorted by (window_start, instrument_id, detector).

    Raises:
        ValueError: a finding that a session needs is not there.
    """
    first = findings.drop("severity", "completeness", "summary")
    peak = findings.select(
        *_KEY,
        pl.col("window_start").alias("peak_window_start"),
        "summary",
        pl.col("evidence").alias("peak_evidence"),
    )
    joined = sessions.join(first, on=_OPENING, how="left").join(
        peak, on=[*_KEY, "peak_window_start"], how="left"
    )
    alerts = pl.DataFrame(
        [_alert(row) for row in joined.iter_rows(named=True)],
        schema_overrides=ALERTS.schema,
        schema=list(ALERTS.names),
        orient="row",
    )
    return ALERTS.conform(alerts).sort("window_start", "instrument_id", "detector")


def alerts_of(findings: pl.DataFrame, cool_downs: pl.DataFrame) -> pl.DataFrame:
    """The alerts that these findings come to by themselves, as `build_alerts` says them."""
    return build_alerts(build_sessions(findings.select(FIRINGS.names), cool_downs), findings)


def _alert(row: dict[str, Any]) -> dict[str, Any]:
    if row["evidence"] is None or row["peak_evidence"] is None:
        raise ValueError(f"a finding is missing of {row['detector']}, alert of {row['window_start']}")
    top = json.loads(row["peak_evidence"])
    peak = {"score": row["peak_score"], "window": top["window"], "numbers": top["numbers"]}
    window_end = row["window_start"] + WINDOW
    more = {
        "alert_id": alert_id(*(row[name] for name in _OPENING)),
        "window_end": window_end,
        "raised_at": window_end,
        "evidence": json.dumps(json.loads(row["evidence"]) | {"peak": peak}),
    }
    return {name: (row | more)[name] for name in ALERTS.names}

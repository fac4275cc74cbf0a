"""Asset checks: what must hold of facts and judgement. Run hourly, in full daily, and from the UI.

What lives here: a check for each suite of `quality/`, for columns, freshness and failed ranges. What never
does: rules (`quality/`), repairing, and the checks inside a run of windows (`assets/soundness.py`).

A run is about a range: its tags', its partitions', else the last full hour. With ENGINE_TAG=full a suite is
held by Great Expectations, otherwise by the statements that micro-batches use. Either way facts that break an
expectation of severity error are set aside, and the plan judges their windows again.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of decorated functions as objects.

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    asset_check,
    multi_asset_check,
)

from sentinet_dagster.assets.soundness import CHECKED_ALONE, ENGINE_TAG, FULL, metadata_of, suite_check_key
from sentinet_dagster.partitions import HOUR, partition_range, tagged_range
from sentinet_dagster.quality.checking import CheckResult, check_range, check_rows, existing, store
from sentinet_dagster.quality.expectations import Suite
from sentinet_dagster.quality.suites import FACTS
from sentinet_dagster.quality.upkeep import check_columns, check_freshness
from sentinet_dagster.resources import Timescale
from sentinet_dagster.surveillance import schema

__all__ = ["CHECKS", "no_range_keeps_failing"]

KEPT_UP_S: Final = 60.0

# Incidents are made of findings together with alerts, and no asset of their own.
_CATALOGUED: Final = [relation for relation in schema.RELATIONS if relation is not schema.INCIDENTS]


def _suite_check(suite: Suite) -> AssetChecksDefinition:
    """`<table>_are_sound`: the suite over the run's range."""

    @asset_check(
        asset=suite_check_key(suite).asset_key,
        name=suite_check_key(suite).name,
        description=" ".join(f"{each.name}: {each.meaning}" for each in suite.expectations),
    )
    def check(context: AssetCheckExecutionContext, timescale: Timescale) -> AssetCheckResult:
        start, end = _range(context, timescale)
        engine = context.run.tags.get(ENGINE_TAG, "range")
        results = _held(timescale, suite, engine, start, end)
        store(timescale.connection, engine, start, end, results)
        return _result(results, range_start=start.isoformat(), range_end=end.isoformat(), engine=engine)

    return check


def _held(
    timescale: Timescale, suite: Suite, engine: str, start: datetime, end: datetime
) -> Sequence[CheckResult]:
    if not existing(timescale.connection, [suite]):  # the sums, until dbt has made them
        return []
    if engine != FULL:
        return check_range(timescale.connection, suite, start, end)
    from sentinet_dagster.quality.full_pass import full_pass

    if suite in FACTS:
        check_rows(timescale.connection, suite, start, end, is_judged=False)
    return full_pass(timescale.url, [suite], start, end)


@multi_asset_check(
    specs=[
        AssetCheckSpec(
            f"{suite.table}_are_fresh",
            asset=AssetKey(suite.relation.split(".")),
            description="Every venue that wrote them within the last day wrote them lately.",
        )
        for suite in FACTS
    ],
    name="facts_are_fresh",
)
def facts_are_fresh(timescale: Timescale) -> Iterator[AssetCheckResult]:
    """By the ledger's clock: a feed that fell silent is told whatever range is looked at."""
    for suite in FACTS:
        result = check_freshness(timescale.connection, suite.relation)
        yield _result([result], check_name=f"{suite.table}_are_fresh", asset_key=_key(suite.relation))


@multi_asset_check(
    specs=[
        AssetCheckSpec(
            "columns_are_as_known",
            asset=AssetKey(relation.name.split(".")),
            description="The table has the columns that the code reads and writes, of their types.",
        )
        for relation in _CATALOGUED
    ],
    name="columns_are_as_known",
)
def columns_are_as_known(timescale: Timescale) -> Iterator[AssetCheckResult]:
    """A column that somebody dropped, changed or made nullable by hand is named before a run fails on it."""
    for relation in _CATALOGUED:
        result = check_columns(timescale.connection, relation)
        yield _result([result], check_name="columns_are_as_known", asset_key=_key(relation.name))


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


def _key(relation: str) -> AssetKey:
    return AssetKey(relation.split("."))


def _range(context: AssetCheckExecutionContext, timescale: Timescale) -> tuple[datetime, datetime]:
    """The range in the run's tags, else its partitions, else the last full hour of the database's clock."""
    tagged = tagged_range(context.run.tags) or partition_range(context.run.tags)
    if tagged is not None:
        return tagged
    clock: datetime = timescale.fetch("ledger_edge")[0]["clock"]
    end = clock.replace(minute=0, second=0, microsecond=0)
    return end - HOUR, end


def _result(
    results: Sequence[CheckResult],
    *,
    check_name: str | None = None,
    asset_key: AssetKey | None = None,
    **metadata: Any,
) -> AssetCheckResult:
    is_error = any(result.is_error for result in results)
    return AssetCheckResult(
        check_name=check_name,
        asset_key=asset_key,
        passed=all(result.passed for result in results),
        severity=AssetCheckSeverity.ERROR if is_error else AssetCheckSeverity.WARN,
        metadata={**metadata, "expectations": len(results), **metadata_of(results)},
    )


CHECKS: Final = [
    *(_suite_check(suite) for suite in CHECKED_ALONE),
    facts_are_fresh,
    columns_are_as_known,
    alerts_keep_up,
    no_range_keeps_failing,
]

"""Asset checks: what must hold of facts and judgement. Run hourly, in full daily, and from the UI.

What lives here: a check for each suite of `quality/`, for columns, freshness and failed ranges. What never
does: rules (`quality/`), repairing, and the checks inside a run of windows (`assets/soundness.py`).

A run is about a range: its tags', its partitions', else the last full hour. With ENGINE_TAG=full a suite is
held by Great Expectations, otherwise by the statements that micro-batches use. Either way facts that break an
expectation of severity error are set aside, and the plan judges their windows again.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of decorated functions as objects.

import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    MetadataValue,
    asset_check,
    multi_asset_check,
)

from sentinet_dagster.assets.soundness import CHECKED_ALONE, ENGINE_TAG, FULL, metadata_of, suite_check_key
from sentinet_dagster.partitions import HOUR, partition_range, tagged_range
from sentinet_dagster.quality.checking import CheckResult, check_range, existing, store
from sentinet_dagster.quality.expectations import Suite
from sentinet_dagster.quality.passes import pass_in_full
from sentinet_dagster.quality.suites import FACTS
from sentinet_dagster.quality.upkeep import check_columns, check_freshness
from sentinet_dagster.resources import Timescale
from sentinet_dagster.settings import SETTINGS
from sentinet_dagster.surveillance import schema

__all__ = ["CHECKS", "DATA_DOCS", "no_range_keeps_failing"]

KEPT_UP_S: Final = 60.0

# Incidents are made of findings together with alerts, and no asset of their own.
_CATALOGUED: Final = [relation for relation in schema.RELATIONS if relation is not schema.INCIDENTS]

DATA_DOCS: Final = SETTINGS.home / "data-docs"
"""What Great Expectations shows of the newest full pass; `index.html` is where to begin."""


@multi_asset_check(
    specs=[
        AssetCheckSpec(
            suite_check_key(suite).name,
            asset=suite_check_key(suite).asset_key,
            description=" ".join(f"{each.name}: {each.meaning}" for each in suite.expectations),
        )
        for suite in CHECKED_ALONE
    ],
    name="suites_hold",
    can_subset=True,
)
def suites_hold(context: AssetCheckExecutionContext, timescale: Timescale) -> Iterator[AssetCheckResult]:
    """`<table>_are_sound`: each suite over the run's range. Of a sum that dbt has not made: nothing."""
    connection = timescale.connection
    start, end = _range(context.run.tags, timescale)
    wanted = {key.name for key in context.selected_asset_check_keys}
    suites = existing(connection, [each for each in CHECKED_ALONE if suite_check_key(each).name in wanted])
    told: dict[str, Any] = {"range_start": start.isoformat(), "range_end": end.isoformat()}
    if context.run.tags.get(ENGINE_TAG) == FULL:
        shutil.rmtree(DATA_DOCS, ignore_errors=True)  # pages of former passes are never removed by GX
        results = pass_in_full(connection, timescale.url, suites, start, end, DATA_DOCS).results
        told |= {"engine": FULL, "data_docs": MetadataValue.path(DATA_DOCS / "index.html")}
        for suite in suites:
            yield _of_suite(suite, [each for each in results if each.relation == suite.relation], told)
        return
    for suite in suites:
        results = check_range(connection, suite, start, end)
        store(connection, "range", start, end, results)
        yield _of_suite(suite, results, {**told, "engine": "range"})


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


def _range(tags: Mapping[str, str], timescale: Timescale) -> tuple[datetime, datetime]:
    """The range in the run's tags, else its partitions, else the last full hour of the database's clock."""
    tagged = tagged_range(tags) or partition_range(tags)
    if tagged is not None:
        return tagged
    clock: datetime = timescale.fetch("ledger_edge")[0]["clock"]
    end = clock.replace(minute=0, second=0, microsecond=0)
    return end - HOUR, end


def _of_suite(suite: Suite, results: Sequence[CheckResult], told: Mapping[str, Any]) -> AssetCheckResult:
    key = suite_check_key(suite)
    return _result(results, check_name=key.name, asset_key=key.asset_key, **told)


def _result(
    results: Sequence[CheckResult],
    *,
    check_name: str,
    asset_key: AssetKey,
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
    suites_hold,
    facts_are_fresh,
    columns_are_as_known,
    alerts_keep_up,
    no_range_keeps_failing,
]

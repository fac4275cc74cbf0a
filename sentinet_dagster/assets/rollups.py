"""`rollup/*`: sums of facts and marts, as dbt defines them and dagster-dbt names them.

What lives here: the dbt project's models as assets and its tests as asset checks; one refresh a run. What
never does: SQL of a rollup (it is in dbt_project/), deciding which buckets are stale (the database does).

Continuous aggregates have rows that must be kept up to date: they are what a run makes. Views are always what
they stand on: they are external assets, made when the project is deployed (`sentinet migrate`).

There are no partitions. A run brings a rollup up to date as a whole: which of its buckets that takes, the
batch ledger says, whatever hours they lie in, so that a partition would only name what the run happened to
find. What a backfill of an hour would be, a changed definition or `rebuild` does for all hours.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of decorated functions as objects.

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import psycopg
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    MaterializeResult,
    TableColumn,
    TableSchema,
    multi_asset,
    multi_asset_check,
)
from psycopg.rows import dict_row

from sentinet_dagster.quality.suites import FACTS
from sentinet_dagster.resources import Timescale
from sentinet_dagster.rollups.catalogue import Model, Test
from sentinet_dagster.rollups.project import RollupProject, TestResult
from sentinet_dagster.rollups.refreshing import refresh
from sentinet_dagster.settings import SETTINGS

__all__ = ["CONTINUOUS", "ROLLUP_ASSETS", "ROLLUP_CHECKS"]

_PROJECT: Final = RollupProject(SETTINGS.home)
_CATALOGUE: Final = _PROJECT.catalogue()

# What models stand on besides assets of other rooms.
INSTRUMENTS: Final = AssetSpec(
    AssetKey(["market", "instruments"]),
    description="What is or was watched: venue, symbol, kind, units. Loaded from config/instruments.yaml.",
    metadata={"dagster/table_name": "market.instruments"},
    kinds={"postgres", "timescale"},
    owners=["team:ingest"],
    group_name="market",
)

QUARANTINED: Final = AssetSpec(
    AssetKey(["surveillance", "quarantined_facts"]),
    deps=[AssetKey(suite.relation.split(".")) for suite in FACTS],
    description="Facts that break an expectation: neither judged nor summed. The checks of facts mark them.",
    metadata={"dagster/table_name": "surveillance.quarantined_facts"},
    kinds={"postgres", "timescale"},
    owners=["team:surveillance"],
    group_name="surveillance",
)


def _spec(model: Model) -> AssetSpec:
    schema = TableSchema([TableColumn(each.name, "?", description=each.meaning) for each in model.columns])
    return AssetSpec(
        AssetKey(model.key),
        deps=[AssetKey(parent) for parent in model.parents],
        description=model.description,
        metadata={"dagster/table_name": ".".join(model.key), "dagster/column_schema": schema},
        kinds=set(model.kinds),
        owners=list(model.owners),
        group_name=model.group,
        code_version=model.code_version,
        skippable=model.is_continuous,
    )


def _check(test: Test) -> AssetCheckSpec:
    return AssetCheckSpec(
        test.name,
        asset=AssetKey(test.asset),
        additional_deps=[AssetKey(other) for other in test.other_assets],
        metadata={"dbt_unique_id": test.unique_id},
    )


CONTINUOUS: Final[Sequence[AssetSpec]] = [_spec(each) for each in _CATALOGUE.models if each.is_continuous]
VIEWS: Final[Sequence[AssetSpec]] = [_spec(each) for each in _CATALOGUE.models if not each.is_continuous]


@multi_asset(name="rollups", specs=CONTINUOUS, can_subset=True)
def rollups(context: AssetExecutionContext, timescale: Timescale) -> Iterator[MaterializeResult[Any]]:
    """Facts → bars, spreads, depth, quality, indicators: exactly the buckets that the ledger names."""
    names = {key.path[-1] for key in context.selected_asset_keys}
    with psycopg.connect(timescale.url, autocommit=True, row_factory=dict_row) as connection:
        for done in refresh(connection, names):
            rows = {} if done.rows is None else {"dagster/partition_row_count": done.rows}
            yield MaterializeResult(
                asset_key=AssetKey(["rollup", done.name]),
                metadata={"seconds": round(done.seconds, 3), **rows},
            )


@multi_asset_check(name="rollup_tests", specs=[_check(test) for test in _CATALOGUE.tests], can_subset=True)
def rollup_tests(context: AssetCheckExecutionContext, timescale: Timescale) -> Iterator[AssetCheckResult]:
    """The dbt project's data tests."""
    wanted = {
        test.unique_id: test
        for test in _CATALOGUE.tests
        if (AssetKey(test.asset), test.name)
        in {(key.asset_key, key.name) for key in context.selected_asset_check_keys}
    }
    with tempfile.TemporaryDirectory() as scratch:
        results = _PROJECT.test(timescale.url, [test.name for test in wanted.values()], Path(scratch))
    for result in results:
        yield _check_result(wanted[result.unique_id], result)


def _check_result(test: Test, result: TestResult) -> AssetCheckResult:
    found: dict[str, Any] = {"status": result.status, "seconds": round(result.execution_time, 3)}
    if result.failures is not None:
        found["failures"] = result.failures
    if result.message:
        found["message"] = result.message
    return AssetCheckResult(
        passed=result.status == "pass",
        asset_key=AssetKey(test.asset),
        check_name=test.name,
        severity=AssetCheckSeverity.WARN if result.status == "warn" else AssetCheckSeverity.ERROR,
        metadata=found,
    )


ROLLUP_ASSETS: Final[Sequence[AssetSpec | AssetsDefinition]] = [INSTRUMENTS, QUARANTINED, *VIEWS, rollups]
ROLLUP_CHECKS: Final = [rollup_tests]

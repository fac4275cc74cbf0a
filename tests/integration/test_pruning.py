"""Dagster's own data stays small: real runs in a real storage, and what of them is left."""

# No `from __future__ import annotations`: Dagster reads the annotations of decorated functions as objects.

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from dagster import (
    AssetExecutionContext,
    AssetSelection,
    DagsterInstance,
    Definitions,
    StaticPartitionsDefinition,
    asset,
    define_asset_job,
    in_process_executor,
)

from sentinet_dagster.definitions import defs as sentinet
from sentinet_dagster.pruning import Pruned, ended_runs, prune

pytestmark = pytest.mark.integration

HOURS = StaticPartitionsDefinition(["05:00", "06:00", "07:00"])
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@asset(partitions_def=HOURS)
def verdicts(context: AssetExecutionContext) -> None:
    print("judged")
    if "fails" in context.run.tags:
        raise RuntimeError("as asked")


JOB = define_asset_job("judge", AssetSelection.assets(verdicts), executor_def=in_process_executor)
OTHER = define_asset_job("other", AssetSelection.assets(verdicts), executor_def=in_process_executor)
DEFINITIONS = Definitions(assets=[verdicts], jobs=[JOB, OTHER])


@pytest.fixture
def instance(tmp_path: Path, empty_database_url: str) -> Iterator[DagsterInstance]:
    storage = {"module": "sentinet_dagster.pooled_storage", "class": "PooledPostgresStorage"}
    config = {"postgres_url": empty_database_url}
    settings = {"telemetry": {"enabled": False}, "storage": {"custom": {**storage, "config": config}}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with DagsterInstance.from_config(str(tmp_path)) as opened:
        yield opened


def run(instance: DagsterInstance, hour: str, job: str = "judge", **tags: str) -> str:
    result = DEFINITIONS.resolve_job_def(job).execute_in_process(
        instance=instance, partition_key=hour, tags=tags, raise_on_error=False
    )
    return result.run_id


def there(instance: DagsterInstance) -> set[str]:
    return {each.run_id for each in instance.get_runs()}


def count_events(url: str, run_id: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("select count(*) from event_logs where run_id = %s", [run_id]).fetchone()
    assert row is not None
    return int(row[0])


def files_of(instance: DagsterInstance, run_id: str) -> list[Path]:
    return [each for each in Path(instance.storage_directory()).rglob("*") if run_id in str(each)]


def test_the_newest_of_each_partition_stays_and_what_failed_for_a_week(
    instance: DagsterInstance, empty_database_url: str
) -> None:
    old, newest = run(instance, "05:00"), run(instance, "05:00")
    only = run(instance, "06:00")
    failed = run(instance, "06:00", fails="yes")
    other = [run(instance, "07:00", "other"), run(instance, "07:00", "other")]
    backfill = [run(instance, "07:00", **{"dagster/backfill": "b"}) for _ in range(2)]
    everything = there(instance)
    assert count_events(empty_database_url, old)

    now = datetime.now(UTC)
    assert prune(instance, {"judge": HOUR}, now, NEVER) == {"judge": Pruned(0, 0, 6)}  # all are young
    assert prune(instance, {"judge": HOUR}, now + 2 * HOUR, NEVER) == {"judge": Pruned(1, 0, 5)}
    assert there(instance) == everything - {old}
    assert count_events(empty_database_url, old) == 0
    assert files_of(instance, old) == []
    assert files_of(instance, newest)
    assert instance.get_materialized_partitions(verdicts.key) == {"05:00", "06:00", "07:00"}

    assert prune(instance, {"judge": HOUR}, now + 8 * DAY, NEVER) == {"judge": Pruned(0, 1, 4)}
    assert there(instance) == {newest, only, *other, *backfill}
    assert failed not in there(instance)
    latest = instance.get_latest_materialization_event(verdicts.key)
    assert latest is not None
    assert latest.run_id == backfill[1]


def test_runs_from_before_are_not_looked_at(instance: DagsterInstance) -> None:
    runs = {run(instance, "05:00"), run(instance, "05:00")}
    now = datetime.now(UTC)
    assert prune(instance, {"judge": HOUR}, now + 2 * HOUR, now) == {"judge": Pruned(0, 0, 0)}
    assert there(instance) == runs


def test_more_runs_than_a_page(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinet_dagster.pruning._PAGE", 2)
    runs = [run(instance, "05:00") for _ in range(5)]
    later = datetime.now(UTC) + 2 * HOUR
    assert prune(instance, {"judge": HOUR}, later, NEVER) == {"judge": Pruned(4, 0, 1)}
    assert there(instance) == {runs[-1]}


def test_runs_that_have_ended_say_how_and_how_fast(instance: DagsterInstance) -> None:
    run(instance, "05:00")
    run(instance, "06:00", fails="yes")
    judge = DEFINITIONS.resolve_job_def("judge")
    underway, unwanted = (instance.create_run_for_job(judge) for _ in range(2))
    instance.report_run_canceled(unwanted)
    found = list(ended_runs(instance, NEVER))
    assert [(each.job, each.status) for each in found] == [
        ("judge", "canceled"),
        ("judge", "failure"),
        ("judge", "success"),
    ]
    canceled, *others = found
    assert canceled.started_at is None
    for each in others:
        assert each.started_at is not None
        assert each.made_at <= each.started_at < each.ended_at
    assert canceled.made_at <= canceled.ended_at
    assert list(ended_runs(instance, others[0].ended_at)) == found[:2]
    assert instance.get_run_by_id(underway.run_id) is not None


def test_the_job_prunes_and_keeps_what_there_was_and_what_it_takes(
    instance: DagsterInstance, empty_database_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTINET_DATABASE_URL", database_url)
    monkeypatch.setenv("SENTINET_DAGSTER_DATABASE_URL", empty_database_url)
    monkeypatch.setattr("sentinet_dagster.assets.dagster_runs.KEPT", {"judge": timedelta(0)})
    runs = [run(instance, "05:00") for _ in range(3)]
    for _ in range(2):
        result = sentinet.resolve_job_def("prune_runs").execute_in_process(instance=instance)
        assert result.success
    assert set(runs) & there(instance) == {runs[-1]}
    first, second = (
        event.asset_materialization.metadata  # type: ignore[union-attr]
        for event in reversed(instance.fetch_materializations(sentinet_asset_key(), limit=2).records)
    )
    assert (first["judge deleted"].value, second["judge deleted"].value) == (2, 0)
    # The second count finds the run that is left and the first pruning. No hour has fewer runs than before.
    assert (first["counted"].value, second["counted"].value) == (3, 2)
    with psycopg.connect(database_url) as connection:
        counted = connection.execute(
            "select job, status, sum(runs), bool_and(ran_p50_s > 0 and ran_p50_s <= ran_p95_s),"
            " bool_and(waited_p50_s >= 0 and waited_p50_s <= waited_p95_s)"
            " from ops.runs_1h group by 1, 2 order by 1"
        ).fetchall()
        bytes_of = dict(connection.execute("select relation, max(bytes) from ops.sizes_1h group by 1"))
        growing = connection.execute("select relation from ops.sizes()").fetchall()
    assert counted == [
        ("judge", "success", 3, True, True),
        ("prune_runs", "success", 1, True, True),
    ]
    assert bytes_of.keys() == {relation for (relation,) in growing} | {"dagster.database", "dagster.files"}
    assert all(size > 0 for size in bytes_of.values())
    sizes: dict[str, Any] = {name: value.value for name, value in first.items() if name.endswith("_mb")}
    assert sizes.keys() == {"database_mb", "events_mb", "runs_mb", "ticks_mb", "files_mb"}
    assert sizes["database_mb"] > sizes["events_mb"] > 0


def sentinet_asset_key() -> Any:
    (key,) = sentinet.resolve_job_def("prune_runs").asset_layer.executable_asset_keys
    return key

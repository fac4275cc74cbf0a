"""Dagster's storage over a pool: few connections, none left, a restart survived, the same tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from dagster import DagsterInstance, job, materialize, op
from dagster import asset as dagster_asset

from sentinet_dagster import pooled_storage

pytestmark = pytest.mark.integration

POOLED = {"custom": {"module": "sentinet_dagster.pooled_storage", "class": "PooledPostgresStorage"}}


@op
def nothing() -> None:
    return


@job
def empty() -> None:
    nothing()


@dagster_asset
def thing() -> int:
    return 1


@contextmanager
def instance(home: Path, url: str, pooled: bool = True, **options: Any) -> Iterator[DagsterInstance]:
    home.mkdir(exist_ok=True)
    config = {"postgres_url": url}
    storage: dict[str, Any] = {"custom": {**POOLED["custom"], "config": config | options}}
    settings = {"telemetry": {"enabled": False}, "storage": storage if pooled else {"postgres": config}}
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with DagsterInstance.from_config(str(home)) as opened:
        yield opened


@pytest.fixture
def observer(database_url: str, empty_database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def backends(observer: psycopg.Connection[Any], url: str) -> list[int]:
    rows = observer.execute(
        "select pid from pg_stat_activity where datname = %s and backend_type = 'client backend'",
        [url.rpartition("/")[2].partition("?")[0]],
    )
    return [row[0] for row in rows]


def test_a_run_takes_one_connection_and_the_instance_leaves_none(
    tmp_path: Path, empty_database_url: str, observer: psycopg.Connection[Any]
) -> None:
    with instance(tmp_path, empty_database_url) as opened:
        assert materialize([thing], instance=opened).success
        held = backends(observer, empty_database_url)
        assert empty.execute_in_process(instance=opened).success
        assert backends(observer, empty_database_url) == held
        assert 1 <= len(held) <= 2
    deadline = time.monotonic() + 5.0
    while backends(observer, empty_database_url):  # the server ends one in its own time
        assert time.monotonic() < deadline


def test_connections_that_the_server_ended_are_replaced(
    tmp_path: Path,
    empty_database_url: str,
    observer: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pooled_storage, "_TRUSTED_FOR_S", 0.0)
    with instance(tmp_path, empty_database_url) as opened:
        assert empty.execute_in_process(instance=opened).success
        for pid in backends(observer, empty_database_url):
            observer.execute("select pg_terminate_backend(%s, 5000)", [pid])
        assert empty.execute_in_process(instance=opened).success
        assert opened.get_runs_count() == 2


def test_the_default_storage_goes_on_where_the_pooled_one_left_and_back(
    tmp_path: Path, empty_database_url: str
) -> None:
    with instance(tmp_path, empty_database_url) as opened:
        first = materialize([thing], instance=opened)
    with instance(tmp_path, empty_database_url, pooled=False) as opened:
        (run,) = opened.get_runs()
        assert (run.run_id, run.status.value) == (first.run_id, "SUCCESS")
        assert materialize([thing], instance=opened).success
    with instance(tmp_path, empty_database_url) as opened:
        assert opened.get_runs_count() == 2
        assert opened.get_latest_materialization_event(thing.key) is not None


@pytest.mark.parametrize("waits", [True, False])
def test_writes_wait_for_the_disk_unless_told_otherwise(
    tmp_path: Path, empty_database_url: str, waits: bool
) -> None:
    name = empty_database_url.rpartition("/")[2].partition("?")[0]
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(f'alter database "{name}" set synchronous_commit = on')
    options = {} if waits else {"synchronous_commit": False}
    with instance(tmp_path, empty_database_url, **options) as opened:
        assert empty.execute_in_process(instance=opened).success
        with opened.run_storage.connect() as connection:  # type: ignore[attr-defined]
            setting = connection.exec_driver_sql("show synchronous_commit").scalar_one()
    assert setting == ("on" if waits else "off")

"""Dagster's storage over a pool: few connections, none left, a restart survived, the same tables; and what a
crash of the server makes it forget is judged all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import yaml
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter, job, materialize, op
from dagster import asset as dagster_asset

from ingest_daemon.store import Store
from sentinet_dagster import claims, pooled_storage
from sentinet_dagster.outcomes import RUN_KEY_TAG
from sentinet_dagster.partitions import in_microseconds
from sentinet_dagster.runtime.database import migrate
from sentinet_dagster.runtime.embedded_postgres import EmbeddedPostgres
from tests.conftest import KEPT_FOR_EVER
from tests.integration.judging import RELATIONS, Desk, open_desk
from tests.integration.market_facts import batch, events

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
    deadline = time.monotonic() + 60.0
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


def test_times_that_the_server_makes_are_utc(tmp_path: Path, empty_database_url: str) -> None:
    name = empty_database_url.rpartition("/")[2].partition("?")[0]
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(f"alter database \"{name}\" set timezone = 'Asia/Tokyo'")
    with instance(tmp_path, empty_database_url) as opened:
        before = datetime.now(UTC)
        run = empty.execute_in_process(instance=opened)
        made_at = opened.get_run_records(RunsFilter(run_ids=[run.run_id]))[0].create_timestamp
    assert before - timedelta(minutes=1) < made_at < datetime.now(UTC) + timedelta(minutes=1)


class Crashing:
    """A server of its own whose log is written only when a commit waits for it: until then, all that does not
    wait is forgotten by a crash."""

    def __init__(self, directory: Path) -> None:
        settings = {"autovacuum": "off", "wal_writer_delay": "10s", "fsync": "off"}
        # No page is written before the log of its change is: nobody but a commit may write pages.
        settings |= {"bgwriter_lru_maxpages": "0", "checkpoint_timeout": "1h"}
        self._postgres = EmbeddedPostgres(directory / "postgres", directory / "log", settings=settings)
        self.start()

    def start(self) -> None:
        self._server = self._postgres.start()
        find = "select pid from pg_stat_activity where backend_type = 'walwriter'"
        with psycopg.connect(self._server.url("postgres"), autocommit=True) as connection:
            while (found := connection.execute(find).fetchone()) is None:
                pass  # it has just been started
        psutil.Process(found[0]).suspend()

    def url(self, database: str) -> str:
        return self._server.url(database)

    def crash(self) -> None:
        postmaster = psutil.Process(self._server.pid)
        family = [postmaster, *postmaster.children()]
        for process in family:
            with suppress(psutil.NoSuchProcess):  # a connection's ends with the connection
                process.kill()
        psutil.wait_procs(family, timeout=60)

    def destroy(self) -> None:
        self.crash()  # its writer would never end by itself
        self._postgres.destroy()


@pytest.fixture
def crashing(tmp_path: Path) -> Iterator[Crashing]:
    server = Crashing(tmp_path / "server")
    try:
        migrate(server.url("sentinet"), KEPT_FOR_EVER)
        yield server
    finally:
        server.destroy()


@contextmanager
def desk_with_storage(server: Crashing, home: Path) -> Iterator[Desk]:
    """What `sentinet up` has: the ledger waits for the disk, Dagster does not."""
    with (
        instance(home, server.url("sentinet_dagster"), synchronous_commit=False) as opened,
        open_desk(server.url("sentinet"), instruments=None) as desk,
    ):
        desk.instance = opened
        yield desk


def test_runs_that_a_crash_makes_dagster_forget_are_judged(
    tmp_path: Path, crashing: Crashing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LAUNCHED_WITHIN_S", 0.0)
    home = tmp_path / "home"
    start = in_microseconds(datetime(2024, 8, 9, 10, tzinfo=UTC))
    until = "2024-08-09T10:01:20Z"  # the first sixteen windows
    with desk_with_storage(crashing, home) as desk, open_desk(desk.url, ("BTC", "ETH")):
        with Store(desk.url) as store:
            store.write(batch(list(events((1, 2), start, 90))))
        desk.be_silent()
        (claimed,) = desk.tick()
        desk.instance.add_run(DagsterRun(job_name="judge_windows", tags={RUN_KEY_TAG: claimed.run_key or ""}))
        assert desk.instance.get_runs_count() == 1
    crashing.crash()

    crashing.start()
    with desk_with_storage(crashing, home) as desk:
        assert desk.instance.get_runs_count() == 0  # forgotten
        desk.cursor = "0"  # the plan remembers
        (launched,) = desk.tick()
        assert (launched.run_key, launched.tags) == (claimed.run_key, claimed.tags)
        assert desk.run(launched).success
        judged = {relation: desk.rows(relation, until) for relation in RELATIONS}
        assert len(judged["windows"]) == 2 * 16
    crashing.crash()

    crashing.start()
    with desk_with_storage(crashing, home) as desk:
        (forgotten,) = desk.instance.get_runs()
        assert forgotten.status is DagsterRunStatus.STARTED  # that it has ended is forgotten
        desk.cursor = "0"
        assert desk.tick() == []
        desk.instance.report_run_failed(forgotten)  # what run monitoring does with a run without a process
        assert desk.tick() == []  # after a failure its hour rests
        desk.end_pauses()
        (again,) = desk.catch_up()
        assert again.success
        assert {relation: desk.rows(relation, until) for relation in RELATIONS} == judged
        plan = desk.plan()
        assert (plan.flights, plan.failures, plan.dirty) == ({}, {}, ())

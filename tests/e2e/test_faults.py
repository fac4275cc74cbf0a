"""What may die while Sentinet judges, dies: no range is lost, and none has two answers.

A simulated venue, the ingest daemon, PostgreSQL and Dagster with all its processes, as `sentinet up` runs
them, judge live. One after the other is killed; each time windows that came after must be judged. In the end
a copy of the facts is judged by one run, and must come to the same rows and the same alerts.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg.rows import dict_row

from sentinet_dagster import claims
from sentinet_dagster.partitions import partition_key, range_tags
from sentinet_dagster.planning import decode_state
from sentinet_dagster.runtime.demo_config import render_config
from sentinet_dagster.runtime.embedded_postgres import EmbeddedPostgres, Server
from sentinet_dagster.runtime.home import Home
from sentinet_dagster.runtime.parts import embedded_server
from tests.conftest import PostgresServer
from tests.e2e.command import ask, environment_of
from tests.integration.judging import RELATIONS, open_desk

pytestmark = [pytest.mark.e2e, pytest.mark.integration]

PATIENCE_S = 240.0  # for what takes ten seconds on a machine that has nothing else to do
SECOND = timedelta(seconds=1)
ALERTS = (
    "select alert_id, severity, score, threshold, evidence, model_id from surveillance.alerts"
    " where window_start < %s and state <> 'retracted' order by alert_id"
)


@dataclass
class Sentinet:
    """One that is up."""

    home: Path
    environment: dict[str, str]

    @property
    def postgres(self) -> EmbeddedPostgres:
        return embedded_server(Home(self.home), self.environment)  # on the port it had

    def server(self) -> Server:
        found = self.postgres.running()
        assert found is not None
        return found

    def pid(self, process: str) -> int:
        state = json.loads((self.home / "state.json").read_text())
        pid: int = state["processes"][process]["pid"]
        return pid

    def fetch(self, statement: str, database: str = "sentinet") -> list[dict[str, Any]]:
        with psycopg.connect(
            self.server().url(database), row_factory=dict_row, autocommit=True
        ) as connection:
            return connection.execute(statement).fetchall()  # type: ignore[arg-type]

    def judged_until(self) -> datetime:
        """The start of the newest window whose verdict is stored."""
        (row,) = self.fetch("select max(window_start) as newest from surveillance.scores")
        return row["newest"] or datetime(1970, 1, 1, tzinfo=UTC)

    def settled_until(self) -> datetime:
        """Where what is dirty, owed or being judged begins."""
        (row,) = self.fetch("select state::text as state from ops.plans")
        state = decode_state(row["state"])
        flying = [(flight.start, flight.end) for flight in state.flights.values()]
        begins = min((start for start, _ in [*state.dirty, *state.owed, *flying]), default=None)
        return (
            datetime.max.replace(tzinfo=UTC) if begins is None else datetime.fromtimestamp(begins / 1e6, UTC)
        )


def until(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if look():
                return
        except psycopg.OperationalError as error:  # it is being restarted
            what = f"{what} ({error})"
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s in vain: {what}"
        time.sleep(0.2)


@pytest.fixture
def sentinet(tmp_path: Path) -> Iterator[Sentinet]:
    with venue() as port:
        config = render_config(tmp_path / "config", port)
        home = tmp_path / "home"
        up = Sentinet(home, environment_of(home, SENTINET_CONFIG_DIR=str(config)))
        ask(up.environment, "up")
        try:
            yield up
        finally:
            ask(up.environment, "down")


@contextmanager
def venue() -> Iterator[int]:
    """A simulated market, eventful from the start."""
    command = [sys.executable, "-m", "sentinet_dagster.runtime.venue_server", "--seed", "7"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(json.loads(process.stdout.readline())["port"])
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def begun_run(sentinet: Sentinet) -> psutil.Process:
    """The process of a run that has begun a moment ago. It stands still: it does not come to its end before
    something is done to it."""
    worker = psutil.Process(sentinet.pid("warm_worker"))
    known = set(worker.children())
    found: list[psutil.Process] = []
    at_work = "select 1 from runs where status in ('STARTING', 'STARTED')"

    def has_begun() -> bool:
        for child in set(worker.children()) - known:
            known.add(child)
            with suppress(psutil.NoSuchProcess):
                child.suspend()
                if sentinet.fetch(at_work, "sentinet_dagster"):
                    found.append(child)
                    return True
                child.resume()
        return False

    until(has_begun, "a run")
    return found[0]


def kill_a_run(sentinet: Sentinet) -> None:
    """In the middle: its first rows are written, its last are not."""
    begun_run(sentinet).kill()


def kill(process: str) -> Callable[[Sentinet], None]:
    def kill_process(sentinet: Sentinet) -> None:
        os.kill(sentinet.pid(process), signal.SIGKILL)

    return kill_process


def restart_the_database(sentinet: Sentinet) -> None:
    """At once, in the middle of a run, as after a crash.

    What Dagster wrote without waiting for the disk may be forgotten: that a run was created, or has ended.
    """
    before = sentinet.server().pid
    run = begun_run(sentinet)
    os.kill(before, signal.SIGQUIT)
    run.resume()

    def is_up_again() -> bool:
        found = sentinet.postgres.running()
        return found is not None and found.pid != before

    until(is_up_again, "the database, started again")


FAULTS: dict[str, list[Callable[[Sentinet], None]]] = {
    "a run, in the middle": [kill_a_run],
    "the warm worker and the code server": [kill("warm_worker"), kill("code_server")],
    "the daemon and the database": [kill("dagster_daemon"), restart_the_database],
}


def test_whatever_dies_nothing_is_lost_and_nothing_has_two_answers(
    sentinet: Sentinet, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(lambda: sentinet.judged_until().year > 1970, "the first verdict")
    first = sentinet.judged_until()
    for name, faults in FAULTS.items():
        before = datetime.now(UTC)
        for fault in faults:
            fault(sentinet)
        after = datetime.now(UTC)
        until(lambda after=after: sentinet.judged_until() > after, f"judgement after the death of {name}")  # type: ignore[misc]
        print(f"{name}: judging again after {(datetime.now(UTC) - before).total_seconds():.0f} s")
    end = sentinet.judged_until()
    until(lambda: sentinet.settled_until() >= end, "everything to be settled")
    assert_no_hour_was_judged_twice_at_once(sentinet)
    failed = sentinet.fetch("select status from runs where status = 'FAILURE'", "sentinet_dagster")
    assert failed  # what was killed was in the middle of something

    ask(sentinet.environment, "down")
    server = PostgresServer(sentinet.postgres.start().url("postgres"))
    copied = server.copy("sentinet")
    with (
        open_desk(server.url("sentinet"), instruments=None) as live,
        open_desk(server.url(copied), instruments=None) as past,
    ):
        judgement = ", ".join(
            f"surveillance.{relation}" for relation in [*RELATIONS, "alerts", "alert_events"]
        )
        past.fetch(f"truncate {judgement}, ops.plans")
        # An alert may go on after `end`: live judges to the end of the facts, too.
        monkeypatch.setattr(claims, "LAUNCHED_WITHIN_S", 0.0)
        live.cursor = "0"  # the plan remembers
        assert all(result.success for result in live.catch_up())
        (judged,) = live.fetch("select min(window_start), max(window_start) from surveillance.windows")
        hours = range_tags(partition_key(judged["min"]), partition_key(judged["max"]))
        assert past.execute("judge_windows", tags=hours).success
        for relation in RELATIONS:
            rows = live.rows(relation, end.isoformat())
            assert rows == past.rows(relation, end.isoformat()), relation
        assert live.fetch(ALERTS, end) == past.fetch(ALERTS, end)
        counted = live.fetch(
            "select count(*) as n from surveillance.windows where window_start between %s and %s", first, end
        )
        active = live.fetch("select count(*) as n from market.instruments where is_active")
        assert counted[0]["n"] == ((end - first) // (5 * SECOND) + 1) * active[0]["n"]


def assert_no_hour_was_judged_twice_at_once(sentinet: Sentinet) -> None:
    runs = sentinet.fetch(
        "select partition, start_time, coalesce(end_time, 'infinity') as end_time from runs"
        " where pipeline_name = 'judge_windows' and start_time is not null order by partition, start_time",
        "sentinet_dagster",
    )
    assert len(runs) > len(FAULTS)
    for one, other in pairwise(runs):
        assert one["partition"] != other["partition"] or one["end_time"] <= other["start_time"]

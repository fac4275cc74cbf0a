"""Keeping a real server up: killed, it is started again at its address; what hinders that is said."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from sentinet_dagster.runtime.embedded_postgres import EmbeddedPostgres, Server
from sentinet_dagster.runtime.processes import Restart
from sentinet_dagster.runtime.server_keeper import ServerKeeper

RESTART = Restart(first_s=1, cap_s=4, healthy_after_s=60)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Kept:
    """A server, whoever keeps it, and the time."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.first = self.embedded().start()
        self.clock = Clock()
        bound = self.embedded(self.first.port)
        self.keeper = ServerKeeper(bound, self.first.pid, restart=RESTART, now=self.clock)

    def embedded(self, port: int | None = None) -> EmbeddedPostgres:
        return EmbeddedPostgres(
            self.place, self.place.parent / "postgres.log", port=port, settings={"fsync": "off"}
        )

    def after(self, seconds: float) -> tuple[str, int, str | None]:
        """What the keeper says once so much time is over."""
        self.clock.now += seconds
        self.keeper.poll()
        state = self.keeper.state()
        return state.state, state.restarts, state.failure


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    server = Kept(tmp_path / "postgres")
    yield server
    server.embedded().destroy()


def kill(server: Server) -> None:
    process = psutil.Process(server.pid)
    process.send_signal(signal.SIGQUIT)
    psutil.wait_procs([process], timeout=60)


def test_what_runs_is_left_alone(kept: Kept) -> None:
    assert kept.after(0) == kept.after(1000) == ("running", 0, None)
    assert kept.keeper.state().pid == kept.first.pid


def test_what_ended_is_started_again_at_its_address(kept: Kept) -> None:
    kill(kept.first)
    assert kept.after(0) == ("waiting", 0, "it has ended; its log says why")
    assert kept.after(0.5)[0] == "waiting"  # not at once: it may be ending again and again
    assert kept.after(0.6) == ("running", 1, None)
    with psycopg.connect(kept.first.url()) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_what_cannot_be_started_is_tried_ever_more_rarely_and_says_why(kept: Kept) -> None:
    kill(kept.first)
    away = kept.place.with_name("away")
    data = (kept.place / "cluster").resolve() / "data"
    (data / "postgresql.conf").rename(away)
    kept.after(0)
    for pause in (1, 2, 4, 4):
        assert kept.after(pause - 0.1) == kept.after(0)
        state, restarts, failure = kept.after(0.1)
        assert (state, restarts) == ("waiting", 0)
        assert failure is not None
        assert failure.startswith("postgres ended with ")
    away.rename(data / "postgresql.conf")
    assert kept.after(4) == ("running", 1, None)


def test_whom_somebody_else_started_is_taken_over(kept: Kept) -> None:
    kill(kept.first)
    kept.after(0)
    other = kept.embedded(kept.first.port).start()
    assert kept.after(1) == ("running", 1, None)
    assert kept.keeper.state().pid == other.pid
    kill(other)
    again = kept.embedded(kept.first.port).start()
    assert kept.after(0) == ("running", 2, None)  # before anybody noticed that it was gone
    assert kept.keeper.state().pid == again.pid


def test_having_run_for_long_it_is_not_blamed_for_old_failures(kept: Kept) -> None:
    kill(kept.first)
    kept.after(0)
    kept.after(1)
    kill(kept.embedded().start())
    kept.after(0)
    assert kept.after(1.5)[0] == "waiting"  # the second end in a row: 2 s
    assert kept.after(0.6)[0] == "running"
    kept.after(RESTART.healthy_after_s)
    kill(kept.embedded().start())
    kept.after(0)
    assert kept.after(1.1)[0] == "running"

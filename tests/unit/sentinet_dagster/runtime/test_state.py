"""What the supervisor writes for the others, and when they believe it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sentinet_dagster.runtime.home import Home
from sentinet_dagster.runtime.state import ProcessState, RunState, read_state, write_state
from sentinet_dagster.runtime.status import disk_status, has_database, problems, process_table, running_state

STATE = RunState(
    owner=os.getpid(),
    phase="running",
    database="postgresql://sentinet@127.0.0.1:5432/sentinet",
    addresses={"dagster": "http://127.0.0.1:3000"},
    processes={
        "ingest": ProcessState("running", os.getpid(), 1),
        "webserver": ProcessState("waiting", None, 4),
    },
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.prepare("service")
    return made


def test_what_is_written_is_read(home: Home) -> None:
    assert read_state(home) is None
    write_state(home, STATE)
    assert read_state(home) == STATE
    assert [path.name for path in home.path.glob("state.json*")] == ["state.json"]


def test_half_a_file_is_no_state(home: Home) -> None:
    (home.path / "state.json").write_text('{"owner": 1, "pha')
    assert read_state(home) is None


def test_a_state_is_believed_only_while_its_writer_runs(home: Home) -> None:
    write_state(home, STATE)
    assert running_state(home) is None
    with home.claim():
        assert running_state(home) == STATE
    assert running_state(home) is None


def test_processes_are_told_with_what_they_use() -> None:
    table = process_table(STATE)
    assert table["ingest"]["restarts"] == 1
    assert table["ingest"]["rss_mb"] > 1
    assert table["ingest"]["cpu_s"] > 0
    assert table["webserver"] == {
        "pid": None, "state": "waiting", "restarts": 4, "cpu_s": None, "rss_mb": None,
    }  # fmt: skip
    assert process_table(None) == {}


DOWN = RunState(
    owner=1, phase="running", processes={"postgres": ProcessState("waiting", None, 2, "the disk is full")}
)


def test_a_database_that_is_down_is_a_problem_and_is_not_asked() -> None:
    assert problems(DOWN, {}) == ["postgres is down: the disk is full"]
    assert not has_database(DOWN)
    assert problems(STATE, {}) == []
    assert has_database(STATE)
    assert has_database(None)


def test_little_room_is_a_problem() -> None:
    assert problems(None, {"home": 5000.0, "database": 12.4}) == [
        "the disk of the database has 12 MB left: make room"
    ]


def test_room_is_told_for_the_home_and_its_database(home: Home) -> None:
    assert set(disk_status(home)) == {"home"}
    assert disk_status(home)["home"] > 0
    (home.postgres / "cluster").mkdir()
    assert set(disk_status(home)) == {"home", "database"}
    assert set(disk_status(Home(home.path / "not" / "yet"))) == {"home"}

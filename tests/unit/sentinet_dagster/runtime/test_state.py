"""What the supervisor writes for the others, and when they believe it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sentinet_dagster.runtime.home import Home
from sentinet_dagster.runtime.state import ProcessState, RunState, read_state, write_state
from sentinet_dagster.runtime.status import process_table, running_state

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

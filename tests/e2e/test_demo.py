"""The demo as a newcomer runs it: the real command, in a home of its own, from nothing to the summary."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import SENTINET, ask, environment_of, processes_of

pytestmark = pytest.mark.e2e

STOPS_WITHIN_S = 10.0


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return environment_of(tmp_path / "home", NO_COLOR="1")


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """No process of the home survives the test, whatever it was started as."""
    yield
    assert processes_of(tmp_path / "home") == []


def test_every_scripted_episode_is_found_and_nothing_is_left(
    environment: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "summary.json"
    done = subprocess.run(
        [SENTINET, "demo", "--for", "100s", "--summary", str(file)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert processes_of(tmp_path / "home") == []

    summary = json.loads(file.read_text())
    assert summary["frames"] > 100_000
    assert summary["rows"] > 100_000
    assert summary["runs"]["failed"] == 0
    assert summary["runs"]["succeeded"] >= 10
    assert sum(summary["alerts"].values()) >= summary["episodes"]["found"]
    assert summary["episodes"]["scripted"] == summary["episodes"]["found"] >= 3
    # Two more last longer than the demo here; they are found while they go on.
    kinds = {episode["kind"] for episode in summary["episodes"]["list"] if episode["found_by"]}
    assert len(kinds) >= 4
    assert 0 < summary["row_to_alert_s"]["p50"] <= summary["row_to_alert_s"]["p95"]
    assert summary["history"]["refused"] == 0

    alerts = ask(environment, "alerts", "--limit", "500")["alerts"]
    live = [alert for alert in alerts if alert["raised_at"] >= summary["episodes"]["list"][0]["starts_at"]]
    assert {alert["detector"] for alert in live} <= set(summary["alerts"])
    for alert in alerts:
        assert alert["evidence"]["numbers"]
        assert 0 < alert["completeness"] <= 1
    assert processes_of(tmp_path / "home") == []  # the server that `alerts` started is stopped again


@pytest.mark.parametrize(("number", "when"), [(signal.SIGTERM, "starting"), (signal.SIGINT, "live")])
def test_a_signal_stops_everything_within_ten_seconds(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals, when: str
) -> None:
    said = tmp_path / "said"
    with said.open("w") as output:
        demo = subprocess.Popen(
            [SENTINET, "demo", "--no-view"],
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    mark = "live feed" if when == "starting" else "frames/s"
    wait_for(lambda: mark in said.read_text() or demo.poll() is not None)
    assert demo.poll() is None, said.read_text()
    assert len(processes_of(tmp_path / "home")) > 3
    began = time.monotonic()
    demo.send_signal(number)
    code = demo.wait(STOPS_WITHIN_S + 5)
    took = time.monotonic() - began
    assert took <= STOPS_WITHIN_S
    assert code == (130 if when == "starting" else 0), said.read_text()
    assert processes_of(tmp_path / "home") == []


def wait_for(condition: Any, within_s: float = 240.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)

"""The commands on a home of their own, as a user runs them: processes, one JSON object, exit codes."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from ingest_daemon.venues import VENUES
from ingest_daemon.venues.simulated import SimulatedMarket
from sentinet_dagster.runtime.demo_config import render_config
from sentinet_dagster.runtime.home import Home
from sentinet_dagster.runtime.parts import embedded_server
from sentinet_dagster.runtime.venue_history import write_history
from tests.e2e.command import SENTINET, ask, environment_of, processes_of

pytestmark = pytest.mark.e2e

HOUR_US = 1_769_860_800_000_000  # 2026-01-31T12:00:00Z
MINUTES = 8


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home and a configuration of its own: the simulated market's, with nobody at the venues' address."""
    config = render_config(tmp_path / "config", venue_port=1)
    return environment_of(tmp_path / "home", SENTINET_CONFIG_DIR=str(config))


@pytest.fixture
def recordings(tmp_path: Path) -> list[str]:
    market = SimulatedMarket(seed=3, anchor_us=HOUR_US)
    files = write_history(market, HOUR_US, HOUR_US + MINUTES * 60_000_000, tmp_path / "recordings")
    return [str(file.path) for file in files]


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    left = processes_of(tmp_path / "home")
    for process in left:
        process.kill()
    assert left == []


def frames_in(path: str) -> int:
    with gzip.open(path) as lines:
        return sum(1 for _ in lines)


def test_from_a_recording_to_alerts_without_anything_running(
    environment: dict[str, str], recordings: list[str]
) -> None:
    """replay makes the home and migrates it, backfill judges in its own process; each stops its server."""
    first = ask(environment, "replay", *recordings)["streams"]
    assert sum(stream["frames"] for stream in first.values()) == sum(map(frames_in, recordings))
    assert all(stream["rows"] == stream["frames"] for stream in first.values())
    assert {stream.partition("/")[0] for stream in first} == {"simulated", "simulated_usdm"}

    again = ask(environment, "replay", *recordings)["streams"]
    assert sum(stream["rows"] for stream in again.values()) == 0
    assert sum(stream["duplicates"] for stream in again.values()) == sum(map(frames_in, recordings))

    judged = ask(environment, "backfill", "--from", "2026-01-31T12:00Z", "--to", "2026-01-31T12:08Z")
    assert judged["by"] == "this process"
    assert judged["hours"] == ["2026-01-31-12:00"]
    assert judged["runs"] == {"succeeded": 1, "failed": 0}

    alerts = ask(environment, "alerts", "--since", "2026-01-31T12:00Z")["alerts"]
    assert [alert["raised_at"] for alert in alerts] == sorted(
        (alert["raised_at"] for alert in alerts), reverse=True
    )

    status = ask(environment, "status")
    assert (status["kind"], status["phase"], status["processes"]) == ("service", None, {})
    assert status["database"]["size_mb"] > 5
    assert "@127.0.0.1" in status["database"]["url"]
    assert ":sentinet" not in status["database"]["url"].partition("@")[0]
    assert status["feeds"]["simulated"]["rows"] > 1000

    migrated = ask(environment, "migrate")
    assert migrated["applied"] == []
    assert migrated["instruments"] == {"active": 12, "added": 0, "changed": 0, "deactivated": 0}


def test_up_runs_until_down(environment: dict[str, str], tmp_path: Path) -> None:
    up = ask(environment, "up")
    assert up["addresses"]["dagster"].startswith("http://127.0.0.1:")
    refused = subprocess.run([SENTINET, "up"], env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "already" in refused.stderr

    status = ask(environment, "status")
    assert (status["kind"], status["phase"]) == ("service", "running")
    assert set(status["processes"]) == {
        "postgres", "warm_worker", "code_server", "dagster_daemon", "webserver", "ingest",
    }  # fmt: skip
    for name, process in status["processes"].items():
        assert (process["state"], process["restarts"]) == ("running", 0), name
        assert process["rss_mb"] > 1
        assert psutil.pid_exists(process["pid"])
    assert status["addresses"] == up["addresses"]

    assert ask(environment, "down")["stopped"] is True
    assert ask(environment, "down")["stopped"] is False

    server = embedded_server(Home(tmp_path / "home"), environment).start()
    left_behind = psutil.Process(server.pid)
    assert ask(environment, "down")["stopped"] is True
    left_behind.wait(60)  # the test is its parent: until now it is a zombie


def test_what_is_wrong_with_the_recording_is_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.gz"
    broken.write_bytes(b"no gzip")
    done = subprocess.run(
        [SENTINET, "replay", str(broken)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"sentinet: {broken}")
    assert "Traceback" not in done.stderr


def test_a_symbol_that_is_not_watched_is_named(
    environment: dict[str, str], recordings: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "config" / "instruments.yaml"
    content = yaml.safe_load(path.read_text())
    content["instruments"] = [entry for entry in content["instruments"] if entry["symbol"] != "BTC-USDT"]
    path.write_text(yaml.safe_dump(content))
    done = subprocess.run(
        [SENTINET, "replay", *recordings], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "BTCUSDT of simulated is not watched" in done.stderr


def test_benchmarks_print_numbers(environment: dict[str, str], recordings: list[str]) -> None:
    parsed = ask(environment, "benchmark", "parse", "--seconds=0.001", recordings[0])["venues"]
    assert set(parsed) == set(VENUES)
    assert parsed["binance_spot"]["trade"]["from"] == "recorded"
    assert parsed["kraken"]["book"]["from"] == "rendered"
    assert all(kind["frames_per_s"] > 0 for kinds in parsed.values() for kind in kinds.values())

    stored = ask(environment, "benchmark", "store", "--minutes=1", "--rounds=2")
    assert stored["rows"] > 1000
    assert stored["ratio"] == pytest.approx(stored["rows_per_s"] / stored["raw_copy_rows_per_s"], abs=0.01)
    assert stored["rounds"]["ratio"]["median"] > 0

    taken_in = ask(environment, "benchmark", "ingest", "--seconds=0.4", "--rounds=1", "--probes=1")
    assert 0 < taken_in["at_10k"]["p50_ms"] <= taken_in["at_10k"]["p99_ms"]
    assert taken_in["frames"] >= 10_000 + 4_000 + 12_000  # warming up, the round, the probe
    assert taken_in["sustained_frames_per_s"] in (0, 30_000)
    assert taken_in["rss_mb"] > 10
    assert taken_in["cpu_us_per_frame"] > 0

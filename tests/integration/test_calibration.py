"""`sentinet calibrate` on stored history: what it says, what it proposes, and that it changes nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import yaml

from sentinet_dagster.cli import run
from sentinet_dagster.resources import Timescale
from sentinet_dagster.runtime import database
from sentinet_dagster.runtime.demo_config import SOURCE
from sentinet_dagster.runtime.instruments import read_instruments
from sentinet_dagster.runtime.judge_benchmark import drawn_facts
from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.features import build_features
from sentinet_dagster.surveillance.settings import load_settings

pytestmark = pytest.mark.integration

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
LENGTH = timedelta(minutes=70)
RANGE = "2026-01-31T12:00Z/2026-01-31T13:10Z"
CONFIG = Path(__file__).resolve().parents[2] / "config" / "surveillance.yaml"
CLOSED = """
    insert into surveillance.alerts (
        alert_id, detector, detector_version, instrument_id, window_start, window_end, raised_at,
        last_window_start, closes_at, windows_fired, peak_score, peak_window_start, severity, score,
        threshold, summary, evidence, evidence_level, completeness, code_hash, config_hash, state, disposition
    ) values (
        gen_random_uuid(), 'spoofing', 1, %(instrument)s, %(at)s, %(at)s, %(at)s, %(at)s, %(at)s, 1, 1,
        %(at)s, 'warning', 1, 0.6, '', '{}', 'L1', 1, '', '', 'closed', %(disposition)s
    )
"""


@pytest.fixture
def stored(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Seventy minutes of two instruments, whose quotes lean as chance has it."""
    database.watch(database_url, read_instruments(SOURCE))
    facts = drawn_facts(2, START, LENGTH, trades=4_000, quotes=20_000)
    windows = facts.windows(START, START + LENGTH)
    timescale = Timescale(url=database_url)
    timescale.replace(schema.WINDOWS, windows, START, START + LENGTH)
    features = build_features(windows, START, START + LENGTH)
    timescale.replace(schema.FEATURES, features, START, START + LENGTH)
    timescale.close()
    monkeypatch.setenv("SENTINET_DATABASE_URL", database_url)
    monkeypatch.delenv("SENTINET_CONFIG_DIR", raising=False)
    return database_url


def test_a_budget_chooses_thresholds_and_changes_nothing(
    stored: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = CONFIG.read_bytes()
    target = tmp_path / "proposal.yaml"
    asked = ["calibrate", "spoofing", "volume_spike", "--range", RANGE, "--folds", "2"]
    assert run([*asked, "--budget", "2000", "--output", str(target), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    spoofing = said["detectors"]["spoofing"]
    assert (spoofing["threshold"], spoofing["current"]) == ("imbalance", 0.6)
    alerts = [row["alerts"] for row in spoofing["values"]]
    assert alerts == sorted(alerts, reverse=True)
    assert alerts[0] > 0
    rates = {row["value"]: row["per_day"] for row in spoofing["values"]}
    fitting = [value for value, rate in rates.items() if rate <= spoofing["budget_per_day"]]
    assert rates[spoofing["proposed"]] == max(rates[value] for value in fitting)
    assert spoofing["held_out_per_day"] is not None
    assert sum(each["per_day"] for each in said["detectors"].values()) <= 2000
    assert target.read_text() == said["proposal"]
    proposed = yaml.safe_load(said["proposal"])
    assert proposed["detectors"]["default"]["spoofing"] == {"imbalance": spoofing["proposed"]}
    load_settings(proposed)
    assert CONFIG.read_bytes() == before


def test_what_people_closed_gives_precision_and_recall(
    stored: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(stored, autocommit=True) as connection:
        for instrument, disposition in ((1, "true"), (2, "false")):
            connection.execute(
                CLOSED,
                {"instrument": instrument, "at": START + LENGTH / 2, "disposition": disposition},
            )
    assert run(["calibrate", "spoofing", "--range", RANGE, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["detectors"]["spoofing"]["values"]
    assert rows[-1]["recall"] == 0
    assert "proposed" not in rows[-1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["spoofin"], "spoofin is no detector; there are "),
        (["spoofing", "--threshold", "imbalanc"], "there are imbalance, price_move_bps, quotes"),
        (["--threshold", "imbalance"], "name the detector that it is of"),
        (["spoofing", "--range", "2020-01-01/2020-01-02"], "no windows are stored of 2020-01-01 00:00"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(
    stored: str, arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["calibrate", *arguments]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1

"""`sentinet replay` on a database that keeps facts for a while only."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sentinet_dagster.cli import run
from sentinet_dagster.runtime.database import migrate
from sentinet_dagster.storage import load_storage
from tests.integration.daemons import trades, watch_bitcoin

pytestmark = pytest.mark.integration

CONFIG = """
venues:
  here: {protocol: binance_spot}
"""
INSTRUMENTS = """
instruments:
- {venue: here, symbol: BTC-USDT, venue_symbol: BTCUSDT, kind: spot, base: BTC, quote: USDT}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str) -> Path:
    (tmp_path / "venues.yaml").write_text(CONFIG)
    (tmp_path / "instruments.yaml").write_text(INSTRUMENTS)
    monkeypatch.setenv("SENTINET_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("SENTINET_DATABASE_URL", database_url)
    watch_bitcoin(database_url)
    return tmp_path


def recording(path: Path, at: datetime) -> Path:
    """Ten trades that happened and were received then."""
    milliseconds = int(at.timestamp() * 1000)
    lines = [
        f"{milliseconds * 10**6} "
        + frame.replace("1723161255343", str(milliseconds)).replace("1723161255342", str(milliseconds))
        for frame in trades(0, 10)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def replayed(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said of it beside the result."""
    capsys.readouterr()
    assert run(["replay", str(path), "--json"]) == 0
    said = capsys.readouterr()
    assert sum(stream["rows"] for stream in json.loads(said.out)["streams"].values()) == 10
    return said.err


@pytest.mark.parametrize(
    ("age", "kept", "is_told"),
    [
        (timedelta(days=40), "30 days", True),
        (timedelta(days=40), "forever", False),
        (timedelta(days=2), "30 days", False),
    ],
)
def test_history_that_retention_will_remove_is_told(
    config: Path,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    age: timedelta,
    kept: str,
    is_told: bool,
) -> None:
    migrate(database_url, load_storage({"retention": {"facts": kept}}))
    at = (datetime.now(UTC) - age).replace(microsecond=0)
    said = replayed(recording(config / "btcusdt", at), capsys)
    if not is_told:
        assert said == ""
        return
    (line,) = said.splitlines()
    assert line.startswith(f"sentinet: facts from {at:%Y-%m-%d %H:%M} UTC on are older than the 30 days that")
    assert line.endswith("to keep them, set retention.facts to forever and run `sentinet migrate`")

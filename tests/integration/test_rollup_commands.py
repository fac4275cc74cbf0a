"""`sentinet rollups` on a real server: what an operator types."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ingest_daemon.events import Trade
from ingest_daemon.store import Store
from sentinet_dagster.cli import run
from sentinet_dagster.partitions import in_microseconds
from tests.integration.market_facts import batch

pytestmark = pytest.mark.integration

START = in_microseconds(datetime(2024, 8, 9, 10, tzinfo=UTC))


def test_rollups_are_deployed_refreshed_rebuilt_and_told_of(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rollups(*arguments: str) -> Any:
        capsys.readouterr()
        assert run(["rollups", *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)["rollups"]

    monkeypatch.setenv("SENTINET_DATABASE_URL", database_url)
    assert run(["rollups", "status"]) == 2
    assert "has no rollups: run `sentinet migrate`" in capsys.readouterr().err

    assert rollups("deploy") == "deployed"
    assert rollups("deploy") == "unchanged"
    with Store(database_url) as store:
        store.write(batch([Trade(1, 1, START, START, 100.0, 1.0, 1)]))
    (bars,) = rollups("refresh", "trade_bars_1m")
    assert bars["rows"] in (1, None)  # None: TimescaleDB does not say
    assert rollups("rebuild", "trade_bars_1m")[0]["name"] == "trade_bars_1m"
    told = {each["name"]: each for each in rollups("status")}
    assert told["trade_bars_1m"]["kept_by"] in ("sentinet", "timescaledb")
    assert told["trade_bars_1m"]["refreshed_at"] > told["trade_bars_1d"]["refreshed_at"]

    assert run(["rollups", "refresh", "trade_bars_7m"]) == 2
    assert (
        "trade_bars_7m is no rollup with rows of its own; there are book_depth_1m" in capsys.readouterr().err
    )

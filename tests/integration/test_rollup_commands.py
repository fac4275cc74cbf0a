"""`sentinet rollups` on a real server: what an operator types."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import psycopg
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


def test_how_old_the_facts_are_is_told_by_the_ledger(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trades just now, quotes a while ago, books long ago, reference prices within bounds of their own."""
    monkeypatch.setenv("SENTINET_DATABASE_URL", database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """
            insert into ops.ingest_batches (
                venue, relation, rows, duplicates, bytes, touched, max_received_at, committed_at
            )
            select 'binance', relation, 1, 0, 1, '{}', now(), clock_timestamp() - age
            from (values
                ('trades', interval '0 s'), ('trades', interval '1 day'),
                ('quotes', interval '20 minutes'),
                ('books', interval '3 hours'),
                ('reference_prices', interval '30 minutes')
            ) as batches (relation, age)
            """
        )

    def sources(exit_code: int) -> dict[str, str]:
        assert run(["rollups", "freshness", "--json"]) == exit_code
        found = json.loads(capsys.readouterr().out)["sources"]
        assert all((each["loaded_at"] is None) == (each["status"] == "never") for each in found)
        return {each["relation"]: each["status"] for each in found}

    assert sources(1) == {
        "market.book_flows": "never",
        "market.books": "error",
        "market.quotes": "warn",
        "market.reference_prices": "pass",
        "market.trades": "pass",
    }
    with psycopg.connect(database_url) as connection:
        connection.execute("update ops.ingest_batches set committed_at = clock_timestamp()")
    assert set(sources(0).values()) == {"never", "pass"}

"""`sentinet benchmark storage`, small: every part of it measures something, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from sentinet_dagster.runtime.storage_benchmark import measure_storage
from sentinet_dagster.storage import Edition
from tests.conftest import PostgresServer

pytestmark = pytest.mark.integration

TRADES = 150_000
QUESTIONS = {
    "bars_of_a_symbol_over_30_days",
    "last_alerts",
    "correlation_matrix",
    "spread_monitor",
    "gaps_of_a_day",
    "trades_around_an_alert",
    "top_movers",
    "feed_quality",
    "basis",
    "alert_outcomes",
}


def test_all_of_it_is_measured_and_nothing_stays(postgres_server: PostgresServer, tmp_path: Path) -> None:
    told: list[str] = []
    found = measure_storage(
        postgres_server.url("postgres"), TRADES, tmp_path, disk=None, tell=told.append, days=1
    )
    assert (found["trades"], found["quotes"], found["days"]) == (TRADES, TRADES // 4, 1)
    assert told[0].startswith("150,000 trades take about ")

    assert set(found["queries"]) == QUESTIONS
    for question, answer in found["queries"].items():
        assert answer["rows"] > 0, question
        assert 0 < answer["ms"] < 60_000
    bars = found["rollups"]["trade_bars_1m"]
    assert bars["rebuild_facts_per_s"] > 0
    assert bars["refresh_facts_per_s"] > 0
    assert bars["rebuild_to_refresh"] > 0
    reading = found["reading"]
    assert reading["rows"] == TRADES // 2  # from the middle on
    assert reading["adbc"]["rows_per_s"] > 0
    assert reading["psycopg"]["rows_per_s"] > 0

    size = found["bytes_per_trade"]
    assert size["before"] > 90  # the columns alone are 64
    if found["edition"] == Edition.COMMUNITY:
        assert size["reason"] is None
        assert size["after"] < size["before"]
        assert set(found["queries_in_columnstore"]) == QUESTIONS
    else:
        assert size["after"] is None
        assert size["reason"].endswith("has no columnstore")
        assert found["queries_in_columnstore"] is None

    with psycopg.connect(postgres_server.admin_url) as connection:
        left = connection.execute(
            "select count(*) from pg_database where datname like 'sentinet\\_benchmark\\_%'"
        ).fetchone()
    assert left == (0,)

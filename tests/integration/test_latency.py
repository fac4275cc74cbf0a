"""How long judging takes, read from rows whose answers are known: by stage, by minute, and how far behind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from sentinet_dagster.queries import queries
from sentinet_dagster.runtime import readings
from tests.integration.test_readings import add_alert, add_batch, add_instrument, add_window

pytestmark = pytest.mark.integration

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
STAGES = ["row_to_alert", "row_to_window", "tick_to_row", "window_to_alert"]


@pytest.fixture
def connection(database_url: str) -> Iterator[readings.Connection]:
    with psycopg.connect(database_url, autocommit=True) as opened:
        opened.execute("delete from market.instruments")
        yield opened


def latency(connection: readings.Connection, since: datetime, until: datetime) -> dict[str, dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute("select * from ops.latency(%s, %s)", (since, until)).fetchall()
    return {row.pop("stage"): row for row in rows}


def noted(connection: readings.Connection) -> list[tuple[datetime, str, int]]:
    return connection.execute(
        "select minute, stage, samples from ops.latency_1m order by minute, stage"
    ).fetchall()


def note(connection: readings.Connection) -> int:
    return len(connection.execute(queries()["note_latency"].sql.encode()).fetchall())


def judge(connection: readings.Connection, start: datetime, instrument: int) -> None:
    """A window at `start`: its rows came 4 s after that, and were committed 1 s and 2 s later; the window 3 s
    after them; its alert 1 s after that."""
    add_batch(connection, "binance", start + 5 * SECOND, window=start)
    add_batch(connection, "binance", start + 6 * SECOND, window=start)
    add_window(connection, instrument, computed_at=start + 9 * SECOND, window=start)
    add_alert(connection, instrument, window_start=start, created_at=start + 10 * SECOND)


def test_each_stage_is_told_apart(connection: readings.Connection) -> None:
    start = datetime(2026, 1, 31, 12, tzinfo=UTC)
    judge(connection, start, add_instrument(connection, "binance", "BTC-USDT"))
    found = latency(connection, start, start + MINUTE)
    assert sorted(found) == STAGES
    assert found["tick_to_row"] == {"samples": 2, "p50_s": 1.0, "p95_s": 2.0, "max_s": 2.0}
    assert found["row_to_window"] == {"samples": 1, "p50_s": 3.0, "p95_s": 3.0, "max_s": 3.0}
    assert found["window_to_alert"]["max_s"] == 1.0
    assert found["row_to_alert"]["max_s"] == 4.0
    assert latency(connection, start + MINUTE, start + 2 * MINUTE) == {}
    assert sorted(latency(connection, start, start + 10 * SECOND)) == ["row_to_window", "tick_to_row"]


def test_what_is_judged_again_or_is_a_replay_does_not_count(connection: readings.Connection) -> None:
    start = datetime(2026, 1, 31, 12, tzinfo=UTC)
    bitcoin = add_instrument(connection, "binance", "BTC-USDT")
    judge(connection, start, bitcoin)
    judge(connection, start + 5 * SECOND, bitcoin)
    connection.execute(
        "update surveillance.windows set computed_at = %s where window_start = %s",
        (start + 50 * SECOND, start),
    )
    add_batch(connection, "binance", start + 50 * SECOND, window=start - timedelta(days=1))
    # Of what was recorded minutes ago, the ledger alone tells.
    add_batch(connection, "binance", start + 50 * SECOND, window=start - 40 * MINUTE, is_replay=True)
    found = latency(connection, start, start + MINUTE)
    assert (found["row_to_window"]["samples"], found["row_to_window"]["max_s"]) == (1, 3.0)
    assert (found["window_to_alert"]["samples"], found["row_to_alert"]["samples"]) == (1, 1)
    assert found["tick_to_row"]["samples"] == 4


def test_ended_minutes_are_kept_once(connection: readings.Connection) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    bitcoin = add_instrument(connection, "binance", "BTC-USDT")
    for minute in (3, 1):
        judge(connection, now - minute * MINUTE, bitcoin)
    judge(connection, now - timedelta(hours=1), bitcoin)
    assert note(connection) == 2 * len(STAGES)
    assert noted(connection) == [
        (now - minute * MINUTE, stage, 2 if stage == "tick_to_row" else 1)
        for minute in (3, 1)
        for stage in STAGES
    ]
    judge(connection, now - 30 * SECOND, bitcoin)  # it ends with this minute or the one before, which is kept
    add_batch(connection, "binance", now - 50 * SECOND, window=now - MINUTE)
    assert note(connection) == 0
    assert readings.latency(connection, 10 * MINUTE)["row_to_window"].max_s == 3.0


def test_how_far_judging_is_behind(connection: readings.Connection) -> None:
    assert readings.behind_s(connection) is None
    now = datetime.now(UTC).replace(microsecond=0)
    start = now - 65 * SECOND
    bitcoin = add_instrument(connection, "binance", "BTC-USDT")
    add_batch(connection, "binance", now - 59 * SECOND, window=start)  # received 4 s after the window began
    assert readings.behind_s(connection) is None
    connection.execute(
        "insert into surveillance.scores (instrument_id, window_start, model, reason)"
        " values (%s, %s, 'm', 'r')",
        (bitcoin, start),
    )
    assert readings.behind_s(connection) == 0.0
    add_batch(connection, "binance", now, window=start + 30 * SECOND)
    assert readings.behind_s(connection) == 29.0
    add_batch(connection, "binance", now, window=now + timedelta(hours=3))  # a clock that is wrong
    behind = readings.behind_s(connection)
    assert behind is not None
    assert 60.0 <= behind < 120.0

"""What is told about a running Sentinet, read from a real database with rows whose answers are known."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from sentinet_dagster.runtime import readings

pytestmark = pytest.mark.integration

WINDOW = datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def connection(database_url: str) -> Iterator[readings.Connection]:
    with psycopg.connect(database_url, autocommit=True) as opened:
        opened.execute("delete from market.instruments")
        yield opened


def add_instrument(connection: readings.Connection, venue: str, symbol: str, *, active: bool = True) -> int:
    row = connection.execute(
        "insert into market.instruments (venue, symbol, venue_symbol, kind, base, quote, is_active) "
        "values (%s, %s, %s, 'spot', 'BTC', 'USDT', %s) returning instrument_id",
        (venue, symbol, symbol, active),
    ).fetchone()
    assert row is not None
    return int(row[0])


def add_alert(
    connection: readings.Connection,
    instrument_id: int,
    detector: str = "spoofing",
    severity: str = "warning",
    window_start: datetime = WINDOW,
    created_at: datetime = WINDOW + 9 * SECOND,
) -> None:
    connection.execute(
        "insert into surveillance.alerts (alert_id, detector, detector_version, instrument_id, window_start, "
        "window_end, raised_at, severity, score, threshold, summary, evidence, evidence_level, completeness, "
        "code_hash, config_hash, created_at, last_window_start, closes_at, windows_fired, peak_score, "
        "peak_window_start) "
        "values (%s, %s, 1, %s, %s, %s, %s, %s, 0.8, 0.6, 'leans', %s, 'L2', 1, 'c', 'd', %s, %s, %s, 1, 0.8,"
        " %s)",
        (
            uuid.uuid4(), detector, instrument_id, window_start, window_start + 5 * SECOND,
            window_start + 5 * SECOND, severity, json.dumps({"imbalance": 0.8}), created_at,
            window_start, window_start + 305 * SECOND, window_start,
        ),
    )  # fmt: skip


def add_window(
    connection: readings.Connection, instrument_id: int, computed_at: datetime, window: datetime = WINDOW
) -> None:
    connection.execute(
        "insert into surveillance.windows (instrument_id, window_start, volume, buy_volume, sell_volume, "
        "notional, trade_count, quote_count, book_count, order_trade_ratio, completeness, book_completeness, "
        "gap_seconds, refused_frames, trade_completeness, computed_at) "
        "values (%s, %s, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, %s)",
        (instrument_id, window, computed_at),
    )


def add_batch(
    connection: readings.Connection,
    venue: str,
    committed_at: datetime,
    rows: int = 10,
    window: datetime = WINDOW,
    *,
    is_replay: bool = False,
) -> None:
    connection.execute(
        "insert into ops.ingest_batches (venue, relation, rows, duplicates, bytes, touched, max_received_at, "
        "committed_at, is_replay) values (%s, 'trades', %s, 0, 0, tstzmultirange(tstzrange(%s, %s, '[]')), "
        "%s, %s, %s)",
        (venue, rows, window + SECOND, window + 4 * SECOND, window + 4 * SECOND, committed_at, is_replay),
    )


def add_feature(connection: readings.Connection, instrument_id: int, start: datetime, price: float) -> None:
    connection.execute(
        "insert into surveillance.features (instrument_id, window_start, price, price_z_samples, "
        "completeness) values (%s, %s, %s, 60, 0.9)",
        (instrument_id, start, price),
    )


def test_alerts_come_newest_first_with_their_evidence(connection: readings.Connection) -> None:
    bitcoin = add_instrument(connection, "binance", "BTC-USDT")
    add_alert(connection, bitcoin)
    add_alert(connection, bitcoin, window_start=WINDOW + 60 * SECOND)
    newest, oldest = readings.alerts(connection, readings.AlertFilter())
    assert newest["raised_at"] - oldest["raised_at"] == 60 * SECOND
    assert newest["evidence"] == {"imbalance": 0.8}
    assert (newest["venue"], newest["instrument"], newest["state"]) == ("binance", "BTC-USDT", "open")


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (readings.AlertFilter(), 3),
        (readings.AlertFilter(limit=1), 1),
        (readings.AlertFilter(detector="decoupling"), 1),
        (readings.AlertFilter(detector="nothing"), 0),
        (readings.AlertFilter(instrument="btc-usdt"), 2),
        (readings.AlertFilter(instrument="okx/btc-usdt"), 1),
        (readings.AlertFilter(severity="critical"), 1),
        (readings.AlertFilter(since=WINDOW + 6 * SECOND), 0),
        (readings.AlertFilter(since=WINDOW + 5 * SECOND), 3),
        (readings.AlertFilter(instrument="BTC-USDT", severity="critical"), 0),
    ],
)
def test_filters_narrow(connection: readings.Connection, wanted: readings.AlertFilter, count: int) -> None:
    add_alert(connection, add_instrument(connection, "binance", "BTC-USDT"))
    add_alert(connection, add_instrument(connection, "okx", "BTC-USDT"), "decoupling")
    add_alert(connection, add_instrument(connection, "binance", "ETH-USDT"), severity="critical")
    assert len(readings.alerts(connection, wanted)) == count


def test_row_to_alert_counts_from_the_last_fact_that_took_part(connection: readings.Connection) -> None:
    bitcoin = add_instrument(connection, "binance", "BTC-USDT")
    add_window(connection, bitcoin, computed_at=WINDOW + 8 * SECOND)
    add_alert(connection, bitcoin, created_at=WINDOW + 9 * SECOND)
    add_batch(connection, "binance", WINDOW + 5 * SECOND)
    add_batch(connection, "binance", WINDOW + 6 * SECOND)
    add_batch(connection, "binance", WINDOW + 8.5 * SECOND)  # after the window was computed
    add_batch(connection, "okx", WINDOW + 7 * SECOND)  # another venue
    assert readings.row_to_alert_seconds(connection, WINDOW) == [3.0]
    assert readings.row_to_alert_seconds(connection, WINDOW + SECOND) == []


def test_feeds_count_what_was_committed_lately(connection: readings.Connection) -> None:
    assert readings.feeds(connection, 100 * SECOND) == []
    add_batch(connection, "binance", WINDOW, rows=100)
    add_batch(connection, "binance", datetime.now(UTC), rows=50)
    connection.execute(
        "insert into market.feed_gaps (venue, started_at, ended_at, cause) values ('okx', %s, %s, 'stale')",
        (WINDOW, WINDOW + SECOND),
    )
    binance, okx = readings.feeds(connection, 100 * SECOND)
    assert (binance.venue, binance.rows, binance.rows_per_s, binance.gaps) == ("binance", 150, 0.5, 0)
    assert binance.silent_s is not None
    assert 0 <= binance.silent_s < 100
    assert okx == readings.Feed("okx", 0, 0.0, None, 1)


def test_the_edition_names_the_server(connection: readings.Connection) -> None:
    edition = readings.server(connection)
    row = connection.execute("select count(*) from pg_extension where extname = 'timescaledb'").fetchone()
    assert edition.name.startswith("PostgreSQL ")
    assert ("TimescaleDB" in edition.name) is (row == (1,))
    assert edition.size_mb > 1


def test_the_market_shows_every_instrument_watched(connection: readings.Connection) -> None:
    bitcoin = add_instrument(connection, "binance", "BTC-USDT")
    add_instrument(connection, "binance", "ETH-USDT")
    add_instrument(connection, "binance", "OLD-USDT", active=False)
    add_feature(connection, bitcoin, WINDOW, 100.0)
    add_feature(connection, bitcoin, WINDOW + 5 * SECOND, 101.0)
    first, second = readings.market_state(connection, WINDOW)
    assert (first["symbol"], first["price"], first["prices"]) == ("BTC-USDT", 101.0, [100.0, 101.0])
    assert (second["symbol"], second["price"], second["prices"]) == ("ETH-USDT", None, None)

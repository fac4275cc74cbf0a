"""Calm markets in memory: whole, with what is asked for, and read as the daemon reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingest_daemon.venues.simulated import DEFAULT_INSTRUMENTS
from sentinet_dagster.runtime.calm_markets import recorded_markets, simulated_market
from sentinet_dagster.runtime.errors import UserError

CONFIG = Path(__file__).resolve().parents[4] / "config"
START = datetime(2026, 1, 31, tzinfo=UTC)
HALF_A_MINUTE = timedelta(seconds=30)


@pytest.mark.parametrize("books", [False, True])
def test_a_simulated_market_is_whole(books: bool) -> None:
    some = DEFAULT_INSTRUMENTS[:2]
    market = simulated_market(3, START, HALF_A_MINUTE, books=books, instruments=some)
    assert market.windows.height == 2 * 6
    assert market.windows["completeness"].min() == 1
    assert market.windows["quote_count"].min() > 0
    assert market.facts.instruments["symbol"].to_list() == [each.symbol for each in some]
    assert market.symbol_days == pytest.approx(2 * 30 / 86_400)
    assert (market.windows["flow_seconds"].sum() > 0) is books
    assert (market.windows["bid_depth_10bps"].null_count() == 0) is books


def test_a_seed_is_one_market() -> None:
    some = DEFAULT_INSTRUMENTS[:1]
    once, again, other = (
        simulated_market(seed, START, HALF_A_MINUTE, books=False, instruments=some).windows
        for seed in (1, 1, 2)
    )
    assert once.equals(again)
    assert not once.equals(other)


def test_recordings_far_apart_are_markets_of_their_own(shared_data: Path) -> None:
    files = [
        shared_data / "binance_recordings" / name
        for name in ("usdm/btcusdt_20240718.gz", "spot/btcusdt_20240808.gz")
    ]
    july, august = recorded_markets(files, CONFIG)
    assert (july.name, august.name) == ("recorded, 2024-07-18 23:57", "recorded, 2024-08-08 23:54")
    assert july.facts.instruments["symbol"].to_list() == ["BTC-USDT-PERP"]
    assert august.facts.instruments["symbol"].to_list() == ["BTC-USDT"]
    for market in (july, august):
        assert market.has_books
        assert market.windows["window_start"].min() == market.start
        assert market.windows["quote_count"].min() > 0


def test_what_is_not_watched_is_named(shared_data: Path) -> None:
    file = shared_data / "binance_recordings" / "coinm" / "btcusd_perp_20240808.gz"
    with pytest.raises(UserError, match="binance_coinm"):
        recorded_markets([file], CONFIG)


def test_what_is_no_recording_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\n")
    with pytest.raises(UserError, match=r"notes\.txt"):
        recorded_markets([tmp_path / "notes.txt"], CONFIG)

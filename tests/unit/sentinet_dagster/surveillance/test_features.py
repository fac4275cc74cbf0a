"""Features from literal windows, and against a slow reference."""

from __future__ import annotations

import math
from datetime import timedelta
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

import numpy as np
import polars as pl
import pytest

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.features import FEATURE_LOOKBACK, build_features
from sentinet_dagster.surveillance.schema import WINDOW
from tests.unit.sentinet_dagster.surveillance.facts import START, at, frame


def window(number: int, price: float | None, **more: Any) -> dict[str, Any]:
    return {"instrument_id": 1, "window_start": START + number * WINDOW, "mid_close": price} | more


def windows(rows: list[dict[str, Any]]) -> pl.DataFrame:
    zeros = {"volume": 0.0, "buy_volume": 0.0, "sell_volume": 0.0, "notional": 0.0, "order_trade_ratio": 0.0}
    counts = {
        "trade_count": 0,
        "quote_count": 0,
        "book_count": 0,
        "refused_frames": 0,
        "buy_sweep_count": 0,
        "sell_sweep_count": 0,
    }
    return frame(
        schema.WINDOWS,
        rows,
        completeness=1.0,
        book_completeness=1.0,
        trade_completeness=1.0,
        flow_seconds=0,
        partial_flow_seconds=0,
        flow_changes=0,
        gap_seconds=0.0,
        **zeros,
        **counts,
    )


def features(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return build_features(windows(rows), START, START + len(rows) * WINDOW)


def wandering(count: int, seed: int = 2) -> list[float]:
    return list(100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 1e-4, count))))


def test_the_first_thirty_windows_warm_up() -> None:
    said = features([window(n, price) for n, price in enumerate(wandering(35))])
    assert said["warm_up"].to_list()[:3] == ["warming up 0/30", "warming up 1/30", "warming up 2/30"]
    assert said["warm_up"].to_list()[28:32] == ["warming up 28/30", "warming up 29/30", None, None]
    assert said["price_z"].is_null().to_list() == [True] * 30 + [False] * 5


def test_a_gap_resets_the_past() -> None:
    rows = [window(n, price) for n, price in enumerate(wandering(80))]
    rows[40]["completeness"] = 0.5
    said = features(rows)
    assert said["warm_up"][40] == "data not whole"
    assert said["warm_up"][41] == "warming up 0/30"
    assert said["return_bps"][41] is None
    assert said["price_z"].is_null().to_list()[38:72] == [False] * 2 + [True] * 31 + [False]


def test_a_missing_window_resets_the_past() -> None:
    rows = [window(n, price) for n, price in enumerate(wandering(50)) if n != 45]
    said = build_features(windows(rows), START, START + 50 * WINDOW)
    assert len(said) == 49
    assert said["warm_up"][45] == "warming up 0/30"


def test_a_price_is_carried_a_minute() -> None:
    said = features([window(0, None, close=99.0), *(window(n, None) for n in range(1, 15))])
    assert said["price"].to_list() == [99.0] * 13 + [None] * 2
    assert said["warm_up"][13] == "no price"


def test_a_jump_does_not_hide_in_its_own_mean() -> None:
    prices = [100.0, 100.02] * 30
    said = features([window(n, price) for n, price in enumerate([*prices, 101.0])])
    last = said.row(-1, named=True)
    assert last["price_z"] == pytest.approx((101 - fmean(prices)) / stdev(prices))
    assert last["return_bps"] == pytest.approx(1e4 * math.log(101 / 100.02))
    assert last["price_move_bps"] == pytest.approx(1.0 / 101 * 1e4)
    assert last["price_z_samples"] == 60


def test_a_price_that_never_moved_has_no_score() -> None:
    said = features([window(n, 0.1) for n in range(70)]).row(-1, named=True)
    assert (said["price_z"], said["return_z"], said["rsi_14"], said["volatility_20_bps"]) == (
        None,
        None,
        50.0,
        0.0,
    )


def test_shares_and_changes() -> None:
    usual = {"volume": 2.0, "buy_volume": 1.0, "sell_volume": 1.0}
    rows = [window(n, 100.0, **usual) for n in range(20)]
    more = {
        "volume": 6.0,
        "buy_volume": 4.5,
        "sell_volume": 0.5,
        "bid_depth_10bps": 3.0,
        "ask_depth_10bps": 1.0,
    }
    last = features([*rows, window(20, 100.0, **more)]).row(-1, named=True)
    assert (last["volume_change"], last["buy_share"], last["depth_imbalance"]) == (2.0, 0.9, 0.5)
    first = features([window(0, 100.0)]).row(0, named=True)
    assert first["volume_change"] is first["buy_share"] is first["depth_imbalance"] is None


def test_the_look_back_is_enough() -> None:
    assert timedelta(minutes=6, seconds=5) == FEATURE_LOOKBACK


def reference(prices: list[float], spreads: list[float], volumes: list[float], now: int) -> dict[str, float]:
    """Features of one window in plain Python; every window is whole and has a price."""
    returns = [1e4 * math.log(b / a) for a, b in pairwise(prices)]  # [i] ends in window i + 1
    gains = [max(r, 0.0) for r in returns[now - 14 : now]]
    moves = [abs(r) for r in returns[now - 14 : now]]
    past, last = slice(now - 60, now), slice(now - 3, now + 1)
    past_returns = returns[now - 61 : now - 1]
    return {
        "return_bps": returns[now - 1],
        "return_z": (returns[now - 1] - fmean(past_returns)) / stdev(past_returns),
        "price_z": (prices[now] - fmean(prices[past])) / stdev(prices[past]),
        "rsi_14": 100 * sum(gains) / sum(moves),
        "volatility_20_bps": stdev(returns[now - 20 : now]),
        "volume_change": volumes[now] / fmean(volumes[now - 20 : now]) - 1,
        "volume_z": (volumes[now] - fmean(volumes[past])) / stdev(volumes[past]),
        "spread_bps_z": (spreads[now] - fmean(spreads[past])) / stdev(spreads[past]),
        "price_move_bps": (max(prices[last]) - min(prices[last])) / prices[now] * 1e4,
    }


def test_features_equal_a_slow_reference() -> None:
    random = np.random.default_rng(11)
    prices, count = wandering(120, seed=11), 120
    spreads, volumes = list(random.lognormal(0, 0.3, count)), list(random.exponential(5, count))
    rows = [
        window(n, price, spread_bps_mean=spread, volume=volume)
        for n, (price, spread, volume) in enumerate(zip(prices, spreads, volumes, strict=True))
    ]
    said = features(rows)
    for now in range(62, count):
        row = said.row(now, named=True)
        expected = reference(prices, spreads, volumes, now)
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_a_range_must_be_whole_windows() -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        build_features(schema.WINDOWS.empty(), at(1), at(5))

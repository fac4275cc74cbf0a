"""What each abuse writes into facts, told by the windows that are made of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import polars as pl
import pytest

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.detectors import DETECTORS
from sentinet_dagster.surveillance.facts import Facts, joined
from sentinet_dagster.surveillance.injection import ABUSES, Episode, Usual, usual_of
from sentinet_dagster.surveillance.schema import WINDOW
from tests.unit.sentinet_dagster.surveillance.facts import at, frame, instruments, quote, trade

SECONDS = 60
AT, UNTIL = at(31.5), at(51.5)
TIMED = ("trades", "quotes", "books", "book_flows")


def book(second: float) -> dict[str, Any]:
    bids, asks = [99.99, 99.95, 99.9], [100.01, 100.05, 100.1]
    sizes = {"bid_sizes": [5.0] * 3, "ask_sizes": [5.0] * 3, "update_id": round(second * 10)}
    return (
        quote(second, 99.99, 100.01)
        | {"bid_prices": bids, "ask_prices": asks, "occurred_at": at(second)}
        | sizes
    )


@cache
def calm() -> Facts:
    """A minute of one instrument: each second a trade of about 1, sides in turn, two quotes and a book."""
    trades = [trade(s + 0.3, 100.0, (0.9, 1.1)[s % 2], aggressor=(-1, 1)[s % 2]) for s in range(SECONDS)]
    quotes = [quote(s / 2, 99.99, 100.01) for s in range(2 * SECONDS)]
    return replace(
        Facts.none_of(instruments(1)),
        trades=frame(schema.TRADES, trades),
        quotes=frame(schema.QUOTES, quotes),
        books=frame(schema.BOOKS, [book(float(s)) for s in range(SECONDS)]),
    )


def usual() -> Usual:
    found = usual_of(calm().windows(at(0), at(30)), 1, at(30))
    assert found is not None
    return found


def played(name: str, size: float, side: int = 1) -> Facts:
    """The minute with an abuse in it from 31.5 to 51.5 s."""
    inside = calm().between(AT, UNTIL)
    abused = ABUSES[name].play(Episode(inside, 1, AT, UNTIL, side, size, usual()))
    return joined([calm().between(at(0), AT), abused, calm().between(UNTIL, at(SECONDS))])


def window(facts: Facts, second: float) -> dict[str, Any]:
    """The window that `second` lies in."""
    rows = facts.windows(at(0), at(SECONDS)).filter(
        pl.col("window_start") <= at(second), pl.col("window_start") + WINDOW > at(second)
    )
    return rows.row(0, named=True)


def test_every_abuse_is_named_after_its_detector() -> None:
    assert set(ABUSES) <= set(DETECTORS)


@pytest.mark.parametrize("name", ABUSES)
def test_nothing_changes_outside_the_episode(name: str) -> None:
    assert len(ABUSES[name].sizes) == 3
    facts = played(name, ABUSES[name].sizes[-1])
    edge = timedelta(seconds=1)  # a flow is of a whole second
    same = []
    for relation in TIMED:
        before, after = getattr(calm(), relation), getattr(facts, relation)
        outside = (pl.col("time") < AT - edge) | (pl.col("time") >= UNTIL)
        assert after.filter(outside).sort("time").equals(before.filter(outside).sort("time"))
        assert after.schema == before.schema
        same.append(after.equals(before))
    assert not all(same)


def test_what_is_usual() -> None:
    assert usual().price == pytest.approx(100)
    assert usual().volume == pytest.approx(1)
    assert usual().trades == pytest.approx(1)
    assert usual().messages == pytest.approx(3)
    assert usual().depth[1] == pytest.approx(99.99 * 5 + 99.95 * 5 + 99.9 * 5)
    assert usual().latency == timedelta(milliseconds=5)  # of trades 10, of books 0


def test_nothing_is_usual_where_nothing_trades() -> None:
    assert usual_of(calm().windows(at(0), at(30)), 2, at(30)) is None


def test_spoofing_blows_up_one_side_of_the_best_quotes() -> None:
    assert window(played("spoofing", 9.0, side=1), 40)["imbalance_mean"] == pytest.approx(0.8)
    assert window(played("spoofing", 9.0, side=-1), 40)["imbalance_mean"] == pytest.approx(-0.8)
    assert window(played("spoofing", 9.0), 20)["imbalance_mean"] == 0


def test_book_spoofing_withdraws_an_order_and_trades_on_the_other_side() -> None:
    row = window(played("book_spoofing", 0.5, side=1), 42)
    assert row["bid_withdrawn_max"] * 100 == pytest.approx(0.5 * usual().depth[1])
    assert row["bid_withdrawn_life_s"] == 2
    assert row["ask_traded_near"] == pytest.approx(10)
    assert row["buy_volume"] > row["sell_volume"]


def test_layering_withdraws_five_levels_together() -> None:
    row = window(played("layering", 0.5, side=-1), 42)
    assert row["ask_layers"] == 5
    assert row["ask_layered_max"] * 100 == pytest.approx(0.5 * usual().depth[-1])
    assert row["sell_volume"] > row["buy_volume"]


def test_quote_stuffing_adds_messages() -> None:
    assert window(played("quote_stuffing", 10.0), 42)["quote_count"] == pytest.approx(10 + 150, abs=2)
    assert window(played("quote_stuffing", 10.0), 42)["trade_count"] == 5


def test_wash_trades_undo_each_other_and_leave_the_price() -> None:
    row = window(played("wash_trading", 3.0), 42)
    assert row["matched_volume"] == pytest.approx(15)
    assert row["volume"] == pytest.approx(20, abs=0.2)
    assert row["close"] == pytest.approx(100)


def test_a_pump_lifts_the_price_by_orders_that_walk_the_book() -> None:
    row = window(played("pump_and_dump", 0.1), 46)
    assert row["close"] == pytest.approx(110, rel=1e-3)
    assert row["mid_close"] == pytest.approx(110, rel=1e-3)
    assert window(played("pump_and_dump", 0.1), 37)["buy_sweep_count"] == 10


def test_ignited_momentum_is_undone() -> None:
    facts = played("momentum_ignition", 0.01, side=-1)
    assert window(facts, 41)["low"] == pytest.approx(99, rel=1e-3)
    assert window(facts, 37)["sell_sweep_count"] >= 4
    assert window(facts, 51.4)["close"] > 99.4


@pytest.mark.parametrize("name", ["ramping", "marking_the_close"])
def test_a_price_is_walked_by_one_side(name: str) -> None:
    facts = played(name, 0.01, side=1)
    closes = [window(facts, second)["close"] for second in (33, 38, 43, 48)]
    assert closes == sorted(closes)
    assert closes[-1] == pytest.approx(101, rel=3e-3)
    row = window(facts, 42)
    assert row["buy_volume"] > 2 * row["sell_volume"]


def test_a_flash_crash_comes_back() -> None:
    facts = played("flash_crash", 0.08)
    assert window(facts, 38)["low"] == pytest.approx(92, rel=5e-3)
    assert window(facts, 51.4)["close"] > 98


@pytest.mark.parametrize(("name", "side", "close"), [("price_spike", 1, 105), ("volatility_spike", -1, 95)])
def test_a_jump_is_one(name: str, side: int, close: float) -> None:
    facts = played(name, 0.05, side)
    assert window(facts, 42)["close"] == pytest.approx(close)
    assert window(facts, 20)["close"] == 100


def test_the_touch_is_pulled_apart_crossed_or_gone() -> None:
    assert window(played("spread_stress", 5.0), 42)["spread_bps_mean"] == pytest.approx(10)
    assert window(played("crossed_market", 1e-3), 42)["spread_bps_min"] == pytest.approx(-10, rel=1e-2)
    stale = played("stale_quotes", 15.0)
    assert [window(stale, second)["quote_count"] for second in (36, 41, 47)] == [0, 0, 7]


def test_volume_grows_and_depth_shrinks() -> None:
    assert window(played("volume_spike", 6.0), 42)["volume"] == pytest.approx(30, abs=0.2)
    before, after = (window(each, 42)["bid_depth_10bps"] for each in (calm(), played("depth_stress", 0.1)))
    assert after == pytest.approx(before / 10)

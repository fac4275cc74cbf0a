"""Windows from literal rows, against a slow reference, and by property."""

from __future__ import annotations

import math
from datetime import timedelta
from statistics import fmean, pstdev

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.facts import Facts
from sentinet_dagster.surveillance.schema import WINDOW
from sentinet_dagster.surveillance.windows import build_windows
from tests.unit.sentinet_dagster.surveillance.facts import (
    START,
    at,
    frame,
    instruments,
    quote,
    random_facts,
    trade,
    windows_of,
)


def first(windows: pl.DataFrame) -> dict:
    return windows.row(0, named=True)


def test_every_instrument_and_window_has_a_row_with_or_without_data() -> None:
    windows = windows_of(seconds=10)
    assert windows.select("window_start", "instrument_id").rows() == [
        (at(0), 1),
        (at(0), 2),
        (at(5), 1),
        (at(5), 2),
    ]
    assert windows.schema == schema.WINDOWS.schema
    row = first(windows)
    assert (row["volume"], row["trade_count"], row["completeness"], row["order_trade_ratio"]) == (
        0.0,
        0,
        1.0,
        0.0,
    )
    assert row["open"] is row["vwap"] is row["spread_bps_mean"] is row["latency_ms_mean"] is None


def test_trades_are_ordered_by_time_then_id() -> None:
    rows = [
        trade(2, 103.0, trade_id=9),
        trade(1, 101.0, trade_id=3),
        trade(1, 100.0, trade_id=2),
        trade(2, 104.0, trade_id=10),
    ]
    row = first(windows_of(rows))
    assert [row[name] for name in ("open", "high", "low", "close")] == [100.0, 104.0, 100.0, 104.0]


def test_volume_by_aggressor_notional_vwap_and_executions() -> None:
    rows = [
        trade(1, 100.0, 2.0, aggressor=1),
        trade(2, 101.0, 1.0, aggressor=-1, fills=3),
        trade(3, 102.0, 1.0, aggressor=0),
    ]
    row = first(windows_of(rows))
    assert [
        row[name] for name in ("volume", "buy_volume", "sell_volume", "notional", "vwap", "trade_count")
    ] == [
        4.0,
        2.0,
        1.0,
        403.0,
        100.75,
        5,
    ]


def test_windows_are_half_open() -> None:
    windows = windows_of(
        [trade(0, 1.0), trade(4.999999, 2.0), trade(5, 4.0), trade(10, 8.0), trade(-1, 16.0)]
    )
    assert windows.filter(pl.col("instrument_id") == 1)["volume"].to_list() == [2.0, 1.0]


def test_quotes_give_spread_mid_and_imbalance() -> None:
    row = first(
        windows_of(
            quotes=[
                quote(1, 99.0, 101.0, bid_size=3.0, ask_size=1.0),
                quote(2, 99.5, 100.5, bid_size=1.0, ask_size=1.0),
                quote(3, 0.0, 100.5),  # one side is empty: counted, not measured
            ]
        )
    )
    assert (row["quote_count"], row["mid_close"], row["order_trade_ratio"]) == (3, 100.0, 3.0)
    assert [row[f"spread_bps_{name}"] for name in ("mean", "min", "max", "std")] == [
        150.0,
        100.0,
        200.0,
        50.0,
    ]
    assert row["imbalance_mean"] == 0.25


def test_depth_counts_the_levels_within_ten_bps() -> None:
    book = {
        "instrument_id": 1,
        "update_id": 1,
        "time": at(1),
        "received_at": at(1),
        "bid_prices": [99.95, 99.91, 99.0],
        "bid_sizes": [1.0, 2.0, 100.0],
        "ask_prices": [100.05, 100.2],
        "ask_sizes": [3.0, 100.0],
    }
    empty = book | {"update_id": 2, "ask_prices": [], "ask_sizes": []}
    row = first(windows_of(books=[book, empty]))
    assert row["book_count"] == 2
    assert row["bid_depth_10bps"] == pytest.approx(99.95 + 2 * 99.91)
    assert row["ask_depth_10bps"] == pytest.approx(3 * 100.05)


def test_latency_is_of_rows_whose_venue_says_when() -> None:
    row = first(
        windows_of(
            [trade(1, 1.0, received_at=at(1.010))],
            [quote(1, 1.0, 2.0), quote(2, 1.0, 2.0, occurred_at=at(2), received_at=at(1.980))],
        )
    )
    assert (row["latency_ms_mean"], row["latency_ms_max"]) == (-5.0, 10.0)


def test_overlapping_gaps_count_once() -> None:
    gaps = [
        {"started_at": at(1), "ended_at": at(3)},
        {"started_at": at(2), "ended_at": at(4)},
        {"started_at": at(4.5), "ended_at": at(6)},
    ]
    windows = windows_of(gaps=gaps).filter(pl.col("instrument_id") == 1)
    assert windows["gap_seconds"].to_list() == [3.5, 1.0]
    assert windows["completeness"].to_list() == pytest.approx([0.3, 0.8])


@pytest.mark.parametrize(
    ("gap", "complete"),
    [
        ({"instrument_id": 1}, [0.6, 1.0]),
        ({"instrument_id": None}, [0.6, 0.6]),
        ({"instrument_id": None, "venue": "south"}, [1.0, 1.0]),
        ({"instrument_id": None, "repaired_at": at(9)}, [1.0, 1.0]),
    ],
)
def test_a_gap_concerns_its_instrument_or_its_venue_until_it_is_repaired(
    gap: dict, complete: list[float]
) -> None:
    windows = windows_of(gaps=[{"started_at": at(1), "ended_at": at(3)} | gap], seconds=5)
    assert windows["completeness"].to_list() == complete


@pytest.mark.parametrize(
    ("relation", "whole", "trades", "books"),
    [
        (None, 0.6, 0.6, 0.6),
        ("trades", 0.6, 0.6, 0.6),
        ("quotes", 0.6, 1.0, 0.6),
        ("reference_prices", 0.6, 1.0, 0.6),
        ("books", 1.0, 1.0, 0.6),
    ],
)
def test_a_gap_of_one_relation_leaves_the_others_whole(
    relation: str | None, whole: float, trades: float, books: float
) -> None:
    gap = {"instrument_id": 1, "started_at": at(1), "ended_at": at(3), "relation": relation}
    row = first(windows_of(gaps=[gap], seconds=5))
    assert (row["completeness"], row["trade_completeness"], row["book_completeness"]) == (
        whole,
        trades,
        books,
    )
    assert row["gap_seconds"] == (0.0 if whole == 1.0 else 2.0)


def test_repaired_trades_are_whole_and_quotes_are_not() -> None:
    span = {"instrument_id": 1, "started_at": at(1), "ended_at": at(3)}
    gaps = [span | {"relation": "trades", "repaired_at": at(9)}, span | {"relation": "quotes"}]
    row = first(windows_of(gaps=gaps, seconds=5))
    assert (row["completeness"], row["trade_completeness"]) == (0.6, 1.0)


def test_refused_frames_lower_completeness() -> None:
    refused = [{"received_at": at(1), "instrument_id": 1}, {"received_at": at(2), "instrument_id": None}]
    windows = windows_of([trade(1, 1.0), trade(2, 1.0)], refused=refused, seconds=5)
    assert windows.select("refused_frames", "completeness").rows() == [(2, 0.5), (1, 0.0)]


def test_a_row_may_stand_for_many_refused_frames() -> None:
    refused = [
        {"received_at": at(1), "instrument_id": None, "frames": 1},
        {"received_at": at(2), "instrument_id": None, "frames": 97},
        {"received_at": at(6), "instrument_id": 1, "frames": 2},
    ]
    windows = windows_of([trade(1, 1.0), trade(2, 1.0)], refused=refused, seconds=10)
    assert windows.sort("instrument_id", "window_start")["refused_frames"].to_list() == [98, 2, 98, 0]
    assert windows["completeness"].min() == 0.0


def test_inactive_instruments_have_no_windows() -> None:
    known = instruments(2).with_columns(is_active=pl.col("instrument_id") == 2)
    trades = frame(schema.TRADES, [trade(1, 1.0), trade(1, 1.0, instrument_id=2)])
    nothing = (
        schema.QUOTES, schema.BOOKS, schema.BOOK_FLOWS, schema.REFERENCE_PRICES, schema.FEED_GAPS,
        schema.REJECTED_FRAMES,
    )  # fmt: skip
    windows = build_windows(trades, *(relation.empty() for relation in nothing), known, START, at(5))
    assert windows.select("instrument_id", "volume").rows() == [(2, 1.0)]


def test_a_range_must_be_whole_windows() -> None:
    facts = random_facts(1, 1)
    with pytest.raises(ValueError, match="not a multiple of 5 s"):
        facts.windows(START, at(7))
    with pytest.raises(ValueError, match="before start"):
        facts.windows(at(10), at(5))


@pytest.mark.parametrize(
    ("second", "matched"),
    [
        ([(1.5, 2.0, -1)], (2, 4.0)),
        ([(1.5, 2.0, 1)], (0, 0.0)),  # the same side again
        ([(1.5, 2.5, -1)], (0, 0.0)),  # another size
        ([(2.1, 2.0, -1)], (0, 0.0)),  # too late
        ([(1.5, 2.0, 0)], (0, 0.0)),  # of unknown side
        ([(1.2, 2.0, -1), (1.4, 2.0, 1)], (2, 4.0)),  # each trade is part of one pair at most
        ([(1.2, 2.0, -1), (1.4, 2.0, 1), (1.5, 2.0, -1)], (4, 8.0)),
        ([(1.2, 7.0, 1), (1.5, 2.0, -1)], (2, 4.0)),  # others may lie between
        ([(1.5, 2.0, -1, 2)], (0, 0.0)),  # of another instrument
    ],
)
def test_trades_that_undo_each_other_are_counted(second: list[tuple], matched: tuple[int, float]) -> None:
    rows = [trade(1, 100.0, 2.0)]
    for seconds, size, side, *other in second:
        rows.append(trade(seconds, 100.0, size, aggressor=side, instrument_id=other[0] if other else 1))
    row = first(windows_of(rows))
    assert (row["matched_count"], row["matched_volume"]) == matched


def test_a_pair_does_not_cross_windows() -> None:
    rows = [trade(4.9, 100.0, 2.0), trade(5.1, 100.0, 2.0, aggressor=-1)]
    assert windows_of(rows)["matched_count"].to_list() == [0, 0, 0, 0]


def test_the_last_of_each_reference_price_counts() -> None:
    rows = [
        {"time": at(1), "mark_price": 100.0, "funding_rate": 1e-4},
        {"time": at(2), "mark_price": 101.0, "index_price": 99.0},
        {"time": at(6), "index_price": 98.0},
    ]
    windows = windows_of(prices=[{"instrument_id": 1, "received_at": row["time"]} | row for row in rows])
    seen = windows.filter(instrument_id=1).select("mark_close", "index_close", "funding_rate").rows()
    assert seen == [(101.0, 99.0, 1e-4), (None, 98.0, None)]
    assert windows.filter(instrument_id=2)["mark_close"].to_list() == [None, None]


def reference(facts: Facts, instrument: int, start, end) -> dict:
    """A window in plain Python."""
    inside = (pl.col("instrument_id") == instrument) & pl.col("time").is_between(start, end, closed="left")
    trades = facts.trades.filter(inside).sort("time", "trade_id").to_dicts()
    quotes = facts.quotes.filter(inside).sort("time", "update_id").to_dicts()
    books = facts.books.filter(inside).to_dicts()
    spreads = [
        (q["ask_price"] - q["bid_price"]) / ((q["ask_price"] + q["bid_price"]) / 2) * 1e4 for q in quotes
    ]
    imbalances = [(q["bid_size"] - q["ask_size"]) / (q["bid_size"] + q["ask_size"]) for q in quotes]
    delays = [
        (row["received_at"] - row["occurred_at"]) / timedelta(milliseconds=1)
        for row in trades + quotes + books
        if row["occurred_at"] is not None
    ]
    depths = []
    for book in books:
        mid = (book["bid_prices"][0] + book["ask_prices"][0]) / 2
        levels = zip(book["bid_prices"], book["bid_sizes"], strict=True)
        depths.append(sum(p * s for p, s in levels if abs(p - mid) <= 1e-3 * mid))
    volume = math.fsum(t["size"] for t in trades)
    return {
        "open": trades[0]["price"] if trades else None,
        "close": trades[-1]["price"] if trades else None,
        "volume": volume,
        "buy_volume": math.fsum(t["size"] for t in trades if t["aggressor"] == 1),
        "vwap": math.fsum(t["size"] * t["price"] for t in trades) / volume if trades else None,
        "trade_count": sum(t["fills"] for t in trades),
        "mid_close": (quotes[-1]["bid_price"] + quotes[-1]["ask_price"]) / 2 if quotes else None,
        "spread_bps_mean": fmean(spreads) if quotes else None,
        "spread_bps_std": pstdev(spreads) if quotes else None,
        "imbalance_mean": fmean(imbalances) if quotes else None,
        "bid_depth_10bps": fmean(depths) if depths else None,
        "latency_ms_mean": fmean(delays) if delays else None,
        "latency_ms_max": max(delays) if delays else None,
    }


def test_windows_equal_a_slow_reference() -> None:
    facts = random_facts(seed=5, minutes=1)
    for row in facts.windows(START, at(60)).iter_rows(named=True):
        expected = reference(facts, row["instrument_id"], row["window_start"], row["window_start"] + WINDOW)
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_windows_sum_to_the_trades_and_do_not_depend_on_order(seed: int) -> None:
    facts = random_facts(seed, minutes=2, per_minute=20)
    windows = facts.windows(START, at(120))
    assert windows["volume"].sum() == pytest.approx(facts.trades["size"].sum())
    assert windows["trade_count"].sum() == facts.trades["fills"].sum()
    assert windows["quote_count"].sum() == len(facts.quotes)
    shuffled = Facts(
        *(
            getattr(facts, name).sample(fraction=1, shuffle=True, seed=seed)
            for name in (
                "trades",
                "quotes",
                "books",
                "book_flows",
                "reference_prices",
                "feed_gaps",
                "rejected_frames",
            )
        ),
        facts.instruments,
    )
    assert shuffled.windows(START, at(120)).equals(windows)

"""Facts → windows: what happened in each 5 seconds, and how much of it we saw.

What lives here: the sums of trades, quotes, books and reference prices over a window, and its completeness.
What never does: anything that looks past its own window, the sums of book flows (`flows.py`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from sentinet_dagster.surveillance.flows import FLOW_ORDER, flow_columns
from sentinet_dagster.surveillance.grid import Grid
from sentinet_dagster.surveillance.rolling import Flags, Floats, Ints, Runs, divided
from sentinet_dagster.surveillance.schema import WINDOW_US, WINDOWS

__all__ = ["build_windows"]

_TEN_BPS = 10e-4
_SECOND_US = 1_000_000
_REFERENCES = {"mark_close": "mark_price", "index_close": "index_price", "funding_rate": "funding_rate"}
_OF_BOOKS = ("books", "book_flows")  # a gap of these leaves all else whole
_Columns = dict[str, npt.NDArray[Any]]  # of Floats and Ints


def build_windows(
    trades: pl.DataFrame,
    quotes: pl.DataFrame,
    books: pl.DataFrame,
    book_flows: pl.DataFrame,
    reference_prices: pl.DataFrame,
    feed_gaps: pl.DataFrame,
    rejected_frames: pl.DataFrame,
    instruments: pl.DataFrame,
    start: datetime,
    end: datetime,
) -> pl.DataFrame:
    """One row for every active instrument and 5 s window of [start, end), with or without data.

    Facts outside [start, end) or of instruments that are not active are left out. Order does not matter:
    facts are put into the order (instrument_id, time, id) unless they are in it already, which is fast.

    Args:
        trades: schema.TRADES.
        quotes: schema.QUOTES. Those without a bid or an ask are counted and otherwise left out.
        books: schema.BOOKS. Those with an empty side likewise.
        book_flows: schema.BOOK_FLOWS. They are made of books and trades, so completeness does not count them.
        reference_prices: schema.REFERENCE_PRICES.
        feed_gaps: schema.FEED_GAPS, all that overlap [start, end). A repaired gap is none. Of the others each
            counts in completeness, as a verdict needs everything; but one of the books alone leaves the rest
            whole and counts in book_completeness only. trade_completeness knows gaps of the trades and those
            that may be of any relation.
        rejected_frames: schema.REJECTED_FRAMES, those received in [start, end). One without instrument counts
            for every instrument of its venue.
        instruments: schema.INSTRUMENTS.
        start, end: multiples of 5 s.

    Returns:
        schema.WINDOWS, sorted by (window_start, instrument_id).

    Raises:
        ValueError: start or end is not a multiple of 5 s, or a column is missing.
    """
    active = instruments.filter("is_active")
    grid = Grid.spanning(active["instrument_id"], start, end)
    size = grid.shape[0] * grid.columns
    facts = [
        _sorted_facts(trades, "trade_id", grid),
        _sorted_facts(quotes, "update_id", grid),
        _sorted_facts(books, "update_id", grid),
    ]
    columns = (
        _trade_columns(*facts[0], size) | _quote_columns(*facts[1], size) | _book_columns(*facts[2], size)
    )
    columns |= flow_columns(
        *_sorted_facts(book_flows.with_columns(flow_order=FLOW_ORDER), "flow_order", grid), size
    )
    columns |= _reference_columns(*_sorted_facts(reference_prices, "received_at", grid), size)
    columns |= _latency_columns([_latencies(*kind, size) for kind in facts], size)
    executions = np.maximum(columns["trade_count"], 1)
    columns["order_trade_ratio"] = (columns["quote_count"] + columns["book_count"]) / executions
    accepted = np.sum([Runs(places, size).count() for _, places in facts], axis=0)
    matrices = {name: column.reshape(grid.shape) for name, column in columns.items()}
    matrices |= _completeness_columns(accepted.reshape(grid.shape), feed_gaps, rejected_frames, active, grid)
    return WINDOWS.conform(grid.frame(matrices))


def _sorted_facts(facts: pl.DataFrame, id_column: str, grid: Grid) -> tuple[pl.DataFrame, Ints]:
    """The grid's facts by (instrument_id, time, id), and the place of each: row * columns + column."""
    rows = grid.rows_of(facts["instrument_id"].to_numpy())
    times = facts["time"].to_physical().to_numpy()
    columns = grid.columns_of(times)
    inside = (rows >= 0) & (columns >= 0)
    if not inside.all():
        return _sorted_facts(facts.filter(pl.Series(inside)), id_column, grid)
    ids = facts[id_column].to_numpy()
    later_row, same_row = rows[1:] > rows[:-1], rows[1:] == rows[:-1]
    later_time, same_time = times[1:] > times[:-1], times[1:] == times[:-1]
    if not (later_row | (same_row & (later_time | (same_time & (ids[1:] >= ids[:-1]))))).all():
        return _sorted_facts(facts.sort("instrument_id", "time", id_column), id_column, grid)
    return facts, rows * grid.columns + columns


def _trade_columns(trades: pl.DataFrame, places: Ints, size: int) -> _Columns:
    runs = Runs(places, size)
    price, traded = trades["price"].to_numpy(), trades["size"].to_numpy()
    aggressor = trades["aggressor"].to_numpy()
    volume, notional = runs.total(traded), runs.total(price * traded)
    return {
        "open": runs.first(price),
        "high": runs.greatest(price),
        "low": runs.least(price),
        "close": runs.last(price),
        "volume": volume,
        "buy_volume": runs.total(np.where(aggressor == 1, traded, 0.0)),
        "sell_volume": runs.total(np.where(aggressor == -1, traded, 0.0)),
        "notional": notional,
        "vwap": divided(notional, volume),
        "trade_count": runs.total(trades["fills"].cast(pl.Int64).to_numpy()),
        **_sweep_columns(trades, places, size),
        **_matched_columns(trades, places, size),
    }


def _sweep_columns(trades: pl.DataFrame, places: Ints, size: int) -> _Columns:
    """Taker orders that took more than one resting order: several fills of one side in one millisecond."""
    millisecond, aggressor = trades["time"].to_physical().to_numpy() // 1000, trades["aggressor"].to_numpy()
    begins = np.zeros(len(trades), dtype=np.bool_)
    begins[:1] = True
    for key in (places, millisecond, aggressor):
        begins[1:] |= key[1:] != key[:-1]
    orders = np.cumsum(begins) - 1
    fills = Runs(orders, int(begins.sum())).total(trades["fills"].cast(pl.Int64).to_numpy())
    place, side = places[begins], aggressor[begins]
    return {
        name: np.bincount(place[(fills > 1) & (side == sign)], minlength=size)
        for name, sign in (("buy_sweep_count", 1), ("sell_sweep_count", -1))
    }


def _matched_columns(trades: pl.DataFrame, places: Ints, size: int) -> _Columns:
    """Trades that undo each other: equal size, opposite sides, a second or less apart.

    Of trades of one size each is held against the one before it only, and is part of one pair at most: of
    buy, sell, buy the first two are a pair.
    """
    traded, sides = trades["size"].to_numpy(), trades["aggressor"].to_numpy()
    times = trades["time"].to_physical().to_numpy()
    repeated = np.flatnonzero(_may_repeat(places, traded, size))
    order = repeated[np.lexsort((traded[repeated], places[repeated]))]
    place, amount, side, time = places[order], traded[order], sides[order], times[order]
    undoes = np.zeros(len(order), dtype=np.bool_)
    undoes[1:] = (
        (place[1:] == place[:-1])
        & (amount[1:] == amount[:-1])
        & (side[1:] == -side[:-1])
        & (side[1:] != 0)
        & (time[1:] - time[:-1] <= _SECOND_US)
    )
    # In a chain of such, every second one closes a pair.
    begins = np.flatnonzero(~undoes)
    chain = np.arange(len(order)) - np.repeat(begins, np.diff(np.append(begins, len(order))))
    closes = undoes & (chain % 2 == 1)
    return {
        "matched_count": np.bincount(place[closes], minlength=size) * 2,
        "matched_volume": 2 * Runs(place[closes], size).total(amount[closes]),
    }


def _may_repeat(places: Ints, traded: Floats, size: int) -> Flags:
    """Trades that may share window and size with another: all that do, and some that only hash alike.

    Sorting is the dearest part of a window, and most sizes are there once.
    """
    bits = max(1, (4 * len(traded) // max(1, size)).bit_length())  # slots a window, some for each trade
    mixed = traded.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    key = (places << bits) | (mixed >> np.uint64(64 - bits)).astype(np.int64)
    alike: Flags = np.bincount(key)[key] > 1
    return alike


def _reference_columns(prices: pl.DataFrame, places: Ints, size: int) -> _Columns:
    """The last that was said of each; a venue may say them apart."""
    columns: _Columns = {}
    for name, source in _REFERENCES.items():
        said = prices[source].is_not_null().to_numpy()
        values = prices[source].fill_null(np.nan).to_numpy()
        columns[name] = Runs(places[said], size).last(values[said])
    return columns


def _quote_columns(quotes: pl.DataFrame, places: Ints, size: int) -> _Columns:
    bid, ask = quotes["bid_price"].to_numpy(), quotes["ask_price"].to_numpy()
    bid_size, ask_size = quotes["bid_size"].to_numpy(), quotes["ask_size"].to_numpy()
    two_sided = (bid > 0) & (ask > 0) & (bid_size + ask_size > 0)
    bid, ask, bid_size, ask_size = (side[two_sided] for side in (bid, ask, bid_size, ask_size))
    runs = Runs(places[two_sided], size)
    mid = (bid + ask) / 2
    spread_bps = (ask - bid) / mid * 1e4
    return {
        "quote_count": Runs(places, size).count(),
        "mid_close": runs.last(mid),
        "spread_bps_mean": runs.mean(spread_bps),
        "spread_bps_min": runs.least(spread_bps),
        "spread_bps_max": runs.greatest(spread_bps),
        "spread_bps_std": runs.deviation(spread_bps),
        "imbalance_mean": runs.mean((bid_size - ask_size) / (bid_size + ask_size)),
    }


def _book_columns(books: pl.DataFrame, places: Ints, size: int) -> _Columns:
    levels = (pl.col("bid_prices").list.len() > 0) & (pl.col("ask_prices").list.len() > 0)
    two_sided = books.select(levels.alias("two_sided"))["two_sided"]
    whole = books.filter(two_sided)
    best_bid = whole["bid_prices"].list.first().to_numpy()
    mid = (best_bid + whole["ask_prices"].list.first().to_numpy()) / 2
    runs = Runs(places[two_sided.to_numpy()], size)
    return {
        "book_count": Runs(places, size).count(),
        "bid_depth_10bps": runs.mean(_depth(whole["bid_prices"], whole["bid_sizes"], mid)),
        "ask_depth_10bps": runs.mean(_depth(whole["ask_prices"], whole["ask_sizes"], mid)),
    }


def _depth(prices: pl.Series, sizes: pl.Series, mid: Floats) -> Floats:
    """Quote currency within 10 bps of `mid`, a book; every book has at least one level."""
    levels = prices.list.len().to_numpy()
    price, size = prices.explode().to_numpy(), sizes.explode().to_numpy()
    book_mid = np.repeat(mid, levels)
    near = np.where(np.abs(price - book_mid) <= _TEN_BPS * book_mid, price * size, 0.0)
    return Runs(np.repeat(np.arange(len(mid)), levels), len(mid)).total(near)


def _latencies(facts: pl.DataFrame, places: Ints, size: int) -> tuple[Runs, Ints]:
    """The rows whose venue says when, as runs, and their latency in microseconds."""
    said = facts["occurred_at"].is_not_null()
    timed = facts.filter(said)
    latency_us = (timed["received_at"].to_physical() - timed["occurred_at"].to_physical()).to_numpy()
    return Runs(places[said.to_numpy()], size), latency_us


def _latency_columns(kinds: list[tuple[Runs, Ints]], size: int) -> _Columns:
    count, total = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    greatest = np.full(size, np.nan)
    for runs, latency_us in kinds:
        count += runs.count()
        total += runs.total(latency_us)
        greatest = np.fmax(greatest, runs.greatest(latency_us.astype(np.float64)))
    mean = divided(total, count)
    return {"latency_ms_mean": mean / 1e3, "latency_ms_max": greatest / 1e3}


def _completeness_columns(
    accepted: Ints,
    feed_gaps: pl.DataFrame,
    rejected_frames: pl.DataFrame,
    active: pl.DataFrame,
    grid: Grid,
) -> _Columns:
    feed_us, book_us, trade_us, refused = (np.zeros(grid.shape, dtype=np.int64) for _ in range(4))
    open_gaps = feed_gaps.filter(pl.col("repaired_at").is_null())
    # Nearly always there are neither, and asking each instrument would cost more than all its sums.
    concerned = not (open_gaps.is_empty() and rejected_frames.is_empty())
    for instrument_id, venue in active.select("instrument_id", "venue").iter_rows() if concerned else ():
        row = grid.rows_of(np.array([instrument_id]))[0]
        concerns = (pl.col("instrument_id") == instrument_id) | (
            pl.col("instrument_id").is_null() & (pl.col("venue") == venue)
        )
        gaps = open_gaps.filter(concerns)
        feed_us[row] = _covered_us(
            gaps.filter(pl.col("relation").is_in(_OF_BOOKS).fill_null(False).not_()), grid
        )
        trade_us[row] = _covered_us(gaps.filter(pl.col("relation").fill_null("trades") == "trades"), grid)
        book_us[row] = _covered_us(gaps, grid)
        rejected = rejected_frames.filter(concerns)
        columns = grid.columns_of(rejected["received_at"].to_physical().to_numpy())
        inside = columns >= 0
        np.add.at(refused[row], columns[inside], rejected["frames"].to_numpy()[inside])
    arrived = accepted + refused
    share = divided(accepted, arrived, 1.0)
    return {
        "completeness": (WINDOW_US - feed_us) / WINDOW_US * share,
        "book_completeness": (WINDOW_US - book_us) / WINDOW_US * share,
        "trade_completeness": (WINDOW_US - trade_us) / WINDOW_US * share,
        "gap_seconds": feed_us / 1e6,
        "refused_frames": refused,
    }


def _covered_us(gaps: pl.DataFrame, grid: Grid) -> Ints:
    """Microseconds of each window inside the union of the gaps."""
    if gaps.is_empty():
        return np.zeros(grid.columns, dtype=np.int64)
    ordered = gaps.sort("started_at")
    started = ordered["started_at"].to_physical().to_numpy()
    reached = np.maximum.accumulate(ordered["ended_at"].to_physical().to_numpy())
    opens = np.flatnonzero(np.concatenate(([True], started[1:] > reached[:-1])))
    first = started[opens]
    last = reached[np.append(opens[1:], len(started)) - 1]
    before = np.concatenate(([0], np.cumsum(last - first)))
    edges = grid.start_us + np.arange(grid.columns + 1) * WINDOW_US
    hole = np.searchsorted(first, edges, side="right") - 1
    inside = np.where(hole >= 0, np.minimum(edges, last[hole]) - first[hole], 0)
    return np.diff(before[np.maximum(hole, 0)] + inside)

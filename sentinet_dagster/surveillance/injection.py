"""Abuse and stress written into facts: what, on whom, when and how large is known, because it was done here.

What lives here: one function an abuse, which turns the facts of a calm span into those of the same span with
the abuse in it. What never does: choosing where and when, judging (`findings.py`), and the simulator's own
script (`ingest_daemon.venues.simulated`), which plays its market live.

Order-book manipulation has no public ground truth, so it is injected into recordings and simulated markets
(shared protocol of `evaluation.py`). Sizes are multiples of what is usual for the instrument, or shares of
its price, so that they mean the same for each; none is taken from a detector's thresholds. An episode begins
anywhere within a window, because abuse knows nothing of windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

import numpy as np
import polars as pl

from sentinet_dagster.surveillance.facts import Facts
from sentinet_dagster.surveillance.schema import BOOK_FLOWS, QUOTES, TIME, TRADES

__all__ = ["ABUSES", "Abuse", "Episode", "Usual", "usual_of"]

_MINUTE: Final = timedelta(minutes=1)
_FIRST_ID: Final = 1 << 60  # far above every id that a venue gives


@dataclass(frozen=True, slots=True)
class Usual:
    """An instrument before the episode, means over its last five minutes; the price is the last one."""

    price: float
    volume: float  # base units a second
    trades: float  # a second
    messages: float  # quotes, books and changes of the book, a second
    depth: Mapping[int, float]  # quote currency within 10 bps, by side: 1 the bids, -1 the asks
    latency: timedelta


@dataclass(frozen=True, slots=True)
class Episode:
    """One instrument's facts of the span in which it is abused, and how."""

    facts: Facts  # of this instrument, of [at, until)
    instrument_id: int
    at: datetime
    until: datetime
    side: int  # 1: up, or the bids; -1: down, or the asks
    size: float
    usual: Usual

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return (self.until - self.at).total_seconds()


@dataclass(frozen=True, slots=True)
class Abuse:
    """What can be injected; named after the detector that is for it."""

    size: str  # what the number means
    sizes: tuple[float, ...]  # small, middle, large
    play: Callable[[Episode], Facts]
    lasts: timedelta = _MINUTE
    past: timedelta = 6 * _MINUTE  # what the detector must have seen before
    needs_books: bool = False
    ends_at_midnight: bool = False  # it begins so that it ends with the UTC day
    sides: tuple[int, ...] = (1, -1)


def usual_of(windows: pl.DataFrame, instrument_id: int, at: datetime) -> Usual | None:
    """What was usual before `at`; None for an instrument without a price or without trades.

    Args:
        windows: schema.WINDOWS, before `at` at least; what begins later is left out.
    """
    mine = windows.filter(
        pl.col("instrument_id") == instrument_id,
        pl.col("window_start").is_between(at - 5 * _MINUTE, at, closed="left"),
    ).sort("window_start")
    prices = mine.select(pl.coalesce("mid_close", "close").drop_nulls())
    if prices.is_empty() or not mine["volume"].sum():
        return None
    messages = pl.col("quote_count") + pl.col("book_count") + pl.col("flow_changes")
    row = mine.select(
        volume=pl.col("volume").mean() / 5,
        trades=pl.col("trade_count").mean() / 5,
        messages=messages.mean() / 5,
        bid=pl.col("bid_depth_10bps").mean().fill_null(0.0),
        ask=pl.col("ask_depth_10bps").mean().fill_null(0.0),
        latency=pl.col("latency_ms_mean").mean().fill_null(0.0),
    ).row(0, named=True)
    return Usual(
        price=prices.item(-1, 0),
        volume=row["volume"],
        trades=row["trades"],
        messages=row["messages"],
        depth={1: row["bid"], -1: row["ask"]},
        latency=timedelta(milliseconds=row["latency"]),
    )


# --- what abuses are made of


def _since(episode: Episode) -> pl.Expr:
    """Seconds since the episode began."""
    return (pl.col("time") - pl.lit(episode.at, dtype=TIME)).dt.total_microseconds() / 1e6


def _moved(episode: Episode, factor: pl.Expr) -> Facts:
    """Every price of trades, quotes and books times `factor`, an expression over `time`."""
    facts = episode.facts
    books = facts.books
    if not books.is_empty():
        books = books.with_columns(pl.col("bid_prices") * factor, pl.col("ask_prices") * factor)
    return replace(
        facts,
        trades=facts.trades.with_columns(pl.col("price") * factor),
        quotes=facts.quotes.with_columns(pl.col("bid_price") * factor, pl.col("ask_price") * factor),
        books=books,
    )


def _executed(
    facts: Facts, episode: Episode, orders: Sequence[tuple[float, int]], volume: float, fills: int = 1
) -> Facts:
    """`facts` with more orders executed, `volume` base units in all.

    An order is the second after the beginning at which it comes, and its side. Each takes `fills` resting
    ones in one millisecond, at the price of the nearest quote or trade.
    """
    known = pl.concat(
        [
            facts.quotes.select("time", price=(pl.col("bid_price") + pl.col("ask_price")) / 2),
            facts.trades.select("time", "price"),
        ]
    ).sort("time")
    taken = [
        (episode.at + timedelta(milliseconds=round(1e3 * second)), side)
        for second, side in sorted(orders)
        for _ in range(fills)
    ]
    rows = (
        pl.DataFrame(taken, schema={"time": TIME, "aggressor": pl.Int16}, orient="row")
        .set_sorted("time")
        .join_asof(known, on="time", strategy="nearest")
        .with_columns(
            pl.lit(episode.instrument_id).alias("instrument_id"),
            (pl.int_range(pl.len()) + _FIRST_ID).alias("trade_id"),
            pl.col("time").alias("occurred_at"),
            (pl.col("time") + episode.usual.latency).alias("received_at"),
            pl.col("price").fill_null(episode.usual.price),
            pl.lit(volume / max(len(taken), 1)).alias("size"),
            pl.lit(1).alias("fills"),
        )
    )
    return replace(facts, trades=pl.concat([facts.trades, TRADES.conform(rows)]))


def _of_side(side: int, seconds: Sequence[float]) -> list[tuple[float, int]]:
    return [(second, side) for second in seconds]


def _every(episode: Episode, step_s: float, until_s: float | None = None) -> list[float]:
    """Seconds after the beginning, one each `step_s`, up to the end or `until_s`."""
    end = episode.seconds if until_s is None else until_s
    return np.arange(step_s / 2, end, step_s).tolist()


def _with_flows(facts: Facts, episode: Episode, rows: Sequence[Mapping[str, float]]) -> Facts:
    """`facts` with rows of book flows at the touch; what a row does not say is 0.

    `second` and `side` say where; a second's other rows stay, and windows add both.
    """
    nothing = dict.fromkeys(BOOK_FLOWS.names, 0)
    start = episode.at.replace(microsecond=0)
    filled = []
    for row in rows:
        time = start + timedelta(seconds=int(row["second"]))
        own = {"instrument_id": episode.instrument_id, "is_partial": False, "time": time}
        filled.append({**nothing, "withdrawn_life_us": None, **row, **own, "received_at": time})
    frame = pl.DataFrame(filled, schema_overrides={"withdrawn_life_us": pl.Int64, "time": TIME})
    return replace(facts, book_flows=pl.concat([facts.book_flows, BOOK_FLOWS.conform(frame)]))


# --- the abuses


def _spoofing(episode: Episode) -> Facts:
    side = "bid_size" if episode.side > 0 else "ask_size"
    quotes = episode.facts.quotes.with_columns(pl.col(side) * episode.size)
    return replace(episode.facts, quotes=quotes)


def _phantom_orders(episode: Episode, layers: int) -> Facts:
    """Orders of `size` times the side's depth, on one level or several, gone after two seconds, every five;
    meanwhile whoever placed them trades on the other side."""
    placed = episode.size * episode.usual.depth[episode.side] / episode.usual.price
    taken = 10 * episode.usual.volume
    row = {
        "side": episode.side,
        "added": placed,
        "removed": placed,
        "cancelled": placed,
        "adds": layers,
        "cancels": layers,
        "levels": layers,
        "largest_added": placed / layers,
        "fleeting": placed,
        "withdrawn": placed / layers,
        "withdrawn_life_us": 2_000_000,
    }
    if layers >= 3:
        row |= {"layers": layers, "layered": placed}
    seconds = _every(episode, 5.0)
    answers = {"side": -episode.side, "removed": taken, "traded": taken}
    rows = [{**each, "second": second} for second in seconds for each in (row, answers)]
    # A buyer takes the asks: who shows bids wants to sell, so the aggressor is on the side that is shown.
    orders = _of_side(episode.side, seconds)
    facts = _executed(episode.facts, episode, orders, taken * len(seconds))
    return _with_flows(facts, episode, rows)


def _quote_stuffing(episode: Episode) -> Facts:
    """Quotes that repeat the best prices, evenly, so many times the usual messages."""
    count = round(episode.size * episode.usual.messages * episode.seconds)
    step = episode.seconds / max(count, 1)
    times = pl.Series([episode.at + timedelta(seconds=step * each) for each in range(count)], dtype=TIME)
    flood = pl.DataFrame({"time": times}).join_asof(
        episode.facts.quotes.sort("time").drop("received_at", "update_id"), on="time", strategy="nearest"
    )
    rows = flood.filter(pl.col("bid_price").is_not_null()).with_columns(
        (pl.int_range(pl.len()) + _FIRST_ID).alias("update_id"),
        (pl.col("time") + episode.usual.latency).alias("received_at"),
    )
    return replace(episode.facts, quotes=pl.concat([episode.facts.quotes, QUOTES.conform(rows)]))


def _wash_trading(episode: Episode) -> Facts:
    """Pairs that undo each other within 200 ms, two a second, of `size` times the usual volume."""
    pairs = [order for second in _every(episode, 0.5) for order in ((second, 1), (second + 0.2, -1))]
    return _executed(episode.facts, episode, pairs, episode.size * episode.usual.volume * episode.seconds)


def _pump_and_dump(episode: Episode) -> Facts:
    """A rush of buying orders that walk the book lifts the price by `size` within half of the episode."""
    rise = episode.seconds / 2
    facts = _moved(episode, 1 + episode.size * (_since(episode) / rise).clip(0, 1))
    volume = 10 * episode.usual.volume * rise
    return _executed(facts, episode, _of_side(1, _every(episode, 0.5, rise)), volume, fills=4)


def _momentum_ignition(episode: Episode) -> Facts:
    """Ten seconds of orders that walk the book move the price by `size`; twenty later it is back."""
    since = _since(episode)
    share = pl.when(since < 10).then(since / 10).otherwise(1 - (since - 10) / 20).clip(0, 1)
    facts = _moved(episode, 1 + episode.side * episode.size * share)
    volume = 20 * episode.usual.volume * 10
    return _executed(facts, episode, _of_side(episode.side, _every(episode, 1.0, 10.0)), volume, fills=3)


def _ramping(episode: Episode) -> Facts:
    """The price is walked by `size`, evenly, on twice the usual volume taken by one side."""
    share = (_since(episode) / episode.seconds).clip(0, 1)
    facts = _moved(episode, 1 + episode.side * episode.size * share)
    volume = 2 * episode.usual.volume * episode.seconds
    return _executed(facts, episode, _of_side(episode.side, _every(episode, 6.0)), volume)


def _marking_the_close(episode: Episode) -> Facts:
    """In the last minute the price is moved by `size`, on eight times the usual volume taken by one side."""
    share = (_since(episode) / episode.seconds).clip(0, 1)
    facts = _moved(episode, 1 + episode.side * episode.size * share)
    volume = 8 * episode.usual.volume * episode.seconds
    return _executed(facts, episode, _of_side(episode.side, _every(episode, 1.0)), volume)


def _jump(episode: Episode) -> Facts:
    return _moved(episode, pl.lit(1 + episode.side * episode.size))


def _flash_crash(episode: Episode) -> Facts:
    """Down by `size` in a third of the time, and back in the rest."""
    third = episode.seconds / 3
    since = _since(episode)
    share = pl.when(since < third).then(since / third).otherwise(1 - (since - third) / (2 * third))
    return _moved(episode, 1 - episode.size * share.clip(0, 1))


def _spread_stress(episode: Episode) -> Facts:
    mid, half = (
        (pl.col("bid_price") + pl.col("ask_price")) / 2,
        (pl.col("ask_price") - pl.col("bid_price")) / 2,
    )
    wide = episode.facts.quotes.with_columns(
        bid_price=mid - episode.size * half, ask_price=mid + episode.size * half
    )
    return replace(episode.facts, quotes=wide)


def _crossed_market(episode: Episode) -> Facts:
    crossed = episode.facts.quotes.with_columns(ask_price=pl.col("bid_price") * (1 - episode.size))
    return replace(episode.facts, quotes=crossed)


def _stale_quotes(episode: Episode) -> Facts:
    until = episode.at + timedelta(seconds=episode.size)
    return replace(episode.facts, quotes=episode.facts.quotes.filter(pl.col("time") >= until))


def _volume_spike(episode: Episode) -> Facts:
    orders = [(second, 1 if number % 2 else -1) for number, second in enumerate(_every(episode, 1.0))]
    volume = (episode.size - 1) * episode.usual.volume * episode.seconds
    return _executed(episode.facts, episode, orders, volume)


def _depth_stress(episode: Episode) -> Facts:
    """Of the book so much is left."""
    left = episode.facts.books.with_columns(
        pl.col("bid_sizes") * episode.size, pl.col("ask_sizes") * episode.size
    )
    return replace(episode.facts, books=left)


ABUSES: Final[Mapping[str, Abuse]] = MappingProxyType(
    {
        "book_spoofing": Abuse(
            "the order, times its side's depth within 10 bps",
            (0.1, 0.3, 1.0),
            lambda episode: _phantom_orders(episode, layers=1),
            lasts=timedelta(seconds=20),
            past=3 * _MINUTE,
            needs_books=True,
        ),
        "crossed_market": Abuse(
            "the bid above the ask, as a share of the price",
            (2e-5, 2e-4, 2e-3),
            _crossed_market,
            lasts=timedelta(seconds=10),
            past=3 * _MINUTE,
            sides=(1,),
        ),
        "depth_stress": Abuse(
            "what is left of the book, as a share",
            (0.6, 0.3, 0.1),
            _depth_stress,
            needs_books=True,
            sides=(1,),
        ),
        "flash_crash": Abuse(
            "the fall, as a share of the price",
            (0.01, 0.03, 0.08),
            _flash_crash,
            past=16 * _MINUTE,
            sides=(-1,),
        ),
        "layering": Abuse(
            "five levels of orders, times their side's depth within 10 bps",
            (0.1, 0.3, 1.0),
            lambda episode: _phantom_orders(episode, layers=5),
            lasts=timedelta(seconds=20),
            past=3 * _MINUTE,
            needs_books=True,
        ),
        "marking_the_close": Abuse(
            "the move in the last minute, as a share of the price",
            (0.001, 0.003, 0.01),
            _marking_the_close,
            past=11 * _MINUTE,
            ends_at_midnight=True,
        ),
        "momentum_ignition": Abuse(
            "the burst, as a share of the price",
            (0.001, 0.003, 0.01),
            _momentum_ignition,
        ),
        "price_spike": Abuse(
            "the jump, as a share of the price", (0.03, 0.06, 0.12), _jump, past=11 * _MINUTE
        ),
        "pump_and_dump": Abuse(
            "the rise, as a share of the price",
            (0.02, 0.06, 0.2),
            _pump_and_dump,
            lasts=2 * _MINUTE,
            past=7 * _MINUTE,
            sides=(1,),
        ),
        "quote_stuffing": Abuse(
            "added messages, times the usual rate",
            (2.0, 8.0, 30.0),
            _quote_stuffing,
            lasts=timedelta(seconds=15),
            past=3 * _MINUTE,
            sides=(1,),
        ),
        "ramping": Abuse(
            "the whole move, as a share of the price",
            (0.005, 0.015, 0.04),
            _ramping,
            lasts=22 * _MINUTE,
            past=6 * _MINUTE,
        ),
        "spoofing": Abuse(
            "the best size of one side, times the usual",
            (3.0, 8.0, 20.0),
            _spoofing,
            lasts=timedelta(seconds=20),
            past=3 * _MINUTE,
        ),
        "spread_stress": Abuse(
            "the spread, times the usual",
            (2.0, 5.0, 12.0),
            _spread_stress,
            lasts=timedelta(seconds=30),
            past=3 * _MINUTE,
            sides=(1,),
        ),
        "stale_quotes": Abuse(
            "seconds without a quote",
            (20.0, 45.0, 100.0),
            _stale_quotes,
            lasts=timedelta(seconds=100),
            past=6 * _MINUTE,
            sides=(1,),
        ),
        "volatility_spike": Abuse(
            "the jump, as a share of the price", (5e-4, 2e-3, 1e-2), _jump, past=3 * _MINUTE
        ),
        "volume_spike": Abuse(
            "the volume, times the usual", (3.0, 10.0, 30.0), _volume_spike, past=11 * _MINUTE, sides=(1,)
        ),
        "wash_trading": Abuse(
            "the washed volume, times the usual",
            (0.5, 3.0, 10.0),
            _wash_trading,
            lasts=2 * _MINUTE,
            past=11 * _MINUTE,
            sides=(1,),
        ),
    }
)
"""By the name of the detector that should find it."""

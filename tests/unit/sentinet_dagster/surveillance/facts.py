"""Facts for these tests: literal rows, and random ones. The simulated market is in `simulation.py`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.facts import Facts
from sentinet_dagster.surveillance.schema import TIME, Column, Relation
from sentinet_dagster.surveillance.windows import build_windows

START = datetime(2024, 3, 1, 10, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000


def at(seconds: float) -> datetime:
    return START + timedelta(microseconds=round(seconds * 1e6))


def frame(relation: Relation, rows: Sequence[dict[str, Any]], **defaults: Any) -> pl.DataFrame:
    """Rows of a relation; what neither `rows` nor `defaults` say is null, or nothing, or whole."""
    ordinary = {column.name: _ordinary(column) for column in relation.columns} | defaults
    filled = [{name: row.get(name, ordinary[name]) for name in relation.names} for row in rows]
    return relation.conform(pl.DataFrame(filled, schema=relation.schema))


def _ordinary(column: Column) -> Any:
    if column.nullable or not column.dtype.is_numeric():
        return None
    return 1 if column.name.endswith("completeness") else 0


def instruments(count: int = 2, venue: str = "north") -> pl.DataFrame:
    rows = [
        {"instrument_id": i, "symbol": f"S{i}-USDT", "venue_symbol": f"S{i}USDT", "base": f"S{i}"}
        for i in range(1, count + 1)
    ]
    return frame(
        schema.INSTRUMENTS,
        rows,
        venue=venue,
        kind="spot",
        quote="USDT",
        tick_size=0.01,
        contract_size=1.0,
        is_active=True,
    )


def trade(seconds: float, price: float, size: float = 1.0, **more: Any) -> dict[str, Any]:
    row = {"time": at(seconds), "occurred_at": at(seconds), "received_at": at(seconds + 0.01)}
    row |= {"price": price, "size": size, "instrument_id": 1, "aggressor": 1, "fills": 1}
    return row | {"trade_id": round(seconds * 1000)} | more


def quote(seconds: float, bid: float, ask: float, **more: Any) -> dict[str, Any]:
    row = {"time": at(seconds), "received_at": at(seconds), "update_id": round(seconds * 1000)}
    return (
        row
        | {"instrument_id": 1, "bid_price": bid, "ask_price": ask, "bid_size": 1.0, "ask_size": 1.0}
        | more
    )


def windows_of(
    trades: Sequence[dict[str, Any]] = (),
    quotes: Sequence[dict[str, Any]] = (),
    books: Sequence[dict[str, Any]] = (),
    flows: Sequence[dict[str, Any]] = (),
    prices: Sequence[dict[str, Any]] = (),
    gaps: Sequence[dict[str, Any]] = (),
    refused: Sequence[dict[str, Any]] = (),
    seconds: int = 10,
    count: int = 2,
) -> pl.DataFrame:
    """`build_windows` of literal rows."""
    return build_windows(
        frame(schema.TRADES, trades),
        frame(schema.QUOTES, quotes),
        frame(schema.BOOKS, books),
        frame(schema.BOOK_FLOWS, flows),
        frame(schema.REFERENCE_PRICES, prices),
        frame(schema.FEED_GAPS, gaps, gap_id=1, venue="north", cause="disconnected", detail=""),
        frame(
            schema.REJECTED_FRAMES, refused, rejected_frame_id=1, venue="north", error="not JSON", frames=1
        ),
        instruments(count),
        START,
        at(seconds),
    )


def random_flows(random: np.random.Generator, count: int, seconds: int) -> pl.DataFrame:
    """Of the seconds some are seen whole, some in part, some both ways or not at all."""
    seen = {
        (instrument, second, is_partial): random.random() < 0.6
        for instrument in range(1, count + 1)
        for second in range(seconds)
        for is_partial in (False, True)
    }
    places = [
        (instrument, second, side, distance, is_partial)
        for instrument in range(1, count + 1)
        for second in range(seconds)
        for side in (1, -1)
        for distance in (0, 2, 5, 10, 25)
        for is_partial in (False, True)
    ]
    chosen = [p for p in places if seen[p[0], p[1], p[4]] and random.random() < 0.5]
    random.shuffle(chosen)
    instrument, second, side, distance, partial = zip(*chosen, strict=True)
    rows = len(chosen)
    sizes = {
        name: random.exponential(3.0, rows) for name in ("added", "cancelled", "traded", "largest_added")
    }
    numbers = {name: random.integers(0, 9, rows) for name in ("adds", "cancels", "levels", "layers")}
    # Of few sizes, so that the greatest is often there twice.
    withdrawn = random.integers(0, 4, rows) * 1.5
    lives = random.integers(1, 10_000_000, rows)
    times = pl.Series([START_US + each * 1_000_000 for each in second]).cast(TIME)
    return schema.BOOK_FLOWS.conform(
        pl.DataFrame(
            {
                "instrument_id": instrument,
                "side": side,
                "distance_bps": distance,
                "is_partial": partial,
                "time": times,
                "received_at": times,
                "removed": sizes["cancelled"] + sizes["traded"],
                "fleeting": withdrawn * 1.25,
                "withdrawn": withdrawn,
                "withdrawn_life_us": [
                    int(life) if size else None for life, size in zip(lives, withdrawn, strict=True)
                ],
                "layered": numbers["layers"] * 2.5,
                **sizes,
                **numbers,
            }
        )
    )


def random_facts(seed: int, minutes: int, count: int = 3, per_minute: int = 120) -> Facts:
    """A market without sense: prices wander, quotes and books come at random, the feed breaks."""
    random = np.random.default_rng(seed)
    span, rows = minutes * 60_000_000, minutes * per_minute * count

    def stamps() -> dict[str, Any]:
        times = random.integers(0, span, rows) + START_US
        said = [
            None if hidden else int(time)
            for time, hidden in zip(times, random.random(rows) < 0.2, strict=True)
        ]
        return {
            "instrument_id": pl.Series(random.integers(1, count + 1, rows), dtype=pl.Int16),
            "time": pl.Series(times).cast(TIME),
            "occurred_at": pl.Series(said, dtype=pl.Int64).cast(TIME),
            "received_at": pl.Series(times + random.integers(-1_000, 90_000, rows)).cast(TIME),
        }

    mid = 100 * np.exp(np.cumsum(random.normal(0, 2e-4, rows)))
    trades = stamps() | {"trade_id": np.arange(rows), "price": mid, "size": random.exponential(2.0, rows)}
    trades |= {
        "occurred_at": trades["time"],
        "aggressor": random.integers(-1, 2, rows),
        "fills": random.integers(1, 4, rows),
    }
    half = random.uniform(0.005, 0.1, rows)
    quotes = stamps() | {"update_id": np.arange(rows), "bid_price": mid - half, "ask_price": mid + half}
    quotes |= {"bid_size": random.exponential(2.0, rows), "ask_size": random.exponential(2.0, rows)}
    prices = stamps() | {"index_price": [None if one < mid[0] else one for one in mid]}
    prices |= {
        "mark_price": mid + 0.01,
        "funding_rate": random.normal(0, 1e-4, rows),
        "next_funding_at": None,
    }
    steps = 0.02 * np.arange(5)
    books = stamps() | {"update_id": np.arange(rows)}
    books |= {
        "bid_prices": list((mid - half)[:, None] - steps),
        "ask_prices": list((mid + half)[:, None] + steps),
    }
    books |= {f"{side}_sizes": list(random.exponential(3.0, (rows, 5))) for side in ("bid", "ask")}
    opened = np.sort(random.integers(0, minutes * 60, 4))
    gaps = [
        {"instrument_id": own, "started_at": at(float(second)), "ended_at": at(float(second) + length)}
        for second, length, own in zip(opened, (0.5, 3.25, 30.0, 7.5), (None, 1, 2, None), strict=True)
    ]
    refused = [
        {"received_at": at(float(second)), "instrument_id": 1, "frames": int(frames)}
        for second, frames in zip(random.integers(0, minutes * 60, 5), random.integers(1, 9, 5), strict=True)
    ]
    return Facts(
        schema.TRADES.conform(pl.DataFrame(trades)),
        schema.QUOTES.conform(pl.DataFrame(quotes)),
        schema.BOOKS.conform(pl.DataFrame(books)),
        random_flows(random, count, minutes * 60),
        schema.REFERENCE_PRICES.conform(pl.DataFrame(prices)),
        frame(schema.FEED_GAPS, gaps, gap_id=1, venue="north", cause="stale", detail=""),
        frame(schema.REJECTED_FRAMES, refused, rejected_frame_id=1, venue="north", error="not JSON"),
        instruments(count),
    )

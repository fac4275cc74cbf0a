"""The rollups in polars, from their descriptions: what SQL must give, bit for bit where sums are ordered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import psycopg

KEY = ["instrument_id", "bucket"]
TEN_BPS = 10e-4
HOUR = timedelta(hours=1)
BARS = {"5m": "trade_bars_1m", "15m": "trade_bars_5m", "1h": "trade_bars_15m", "1d": "trade_bars_1h"}


def fetch(connection: psycopg.Connection[Any], statement: str) -> pl.DataFrame:
    cursor = connection.execute(statement)  # type: ignore[call-overload]
    names = [column.name for column in cursor.description or ()]
    return pl.DataFrame(cursor.fetchall(), schema=names, orient="row", infer_schema_length=None)


def rollups(connection: psycopg.Connection[Any]) -> Mapping[str, pl.DataFrame]:
    """Every rollup of facts alone, by name."""
    trades = fetch(connection, "select * from market.trades")
    quotes = fetch(connection, "select * from market.quotes")
    books = fetch(connection, "select * from market.books")
    found = {
        "trade_bars_1m": trade_bars(trades),
        "quote_spreads_1m": quote_spreads(quotes),
        "book_depth_1m": book_depth(books),
        "reference_prices_1m": reference_prices(
            fetch(connection, "select * from market.reference_prices order by instrument_id, time")
        ),
    }
    for width, shorter in BARS.items():
        found[f"trade_bars_{width}"] = longer_bars(found[shorter], width)
    found["technical_indicators_1m"] = indicators(found["trade_bars_1m"])
    instruments = fetch(connection, "select * from market.instruments")
    found["quote_bars_1m"] = quote_bars(found)
    found["basis_1m"] = basis(found, instruments)
    found["feed_quality_1h"] = feed_quality(
        found,
        instruments,
        fetch(connection, "select * from market.feed_gaps where repaired_at is null"),
        fetch(connection, "select * from market.rejected_frames"),
    )
    return found


def trade_bars(trades: pl.DataFrame) -> pl.DataFrame:
    price, size = pl.col("price"), pl.col("size")
    return (
        _bucketed(trades, "trade_id")
        .agg(
            open=price.first(),
            high=price.max(),
            low=price.min(),
            close=price.last(),
            volume=_total(size),
            buy_volume=_total(pl.when(pl.col("aggressor") == 1).then(size).otherwise(0.0)),
            notional=_total(price * size),
            vwap=_total(price * size) / _total(size),
            trade_count=pl.col("fills").cast(pl.Int64).sum(),
            latency_ms_sum=_total(_latency_ms() * pl.col("fills")),
            latency_ms_max=_latency_ms().max(),
        )
        .sort(KEY)
    )


def longer_bars(bars: pl.DataFrame, width: str) -> pl.DataFrame:
    return (
        bars.sort(KEY)
        .with_columns(pl.col("bucket").dt.truncate(width))
        .group_by(KEY, maintain_order=True)
        .agg(
            open=pl.col("open").first(),
            high=pl.col("high").max(),
            low=pl.col("low").min(),
            close=pl.col("close").last(),
            volume=_total(pl.col("volume")),
            buy_volume=_total(pl.col("buy_volume")),
            notional=_total(pl.col("notional")),
            vwap=_total(pl.col("notional")) / _total(pl.col("volume")),
            trade_count=pl.col("trade_count").sum(),
        )
        .sort(KEY)
    )


def quote_spreads(quotes: pl.DataFrame) -> pl.DataFrame:
    bid, ask = pl.col("bid_price"), pl.col("ask_price")
    bid_size, ask_size = pl.col("bid_size"), pl.col("ask_size")
    whole = (bid > 0) & (ask > 0) & (bid_size + ask_size > 0)
    spread = ((ask - bid) / ((bid + ask) / 2) * 1e4).filter(whole)
    timed = pl.col("occurred_at").is_not_null()
    return (
        _bucketed(quotes, "update_id")
        .agg(
            quote_count=pl.len().cast(pl.Int64),
            mid_close=((bid + ask) / 2).filter(whole).last(),
            spread_bps_mean=_total(spread) / whole.sum(),
            spread_bps_min=spread.min(),
            spread_bps_max=spread.max(),
            spread_bps_std=spread.std(ddof=0),
            order_imbalance=_total((bid_size / (bid_size + ask_size)).filter(whole)) / whole.sum(),
            timed_count=timed.sum().cast(pl.Int64),
            latency_ms_sum=_total(_latency_ms().filter(timed)),
            latency_ms_max=_latency_ms().filter(timed).max(),
        )
        .sort(KEY)
    )


def book_depth(books: pl.DataFrame) -> pl.DataFrame:
    timed = pl.col("occurred_at").is_not_null()
    sides = [
        books.select(
            pl.struct("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")
            .map_elements(lambda book, side=side: _depth(book, side), return_dtype=pl.Float64)
            .alias(f"{side}_depth")
        )
        for side in ("bid", "ask")
    ]
    return (
        _bucketed(pl.concat([books, *sides], how="horizontal"), "update_id")
        .agg(
            book_count=pl.len().cast(pl.Int64),
            bid_depth_10bps=_total(pl.col("bid_depth").drop_nulls()) / pl.col("bid_depth").count(),
            ask_depth_10bps=_total(pl.col("ask_depth").drop_nulls()) / pl.col("ask_depth").count(),
            timed_count=timed.sum().cast(pl.Int64),
            latency_ms_sum=_total(_latency_ms().filter(timed)),
            latency_ms_max=_latency_ms().filter(timed).max(),
        )
        .sort(KEY)
    )


def _depth(book: Mapping[str, Any], side: str) -> float | None:
    if not (book["bid_prices"] and book["ask_prices"]):
        return None
    mid = (book["bid_prices"][0] + book["ask_prices"][0]) / 2
    levels = zip(book[f"{side}_prices"], book[f"{side}_sizes"], strict=True)
    return float(sum(price * size for price, size in levels if abs(price - mid) <= TEN_BPS * mid))


def reference_prices(said: pl.DataFrame) -> pl.DataFrame:
    prices = ("mark_price", "index_price", "funding_rate")
    return (
        said.with_columns(bucket=pl.col("time").dt.truncate("1m"))
        .group_by(KEY, maintain_order=True)
        .agg(
            *(pl.col(name).drop_nulls().last() for name in prices),
            reference_price_count=pl.len().cast(pl.Int64),
        )
        .sort(KEY)
    )


def quote_bars(found: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    trades = pl.col("trade_count").fill_null(0)
    return (
        found["quote_spreads_1m"]
        .join(found["trade_bars_1m"].select(*KEY, "trade_count"), on=KEY, how="left")
        .join(found["book_depth_1m"].select(*KEY, "bid_depth_10bps", "ask_depth_10bps"), on=KEY, how="left")
        .select(
            *KEY,
            "mid_close",
            "spread_bps_mean",
            "spread_bps_min",
            "spread_bps_max",
            "spread_bps_std",
            (1000 / pl.col("spread_bps_mean")).alias("liquidity_score"),
            "quote_count",
            trades,
            (pl.col("quote_count") / pl.max_horizontal(trades, 1)).alias("quote_trade_ratio"),
            "order_imbalance",
            "bid_depth_10bps",
            "ask_depth_10bps",
        )
        .sort(KEY)
    )


def basis(found: Mapping[str, pl.DataFrame], instruments: pl.DataFrame) -> pl.DataFrame:
    prices = found["quote_spreads_1m"].drop_nulls("mid_close").select(*KEY, "mid_close")
    perpetuals = instruments.filter(kind="perpetual").select("instrument_id", "base", "quote")
    spots = instruments.filter(kind="spot").select("base", "quote", spot_instrument_id="instrument_id")
    spot_prices = prices.select("bucket", spot_instrument_id="instrument_id", spot_price="mid_close")

    def against(price: str) -> pl.Expr:
        return (pl.col("mid_close") / pl.col(price) - 1) * 1e4

    return (
        perpetuals.join(prices, on="instrument_id")
        .join(spots, on=["base", "quote"], how="left")
        .join(spot_prices, on=["spot_instrument_id", "bucket"], how="left")
        .join(found["reference_prices_1m"], on=KEY, how="left")
        .select(
            *KEY,
            "spot_instrument_id",
            pl.col("mid_close").alias("perpetual_price"),
            "spot_price",
            "index_price",
            "mark_price",
            against("spot_price").alias("basis_spot_bps"),
            against("index_price").alias("basis_index_bps"),
            against("mark_price").alias("basis_mark_bps"),
            "funding_rate",
        )
        .sort(*KEY, "spot_instrument_id")
    )


def feed_quality(
    found: Mapping[str, pl.DataFrame], instruments: pl.DataFrame, gaps: pl.DataFrame, refused: pl.DataFrame
) -> pl.DataFrame:
    """An instrument and hour at a time, seconds of holes counted by the microsecond's ends."""
    rows = []
    hours = {
        (row[0], row[1].replace(minute=0))
        for name in ("trade_bars_1m", "quote_spreads_1m", "book_depth_1m")
        for row in found[name].select(KEY).iter_rows()
    }
    venue = dict(instruments.select("instrument_id", "venue").iter_rows())
    assert refused.is_empty()
    for gap in gaps.iter_rows(named=True):
        hour = gap["started_at"].replace(minute=0, second=0, microsecond=0)
        while hour < gap["ended_at"]:
            hours |= {(each, hour) for each in venue if _concerns(gap, each, venue)}
            hour += HOUR
    for instrument, hour in sorted(hours):
        of_hour = (pl.col("instrument_id") == instrument) & (pl.col("bucket").dt.truncate("1h") == hour)
        trades, quotes, books = (
            found[name].filter(of_hour) for name in ("trade_bars_1m", "quote_spreads_1m", "book_depth_1m")
        )
        timed = trades["trade_count"].sum() + quotes["timed_count"].sum() + books["timed_count"].sum()
        parts = (trades, quotes, books)
        latencies = [part["latency_ms_max"].max() for part in parts]
        mine = [
            (max(gap["started_at"], hour), min(gap["ended_at"], hour + HOUR), gap["relation"])
            for gap in gaps.iter_rows(named=True)
            if _concerns(gap, instrument, venue)
            and gap["started_at"] < hour + HOUR
            and gap["ended_at"] > hour
        ]
        lost = _seconds([hole for *hole, of in mine if of not in ("books", "book_flows")])
        rows.append(
            {
                "instrument_id": instrument,
                "bucket": hour,
                "trade_count": trades["trade_count"].sum(),
                "quote_count": quotes["quote_count"].sum(),
                "book_count": books["book_count"].sum(),
                "minutes_with_facts": len(set().union(*(part["bucket"].to_list() for part in parts))),
                "latency_ms_mean": sum(part["latency_ms_sum"].sum() for part in parts) / timed
                if timed
                else None,
                "latency_ms_max": max((each for each in latencies if each is not None), default=None),
                "gap_count": len(mine),
                "gap_seconds": lost,
                "book_gap_seconds": _seconds([hole for *hole, _ in mine]),
                "refused_frames": 0,
                "completeness": 1 - lost / 3600,
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def _concerns(gap: Mapping[str, Any], instrument: int, venue: Mapping[int, str]) -> bool:
    return bool(
        gap["instrument_id"] == instrument
        or (gap["instrument_id"] is None and gap["venue"] == venue[instrument])
    )


def _seconds(holes: list[list[Any]]) -> float:
    """Of their union."""
    total, reached = timedelta(0), None
    for start, end in sorted(holes):
        total += max(end - max(start, reached or start), timedelta(0))
        reached = max(end, reached or end)
    return total.total_seconds()


def indicators(bars: pl.DataFrame) -> pl.DataFrame:
    """A minute at a time over arrays, the plainest way."""
    parts = [_indicators_of(part) for part in bars.sort(KEY).partition_by("instrument_id")]
    return pl.concat(parts).sort(KEY)


def _indicators_of(bars: pl.DataFrame) -> pl.DataFrame:
    minute = bars["bucket"].dt.epoch("s").to_numpy() // 60
    first, last = int(minute[0]), int(minute[-1])
    price = np.full(last - first + 1, np.nan)
    age = 60
    close = dict(zip((minute - first).tolist(), bars["close"].to_list(), strict=True))
    known = np.nan
    for i in range(len(price)):
        age = 0 if i in close else age + 1
        known = close.get(i, known)
        price[i] = known if age < 60 else np.nan
    change = np.diff(price, prepend=np.nan)
    ema_12, ema_26 = (_ema(price, span, 200) for span in (12, 26))
    signal = _ema(ema_12 - ema_26, 9, 50)
    rows = []
    for i in sorted(close):
        gains, moves = (_last(f(change), i, 14) for f in (lambda x: np.maximum(x, 0), np.abs))
        moved = np.nan if moves is None else float(np.sum(moves))
        means = {f"sma_{n}": _mean(_last(price, i, n)) for n in (20, 50, 200)}
        past = _last(price, i, 20)
        sigma = None if past is None else float(np.std(past))
        macd = _number(ema_12[i] - ema_26[i])
        rows.append(
            {
                "close": price[i],
                **means,
                "ema_12": _number(ema_12[i]),
                "ema_26": _number(ema_26[i]),
                "macd": macd,
                "macd_signal": _number(signal[i]),
                "macd_histogram": _number(ema_12[i] - ema_26[i] - signal[i]),
                "rsi_14": None if gains is None else float(100 * np.sum(gains) / moved) if moved else 50.0,
                "sigma_20": sigma,
                "bollinger_upper": None if sigma is None else means["sma_20"] + 2 * sigma,
                "bollinger_lower": None if sigma is None else means["sma_20"] - 2 * sigma,
            }
        )
    schema = dict.fromkeys(rows[0], pl.Float64)
    return pl.concat([bars.select(KEY), pl.DataFrame(rows, schema=schema)], how="horizontal")


def _ema(values: np.ndarray[Any, Any], span: int, lookback: int) -> np.ndarray[Any, Any]:
    found = np.full(len(values), np.nan)
    for i in range(len(values)):
        past = values[max(0, i - lookback + 1) : i + 1][::-1]
        weights = np.where(np.isnan(past), 0.0, ((span - 1) / (span + 1)) ** np.arange(len(past)))
        if len(past) >= span and not np.isnan(past[:span]).any():
            found[i] = np.sum(np.nan_to_num(past) * weights) / np.sum(weights)
    return found


def _last(values: np.ndarray[Any, Any], i: int, count: int) -> np.ndarray[Any, Any] | None:
    past = values[max(0, i - count + 1) : i + 1]
    return past if len(past) == count and not np.isnan(past).any() else None


def _mean(values: np.ndarray[Any, Any] | None) -> float | None:
    return None if values is None else float(np.mean(values))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _bucketed(facts: pl.DataFrame, number: str) -> Any:
    return (
        facts.sort("instrument_id", "time", number)
        .with_columns(bucket=pl.col("time").dt.truncate("1m"))
        .group_by(KEY, maintain_order=True)
    )


def _total(values: pl.Expr) -> pl.Expr:
    """One after the other, as PostgreSQL adds them: `sum` would add in another order."""
    return values.cum_sum().last()


def _latency_ms() -> pl.Expr:
    return (pl.col("received_at") - pl.col("occurred_at")).dt.total_microseconds() / 1e6 * 1000

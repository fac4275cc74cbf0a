"""What facts come to: windows, and what is worked out of them before anybody is told."""

from __future__ import annotations

from typing import Final

import polars as pl

from sentinet_dagster.surveillance.schema.relation import (
    INSTRUMENT_ID,
    LEVELS,
    WINDOW_START,
    Column,
    Relation,
    measure,
)

__all__ = ["CORRELATIONS", "FEATURES", "PAST_WINDOWS", "SCORES", "WINDOWS"]

_FLOW_COLUMNS: Final = (
    ("added_near", "base units added within 10 bps of the best {}"),
    ("cancelled_near", "base units taken back there that no trade explains"),
    ("traded_near", "base units executed against the {}s there"),
    ("cancel_share", "share of what left there that no trade explains, 0 to 1"),
    ("fleeting_near", "base units placed there and, within 10 s, withdrawn whole and untraded"),
    ("withdrawn_max", "base units: the largest order so withdrawn"),
    ("withdrawn_life_s", "seconds that it stood; null where there is none"),
    ("layered_max", "base units: the largest group of such orders, on 3 levels or more, placed together and "
     "withdrawn together"),
)  # fmt: skip

WINDOWS: Final = Relation(
    "surveillance.windows",
    (
        INSTRUMENT_ID,
        WINDOW_START,
        measure("open", "price of the first trade by (time, trade_id)"),
        measure("high", "greatest trade price"),
        measure("low", "least trade price"),
        measure("close", "price of the last trade"),
        Column("volume", pl.Float64, "base units traded"),
        Column("buy_volume", pl.Float64, "base units where the buyer took liquidity"),
        Column("sell_volume", pl.Float64, "base units where the seller did; the rest is of unknown side"),
        Column("notional", pl.Float64, "sum of price x size, quote currency"),
        measure("vwap", "notional / volume"),
        Column("trade_count", pl.Int32, "executions: the sum of fills, so an aggregate counts what it sums"),
        Column("quote_count", pl.Int32, "quotes"),
        Column("book_count", pl.Int32, "books"),
        measure("mid_close", "(bid + ask) / 2 of the last quote"),
        measure("spread_bps_mean", "(ask - bid) / mid over the quotes"),
        measure("spread_bps_min", "least"),
        measure("spread_bps_max", "greatest"),
        measure("spread_bps_std", "population standard deviation; 0 with one quote"),
        measure("imbalance_mean", "(bid_size - ask_size) / (bid_size + ask_size) over the quotes, -1 to 1"),
        measure("bid_depth_10bps", "quote currency bid within 10 bps of the mid, mean over the books"),
        measure("ask_depth_10bps", "quote currency asked within 10 bps of the mid, mean over the books"),
        Column("order_trade_ratio", pl.Float64, "(quotes + books) / max(executions, 1)"),
        measure(
            "latency_ms_mean",
            "received_at - occurred_at over the rows whose venue says when; may be negative",
        ),
        measure("latency_ms_max", "greatest"),
        Column(
            "completeness", pl.Float64, "share of the window outside gaps x accepted / (accepted + refused)"
        ),
        Column("book_completeness", pl.Float64, "completeness, gaps of the books counted too"),
        Column(
            "gap_seconds",
            pl.Float64,
            "seconds of the window inside a gap that concerns the instrument, and more than its books",
        ),
        Column(
            "refused_frames",
            pl.Int32,
            "frames received in the window that could not be parsed, and facts of it that are set aside",
        ),
        Column("trade_completeness", pl.Float64, "completeness, only gaps of the trades counted"),
        Column(
            "flow_seconds", pl.Int32, "seconds with book flows, seen whole; the columns below are of these"
        ),
        Column("partial_flow_seconds", pl.Int32, "seconds with book flows that were seen in part only"),
        Column("flow_changes", pl.Int32, "times that a level of the book grew or was cancelled from"),
        *(
            measure(f"{side}_{name}", meaning.format(side))
            for name, meaning in _FLOW_COLUMNS
            for side in ("bid", "ask")
        ),
        Column("bid_layers", pl.Int32, "levels of the group of bid_layered_max; 0: none", nullable=True),
        Column("ask_layers", pl.Int32, "levels of the group of ask_layered_max; 0: none", nullable=True),
        Column(
            "buy_sweep_count",
            pl.Int32,
            "buying orders with several fills: executions of one side in one millisecond",
        ),
        Column("sell_sweep_count", pl.Int32, "selling orders with several fills"),
        Column(
            "matched_count",
            pl.Int32,
            "trades in pairs of equal size and opposite sides, at most a second apart",
        ),
        Column("matched_volume", pl.Float64, "base units traded in such pairs, both sides counted"),
        measure("mark_close", "the last mark price"),
        measure("index_close", "the last index price"),
        measure("funding_rate", "the last funding rate: fraction a funding interval"),
    ),
)

_OF_THE_PAST: Final = (
    "instrument_id",
    "window_start",
    "close",
    "volume",
    "buy_volume",
    "sell_volume",
    "trade_count",
    "quote_count",
    "book_count",
    "spread_bps_mean",
    "spread_bps_std",
    "imbalance_mean",
    "bid_depth_10bps",
    "ask_depth_10bps",
    "latency_ms_mean",
    "completeness",
    "book_completeness",
    "trade_completeness",
    "flow_changes",
    "bid_traded_near",
    "ask_traded_near",
    "bid_withdrawn_max",
    "ask_withdrawn_max",
    "bid_layered_max",
    "ask_layered_max",
    "buy_sweep_count",
    "sell_sweep_count",
    "matched_count",
    "matched_volume",
    "mark_close",
    "index_close",
    "funding_rate",
)

PAST_WINDOWS: Final = Relation("", tuple(column for column in WINDOWS.columns if column.name in _OF_THE_PAST))
"""What detectors may know of the windows before those they judge: an hour is read every few seconds."""

FEATURES: Final = Relation(
    "surveillance.features",
    (
        INSTRUMENT_ID,
        WINDOW_START,
        measure("price", "mid_close, else close, carried forward at most 60 s"),
        measure("return_bps", "log return from the window before"),
        measure("return_z", "return_bps against the 60 windows before"),
        measure(
            "price_z",
            "price against the 60 windows (5 min) before; the window itself is not part of its past",
        ),
        Column(
            "price_z_samples", pl.Int32, "prices that past has since the last gap; below 30 the score is null"
        ),
        measure("rsi_14", "relative strength over 14 changes, simple averages, 0 to 100"),
        measure("volatility_20_bps", "sample standard deviation of the last 20 log returns"),
        measure("volume_change", "volume / mean volume of the 20 windows before - 1"),
        measure("volume_z", "volume against the 60 windows before"),
        measure("spread_bps_mean", "as in surveillance.windows"),
        measure("spread_bps_z", "spread_bps_mean against the 60 windows before"),
        measure("imbalance_mean", "as in surveillance.windows"),
        measure("depth_imbalance", "(bid_depth - ask_depth) / (bid_depth + ask_depth), -1 to 1"),
        measure("buy_share", "buy_volume / (buy_volume + sell_volume)"),
        measure("order_trade_ratio", "as in surveillance.windows"),
        measure("price_move_bps", "greatest - least price of this window and the 3 before, over the price"),
        Column("completeness", pl.Float64, "as in surveillance.windows"),
        Column(
            "warm_up",
            pl.String,
            'why scores are null: "warming up 15/30", "data not whole", "no price"',
            True,
        ),
    ),
)

CORRELATIONS: Final = Relation(
    "surveillance.correlations",
    (
        WINDOW_START,
        Column("instrument_a", pl.List(pl.Int16), "the lesser instrument_id of each pair"),
        Column("instrument_b", pl.List(pl.Int16), "the greater"),
        Column(
            "correlation",
            LEVELS,
            "Pearson of 5 s log returns over 24 windows (2 min); null elements warm up",
        ),
        Column(
            "correlation_slow", LEVELS, "mean of the 20 minutes of correlation that share no return with it"
        ),
    ),
)

SCORES: Final = Relation(
    "surveillance.scores",
    (
        INSTRUMENT_ID,
        WINDOW_START,
        Column("model", pl.String, "isolation_forest"),
        Column("model_id", pl.String, "model.models.model_id; null: none was in force", nullable=True),
        measure("score", "the more unusual, the greater; 0 to 1"),
        measure("threshold", "what the model's training data leaves above it on purpose"),
        Column("reason", pl.String, "why score is null", nullable=True),
    ),
)

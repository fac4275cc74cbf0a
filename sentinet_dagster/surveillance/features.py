"""Windows → features: what a window means against its instrument's own recent past.

What lives here: numbers a detector or model can hold a threshold against. What never does: thresholds, and
anything that depends on more than FEATURE_LOOKBACK of the past, on other instruments, or on where a
computation started.

What counts as past. A window whose completeness is below the floor, or that is missing, breaks the past: it
is no sample and neither is anything before it, so every score warms up again after a gap. Z-scores exclude
the window itself from its past, so that a jump does not hide in the mean it is held against.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import numpy as np
import polars as pl

from sentinet_dagster.surveillance.grid import Grid, Sheet
from sentinet_dagster.surveillance.rolling import (
    Flags,
    Floats,
    carry_forward,
    divided,
    lagged_moments,
    lagged_range,
    lagged_sums,
    z_score,
)
from sentinet_dagster.surveillance.schema import FEATURES, WINDOW

__all__ = ["FEATURE_LOOKBACK", "MIN_SAMPLES", "build_features"]

MIN_SAMPLES: Final = 30
"""Samples below which a z-score is null."""

_PAST: Final = 60  # windows of a z-score: 5 minutes
_CARRY: Final = 12  # windows a price is carried: 60 s
_RSI: Final = 14
_VOLATILITY: Final = 20
_MOVE: Final = 3

FEATURE_LOOKBACK: Final = (_PAST + 1 + _CARRY) * WINDOW
"""How far before `start` windows matter: 60 returns need 61 prices, the oldest carried up to 60 s."""

_INPUTS: Final = (
    "close",
    "volume",
    "buy_volume",
    "sell_volume",
    "mid_close",
    "spread_bps_mean",
    "imbalance_mean",
    "bid_depth_10bps",
    "ask_depth_10bps",
    "order_trade_ratio",
    "completeness",
)


def build_features(
    windows: pl.DataFrame, start: datetime, end: datetime, completeness_floor: float = 0.8
) -> pl.DataFrame:
    """One row for every row of `windows` in [start, end).

    Blind: for the first 30 windows after a start or a gap (scores are null, `warm_up` says why); to moves
    inside a window that are undone before it ends.

    Args:
        windows: schema.WINDOWS of [start - FEATURE_LOOKBACK, end), as far as there are any.
        start, end: multiples of 5 s.
        completeness_floor: a window less whole than this breaks the past.

    Returns:
        schema.FEATURES, sorted by (window_start, instrument_id).

    Raises:
        ValueError: start or end is not a multiple of 5 s, or a column is missing.

    Sources: RSI in its simple-average form (Cutler), because Wilder's smoothing never forgets where it
    started.
    """
    grid = Grid.spanning(windows["instrument_id"], start - FEATURE_LOOKBACK, end)
    columns = (end - start) // WINDOW
    sheet = Sheet(windows, grid)
    values = {name: sheet.column(name, grid.columns) for name in _INPUTS}
    present = sheet.present(grid.columns)
    broken = ~present | (values["completeness"] < completeness_floor)
    now = {name: matrix[:, grid.columns - columns :] for name, matrix in values.items()}

    depth = now["bid_depth_10bps"] + now["ask_depth_10bps"]
    features = _price_features(values, broken, columns)
    features |= _volume_features(values["volume"], broken, columns)
    spread_past = lagged_moments(values["spread_bps_mean"], broken, _PAST, columns)
    features |= {
        "spread_bps_mean": now["spread_bps_mean"],
        "spread_bps_z": z_score(now["spread_bps_mean"], spread_past, MIN_SAMPLES),
        "imbalance_mean": now["imbalance_mean"],
        "depth_imbalance": divided(now["bid_depth_10bps"] - now["ask_depth_10bps"], depth),
        "buy_share": divided(now["buy_volume"], now["buy_volume"] + now["sell_volume"]),
        "order_trade_ratio": now["order_trade_ratio"],
        "completeness": now["completeness"],
        "is_broken": broken[:, grid.columns - columns :],
        "is_present": present[:, grid.columns - columns :],
    }
    frame = grid.frame(features, columns).filter("is_present").with_columns(_warm_up())
    return FEATURES.conform(frame)


def _price_features(values: Mapping[str, Floats], broken: Flags, columns: int) -> dict[str, Floats | Flags]:
    past = _PAST + 1
    seen = np.where(np.isnan(values["mid_close"]), values["close"], values["mid_close"])
    price = carry_forward(seen, broken, _CARRY, columns + past)
    whole = broken[:, broken.shape[1] - columns - past :]
    log_price = np.log(np.where(price > 0, price, np.nan))
    returns = np.full(price.shape, np.nan)
    returns[:, 1:] = np.where(
        whole[:, :-1] | whole[:, 1:], np.nan, (log_price[:, 1:] - log_price[:, :-1]) * 1e4
    )

    now, return_now = price[:, past:], returns[:, past:]
    moments = lagged_moments(price, whole, _PAST, columns)
    return {
        "price": now,
        "return_bps": return_now,
        "return_z": z_score(return_now, lagged_moments(returns, whole, _PAST, columns), MIN_SAMPLES),
        "price_z": z_score(now, moments, MIN_SAMPLES),
        "price_z_samples": moments.samples,
        "rsi_14": _rsi(returns, columns),
        "volatility_20_bps": _volatility(returns, columns),
        "price_move_bps": lagged_range(price, whole, _MOVE + 1, columns) / now * 1e4,
    }


def _rsi(returns: Floats, columns: int) -> Floats:
    """100 x gains / (gains + losses) over the last 14 returns; 50 where nothing moved."""
    gains = lagged_sums(np.maximum(returns, 0.0), _RSI, columns)
    moves = lagged_sums(np.abs(returns), _RSI, columns)
    still = np.where(np.isnan(moves), np.nan, 50.0)
    return divided(100 * gains, moves, still)


def _volatility(returns: Floats, columns: int) -> Floats:
    mean = lagged_sums(returns, _VOLATILITY, columns) / _VOLATILITY
    squares = np.zeros(mean.shape)
    for lag in range(_VOLATILITY):
        stop = returns.shape[1] - lag
        squares += np.square(returns[:, stop - columns : stop] - mean)
    volatility: Floats = np.sqrt(squares / (_VOLATILITY - 1))
    return volatility


def _volume_features(volume: Floats, broken: Flags, columns: int) -> dict[str, Floats]:
    now = volume[:, volume.shape[1] - columns :]
    recent = lagged_moments(volume, broken, _VOLATILITY, columns)
    ratio = np.where(recent.samples == _VOLATILITY, divided(now, recent.mean), np.nan)
    past = lagged_moments(volume, broken, _PAST, columns)
    return {"volume_change": ratio - 1, "volume_z": z_score(now, past, MIN_SAMPLES)}


def _warm_up() -> pl.Expr:
    samples = pl.col("price_z_samples")
    return (
        pl.when("is_broken")
        .then(pl.lit("data not whole"))
        .when(pl.col("price").is_null())
        .then(pl.lit("no price"))
        .when(samples < MIN_SAMPLES)
        .then(pl.format(f"warming up {{}}/{MIN_SAMPLES}", samples))
        .alias("warm_up")
    )

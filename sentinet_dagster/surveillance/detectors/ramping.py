"""ramping: a price that is walked one way, step by step, by one side alone.

What: of the last 20 minutes at least 16 moved the price the same way, by 100 bps in all and by no more than
    30 % of it in any one minute; and that side took liquidity in more than 65 % of the volume, in at least
    100 executions. A jump is another detector's.
Evidence level: trades
Blind: in the first 20 minutes after a start or a gap; to a ramp by resting orders; a steady trend after news
    looks the same.
Example: MATIC-USDT rises in 18 of 20 minutes, by 1.4 % in all, on 74 % buying.
Source: ESMA, MAR indicators: transactions that sustain a trend; Comerton-Forde and Putnins, 2011.

>>> RAMPING.summary("MATIC-USDT", {"move_bps": 140.0, "steady_minutes": 18.0, "side_share": 0.74})
'MATIC-USDT moved by +140 bps in 18 of 20 minutes, 74 % of the volume on that side: consistent with ramping'
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from pydantic import Field

from sentinet_dagster.surveillance.detectors.base import (
    Detector,
    Evidence,
    Inputs,
    Lookback,
    Thresholds,
    limit,
    verdicts,
)
from sentinet_dagster.surveillance.rolling import Floats, carry_forward, divided, lagged_sums
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["RAMPING"]

_MINUTE: Final = 12  # windows
_MINUTES: Final = 20
_SPAN: Final = _MINUTE * _MINUTES
_CARRY: Final = 12
_LOOKBACK: Final = Lookback(windows=(_SPAN + _CARRY) * WINDOW)


class RampingThresholds(Thresholds, frozen=True):
    """All must hold."""

    move_bps: float = Field(default=100.0, gt=0)
    steady_minutes: float = Field(default=16, ge=11, le=_MINUTES)
    largest_share: float = Field(default=0.3, gt=0, lt=1)
    """Of the whole move, in one minute."""
    side_share: float = Field(default=0.65, gt=0.5, lt=1)
    trades: float = Field(default=100, ge=1)


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    grid = inputs.grid(_LOOKBACK.windows)
    columns = grid.columns - _SPAN - _CARRY
    names = ["close", "buy_volume", "sell_volume", "trade_count"]
    seen = inputs.of_windows(grid, names)
    price = carry_forward(seen["close"], inputs.broken(grid), _CARRY, columns + _SPAN)
    move, steady, largest = _steps(np.log(price), columns)
    bought, sold, trades = (lagged_sums(np.nan_to_num(seen[name]), _SPAN, columns) for name in names[1:])
    traded = bought + sold
    taken = np.where(move > 0, bought, sold)
    frame = grid.frame(
        {
            "move_bps": np.where(inputs.unbroken(grid, _SPAN, columns), 1e4 * move, np.nan),
            "steady_minutes": steady,
            "largest_share": divided(largest, np.abs(move), 1.0),
            "side_share": divided(taken, traded, 0.0),
            "trades": trades,
        },
        columns,
    )
    size = pl.col("move_bps").abs()
    return verdicts(
        frame.join(thresholds, on="instrument_id"),
        score=size,
        threshold=pl.col(limit("move_bps")),
        severity=pl.lit("warning"),
        fires=(size >= pl.col(limit("move_bps")))
        & (pl.col("steady_minutes") >= pl.col(limit("steady_minutes")))
        & (pl.col("largest_share") <= pl.col(limit("largest_share")))
        & (pl.col("side_share") > pl.col(limit("side_share")))
        & (pl.col("trades") >= pl.col(limit("trades"))),
        evidence=pl.struct("move_bps", "steady_minutes", "largest_share", "side_share", "trades"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    return (
        f"{symbol} moved by {finding['move_bps']:+.0f} bps in {finding['steady_minutes']:.0f} "
        f"of {_MINUTES} "
        f"minutes, {100 * finding['side_share']:.0f} % of the volume on that side: consistent "
        "with ramping"
    )


def _steps(price: Floats, columns: int) -> tuple[Floats, Floats, Floats]:
    """Of the span that ends at each window: the whole move, the minutes that went its way, the largest."""
    move = price[:, -columns:] - price[:, -columns - _SPAN : -_SPAN]
    steady, largest = np.zeros(move.shape), np.zeros(move.shape)
    for lag in range(0, _SPAN, _MINUTE):
        stop = price.shape[1] - lag
        step = price[:, stop - columns : stop] - price[:, stop - columns - _MINUTE : stop - _MINUTE]
        steady += np.sign(step) == np.sign(move)
        largest = np.maximum(largest, np.sign(move) * step)
    return move, steady, largest


RAMPING = Detector(
    name="ramping",
    version=1,
    evidence_level="trades",
    lookback=_LOOKBACK,
    thresholds=RampingThresholds,
    detect=_detect,
    summary=_summary,
)

"""rsi_extreme: nearly all of a quarter of an hour's moves went one way, and far.

What: the relative strength index over 14 changes of a minute is above 70 or below 30, and the price moved by
    at least 100 bps over these minutes. The index alone is no event: a price that only wanders is beyond
    70/30 in about one minute of eight. As information.
Evidence level: L1 (the mid of the best quotes; the last trade where there are none).
Blind: in the first 15 minutes after a start or a gap; to what happens within a minute.
Example: SOL-USDT rises in 13 of 14 minutes, by 2.1 % in all.
Source: Wilder, "New Concepts in Technical Trading Systems", 1978, in its simple-average form (Cutler).

>>> RSI_EXTREME.summary("SOL-USDT", {"rsi_14m": 92.0, "move_bps": 210.0})
'SOL-USDT RSI 92 over 14 minutes, in which it moved by +210 bps'
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
from sentinet_dagster.surveillance.rolling import Floats, divided
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["RSI_EXTREME"]

_MINUTE: Final = 12  # windows
_CHANGES: Final = 14
_SPAN: Final = _MINUTE * _CHANGES
_LOOKBACK: Final = Lookback(windows=_SPAN * WINDOW, features=_SPAN * WINDOW)


class RsiExtremeThresholds(Thresholds, frozen=True):
    """Of the index, 0 to 100, and of the move over its minutes."""

    overbought: float = Field(default=70.0, gt=50, lt=100)
    oversold: float = Field(default=30.0, gt=0, lt=50)
    move_bps: float = Field(default=100.0, ge=0)


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    """The score is the distance of the index from 50."""
    grid = inputs.grid(_LOOKBACK.windows)
    columns = grid.columns - _SPAN
    price = inputs.of_features(grid, ["price"])["price"]
    # A break anywhere in the span leaves nothing to be said.
    whole = np.where(inputs.unbroken(grid, _SPAN, columns), 0.0, np.nan)
    frame = grid.frame(
        {
            "rsi_14m": _rsi(price, columns) + whole,
            "move_bps": 1e4 * np.log(price[:, _SPAN:] / price[:, :columns]) + whole,
        },
        columns,
    )
    rsi, move = pl.col("rsi_14m"), pl.col("move_bps")
    risen = (rsi > pl.col(limit("overbought"))) & (move >= pl.col(limit("move_bps")))
    fallen = (rsi < pl.col(limit("oversold"))) & (move <= -pl.col(limit("move_bps")))
    return verdicts(
        frame.join(thresholds, on="instrument_id"),
        score=(rsi - 50).abs(),
        threshold=pl.when(rsi > 50)
        .then(pl.col(limit("overbought")) - 50)
        .otherwise(50 - pl.col(limit("oversold"))),
        severity=pl.lit("info"),
        fires=risen | fallen,
        evidence=pl.struct("rsi_14m", "move_bps"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    return (
        f"{symbol} RSI {finding['rsi_14m']:.0f} over 14 minutes, in which it moved by "
        f"{finding['move_bps']:+.0f} bps"
    )


def _rsi(price: Floats, columns: int) -> Floats:
    """Of the changes from minute to minute that end at each window; 50 where nothing moved."""
    gains, moves = np.zeros((price.shape[0], columns)), np.zeros((price.shape[0], columns))
    for lag in range(0, _SPAN, _MINUTE):
        stop = price.shape[1] - lag
        change = price[:, stop - columns : stop] - price[:, stop - columns - _MINUTE : stop - _MINUTE]
        gains += np.maximum(change, 0.0)
        moves += np.abs(change)
    still = np.where(np.isnan(moves), np.nan, 50.0)
    return divided(100 * gains, moves, still)


RSI_EXTREME = Detector(
    name="rsi_extreme",
    version=1,
    evidence_level="L1",
    lookback=_LOOKBACK,
    thresholds=RsiExtremeThresholds,
    detect=_detect,
    summary=_summary,
)

"""volume_spike: far more is traded in a minute than in the minutes before.

What: the volume of the last minute is more than three times the mean minute of the 20 before, in at least 20
    executions. As information; from ten times on as a warning. Volume comes in bursts, so that three times
    the mean is no event by itself: what it is good for is to stand beside another alert of its incident.
Evidence level: trades
Blind: in the first ten minutes after a start or a gap; to a coin that trades less than 20 times a minute.
Example: ADA-USDT trades 14 times its usual minute before anything is in the news.
Source: the product's first specification (issue 6): volume above three times its mean.

>>> VOLUME_SPIKE.summary("ADA-USDT", {"volume_ratio": 14.2, "minute_volume": 120000.0, "trades": 310.0})
'ADA-USDT traded 14.2 times its usual minute: 120,000 in 310 executions'
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
from sentinet_dagster.surveillance.rolling import lagged_moments, lagged_sums
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["VOLUME_SPIKE"]

_MINUTE: Final = 12  # windows
_PAST: Final = 240
_MIN_SAMPLES: Final = 120
_LOOKBACK: Final = Lookback(windows=(_MINUTE + _PAST) * WINDOW)


class VolumeSpikeThresholds(Thresholds, frozen=True):
    """Multiples of the usual minute."""

    ratio: float = Field(default=3.0, gt=1)
    warning_ratio: float = Field(default=10.0, gt=1)
    trades: float = Field(default=20, ge=1)
    """Executions the minute must have: the volume of few is a matter of chance."""


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    grid = inputs.grid(_LOOKBACK.windows)
    columns = grid.columns - _MINUTE - _PAST
    values = inputs.of_windows(grid, ["volume", "trade_count"])
    broken = inputs.broken(grid)
    minute = lagged_sums(np.where(broken, np.nan, values["volume"]), _MINUTE, columns)
    past = lagged_moments(values["volume"][:, :-_MINUTE], broken[:, :-_MINUTE], _PAST, columns)
    usual = np.where((past.samples >= _MIN_SAMPLES) & (past.mean > 0), _MINUTE * past.mean, np.nan)
    frame = grid.frame(
        {
            "minute_volume": minute,
            "usual_volume": usual,
            "volume_ratio": minute / usual,
            "trades": lagged_sums(np.nan_to_num(values["trade_count"]), _MINUTE, columns),
        },
        columns,
    )
    ratio = pl.col("volume_ratio")
    large = ratio > pl.col(limit("warning_ratio"))
    return verdicts(
        frame.join(thresholds, on="instrument_id"),
        score=ratio,
        threshold=pl.col(limit("ratio")),
        severity=pl.when(large).then(pl.lit("warning")).otherwise(pl.lit("info")),
        fires=(ratio > pl.col(limit("ratio"))) & (pl.col("trades") >= pl.col(limit("trades"))),
        evidence=pl.struct("minute_volume", "usual_volume", "volume_ratio", "trades"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    return (
        f"{symbol} traded {finding['volume_ratio']:.1f} times its usual minute: "
        f"{finding['minute_volume']:,.8g} in {finding['trades']:.0f} executions"
    )


VOLUME_SPIKE = Detector(
    name="volume_spike",
    version=1,
    evidence_level="trades",
    lookback=_LOOKBACK,
    thresholds=VolumeSpikeThresholds,
    detect=_detect,
    summary=_summary,
)

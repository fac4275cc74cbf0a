"""price_spike: the price stands far from its mean of twenty minutes.

What: the price is more than 5 % above or below the mean of the 20 minutes before; critical above 10 %.
Evidence level: L1 (the mid of the best quotes; the last trade where there are none).
Blind: in the first ten minutes after a start or a gap; to a price that climbs by less than 5 % in twenty
    minutes; it does not say how fast the price came there (`volatility_spike` does).
Example: DOGE-USDT trades 8 % above the mean of its last twenty minutes.
Source: the product's first specification (issue 6): 5 % from the mean of 20 periods, here of a minute.

>>> PRICE_SPIKE.summary("DOGE-USDT", {"deviation_bps": 812.0, "mean_price": 0.1})
'DOGE-USDT 8.1 % above its 20-minute mean of 0.1'
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
    graded,
    limit,
    verdicts,
)
from sentinet_dagster.surveillance.rolling import lagged_moments
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["PRICE_SPIKE"]

_PAST: Final = 240  # windows of the mean: 20 minutes
_MIN_SAMPLES: Final = 120
_LOOKBACK: Final = Lookback(windows=_PAST * WINDOW, features=_PAST * WINDOW)


class PriceSpikeThresholds(Thresholds, frozen=True):
    """Distance from the mean, in either direction."""

    deviation_bps: float = Field(default=500.0, gt=0)
    critical_deviation_bps: float = Field(default=1000.0, gt=0)


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    grid = inputs.grid(_LOOKBACK.windows)
    columns = grid.columns - _PAST
    price = inputs.of_features(grid, ["price"])["price"]
    past = lagged_moments(price, inputs.broken(grid), _PAST, columns)
    mean = np.where(past.samples >= _MIN_SAMPLES, past.mean, np.nan)
    now = price[:, _PAST:]
    frame = grid.frame({"price": now, "mean_price": mean, "deviation_bps": 1e4 * (now / mean - 1)}, columns)
    distance = pl.col("deviation_bps").abs()
    critical = distance > pl.col(limit("critical_deviation_bps"))
    return verdicts(
        frame.join(thresholds, on="instrument_id"),
        score=distance,
        threshold=pl.col(limit("deviation_bps")),
        severity=graded(critical),
        fires=distance > pl.col(limit("deviation_bps")),
        evidence=pl.struct("price", "mean_price", "deviation_bps"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    side = "above" if finding["deviation_bps"] > 0 else "below"
    return (
        f"{symbol} {abs(finding['deviation_bps']) / 100:.1f} % {side} its 20-minute mean of "
        f"{finding['mean_price']:.8g}"
    )


PRICE_SPIKE = Detector(
    name="price_spike",
    version=1,
    evidence_level="L1",
    lookback=_LOOKBACK,
    thresholds=PriceSpikeThresholds,
    detect=_detect,
    summary=_summary,
)

"""flash_crash: the price falls within minutes as it does not in days; it opens on the fall.

What: the price stands more than 200 bps below its greatest of the last five minutes, and the fall is more
    than six standard deviations of what five minutes of the 20 before would have been. It fires while the
    price is down; how much of the fall has been made good since is evidence, and so says afterwards whether
    it was a crash that healed. Critical from 500 bps on.
Evidence level: L1 (the mid of the best quotes; the last trade where there are none).
Blind: in the first 15 minutes after a start or a gap; to a fall that takes longer than five minutes; to one
    after minutes that were as wild.
Example: ETH-USDT falls by 9 % in forty seconds and makes good two thirds of it within two minutes.
Source: Kirilenko, Kyle, Samadi, Tuzun, "The Flash Crash", 2017; SEC and CFTC report on 6 May 2010.

>>> numbers = {"fall_bps": 910.0, "fall_sigmas": 41.0, "recovered_share": 0.0}
>>> FLASH_CRASH.summary("ETH-USDT", numbers)
'ETH-USDT fell by 910 bps within five minutes (41.0 σ), 0 % of it made good'
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
from sentinet_dagster.surveillance.rolling import divided, lagged_greatest, lagged_moments
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["FLASH_CRASH"]

_FALL: Final = 60  # windows of the fall: five minutes
_PAST: Final = 240
_MIN_SAMPLES: Final = 120
_LOOKBACK: Final = Lookback(windows=(_FALL + _PAST) * WINDOW, features=(_FALL + _PAST) * WINDOW)


class FlashCrashThresholds(Thresholds, frozen=True):
    """All must be exceeded."""

    fall_bps: float = Field(default=200.0, gt=0)
    critical_fall_bps: float = Field(default=500.0, gt=0)
    fall_sigmas: float = Field(default=6.0, gt=0)


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    grid = inputs.grid(_LOOKBACK.windows)
    columns = grid.columns - _FALL - _PAST
    seen = inputs.of_features(grid, ["price", "return_bps"])
    broken = inputs.broken(grid)
    price = np.where(broken, np.nan, seen["price"])
    past = lagged_moments(seen["return_bps"][:, :-_FALL], broken[:, :-_FALL], _PAST, columns)
    sigma = np.where(past.samples >= _MIN_SAMPLES, past.deviation, np.nan) * np.sqrt(_FALL)
    peak, low = lagged_greatest(price, _FALL, columns), -lagged_greatest(-price, _FALL, columns)
    # A fall that is not seen from its beginning is none: nobody knows how long it took.
    now = np.where(inputs.unbroken(grid, _FALL, columns), price[:, -columns:], np.nan)
    fall = 1e4 * (1 - now / peak)
    frame = grid.frame(
        {
            "price": now,
            "peak_price": peak,
            "low_price": low,
            "fall_bps": fall,
            "fall_sigmas": divided(fall, sigma),
            "recovered_share": divided(now - low, peak - low, 0.0),
        },
        columns,
    )
    critical = pl.col("fall_bps") > pl.col(limit("critical_fall_bps"))
    return verdicts(
        frame.join(thresholds, on="instrument_id").filter(pl.col("fall_sigmas").is_not_null()),
        score=pl.col("fall_bps"),
        threshold=pl.col(limit("fall_bps")),
        severity=graded(critical),
        fires=(pl.col("fall_bps") > pl.col(limit("fall_bps")))
        & (pl.col("fall_sigmas") > pl.col(limit("fall_sigmas"))),
        evidence=pl.struct("price", "peak_price", "low_price", "fall_bps", "fall_sigmas", "recovered_share"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    return (
        f"{symbol} fell by {finding['fall_bps']:.0f} bps within five minutes "
        f"({finding['fall_sigmas']:.1f} σ), {100 * finding['recovered_share']:.0f} % of it made good"
    )


FLASH_CRASH = Detector(
    name="flash_crash",
    version=1,
    evidence_level="L1",
    lookback=_LOOKBACK,
    thresholds=FlashCrashThresholds,
    detect=_detect,
    summary=_summary,
)

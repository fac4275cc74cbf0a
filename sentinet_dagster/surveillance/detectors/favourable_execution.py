"""favourable_execution: for a minute now it is cheap to trade, and was not before. No abuse: information.

What: in each window of the last minute the mean spread is below 5 bps, its standard deviation below 2, and
    the bid's share of the touch between 0.4 and 0.6; and that was so in less than half of the ten minutes
    before. An instrument that is always cheap raises none.
Evidence level: L1
Blind: in the first ten minutes after a start or a gap; to depth behind the best price, and to fees.
Example: the spread of LTC-USDT, 9 bps all morning, is 3 bps for a minute with balanced sizes.
Source: the product's first specification (issue 6).

>>> FAVOURABLE_EXECUTION.summary("LTC-USDT", {"spread_bps": 3.1, "usual_share": 0.1})
'LTC-USDT is cheap to trade: spread 3.1 bps for a minute, sizes balanced (10 % of the ten minutes before)'
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
    limits,
    verdicts,
)
from sentinet_dagster.surveillance.rolling import lagged_sums
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["FAVOURABLE_EXECUTION"]

_MINUTE: Final = 12
_PAST: Final = 120
_LOOKBACK: Final = Lookback(windows=(_MINUTE + _PAST) * WINDOW)


class FavourableExecutionThresholds(Thresholds, frozen=True):
    """All must hold, in each window of the minute."""

    spread_bps: float = Field(default=5.0, gt=0)
    spread_std_bps: float = Field(default=2.0, gt=0)
    least_bid_share: float = Field(default=0.4, gt=0, lt=0.5)
    """Of the sizes at the best bid and ask; the ask's share must be as great."""
    usual_share: float = Field(default=0.5, gt=0, le=1)
    """Of the ten minutes before, in which the same held, there must be less."""


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    """The score is how far the spread lies below the limit, in bps."""
    grid = inputs.grid(_LOOKBACK.windows)
    columns = grid.columns - _MINUTE - _PAST
    seen = inputs.of_windows(grid, ["spread_bps_mean", "spread_bps_std", "imbalance_mean"])
    asked = {
        name: limits(thresholds, grid, name) for name in ("spread_bps", "spread_std_bps", "least_bid_share")
    }
    balanced = np.abs(seen["imbalance_mean"]) <= 1 - 2 * asked["least_bid_share"]
    cheap = (
        ~inputs.broken(grid)
        & (seen["spread_bps_mean"] < asked["spread_bps"])
        & (seen["spread_bps_std"] < asked["spread_std_bps"])
        & balanced
    ).astype(np.float64)
    known = inputs.unbroken(grid, _MINUTE + _PAST, columns)
    mean_spread = lagged_sums(seen["spread_bps_mean"], _MINUTE, columns) / _MINUTE
    frame = grid.frame(
        {
            "spread_bps": np.where(known, mean_spread, np.nan),
            "held": lagged_sums(cheap, _MINUTE, columns),
            "usual_share": lagged_sums(cheap[:, :-_MINUTE], _PAST, columns) / _PAST,
        },
        columns,
    )
    return verdicts(
        frame.join(thresholds, on="instrument_id"),
        score=pl.col(limit("spread_bps")) - pl.col("spread_bps"),
        threshold=pl.lit(0.0),
        severity=pl.lit("info"),
        fires=(pl.col("held") == _MINUTE) & (pl.col("usual_share") < pl.col(limit("usual_share"))),
        evidence=pl.struct("spread_bps", "usual_share"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    return (
        f"{symbol} is cheap to trade: spread {finding['spread_bps']:.1f} bps for a minute, "
        "sizes balanced "
        f"({100 * finding['usual_share']:.0f} % of the ten minutes before)"
    )


FAVOURABLE_EXECUTION = Detector(
    name="favourable_execution",
    version=1,
    evidence_level="L1",
    lookback=_LOOKBACK,
    thresholds=FavourableExecutionThresholds,
    detect=_detect,
    summary=_summary,
)

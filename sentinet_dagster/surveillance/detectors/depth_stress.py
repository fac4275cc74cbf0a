"""depth_stress: there is little to trade against near the price, and far less than usual.

What: less than 500,000 of quote currency rests within 10 bps of the mid, both sides together (critical:
    200,000), and less than half of the mean of the five minutes before, in two windows running. The
    absolute numbers alone would fire for ever on a small coin; the share alone on a book ten times as deep.
Evidence level: L2
Blind: in the first 2.5 minutes after a start or a gap; to depth beyond the levels that the venue sends; where
    the quote currency is no dollar, set the numbers for the instrument. Where the spread is usually as wide
    as the band, or wider, what lies within the band depends on the touch and is no measure of the book:
    `spread_stress` looks there.
Example: of 2.1 million within 10 bps of BTC-USDT 150,000 are left.
Source: the product's first specification (issue 6): depth within 10 bps below 500,000 and 200,000 dollars.

>>> DEPTH_STRESS.summary("BTC-USDT", {"depth": 150000.0, "usual_depth": 2100000.0})
'BTC-USDT has 150,000 within 10 bps of its mid, usually 2,100,000'
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

__all__ = ["DEPTH_STRESS"]

_PAST: Final = 60
_HELD: Final = 2
_MIN_SAMPLES: Final = 30
_BAND_BPS: Final = 10.0  # of the depths
_LOOKBACK: Final = Lookback(windows=(_PAST + _HELD) * WINDOW)


class DepthStressThresholds(Thresholds, frozen=True):
    """Quote currency within 10 bps of the mid, and as a share of what is usual."""

    warning_depth: float = Field(default=500_000.0, gt=0)
    critical_depth: float = Field(default=200_000.0, gt=0)
    share: float = Field(default=0.5, gt=0, lt=1)


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    """The score is the missing share of the usual depth."""
    grid = inputs.grid(_LOOKBACK.windows)
    columns = grid.columns - _PAST - _HELD
    seen = inputs.of_windows(grid, ["bid_depth_10bps", "ask_depth_10bps", "spread_bps_mean"])
    depth = seen["bid_depth_10bps"] + seen["ask_depth_10bps"]
    early = slice(None, 1 - _HELD)
    broken = inputs.broken(grid)[:, early]
    past = lagged_moments(depth[:, early], broken, _PAST, columns)
    spread_bps = lagged_moments(seen["spread_bps_mean"][:, early], broken, _PAST, columns).mean
    measures = (past.samples >= _MIN_SAMPLES) & ~(spread_bps >= _BAND_BPS)
    usual = np.where(measures, past.mean, np.nan)
    # The greatest of the two windows: both must be thin.
    held = lagged_greatest(np.where(np.isnan(depth), np.inf, depth), _HELD, columns)
    held = np.where(np.isinf(held), np.nan, held)
    missing = divided(usual - held, usual)
    frame = grid.frame({"depth": held, "usual_depth": usual, "missing_share": missing}, columns)
    depth_now, critical = pl.col("depth"), pl.col("depth") < pl.col(limit("critical_depth"))
    return verdicts(
        frame.join(thresholds, on="instrument_id"),
        score=pl.col("missing_share"),
        threshold=1 - pl.col(limit("share")),
        severity=graded(critical),
        fires=(depth_now < pl.col(limit("warning_depth")))
        & (depth_now < pl.col(limit("share")) * pl.col("usual_depth")),
        evidence=pl.struct("depth", "usual_depth", "missing_share"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    return (
        f"{symbol} has {finding['depth']:,.0f} within 10 bps of its mid, "
        f"usually {finding['usual_depth']:,.0f}"
    )


DEPTH_STRESS = Detector(
    name="depth_stress",
    version=2,
    evidence_level="L2",
    lookback=_LOOKBACK,
    thresholds=DepthStressThresholds,
    detect=_detect,
    summary=_summary,
)

"""spread_stress: the spread opens, against a fixed measure and against the instrument's own past at once.

What: warning above 3 bps and 2 standard deviations of the instrument's own last five minutes, critical
    above 5 bps and 3; and in both cases more than twice the mean of those minutes. Absolute alone would
    fire for ever on an instrument whose ordinary spread is 15 bps; relative alone on one whose spread of
    0.1 bps doubles.
Evidence level: L1.
Blind: in the first 2.5 minutes after a start or a gap, to a spread that opens slowly, to depth behind the
    best price.
Example: KSB-USDT opens from 6 to 50 bps for twenty seconds.
Source: the dual-condition rule of the product's first specification (issue 6): absolute limit and own
    past.

>>> SPREAD_STRESS.summary("KSB-USDT", {"spread_bps_mean": 48.2, "past_mean_bps": 6.1, "spread_bps_z": 31.0})
'KSB-USDT spread 48.2 bps, 7.9 times its 5-minute mean of 6.1 bps (31.0 σ)'
"""

from __future__ import annotations

from typing import Final

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

__all__ = ["SPREAD_STRESS"]

_PAST = 60
_LOOKBACK: Final = Lookback(windows=_PAST * WINDOW)


class SpreadStressThresholds(Thresholds, frozen=True):
    """Two steps of two conditions, and one for both."""

    warning_bps: float = Field(default=3.0, gt=0)
    warning_z: float = Field(default=2.0, gt=0)
    critical_bps: float = Field(default=5.0, gt=0)
    critical_z: float = Field(default=3.0, gt=0)
    ratio: float = Field(default=2.0, ge=1)
    """The spread over the mean of its own five minutes before."""


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    grid = inputs.grid(_LOOKBACK.windows)
    seen = inputs.of_windows(grid, ["spread_bps_mean"])
    past = lagged_moments(seen["spread_bps_mean"], inputs.broken(grid), _PAST, grid.columns - _PAST)
    means = grid.frame({"past_mean_bps": past.mean}, grid.columns - _PAST)
    spread, z = pl.col("spread_bps_mean"), pl.col("spread_bps_z")
    critical = (spread > pl.col(limit("critical_bps"))) & (z > pl.col(limit("critical_z")))
    warning = (spread > pl.col(limit("warning_bps"))) & (z > pl.col(limit("warning_z")))
    wide = spread > pl.col(limit("ratio")) * pl.col("past_mean_bps")
    widest = inputs.windows.select("instrument_id", "window_start", "spread_bps_max")
    window = ["instrument_id", "window_start"]
    features = inputs.judged_features
    return verdicts(
        features.join(means, on=window).join(widest, on=window).join(thresholds, on="instrument_id"),
        score=z,
        threshold=pl.when(critical).then(limit("critical_z")).otherwise(limit("warning_z")),
        severity=graded(critical),
        fires=(critical | warning) & wide,
        evidence=pl.struct("spread_bps_mean", "spread_bps_max", "spread_bps_z", "past_mean_bps"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    spread, usual = finding["spread_bps_mean"], finding["past_mean_bps"]
    return (
        f"{symbol} spread {spread:.1f} bps, {spread / usual:.1f} times its 5-minute mean of "
        f"{usual:.1f} bps ({finding['spread_bps_z']:.1f} σ)"
    )


SPREAD_STRESS = Detector(
    name="spread_stress",
    version=1,
    evidence_level="L1",
    lookback=_LOOKBACK,
    thresholds=SpreadStressThresholds,
    detect=_detect,
    summary=_summary,
)

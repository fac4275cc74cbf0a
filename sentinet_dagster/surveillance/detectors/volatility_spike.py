"""volatility_spike: the price leaves its own last five minutes, abruptly.

What: |price_z| above 3: the price is further from its 5-minute mean than three of its standard
    deviations. A price that wanders does that several times an hour without anything having happened, so
    the move of the window itself must stand out too: |return_z| above 5 against the five minutes of
    returns before it, and at least 5 bps.
Evidence level: L1 (the mid of the best quotes; the last trade where there are none).
Blind: in the first 2.5 minutes after a start or a gap; to a move that is undone within the window; to a
    slow drift; to a second spike while the first is still in the five minutes it is held against.
Example: BTC-USDT falls by 0.5 % in five seconds after minutes in which it moved by 0.01 % a window.
Source: the 3-sigma rule on a rolling window; Lee and Mykland, "Jumps in Financial Markets", 2008, for
    holding a return against the volatility just before it.

>>> VOLATILITY_SPIKE.summary("BTC-USDT", {"price_z": 4.2, "return_bps": 31.0, "return_z": 9.1})
'BTC-USDT price 4.2 σ above its 5-minute mean after a move of +31.0 bps in 5 s (9.1 σ)'
"""

from __future__ import annotations

import polars as pl
from pydantic import Field

from sentinet_dagster.surveillance.detectors.base import (
    Detector,
    Evidence,
    Inputs,
    Thresholds,
    graded,
    limit,
    verdicts,
)

__all__ = ["VOLATILITY_SPIKE"]


class VolatilitySpikeThresholds(Thresholds, frozen=True):
    """All must be exceeded."""

    price_z: float = Field(default=3.0, gt=0)
    critical_price_z: float = Field(default=8.0, gt=0)
    """Above it the alert is critical."""
    return_z: float = Field(default=5.0, ge=0)
    move_bps: float = Field(default=5.0, ge=0)
    """The window's return, in absolute terms."""


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    price_z = pl.col("price_z").abs()
    return verdicts(
        inputs.judged_features.join(thresholds, on="instrument_id"),
        score=price_z,
        threshold=pl.col(limit("price_z")),
        severity=graded(price_z > pl.col(limit("critical_price_z"))),
        fires=(price_z > pl.col(limit("price_z")))
        & (pl.col("return_z").abs() > pl.col(limit("return_z")))
        & (pl.col("return_bps").abs() >= pl.col(limit("move_bps"))),
        evidence=pl.struct(
            "price", "price_z", "price_z_samples", "return_bps", "return_z", "volatility_20_bps"
        ),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    side = "above" if finding["price_z"] > 0 else "below"
    return (
        f"{symbol} price {abs(finding['price_z']):.1f} σ {side} its 5-minute mean after a move of "
        f"{finding['return_bps']:+.1f} bps in 5 s ({abs(finding['return_z']):.1f} σ)"
    )


VOLATILITY_SPIKE = Detector(
    name="volatility_spike",
    version=1,
    evidence_level="L1",
    thresholds=VolatilitySpikeThresholds,
    detect=_detect,
    summary=_summary,
)

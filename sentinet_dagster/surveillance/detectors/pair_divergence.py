"""pair_divergence: the spread of two assets that move together leaves its mean.

What: of two instruments whose slow average of correlation is above 0.8, the ratio of their prices is more
    than 0.5 % from its mean of the 20 minutes before, and more than three standard deviations. The finding
    is of that one of the two which moved further from its own mean, with the pair as evidence.
Evidence level: derived (correlations and mids of L1 quotes).
Blind: in the first half hour after a start or a gap; to pairs that do not move together.
Example: ETH-USDT stays while BTC-USDT falls by 0.9 %: the pair stands 0.9 % from its mean.
Source: Gatev, Goetzmann, Rouwenhorst, "Pairs Trading", 2006; issue 6 (0.5 %).

>>> numbers = {"mate": 2, "divergence_bps": -88.0, "divergence_z": -5.2, "correlation_slow": 0.91}
>>> PAIR_DIVERGENCE.summary("BTC-USDT", numbers)
'BTC-USDT 88 bps below where it stands against instrument 2 (5.2 σ), with which it usually moves (0.91)'
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
    strongest,
    verdicts,
)
from sentinet_dagster.surveillance.detectors.pairs import pair_frame
from sentinet_dagster.surveillance.grid import Grid
from sentinet_dagster.surveillance.rolling import lagged_moments
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["PAIR_DIVERGENCE"]

_PAST: Final = 240
_MIN_SAMPLES: Final = 120
_LOOKBACK: Final = Lookback(windows=_PAST * WINDOW, features=_PAST * WINDOW)


class PairDivergenceThresholds(Thresholds, frozen=True):
    """For a pair, those of the lesser instrument_id hold."""

    correlation_slow: float = Field(default=0.8, gt=0, lt=1)
    divergence_bps: float = Field(default=50.0, gt=0)
    divergence_z: float = Field(default=3.0, gt=0)


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    """Only windows of an instrument with a strong pair have a row.

    The score is the distance of the pair that is furthest, in bps.
    """
    strong = _strong_pairs(inputs.judged_pairs, thresholds)
    pairs = strong.select("instrument_a", "instrument_b").unique().sort("instrument_a", "instrument_b")
    measured = _measured(inputs, inputs.grid(_LOOKBACK.windows), pairs)
    size = pl.col("divergence_bps").abs()
    apart = (size > pl.col(limit("divergence_bps"))) & (
        pl.col("divergence_z").abs() > pl.col(limit("divergence_z"))
    )
    known = strong.join(measured, on=["window_start", "instrument_a", "instrument_b"]).drop_nulls(
        ["divergence_bps", "divergence_z"]
    )
    told = strongest(known, apart, size, "mate")
    return verdicts(
        told,
        score=size,
        threshold=pl.col(limit("divergence_bps")),
        severity=pl.lit("warning"),
        fires=pl.col("fires"),
        evidence=pl.struct("mate", "divergence_bps", "divergence_z", "correlation_slow"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    side = "above" if finding["divergence_bps"] > 0 else "below"
    return (
        f"{symbol} {abs(finding['divergence_bps']):.0f} bps {side} where it stands against instrument "
        f"{finding['mate']} ({abs(finding['divergence_z']):.1f} σ), with which it usually moves "
        f"({finding['correlation_slow']:.2f})"
    )


def _strong_pairs(pairs: pl.DataFrame, thresholds: pl.DataFrame) -> pl.DataFrame:
    """The pairs that usually move together, one row a window; both must be enabled."""
    enabled = thresholds.select("instrument_id")
    return (
        pairs.select("window_start", "instrument_a", "instrument_b", "correlation_slow")
        .join(thresholds, left_on="instrument_a", right_on="instrument_id")
        .filter(pl.col("correlation_slow") > pl.col(limit("correlation_slow")))
        .join(enabled, left_on="instrument_b", right_on="instrument_id", how="semi")
    )


def _measured(inputs: Inputs, grid: Grid, pairs: pl.DataFrame) -> pl.DataFrame:
    """How far each pair stands from its mean, from the side of the one that moved further from its own."""
    columns = grid.columns - _PAST
    price = np.log(inputs.of_features(grid, ["price"])["price"])
    broken = inputs.broken(grid)
    a, b = (grid.rows_of(pairs[name].to_numpy()) for name in ("instrument_a", "instrument_b"))
    there = (a >= 0) & (b >= 0)
    a, b = a[there], b[there]
    ratio = price[a] - price[b]
    past = lagged_moments(ratio, broken[a] | broken[b], _PAST, columns)
    own = lagged_moments(price, broken, _PAST, columns)
    away = np.abs(price[:, -columns:] - own.mean)
    is_known = (past.samples >= _MIN_SAMPLES) & (past.deviation > 0)
    distance = np.where(is_known, ratio[:, -columns:] - past.mean, np.nan)
    a_left = away[a] >= away[b]
    sign = np.where(a_left, 1.0, -1.0)
    values = {
        "divergence_bps": 1e4 * sign * distance,
        "divergence_z": sign * distance / np.where(is_known, past.deviation, np.nan),
    }
    return pair_frame(grid, a, b, ~a_left, values)


PAIR_DIVERGENCE = Detector(
    name="pair_divergence",
    version=1,
    evidence_level="derived",
    lookback=_LOOKBACK,
    thresholds=PairDivergenceThresholds,
    detect=_detect,
    summary=_summary,
)

"""venue_divergence: one venue's price leaves the others', which agree among themselves.

What: of one kind of instrument with the same base and quote at three venues or more, one stands more than 25
    bps from the median of the others, which lie within 10 bps of each other, in three windows running;
    critical from 100 bps on.
Evidence level: L1 (mids; the last trade where there are none).
Blind: to two venues, of which nobody can say who left; to all leaving together; where a venue's fees or
    withdrawals keep its price apart for long, set its numbers higher.
Example: BTC-USDT at one of four venues trades 80 bps above the others for a minute: its withdrawals are
    halted.
Source: Makarov and Schoar, "Trading and Arbitrage in Cryptocurrency Markets", 2020.

>>> VENUE_DIVERGENCE.summary("BTC-USDT", {"distance_bps": 80.0, "others": 3, "others_range_bps": 2.4})
'BTC-USDT 80.0 bps above 3 other venues, which lie within 2.4 bps of each other'
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
from sentinet_dagster.surveillance.rolling import Floats
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["VENUE_DIVERGENCE"]

_HELD: Final = 3
_FEWEST_OTHERS: Final = 2
_LOOKBACK: Final = Lookback(windows=_HELD * WINDOW, features=_HELD * WINDOW)


class VenueDivergenceThresholds(Thresholds, frozen=True):
    """Distances."""

    distance_bps: float = Field(default=25.0, gt=0)
    critical_distance_bps: float = Field(default=100.0, gt=0)
    others_range_bps: float = Field(default=10.0, gt=0)


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    """The score is the least distance of the three windows."""
    grid = inputs.grid(_LOOKBACK.windows)
    columns = grid.columns - _HELD
    price = np.where(inputs.broken(grid), np.nan, inputs.of_features(grid, ["price"])["price"])
    distance, spread = np.full(price.shape, np.nan), np.full(price.shape, np.nan)
    others = np.zeros(len(price))
    listed = inputs.instruments.sort("instrument_id").group_by("kind", "base", "quote")
    for same in listed.agg("instrument_id")["instrument_id"]:
        rows = grid.rows_of(same.to_numpy())
        rows = rows[rows >= 0]
        if len(rows) > _FEWEST_OTHERS:
            distance[rows], spread[rows] = _apart(price[rows])
            others[rows] = len(rows) - 1
    held, widest = distance[:, -columns:], spread[:, -columns:]
    sign = np.sign(held)
    least = np.abs(held)
    for lag in range(1, _HELD):
        stop = grid.columns - lag
        least = np.minimum(least, np.maximum(sign * distance[:, stop - columns : stop], 0.0))
        widest = np.maximum(widest, spread[:, stop - columns : stop])
    frame = grid.frame(
        {
            "distance_bps": held,
            "least_bps": least,
            "others_range_bps": widest,
            "others": np.repeat(others[:, None], columns, axis=1),
        },
        columns,
    )
    away = pl.col("least_bps")
    critical = away > pl.col(limit("critical_distance_bps"))
    return verdicts(
        frame.join(thresholds, on="instrument_id"),
        score=away,
        threshold=pl.col(limit("distance_bps")),
        severity=graded(critical),
        fires=(away > pl.col(limit("distance_bps")))
        & (pl.col("others_range_bps") <= pl.col(limit("others_range_bps"))),
        evidence=pl.struct("distance_bps", "others_range_bps", pl.col("others").cast(pl.Int64)),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    side = "above" if finding["distance_bps"] > 0 else "below"
    return (
        f"{symbol} {abs(finding['distance_bps']):.1f} bps {side} {finding['others']} other "
        "venues, which lie "
        f"within {finding['others_range_bps']:.1f} bps of each other"
    )


def _apart(price: Floats) -> tuple[Floats, Floats]:
    """Of each venue: its distance from the median of the others, and how far these lie apart, in bps.

    NaN where it or all but one of the others have no price.
    """
    distance, spread = np.empty(price.shape), np.empty(price.shape)
    for row in range(len(price)):
        others = np.sort(np.delete(price, row, axis=0), axis=0)  # NaN goes last
        count = np.count_nonzero(~np.isnan(others), axis=0)
        enough = count >= _FEWEST_OTHERS
        low, high = np.maximum(count - 1, 0) // 2, count // 2
        high = np.minimum(high, len(others) - 1)
        middle = (_at(others, low) + _at(others, high)) / 2
        distance[row] = np.where(enough, 1e4 * (price[row] / middle - 1), np.nan)
        spread[row] = np.where(enough, 1e4 * (_at(others, np.maximum(count - 1, 0)) / others[0] - 1), np.nan)
    return distance, spread


def _at(rows: Floats, places: np.ndarray) -> Floats:
    taken: Floats = np.take_along_axis(rows, places[None, :], axis=0)[0]
    return taken


VENUE_DIVERGENCE = Detector(
    name="venue_divergence",
    version=1,
    evidence_level="L1",
    lookback=_LOOKBACK,
    thresholds=VenueDivergenceThresholds,
    detect=_detect,
    summary=_summary,
)

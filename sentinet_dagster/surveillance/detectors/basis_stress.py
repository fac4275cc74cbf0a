"""basis_stress: a perpetual leaves the price that it is meant to follow, and stays away.

What: the perpetual's price is more than 10 bps from its reference and more than two standard deviations from
    their usual distance in every window of two minutes, all on one side (warning); or 20 bps and three, for
    a minute (critical). References: the venue's index, its mark price, and the median of the spot
    instruments of the same base and quote. Of several the one with the greatest distance speaks.
Evidence level: L1 (mids; the last trade where there are none; the venue's own reference prices).
Blind: in the first seven minutes after a start or a gap; to a distance that grows slowly; where neither spot
    nor reference prices are taken.
Example: BTC-USDT-PERP trades 35 bps below the index for three minutes while positions are liquidated.
Source: the product's first specification (issue 6); Makarov and Schoar, "Trading and Arbitrage in
    Cryptocurrency Markets", 2020.

>>> numbers = {"basis_bps": -35.2, "basis_z": -6.1, "reference": "index", "usual_bps": -1.5, "held_s": 120}
>>> BASIS_STRESS.summary("BTC-USDT-PERP", numbers)
'BTC-USDT-PERP 35.2 bps below its index for 120 s (6.1 σ from the usual -1.5 bps)'
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
    strongest,
    verdicts,
)
from sentinet_dagster.surveillance.grid import Grid
from sentinet_dagster.surveillance.rolling import Flags, Floats, carry_forward, lagged_moments
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["BASIS_STRESS"]

_LONG: Final = 24  # windows: two minutes
_SHORT: Final = 12
_PAST: Final = 240
_MIN_SAMPLES: Final = 60
_CARRY: Final = 12
_LOOKBACK: Final = Lookback(
    windows=(_LONG + _PAST + _CARRY) * WINDOW, features=(_LONG + _PAST + _CARRY) * WINDOW
)


class BasisStressThresholds(Thresholds, frozen=True):
    """Two steps of two conditions: the distance, and the distance from the usual one."""

    warning_bps: float = Field(default=10.0, gt=0)
    warning_z: float = Field(default=2.0, gt=0)
    critical_bps: float = Field(default=20.0, gt=0)
    critical_z: float = Field(default=3.0, gt=0)


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    """The score is the least |z| of the span that fired."""
    grid = inputs.grid(_LOOKBACK.windows)
    measured = _measured(inputs, grid)
    long, short = pl.col("long_bps").abs(), pl.col("short_bps").abs()
    long_z, short_z = pl.col("long_z"), pl.col("short_z")
    critical = (short > pl.col(limit("critical_bps"))) & (short_z > pl.col(limit("critical_z")))
    warning = (long > pl.col(limit("warning_bps"))) & (long_z > pl.col(limit("warning_z")))
    held_s = pl.when("is_critical").then(_SHORT * WINDOW.seconds).otherwise(_LONG * WINDOW.seconds)
    judged = (
        measured.join(thresholds, on="instrument_id")
        .with_columns(is_critical=critical)
        .with_columns(held_s=held_s)
    )
    told = strongest(judged, critical | warning, pl.col("basis_bps").abs(), "reference")
    return verdicts(
        told,
        score=pl.when("is_critical").then(short_z).otherwise(long_z),
        threshold=pl.when("is_critical").then(limit("critical_z")).otherwise(limit("warning_z")),
        severity=graded("is_critical"),
        fires=pl.col("fires"),
        evidence=pl.struct("basis_bps", "basis_z", "usual_bps", "reference", "held_s"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    side = "above" if finding["basis_bps"] > 0 else "below"
    return (
        f"{symbol} {abs(finding['basis_bps']):.1f} bps {side} its {finding['reference']} for "
        f"{finding['held_s']} s ({abs(finding['basis_z']):.1f} σ from the usual "
        f"{finding['usual_bps']:.1f} bps)"
    )


def _measured(inputs: Inputs, grid: Grid) -> pl.DataFrame:
    """One row a perpetual, window and reference."""
    known = inputs.instruments.filter(pl.col("kind") == "perpetual")
    rows = grid.rows_of(known["instrument_id"].to_numpy())
    known = known.filter(pl.Series(rows >= 0))
    rows = rows[rows >= 0]
    broken = inputs.broken(grid)[rows]
    price = inputs.of_features(grid, ["price"])["price"]
    said = inputs.of_windows(grid, ["mark_close", "index_close"])
    width = grid.columns - _CARRY
    references = {
        name: carry_forward(said[column][rows], broken, _CARRY, width)
        for name, column in (("index", "index_close"), ("mark", "mark_close"))
    }
    references["spot"] = _spot(inputs, grid, price, known)[:, _CARRY:]
    own = grid.of(rows)
    return pl.concat(
        _basis(own, 1e4 * (price[rows, _CARRY:] / reference - 1), broken[:, _CARRY:], name)
        for name, reference in references.items()
    )


def _spot(inputs: Inputs, grid: Grid, price: Floats, perpetuals: pl.DataFrame) -> Floats:
    """The median price of the spot instruments of each perpetual's base and quote; NaN without one."""
    spots = inputs.instruments.filter(pl.col("kind") == "spot")
    median = np.full((perpetuals.height, grid.columns), np.nan)
    for number, (base, quote) in enumerate(perpetuals.select("base", "quote").iter_rows()):
        same = spots.filter((pl.col("base") == base) & (pl.col("quote") == quote))
        rows = grid.rows_of(same["instrument_id"].to_numpy())
        prices = np.sort(price[rows[rows >= 0]], axis=0)  # NaN goes last
        count = np.count_nonzero(~np.isnan(prices), axis=0)
        if len(prices):
            middle = np.maximum(count - 1, 0) // 2
            median[number] = np.take_along_axis(prices, middle[None, :], axis=0)[0]
    return median


def _basis(own: Grid, basis: Floats, broken: Flags, reference: str) -> pl.DataFrame:
    columns = basis.shape[1] - _LONG - _PAST
    # Held against the past of the two minutes' first window, so that they do not hide in it.
    past = lagged_moments(basis[:, : 1 - _LONG], broken[:, : 1 - _LONG], _PAST, columns)
    is_known = (past.samples >= _MIN_SAMPLES) & (past.deviation > 0)
    deviation = np.where(is_known, past.deviation, np.nan)
    now = basis[:, -columns:]
    least = np.full(now.shape, np.inf)
    least_z = np.full(now.shape, np.inf)
    held: dict[str, Floats] = {}
    for lag in range(_LONG):
        stop = basis.shape[1] - lag
        then = np.where(broken[:, stop - columns : stop], np.nan, basis[:, stop - columns : stop])
        same_side = np.sign(then) == np.sign(now)
        least = np.minimum(least, np.where(same_side, np.abs(then), 0.0 * then))
        least_z = np.minimum(least_z, np.sign(now) * (then - past.mean) / deviation)
        if lag == _SHORT - 1:
            held = {"short_bps": least, "short_z": least_z}
    held |= {"long_bps": least, "long_z": least_z, "basis_bps": now}
    held |= {"basis_z": (now - past.mean) / deviation, "usual_bps": past.mean}
    return own.frame(held, columns).with_columns(reference=pl.lit(reference))


BASIS_STRESS = Detector(
    name="basis_stress",
    version=1,
    evidence_level="L1",
    lookback=_LOOKBACK,
    thresholds=BasisStressThresholds,
    detect=_detect,
    summary=_summary,
)

"""momentum_ignition: a burst of one-sided orders moves the price, and the price comes back.

What: within the last minute there were 15 s in which at least five orders of one side walked the book, more
    than 80 % of the volume was of that side, and the price moved by at least 20 bps and five standard
    deviations of what 15 s usually do; and by now at least half of that move is undone. It opens when the
    price has come back: before, it may be news.
Evidence level: trades
Blind: in the first five minutes after a start or a gap; to a move that takes longer than 15 s or stays; a
    feed that sums executions over time shows fewer walking orders. A large order of somebody in a hurry
    looks the same.
Example: 11 buying orders walk the book of LINK-USDT, it rises by 60 bps in ten seconds and is back in thirty.
Source: ESMA, MAR guidelines on momentum ignition; Credit Suisse, "High Frequency Trading", 2012.

>>> MOMENTUM_IGNITION.summary("LINK-USDT", {"burst_bps": 60.0, "sweeps": 11.0, "undone_share": 0.8})
'LINK-USDT moved by +60 bps in 15 s on 11 orders that walked the book, 80 % of it undone since: \
consistent with momentum ignition'
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
from sentinet_dagster.surveillance.rolling import Flags, Floats, divided, lagged_moments, lagged_sums
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["MOMENTUM_IGNITION"]

_BURST: Final = 3  # windows
_BACK: Final = 12
_PAST: Final = 60
_MIN_SAMPLES: Final = 30
_LOOKBACK: Final = Lookback(
    windows=(_BURST + _BACK + _PAST) * WINDOW, features=(_BURST + _BACK + _PAST) * WINDOW
)


class MomentumIgnitionThresholds(Thresholds, frozen=True):
    """All must hold."""

    burst_bps: float = Field(default=20.0, gt=0)
    burst_sigmas: float = Field(default=5.0, gt=0)
    sweeps: float = Field(default=5, ge=1)
    side_share: float = Field(default=0.8, gt=0.5, le=1)
    undone_share: float = Field(default=0.5, gt=0, le=1)


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    """One row a window: the greatest of the bursts that could end in it.

    The score is the burst's move, in its standard deviations.
    """
    grid = inputs.grid(_LOOKBACK.windows)
    columns = grid.columns - _BURST - _BACK - _PAST
    asked = {name: limits(thresholds, grid, name) for name in MomentumIgnitionThresholds.numbers()}
    best = _greatest(_bursts(inputs, columns), inputs.unbroken(grid, _BACK + _BURST, columns), asked)
    told = grid.frame(best, columns).join(thresholds, on="instrument_id")
    return verdicts(
        told,
        score=pl.col("burst_sigmas"),
        threshold=pl.col(limit("burst_sigmas")),
        severity=pl.lit("warning"),
        fires=pl.col("fires"),
        evidence=pl.struct("burst_bps", "burst_sigmas", "sweeps", "side_share", "undone_share", "since_s"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    return (
        f"{symbol} moved by {finding['burst_bps']:+.0f} bps in {_BURST * WINDOW.seconds} s on "
        f"{finding['sweeps']:.0f} orders that walked the book, "
        f"{100 * finding['undone_share']:.0f} % of it "
        "undone since: consistent with momentum ignition"
    )


def _bursts(inputs: Inputs, columns: int) -> dict[str, Floats]:
    """What happened in the three windows that end with each of the last columns + _BACK."""
    width = columns + _BACK
    grid = inputs.grid(_LOOKBACK.windows)
    names = ["buy_volume", "sell_volume", "buy_sweep_count", "sell_sweep_count"]
    seen = inputs.of_windows(grid, names)
    features = inputs.of_features(grid, ["price", "return_bps"])
    price = features["price"]
    move = 1e4 * np.log(price[:, -width:] / price[:, -width - _BURST : -_BURST])
    early = slice(None, -_BURST)
    past = lagged_moments(features["return_bps"][:, early], inputs.broken(grid)[:, early], _PAST, width)
    usual = np.where(past.samples >= _MIN_SAMPLES, past.deviation, np.nan) * np.sqrt(_BURST)
    bought, sold, buys, sells = (lagged_sums(np.nan_to_num(seen[name]), _BURST, width) for name in names)
    traded = bought + sold
    rising = move > 0
    return {
        "price": price[:, -width:],
        "move": move,
        "sigmas": divided(np.abs(move), usual),
        "sweeps": np.where(rising, buys, sells),
        "share": divided(np.where(rising, bought, sold), traded, 0.0),
    }


def _greatest(bursts: dict[str, Floats], seen: Flags, asked: dict[str, Floats]) -> dict[str, Floats | Flags]:
    """Of the bursts of the last minute that one which counts and is the greatest, else the greatest."""
    columns = seen.shape[1]
    names = ("burst_bps", "burst_sigmas", "sweeps", "side_share", "undone_share", "since_s")
    best: dict[str, Floats] = {name: np.full(seen.shape, np.nan) for name in names}
    fires = np.zeros(seen.shape, dtype=np.bool_)
    now = bursts["price"][:, -columns:]
    for lag in range(1, _BACK + 1):
        stop = now.shape[1] + _BACK - lag
        move, sigmas, sweeps, share, price = (
            bursts[name][:, stop - columns : stop] for name in ("move", "sigmas", "sweeps", "share", "price")
        )
        back = -1e4 * np.log(now / price)
        undone = np.divide(back, move, out=np.zeros(back.shape), where=move != 0)
        counts = (
            seen
            & (np.abs(move) >= asked["burst_bps"])
            & (sigmas >= asked["burst_sigmas"])
            & (sweeps >= asked["sweeps"])
            & (share > asked["side_share"])
            & (undone >= asked["undone_share"])
        )
        greater = (counts & ~fires) | ((counts == fires) & ~(sigmas <= best["burst_sigmas"]))
        greater &= seen & ~np.isnan(sigmas)
        since = np.full(seen.shape, float(lag * WINDOW.seconds))
        for name, value in zip(names, (move, sigmas, sweeps, share, undone, since), strict=True):
            best[name] = np.where(greater, value, best[name])
        fires |= counts
    return {**best, "fires": fires}


MOMENTUM_IGNITION = Detector(
    name="momentum_ignition",
    version=1,
    evidence_level="trades",
    lookback=_LOOKBACK,
    thresholds=MomentumIgnitionThresholds,
    detect=_detect,
    summary=_summary,
)

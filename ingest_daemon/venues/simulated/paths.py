"""How prices and spreads move: factors that wander and swing, Ornstein-Uhlenbeck spreads and pressures.

What lives here: the state of the market at the edge of a block, and the step from one block to the next. What
never does: messages, books, clocks. A block is one second in ten steps; its random numbers depend on the seed
and the number of the block only, so a path can be walked from any remembered state.

The log of a price is a sum of factors: the market's, its group's, its own. A factor is a Brownian motion (so
the price is a geometric one) plus a bounded swing. Over five seconds nearly all of the variance is swing.
That is on purpose: of a Brownian motion alone, 0.9 % of all 5 s windows lie more than three standard
deviations from the mean of their last sixty, too many for a market that is to be called calm; with the swing
it is 0.01 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, sqrt

import numpy as np
from numpy.typing import NDArray

from ingest_daemon.venues.simulated.episodes import SECOND_US, Effects, FloatArray
from ingest_daemon.venues.simulated.instruments import SimulatedInstrument

BLOCK_US = SECOND_US
STEPS = 10
STEP_US = BLOCK_US // STEPS

_BROWNIAN_SHARE = 0.0064  # of a factor's variance over 5 s
_SWING_TAU_S = 10.0
_SWING_BOUND = 0.6  # the swing is tanh(x / bound), x an Ornstein-Uhlenbeck process of unit variance
_SWING_SIGMA = 0.723  # standard deviation of its change over 5 s, for the constants above
_SPREAD_SIGMA = 0.22  # of the log of the spread
_TILT_SIGMA = 0.20  # of the log of bid size / ask size, its slow part
# Time constants of the other mean-reverting processes, in seconds.
_BASIS_TAU_S = 30.0
_STRESS_TAU_S = 60.0
_TILT_TAU_S = 15.0
_EASE_TAU_S = 45.0  # a leg that decoupled comes back to its mates
_PATH_STREAM = 0  # of the random numbers of a block
_STEP_S = STEP_US / SECOND_US


@dataclass(frozen=True, slots=True)
class PathState:
    """The market at the start of a block. Arrays over instruments; never changed in place."""

    wander: FloatArray  # the Brownian part of each factor
    reverting: (
        FloatArray  # Ornstein-Uhlenbeck processes of unit variance: swing per factor; basis, stress, tilt
    )
    level: FloatArray  # log of the price without episodes and basis
    distance: FloatArray  # log distance that a decoupling has made
    log_mid: FloatArray
    trades: NDArray[np.int64]  # since the anchor


@dataclass(frozen=True, slots=True)
class BlockPath:
    """One block: values at its STEPS + 1 edges, shape (STEPS + 1, instruments), and the number of trades."""

    log_mid: FloatArray
    log_spread: FloatArray  # of the calm part of the spread, as a fraction of the price
    tilt: FloatArray  # log of bid size / ask size, the slow part
    trades: NDArray[np.int64]  # fills in this block, per instrument
    trades_before: NDArray[np.int64]  # fills since the anchor
    effects: Effects


class PathModel:
    """The constants of the walk for a list of instruments."""

    def __init__(self, instruments: Sequence[SimulatedInstrument], rate: float) -> None:
        def column(values: Sequence[float]) -> FloatArray:
            return np.array(values, dtype=np.float64)

        market = column([i.market_share for i in instruments])
        group = column([i.group_share for i in instruments])
        if np.any(market + group > 1 + 1e-12):
            raise ValueError("market_share + group_share is above 1")
        n = len(instruments)
        names = sorted({i.group for i in instruments})
        self._factors = 1 + len(names) + n  # the market, the groups, the instruments
        weights = np.zeros((self._factors, n))
        weights[0] = np.sqrt(market)
        weights[[1 + names.index(i.group) for i in instruments], range(n)] = np.sqrt(group)
        weights[1 + len(names) + np.arange(n), range(n)] = np.sqrt(np.maximum(1.0 - market - group, 0.0))
        self._weights = weights * column([i.volatility_bps * 1e-4 for i in instruments])
        self._basis_sigma = column([i.basis_bps * 1e-4 for i in instruments])
        self._log_spread = np.log(column([i.spread_bps * 1e-4 for i in instruments]))
        self._log_price = np.log(column([i.price for i in instruments]))
        self._trades_per_step = column([i.trades_per_s * rate * _STEP_S for i in instruments])
        taus = np.repeat([_SWING_TAU_S, _BASIS_TAU_S, _STRESS_TAU_S, _TILT_TAU_S], [self._factors, n, n, n])
        self._decay = np.exp(-_STEP_S / taus)
        self._noise = np.sqrt(1.0 - self._decay**2)

    def start(self) -> PathState:
        """The state at the anchor."""
        n = len(self._log_price)
        return PathState(
            wander=np.zeros(self._factors),
            reverting=np.zeros(len(self._decay)),
            level=self._log_price,
            distance=np.zeros(n),
            log_mid=self._log_price,
            trades=np.zeros(n, dtype=np.int64),
        )

    def walk(self, state: PathState, effects: Effects, seed: int, block: int) -> tuple[BlockPath, PathState]:
        """Block number `block`, and the state after it."""
        random = np.random.default_rng((seed, block, _PATH_STREAM))
        steps = random.standard_normal((STEPS, self._factors)) * sqrt(_BROWNIAN_SHARE * _STEP_S / 5.0)
        wander = state.wander + np.cumsum(steps, axis=0)
        reverting = self._revert(state.reverting, random)
        swing = np.tanh(reverting[1:, : self._factors] / _SWING_BOUND)
        level = (
            self._log_price + (wander + sqrt(1.0 - _BROWNIAN_SHARE) / _SWING_SIGMA * swing) @ self._weights
        )
        basis, stress, tilt = np.split(reverting[:, self._factors :], 3, axis=1)
        distance = _distance(state.distance, np.diff(level, axis=0, prepend=state.level[None, :]), effects)
        log_mid = level + basis[1:] * self._basis_sigma + distance + effects.shift
        trades = random.poisson((self._trades_per_step * effects.activity).sum(axis=0))
        path = BlockPath(
            log_mid=np.vstack((state.log_mid, log_mid)),
            log_spread=self._log_spread + _SPREAD_SIGMA * stress,
            tilt=_TILT_SIGMA * tilt,
            trades=trades,
            trades_before=state.trades,
            effects=effects,
        )
        after = PathState(
            wander=wander[-1],
            reverting=reverting[-1],
            level=level[-1],
            distance=distance[-1],
            log_mid=log_mid[-1],
            trades=state.trades + trades,
        )
        return path, after

    def _revert(self, start: FloatArray, random: np.random.Generator) -> FloatArray:
        """The Ornstein-Uhlenbeck processes at the edges of the steps, shape (STEPS + 1, processes)."""
        values = np.empty((STEPS + 1, len(start)))
        values[0] = start
        noise = random.standard_normal((STEPS, len(start))) * self._noise
        for step in range(STEPS):
            values[step + 1] = values[step] * self._decay + noise[step]
        return values


_EASE_DECAY = exp(-_STEP_S / _EASE_TAU_S)


def _distance(before: FloatArray, returns: FloatArray, effects: Effects) -> FloatArray:
    """What a gain on the return has added to the price; it eases back once the gain is gone."""
    if not before.any() and not effects.holds.any():
        return np.zeros_like(returns)
    added = (effects.gain - 1.0) * returns
    keep = np.where(effects.holds, 1.0, _EASE_DECAY)
    distances = np.empty_like(returns)
    distance = before
    for step in range(STEPS):
        distance = distance * keep[step] + added[step]
        # What is left below a thousandth of a basis point is dropped, so that the walk becomes cheap again.
        distance = np.where(np.abs(distance) < 1e-7, 0.0, distance)
        distances[step] = distance
    return distances

"""Books from the states of the best prices: what rests behind them, and the difference of two books.

What lives here: a book as a function of a state. What never does: the text of a message, clocks, randomness
beyond one fixed table. Behind the best price, orders rest at every multiple of `gap` ticks; how much rests at
a price depends on the price, so that a book keeps its levels while the market moves over them. A book is
LEVELS levels a side, all of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ingest_daemon.venues.simulated.episodes import FloatArray
from ingest_daemon.venues.simulated.instruments import SimulatedInstrument

LEVELS = 50
_TABLE = 1024  # sizes repeat after this many levels
_GAP_TO_SPREAD = 0.5
_REST_TO_TOUCH = 1.5  # the median size behind the best price, against the median at it
_REST_SIGMA = 0.6
_TABLE_STREAM = 2

IntArray = NDArray[np.int64]


class Ladders:
    """The resting orders of every instrument, and the scales of prices and sizes."""

    def __init__(self, instruments: Sequence[SimulatedInstrument], seed: int) -> None:
        price = np.array([i.price for i in instruments])
        self.tick: FloatArray = np.array([i.tick_size for i in instruments])
        self.ticks_per_unit = np.array([10.0**i.price_decimals for i in instruments])
        self.lots_per_unit = np.array([10.0**i.size_decimals for i in instruments])
        self.touch_lots: FloatArray = (
            np.array([i.touch_notional for i in instruments]) / price * self.lots_per_unit
        )
        spread = np.array([i.spread_bps * 1e-4 for i in instruments]) * price / self.tick
        self._gap: IntArray = np.maximum(np.rint(spread * _GAP_TO_SPREAD), 1).astype(np.int64)
        random = np.random.default_rng((seed, _TABLE_STREAM))
        noise = np.exp(_REST_SIGMA * random.standard_normal((len(instruments), _TABLE)))
        self._resting = noise * (_REST_TO_TOUCH * self.touch_lots)[:, None]

    def price_behind(
        self, instrument: IntArray, best: IntArray, position: IntArray, sign: IntArray
    ) -> IntArray:
        """The price `position` levels behind `best`; `sign` is -1 on the bid side and +1 on the ask side."""
        gap = self._gap[instrument]
        # The first multiple of the gap strictly behind the best price.
        behind = np.where(sign < 0, (best - 1) // gap, best // gap + 1) * gap
        price: IntArray = np.where(position == 0, best, behind + sign * (position - 1) * gap)
        return price

    def side(
        self,
        instrument: IntArray,
        best: IntArray,
        best_lots: IntArray,
        depth: FloatArray,
        sign: int,
        levels: int,
    ) -> tuple[IntArray, IntArray]:
        """Prices in ticks and sizes in lots, best first, shape (rows, levels)."""
        rows = instrument[:, None]
        positions = np.arange(levels)[None, :]
        prices = self.price_behind(rows, best[:, None], positions, np.array(sign))
        resting = self._resting[rows, (prices // self._gap[rows]) % _TABLE]
        lots = np.maximum(np.rint(resting * depth[:, None]), 1).astype(np.int64)
        lots[:, 0] = best_lots
        return prices, lots


def difference(
    before: tuple[Sequence[int], Sequence[int]], after: tuple[Sequence[int], Sequence[int]]
) -> list[tuple[int, int]]:
    """What turns one side of a book into another: (price, lots), 0 lots where a level is gone.

    >>> difference(([100, 98], [5, 7]), ([101, 98], [4, 7]))
    [(101, 4), (100, 0)]
    """
    old = dict(zip(*before, strict=True))
    new = dict(zip(*after, strict=True))
    changed = [(price, lots) for price, lots in new.items() if old.get(price) != lots]
    return changed + [(price, 0) for price in old if price not in new]

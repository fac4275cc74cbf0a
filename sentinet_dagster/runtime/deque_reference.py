"""The judgement as tutorials build it: a deque an instrument, and numpy over it at every event.

What lives here: what `sentinet benchmark judge` is held against, and nothing that the product runs. It
computes less than the product: the z-scores of price, volume and spread, RSI, volatility and imbalance with
the thresholds of the first specification, and every five seconds the correlations of all instruments; no
completeness, no persistence, and 7 of the product's rules.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["judge_one_by_one"]

_PAST = 300  # prices that a score is held against
_RETURNS = 24
_WINDOW_S = 5.0

Row = tuple[float, int, float, float, int | None, float | None]


class _Instrument:
    """The recent past of one instrument."""

    def __init__(self) -> None:
        self.prices: deque[float] = deque(maxlen=_PAST)
        self.sizes: deque[float] = deque(maxlen=_PAST)
        self.spreads: deque[float] = deque(maxlen=_PAST)
        self.imbalances: deque[float] = deque(maxlen=_PAST)
        self.closes: deque[float] = deque(maxlen=_RETURNS + 1)


def judge_one_by_one(rows: Sequence[Row]) -> int:
    """Alerts raised over events in the order of their time.

    Args:
        rows: seconds, instrument, price (of a quote: the bid), size, aggressor (of a quote: None), ask (of a
            trade: None).
    """
    market: dict[int, _Instrument] = defaultdict(_Instrument)
    alerts, next_window = 0, rows[0][0] + _WINDOW_S if rows else 0.0
    for seconds, number, price, size, aggressor, ask in rows:
        own = market[number]
        if aggressor is None:
            alerts += _quoted(own, price, ask or price, size)
        else:
            alerts += _traded(own, price, size)
        if seconds >= next_window:
            alerts += _correlated(market)
            next_window += _WINDOW_S
    return alerts


def _traded(own: _Instrument, price: float, size: float) -> int:
    own.prices.append(price)
    own.sizes.append(size)
    prices, sizes = np.array(own.prices), np.array(own.sizes)
    if len(prices) < 30:
        return 0
    changes = np.diff(np.log(prices))
    gains, losses = changes[-14:].clip(min=0).sum(), -changes[-14:].clip(max=0).sum()
    rsi = 100 - 100 / (1 + gains / losses) if losses else 100.0
    spike = abs(_z(prices)) > 3
    volatile = changes[-20:].std() > 3 * changes.std()
    far = abs(price / prices[-20:].mean() - 1) > 0.05
    large = size > 3 * sizes.mean() and _z(sizes) > 3
    return int(spike) + int(volatile) + int(far) + int(large) + int(not 30 <= rsi <= 70)


def _quoted(own: _Instrument, bid: float, ask: float, size: float) -> int:
    own.spreads.append(1e4 * (ask - bid) / bid)
    own.imbalances.append((size - 1) / (size + 1))
    spreads = np.array(own.spreads)
    if len(spreads) < 30:
        return 0
    wide = spreads[-1] > 3 and _z(spreads) > 2
    leaning = abs(np.array(own.imbalances)[-20:].mean()) > 0.6
    return int(wide) + int(leaning)


def _correlated(market: dict[int, _Instrument]) -> int:
    for own in market.values():
        if own.prices:
            own.closes.append(own.prices[-1])
    full = [np.diff(np.log(np.array(own.closes))) for own in market.values() if len(own.closes) > _RETURNS]
    if len(full) < 2:
        return 0
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix: np.ndarray[Any, np.dtype[np.float64]] = np.corrcoef(np.array(full))
    return int((matrix < -0.8).sum() // 2)


def _z(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    deviation = values.std()
    return float((values[-1] - values.mean()) / deviation) if deviation else 0.0

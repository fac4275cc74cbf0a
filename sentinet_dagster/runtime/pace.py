"""The arithmetic of the benchmarks: delays, rates that can be kept up, rounds on a noisy machine. Pure.

What lives here: numbers in, numbers out. What never does: clocks, processes, the database.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Pace", "Probe", "Search", "delays_ms", "is_sustained", "judge", "spread"]

_Integers = npt.NDArray[np.int64]

_ENOUGH_OF_THE_RATE: Final = 0.98
_MOST_GROWTH_MS: Final = 50.0
_MOST_DELAY_MS: Final = 1_000.0
_CLOSE_ENOUGH: Final = 1.08


class Pace(NamedTuple):
    """How a load was taken."""

    sent_per_s: float
    p50_ms: float
    p99_ms: float
    early_ms: float  # the median of the second quarter: the first one warms up
    late_ms: float  # the median of the last quarter


class Probe(NamedTuple):
    """One rate that was tried."""

    frames_per_s: float
    is_sustained: bool


def delays_ms(sent: _Integers, committed: _Integers) -> npt.NDArray[np.float64]:
    """From sending to being visible, milliseconds, one for each frame in the order of their numbers.

    Args:
        sent: rows of the first number, the number after the last, and when; ascending, without holes.
        committed: rows of the same: what became visible together.

    Raises:
        ValueError: something was sent and is not committed, or is committed twice or by nobody.

    >>> delays_ms(np.array([[0, 2, 1_000_000], [2, 3, 2_000_000]]), np.array([[0, 3, 4_000_000]]))
    array([3., 3., 2.])
    """
    sent, committed = sent[np.argsort(sent[:, 0])], committed[np.argsort(committed[:, 0])]
    for spans in (sent, committed):
        if (spans[1:, 0] != spans[:-1, 1]).any():
            raise ValueError("numbers are missing, or there twice")
    if (sent[0, 0], sent[-1, 1]) != (committed[0, 0], committed[-1, 1]):
        raise ValueError(
            f"sent {sent[0, 0]} to {sent[-1, 1]}, committed {committed[0, 0]} to {committed[-1, 1]}"
        )
    seen_ns = np.repeat(committed[:, 2], committed[:, 1] - committed[:, 0])
    sent_ns = np.repeat(sent[:, 2], sent[:, 1] - sent[:, 0])
    delays: npt.NDArray[np.float64] = (seen_ns - sent_ns) / 1e6
    return delays


def judge(sent: _Integers, delays: npt.NDArray[np.float64]) -> Pace:
    """What the delays say, and at which rate was really sent."""
    seconds = (sent[-1, 2] - sent[0, 2]) / 1e9
    quarter = max(1, len(delays) // 4)
    return Pace(
        float((sent[-1, 0] - sent[0, 0]) / seconds) if seconds else 0.0,
        float(np.median(delays)),
        float(np.percentile(delays, 99)),
        float(np.median(delays[quarter : 2 * quarter])),
        float(np.median(delays[-quarter:])),
    )


def is_sustained(pace: Pace, asked_per_s: float) -> bool:
    """Whether the sender kept its pace, and who received it did not fall back more and more."""
    keeps_up = pace.late_ms - pace.early_ms <= _MOST_GROWTH_MS and pace.late_ms <= _MOST_DELAY_MS
    return keeps_up and pace.sent_per_s >= _ENOUGH_OF_THE_RATE * asked_per_s


class Search(NamedTuple):
    """The highest rate that `try_rate` says yes to: up in steps, then halving what is left."""

    start: float
    step: float = 1.5
    most: float = 1_000_000.0
    most_probes: int = 12

    def run(self, try_rate: Callable[[float], bool]) -> list[Probe]:
        """What was tried, in order. A yes is believed; a no is asked once more, for the machine is noisy."""
        probes: list[Probe] = []
        low, high, rate = 0.0, float("inf"), self.start
        while len(probes) < self.most_probes and high > low * _CLOSE_ENOUGH and rate <= self.most:
            is_yes = try_rate(rate) or try_rate(rate)
            probes.append(Probe(rate, is_yes))
            low, high = (max(low, rate), high) if is_yes else (low, min(high, rate))
            rate = low * self.step if high == float("inf") else (low + high) / 2
        return probes


def spread(rounds: Sequence[float], *, less_is_better: bool = False) -> dict[str, float]:
    """The best round, the middle one and how far they lie apart, as a share of the middle.

    >>> spread([90.0, 100.0, 110.0])
    {'best': 110.0, 'median': 100.0, 'noise': 0.2}
    """
    middle = statistics.median(rounds)
    best = min(rounds) if less_is_better else max(rounds)
    noise = (max(rounds) - min(rounds)) / middle if middle else 0.0
    return {"best": round(best, 3), "median": round(middle, 3), "noise": round(noise, 3)}

"""Numpy kernels: reductions over runs of sorted rows, and over a fixed number of windows.

What lives here: arithmetic on arrays, without meaning. What never does: frames, columns, thresholds.

Why not polars' `group_by` and `rolling_*`: what is judged live must equal what a backfill judges, to the last
bit. Running kernels carry a sum from row to row, and parallel grouping adds partial sums in an order that
depends on where the rows happen to be cut; both make the last bits depend on where a computation started.
Here every
result is a fixed sequence of additions over its own elements and nothing else: `np.ufunc.reduceat` over one
run, or a sum over the contiguous copy of one window's past.

Matrices are (instrument, window), float64, NaN where nothing is known. A result with `columns` columns
belongs to the last `columns` columns of its input; the columns before them are the look-back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = [
    "Flags",
    "Floats",
    "Ints",
    "Moments",
    "Runs",
    "carry_forward",
    "divided",
    "lagged_deciles",
    "lagged_greatest",
    "lagged_moments",
    "lagged_range",
    "lagged_sums",
    "unbroken",
    "z_score",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
_Number = TypeVar("_Number", np.float64, np.int64)
_Value = TypeVar("_Value", np.float64, np.bool_)

_AT_ONCE: Final = 1 << 18  # values: 2 MB


class Runs:
    """Reductions over runs of equal keys in a sorted array; a result has one element a key, 0 … size-1."""

    def __init__(self, keys: Ints, size: int) -> None:
        self._size = size
        self._starts = np.flatnonzero(np.diff(keys, prepend=-1))
        self._keys = keys[self._starts]
        self._lengths = np.diff(self._starts, append=len(keys))

    def count(self) -> Ints:
        """Elements a key."""
        return self._spread(self._lengths, 0)

    def total(self, values: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        """Sum a key; 0 where there is none."""
        return self._spread(self._reduce(np.add, values), 0)

    def mean(self, values: Floats) -> Floats:
        """Arithmetic mean a key."""
        return self._spread(self._reduce(np.add, values) / self._lengths, np.nan)

    def deviation(self, values: Floats) -> Floats:
        """Population standard deviation a key, in two passes."""
        means = self._reduce(np.add, values) / self._lengths
        squares = np.square(values - np.repeat(means, self._lengths))
        return self._spread(np.sqrt(self._reduce(np.add, squares) / self._lengths), np.nan)

    def least(self, values: Floats) -> Floats:
        """Minimum a key."""
        return self._spread(self._reduce(np.minimum, values), np.nan)

    def greatest(self, values: Floats) -> Floats:
        """Maximum a key."""
        return self._spread(self._reduce(np.maximum, values), np.nan)

    def first(self, values: Floats) -> Floats:
        """The first element a key."""
        return self._spread(values[self._starts], np.nan)

    def last(self, values: Floats) -> Floats:
        """The last element a key."""
        return self._spread(values[self._starts + self._lengths - 1], np.nan)

    def _reduce(self, ufunc: np.ufunc, values: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        if not len(self._starts):
            return values[:0]
        reduced: npt.NDArray[_Number] = ufunc.reduceat(values, self._starts)
        return reduced

    def _spread(self, values: npt.NDArray[_Number], absent: float) -> npt.NDArray[_Number]:
        spread = np.full(self._size, absent, dtype=values.dtype)
        spread[self._keys] = values
        return spread


@dataclass(frozen=True, slots=True)
class Moments:
    """Of the windows before each window, itself not included; the deviation is the sample's (n - 1)."""

    samples: Ints
    mean: Floats
    deviation: Floats


def _lag(matrix: npt.NDArray[_Value], lag: int, columns: int) -> npt.NDArray[_Value]:
    """The last `columns` columns, `lag` windows earlier."""
    stop = matrix.shape[1] - lag
    return matrix[:, stop - columns : stop]


def lagged_moments(values: Floats, broken: Flags, length: int, columns: int) -> Moments:
    """Moments of the `length` windows before each window, back to the last broken one.

    A broken window is no sample, nor is anything before it; a broken window has no past at all. NaN is no
    sample. The mean is NaN without samples, the deviation with fewer than two.
    """
    shape = (values.shape[0], columns)
    samples, mean, deviation = np.zeros(shape, dtype=np.int64), np.empty(shape), np.empty(shape)
    since = values.shape[1] - columns
    places = np.arange(values.shape[1])
    broke = np.maximum.accumulate(np.where(broken, places, -1), axis=1)[:, since:]
    for part in _parts(values.shape[0] * length, columns):
        past = _before(values, length, since, part)
        lagging = _before(np.broadcast_to(places, values.shape), length, since, part)
        is_sample = (lagging > broke[:, part, None]) & ~np.isnan(past)
        counted = is_sample.sum(axis=2)
        total = np.where(is_sample, past, 0.0).sum(axis=2)
        nothing = np.full(counted.shape, np.nan)
        means = np.divide(total, counted, out=nothing.copy(), where=counted > 0)
        squares = np.where(is_sample, np.square(past - means[:, :, None]), 0.0).sum(axis=2)
        variance = np.divide(squares, counted - 1, out=nothing, where=counted > 1)
        samples[:, part], mean[:, part], deviation[:, part] = counted, means, np.sqrt(variance)
    return Moments(samples, mean, deviation)


def _parts(row: int, columns: int) -> Iterator[slice]:
    """All columns, a few at a time: `row` values a column, of which a cache should hold some."""
    step = max(1, _AT_ONCE // max(row, 1))
    return (slice(first, min(first + step, columns)) for first in range(0, columns, step))


def _before(values: npt.NDArray[_Number], length: int, since: int, part: slice) -> npt.NDArray[_Number]:
    """(instrument, window, lag): the `length` values before each window of a part, in the order of time.

    A copy whose last axis is contiguous: numpy sums it in an order that depends on its length alone.
    """
    first = since + part.start - length
    seen = values[:, first : since + part.stop - 1]
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(seen, length, axis=1))


def lagged_deciles(
    values: Floats, broken: Flags, length: int, min_samples: int, columns: int, deciles: Sequence[int]
) -> list[Floats]:
    """Those deciles, 5 the median and 10 the greatest, of the samples that `lagged_moments` would take.

    NaN with fewer than `min_samples` of them. One of the samples: where it lies between two, the lower.
    """
    past = np.empty((values.shape[0], columns, length))
    whole = ~_lag(broken, 0, columns)
    for lag in range(1, length + 1):
        whole = whole & ~_lag(broken, lag, columns)
        past[:, :, lag - 1] = np.where(whole, _lag(values, lag, columns), np.nan)
    past.sort(axis=2)  # NaN goes last
    samples = length - np.isnan(past).sum(axis=2)
    last = np.maximum(samples - 1, 0)[:, :, None]
    found = (np.take_along_axis(past, decile * last // 10, axis=2)[:, :, 0] for decile in deciles)
    return [np.where(samples >= min_samples, each, np.nan) for each in found]


def z_score(values: Floats, past: Moments, min_samples: int) -> Floats:
    """(value - mean) / deviation; NaN with fewer than `min_samples` samples or a past that is constant.

    Constant means: all but the rounding of its own sum.
    """
    is_known = (past.samples >= min_samples) & (past.deviation > 1e-9 * np.abs(past.mean))
    z: Floats = np.divide(
        values - past.mean, past.deviation, out=np.full(values.shape, np.nan), where=is_known
    )
    return z


def divided(
    part: npt.NDArray[np.number], whole: npt.NDArray[np.number], otherwise: float | Floats = np.nan
) -> Floats:
    """part / whole where `whole` is more than nothing.

    >>> divided(np.array([1.0, 1.0, 1.0]), np.array([4.0, 0.0, np.nan]))
    array([0.25,  nan,  nan])
    """
    out = np.broadcast_to(np.float64(otherwise), np.shape(part)).copy()
    ratio: Floats = np.divide(part, whole, out=out, where=whole > 0)
    return ratio


def lagged_sums(values: Floats, length: int, columns: int) -> Floats:
    """Sum of each window and the `length` - 1 before it; NaN as soon as one is NaN."""
    total = np.empty((values.shape[0], columns))
    for part in _parts(values.shape[0] * length, columns):
        total[:, part] = _before(values, length, values.shape[1] - columns + 1, part).sum(axis=2)
    return total


def unbroken(broken: Flags, length: int, columns: int) -> Flags:
    """Whether neither the window nor one of the `length` - 1 before it is broken."""
    places = np.arange(broken.shape[1])
    broke = np.maximum.accumulate(np.where(broken, places, -1), axis=1)
    whole: Flags = (places - broke >= length)[:, broken.shape[1] - columns :]
    return whole


def lagged_range(values: Floats, broken: Flags, length: int, columns: int) -> Floats:
    """Greatest - least of each window and the `length` - 1 before it, back to the last broken one.

    NaN where the window itself is broken or has no value; earlier windows without one are passed over.
    """
    whole = ~_lag(broken, 0, columns)
    greatest = least = np.where(whole, _lag(values, 0, columns), np.nan)
    known = ~np.isnan(greatest)
    for lag in range(1, length):
        whole = whole & ~_lag(broken, lag, columns)
        earlier = np.where(whole & known, _lag(values, lag, columns), np.nan)
        greatest, least = np.fmax(greatest, earlier), np.fmin(least, earlier)
    spread: Floats = greatest - least
    return spread


def carry_forward(values: Floats, broken: Flags, limit: int, columns: int) -> Floats:
    """The value of each window, else the newest of the `limit` windows before it, not from before a break.

    A broken window's own value is carried: it was seen. What was seen before says nothing of the time after.
    """
    places = np.arange(values.shape[1])
    seen = np.maximum.accumulate(np.where(np.isnan(values), -1, places), axis=1)
    broke = np.maximum.accumulate(np.where(broken, places, -1), axis=1)
    is_known = (seen >= 0) & (seen >= broke) & (places - seen <= limit)
    carried = np.where(is_known, np.take_along_axis(values, np.maximum(seen, 0), axis=1), np.nan)
    return _lag(carried, 0, columns)


def lagged_greatest(values: Floats, length: int, columns: int) -> Floats:
    """Greatest of each window and the `length` - 1 before it; NaN is passed over, and left where all are."""
    greatest, reach = values, 1
    while reach < length:
        step = min(reach, length - reach)
        later = np.fmax(greatest[:, step:], greatest[:, :-step])
        greatest, reach = np.concatenate((greatest[:, :step], later), axis=1), reach + step
    return _lag(greatest, 0, columns)

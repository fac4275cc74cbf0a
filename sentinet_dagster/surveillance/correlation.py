"""Features → correlations: who moves with whom now, and who usually does.

What lives here: the rolling Pearson matrix and its slow average. What never does: a verdict on either.

Returns are rounded to whole 1e-8 (a ten-thousandth of a basis point) before anything is summed. Sums of
products of such integers are exact in float64, so a matrix product gives the same bits in whatever order
the linear algebra
library adds: live equals backfill on purpose, not by luck.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import numpy as np
import polars as pl

from sentinet_dagster.surveillance.grid import Grid, Sheet
from sentinet_dagster.surveillance.rolling import Floats, Ints, divided
from sentinet_dagster.surveillance.schema import CORRELATIONS, TIME, WINDOW

__all__ = ["CORRELATION_LOOKBACK", "build_correlations"]

_FAST: Final = 24  # returns of a correlation: 2 minutes
_STRIDE: Final = 12  # windows between the correlations that are averaged: neighbours share half their returns
_SLOW: Final = 20  # correlations of the average: 20 minutes
_MIN_SLOW: Final = 10  # of them known
_UNITS_PER_BPS: Final = 10_000
_GREATEST: Final = 1.9e7  # 19 %: beyond it 24 products might no longer add up exactly
_BLOCK: Final = 8_000_000  # matrix elements held at once

_OLDEST_CORRELATION: Final = _FAST + (_SLOW - 1) * _STRIDE  # windows before the judged one
CORRELATION_LOOKBACK: Final = (_OLDEST_CORRELATION + _FAST) * WINDOW
"""How far before `start` features matter: 23 min."""


def build_correlations(features: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """One row for every window of [start, end) with features of two instruments: every pair of those it has.

    `correlation` is Pearson's over the last 24 returns of 5 s, the window's own included; null unless both
    instruments have all 24 and both moved. `correlation_slow` is the mean of 20 such correlations, one a
    minute, the newest of which ends where the fast one begins, so that a break does not eat the baseline it
    is held against; null with fewer than 10 of them.

    Blind: to co-movement that leads or lags by more than a window (Epps effect: correlation of very short
    returns is lower than of longer ones), and for the first 2 minutes (fast) and 14 minutes (slow) after a
    start or a gap.

    Args:
        features: schema.FEATURES of [start - CORRELATION_LOOKBACK, end), as far as there are any.
        start, end: multiples of 5 s.

    Returns:
        schema.CORRELATIONS, sorted by window_start. The arrays are parallel; a < b in every pair.

    Raises:
        ValueError: start or end is not a multiple of 5 s, or a column is missing.
    """
    grid = Grid.spanning(features["instrument_id"], start - CORRELATION_LOOKBACK, end)
    columns = (end - start) // WINDOW
    sheet = Sheet(features, grid)
    first, second = np.triu_indices(len(grid.instrument_ids), k=1)
    ends = _ends(columns)
    fast = _pair_correlations(sheet.column("return_bps", grid.columns), ends, first, second)
    slow = _slow_average(fast, ends, columns)

    there = sheet.present(columns).T
    column, pair = np.nonzero(there[:, first] & there[:, second])
    pairs = pl.DataFrame(
        {
            "window_start": pl.Series(grid.starts(columns)[column], dtype=pl.Int64).cast(TIME),
            "instrument_a": grid.instrument_ids[first][pair],
            "instrument_b": grid.instrument_ids[second][pair],
            "correlation": fast[len(fast) - columns :][column, pair],
            "correlation_slow": slow[column, pair],
        }
    ).with_columns(pl.col(pl.Float64).fill_nan(None))
    return CORRELATIONS.conform(pairs.group_by("window_start", maintain_order=True).agg(pl.all()))


def _ends(columns: int) -> Ints:
    """The windows whose correlations the last `columns` windows are made of, ascending; the last is -1."""
    judged = np.arange(-columns, 0)
    lags = np.array([0, *(_FAST + step * _STRIDE for step in range(_SLOW))])
    return np.unique(judged - lags[:, None])


def _pair_correlations(returns_bps: Floats, ends: Ints, first: Ints, second: Ints) -> Floats:
    """Pearson's correlation of every pair (column) over the 24 returns that end in each of `ends` (row)."""
    units = np.clip(np.rint(returns_bps * _UNITS_PER_BPS), -_GREATEST, _GREATEST)
    spans = np.lib.stride_tricks.sliding_window_view(units, _FAST, axis=1).transpose(1, 0, 2)
    block = max(1, _BLOCK // max(1, len(units) * max(len(units), _FAST)))
    rows = [
        _block_correlations(spans[ends[at : at + block]], first, second) for at in range(0, len(ends), block)
    ]
    return np.concatenate(rows) if rows else np.empty((0, len(first)))


def _block_correlations(spans: Floats, first: Ints, second: Ints) -> Floats:
    known = ~np.isnan(spans.sum(axis=2))
    exact = np.where(known[:, :, None], spans, 0.0)
    sums = exact.sum(axis=2)
    spread = np.maximum(_FAST * np.square(exact).sum(axis=2) - np.square(sums), 0.0)
    products = (exact @ exact.transpose(0, 2, 1))[:, first, second]
    common = _FAST * products - sums[:, first] * sums[:, second]
    scale = np.sqrt(spread[:, first]) * np.sqrt(spread[:, second])
    return divided(common, scale).clip(-1.0, 1.0)


def _slow_average(fast: Floats, ends: Ints, columns: int) -> Floats:
    total = np.zeros((columns, fast.shape[1]))
    known = np.zeros(total.shape, dtype=np.int64)
    for step in range(_SLOW):
        since = np.searchsorted(ends, -columns - _FAST - step * _STRIDE)
        earlier = fast[since : since + columns]
        known += ~np.isnan(earlier)
        total += np.nan_to_num(earlier)
    average: Floats = np.divide(total, known, out=np.full(total.shape, np.nan), where=known >= _MIN_SLOW)
    return average

"""Frames ⇄ matrices of (instrument, window), so that kernels need no joins.

What lives here: positions. What never does: arithmetic on values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from sentinet_dagster.surveillance.rolling import Floats
from sentinet_dagster.surveillance.schema import TIME, WINDOW, WINDOW_US

__all__ = ["Grid", "Sheet", "aligned", "ending", "microseconds"]

_Value = TypeVar("_Value", np.float64, np.bool_)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC.

    >>> microseconds(datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC))
    5000000
    """
    return (moment - _EPOCH) // timedelta(microseconds=1)


def aligned(moment: datetime) -> datetime:
    """The start of the window that `moment` lies in.

    >>> aligned(datetime(2026, 1, 31, 12, 0, 9, tzinfo=UTC)).second
    5
    """
    return _EPOCH + (moment - _EPOCH) // WINDOW * WINDOW


@dataclass(frozen=True, slots=True)
class Grid:
    """Every instrument × every window of [start, end): a row an instrument, a column a window."""

    instrument_ids: npt.NDArray[np.int64]  # ascending
    start_us: int
    columns: int

    @classmethod
    def spanning(cls, instrument_ids: pl.Series, start: datetime, end: datetime) -> Grid:
        """The grid of the distinct `instrument_ids` over [start, end).

        Raises:
            ValueError: start or end is not the start of a window, or end lies before start.
        """
        return cls(instrument_ids.cast(pl.Int64).unique().sort().to_numpy(), 0, 0).over(start, end)

    def over(self, start: datetime, end: datetime) -> Grid:
        """The grid of the same instruments over [start, end).

        Raises:
            ValueError: start or end is not the start of a window, or end lies before start.
        """
        for name, moment in (("start", start), ("end", end)):
            if microseconds(moment) % WINDOW_US:
                raise ValueError(f"{name} {moment.isoformat()} is not a multiple of {WINDOW.seconds} s")
        if end < start:
            raise ValueError(f"end {end.isoformat()} lies before start {start.isoformat()}")
        return Grid(self.instrument_ids, microseconds(start), (end - start) // WINDOW)

    def of(self, rows: npt.NDArray[np.int64]) -> Grid:
        """The grid of the instruments in some of its rows alone."""
        return Grid(self.instrument_ids[rows], self.start_us, self.columns)

    @property
    def shape(self) -> tuple[int, int]:
        """(instruments, windows)."""
        return len(self.instrument_ids), self.columns

    def starts(self, last: int | None = None) -> npt.NDArray[np.int64]:
        """The starts of the windows, or of the last so many, in microseconds."""
        columns = self.columns if last is None else last
        return self.start_us + np.arange(self.columns - columns, self.columns) * WINDOW_US

    def rows_of(self, instrument_ids: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """The row of each instrument; -1 for one that is not in the grid."""
        if not len(self.instrument_ids):
            return np.full(len(instrument_ids), -1, dtype=np.int64)
        rows = np.searchsorted(self.instrument_ids, instrument_ids).clip(max=len(self.instrument_ids) - 1)
        return np.where(self.instrument_ids[rows] == instrument_ids, rows, -1)

    def columns_of(self, times_us: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The column of each time; -1 for one outside the grid."""
        columns = (times_us - self.start_us) // WINDOW_US
        return np.where((columns >= 0) & (columns < self.columns), columns, -1)

    def frame(self, matrices: Mapping[str, npt.NDArray[np.generic]], last: int | None = None) -> pl.DataFrame:
        """One row a place, sorted by (window_start, instrument_id), of matrices with the last `last` columns.

        NaN becomes null: nothing here is a number that is not a number.
        """
        starts = self.starts(last)
        return pl.DataFrame(
            {
                "instrument_id": np.tile(self.instrument_ids.astype(np.int16), len(starts)),
                "window_start": pl.Series(np.repeat(starts, len(self.instrument_ids)), dtype=pl.Int64).cast(
                    TIME
                ),
                **{name: np.ascontiguousarray(matrix.T).ravel() for name, matrix in matrices.items()},
            },
            nan_to_null=True,
        )


class Sheet:
    """The columns of a frame as matrices of a grid, each made once, however many ask for it.

    A matrix may be asked for further back than the grid goes: of that nothing is known. They are read-only.
    """

    def __init__(self, frame: pl.DataFrame, grid: Grid) -> None:
        """`frame` has the columns instrument_id and window_start; rows outside the grid are left out."""
        rows = grid.rows_of(frame["instrument_id"].to_numpy())
        columns = grid.columns_of(frame["window_start"].to_physical().to_numpy())
        inside = np.flatnonzero((rows >= 0) & (columns >= 0))
        self._frame = frame
        # The frame's row of each place; where it has none, the one after the last.
        self._rows = np.full(grid.shape, len(frame))
        self._rows[rows[inside], columns[inside]] = inside
        self._columns: dict[str, Floats] = {}

    def column(self, name: str, last: int) -> Floats:
        """A number's last so many windows; NaN where null or absent."""
        if name not in self._columns:
            self._columns[name] = np.append(self._frame[name].to_numpy(), np.nan)[self._rows]
        return ending(self._columns[name], last, np.nan)

    def present(self, last: int) -> npt.NDArray[np.bool_]:
        """Which of the last so many windows the frame has a row for."""
        return ending(self._rows < len(self._frame), last, False)


def ending(matrix: npt.NDArray[_Value], last: int, unknown: float) -> npt.NDArray[_Value]:
    """The last so many columns, read-only: `unknown` before those that the matrix has."""
    missing = last - matrix.shape[1]
    if missing > 0:
        before = np.full((len(matrix), missing), unknown, dtype=matrix.dtype)
        matrix = np.concatenate((before, matrix), axis=1)
    found = matrix[:, matrix.shape[1] - last :]
    found.flags.writeable = False
    return found

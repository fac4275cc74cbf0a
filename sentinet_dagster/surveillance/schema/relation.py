"""What a relation is, and the columns and units that many of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import polars as pl

__all__ = [
    "INSTRUMENT_ID",
    "LEVELS",
    "TIME",
    "WINDOW",
    "WINDOW_START",
    "WINDOW_US",
    "Column",
    "Relation",
    "measure",
]


WINDOW: Final = timedelta(seconds=5)
"""The length of a window. Windows are half-open and aligned to 1970-01-01 UTC."""

WINDOW_US: Final = 5_000_000
"""`WINDOW` in microseconds, the unit of every time inside a kernel."""

TIME: Final = pl.Datetime("us", "UTC")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its dtype, its meaning with the unit, and whether it may be null."""

    name: str
    dtype: pl.DataType | type[pl.DataType]
    meaning: str
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Relation:
    """A frame's shape. `name` is the table it is stored in, or "" for a frame that lives in memory only."""

    name: str
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pl.Schema:
        """Name → dtype, in order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @property
    def names(self) -> Sequence[str]:
        """The column names, in order."""
        return [column.name for column in self.columns]

    def empty(self) -> pl.DataFrame:
        """A frame of this shape without rows."""
        return pl.DataFrame(schema=self.schema)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` with exactly these columns, in this order, of these dtypes; further columns are left out.

        Raises:
            ValueError: a column is missing, cannot be cast without loss, or is null where it must not be.
        """
        missing = [name for name in self.names if name not in frame.columns]
        if missing:
            raise ValueError(f"{self.name or 'frame'} lacks the columns {', '.join(missing)}")
        try:
            shaped = frame.select(pl.col(column.name).cast(column.dtype) for column in self.columns)
        except pl.exceptions.InvalidOperationError as error:
            raise ValueError(f"{self.name or 'frame'} does not fit its schema: {error}") from error
        for column in self.columns:
            if not column.nullable and (nulls := shaped[column.name].null_count()):
                raise ValueError(f"{self.name or 'frame'}.{column.name} is null in {nulls} rows")
        return shaped


INSTRUMENT_ID: Final = Column("instrument_id", pl.Int16, "market.instruments.instrument_id")
WINDOW_START: Final = Column("window_start", TIME, "start of the window, included")
LEVELS: Final = pl.List(pl.Float64)
"""A number a level, or a pair: parallel to the lists beside it."""


def measure(name: str, meaning: str) -> Column:
    """A float that is null where nothing could be measured."""
    return Column(name, pl.Float64, meaning, nullable=True)

"""What is measured of pairs of instruments, as rows.

What lives here: the shape that rules on two instruments share. What never does: a rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from sentinet_dagster.surveillance.grid import Grid
from sentinet_dagster.surveillance.rolling import Flags, Ints
from sentinet_dagster.surveillance.schema import TIME

__all__ = ["pair_frame"]


def pair_frame(
    grid: Grid, a: Ints, b: Ints, is_b: Flags, values: Mapping[str, npt.NDArray[Any]]
) -> pl.DataFrame:
    """One row a pair and window, of matrices (pair, window) that end with the grid's last window.

    Args:
        a, b: the rows of each pair in the grid.
        is_b: of which of the two a row speaks: of b, else of a.
        values: by column. NaN becomes null.

    Returns:
        window_start, instrument_a, instrument_b, instrument_id (of whom it speaks), mate, and the values.
    """
    pairs, columns = is_b.shape
    ids = grid.instrument_ids.astype(np.int16)
    first, second = (np.repeat(ids[rows], columns) for rows in (a, b))
    of_b = is_b.ravel()
    return pl.DataFrame(
        {
            "window_start": pl.Series(np.tile(grid.starts(columns), pairs), dtype=pl.Int64).cast(TIME),
            "instrument_a": first,
            "instrument_b": second,
            "instrument_id": np.where(of_b, second, first),
            "mate": np.where(of_b, first, second),
            **{name: matrix.ravel() for name, matrix in values.items()},
        },
        nan_to_null=True,
    ).with_columns(pl.col("mate").cast(pl.Int64))

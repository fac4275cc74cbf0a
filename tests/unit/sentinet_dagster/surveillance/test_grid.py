"""Frames to matrices and back."""

from __future__ import annotations

import numpy as np
import polars as pl

from sentinet_dagster.surveillance.grid import Grid
from sentinet_dagster.surveillance.schema import WINDOW
from tests.unit.sentinet_dagster.surveillance.facts import START, at


def test_there_and_back() -> None:
    frame = pl.DataFrame(
        {
            "instrument_id": pl.Series([7, 3, 9], dtype=pl.Int16),
            "window_start": [at(5), at(0), at(20)],
            "value": [1.5, None, 2.5],
        }
    )
    grid = Grid.spanning(frame["instrument_id"], START, START + 2 * WINDOW)
    matrices, present = grid.matrices(frame, ["value"])
    np.testing.assert_equal(matrices["value"], [[np.nan, np.nan], [np.nan, 1.5], [np.nan, np.nan]])
    assert present.tolist() == [[True, False], [False, True], [False, False]]
    back = grid.frame(matrices)
    assert back.rows()[:4] == [(3, at(0), None), (7, at(0), None), (9, at(0), None), (3, at(5), None)]
    assert grid.frame({"value": matrices["value"][:, 1:]}, 1).rows() == back.rows()[3:]


def test_an_empty_grid_knows_nobody() -> None:
    grid = Grid.spanning(pl.Series([], dtype=pl.Int16), START, at(5))
    assert grid.rows_of(np.array([1])).tolist() == [-1]
    assert grid.frame({"value": np.empty((0, 1))}).is_empty()

"""Frames to matrices and back."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sentinet_dagster.surveillance.grid import Grid, Sheet
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
    sheet = Sheet(frame, grid)
    value, present = sheet.column("value", 2), sheet.present(2)
    np.testing.assert_equal(value, [[np.nan, np.nan], [np.nan, 1.5], [np.nan, np.nan]])
    assert present.tolist() == [[True, False], [False, True], [False, False]]
    back = grid.frame({"value": value})
    assert back.rows()[:4] == [(3, at(0), None), (7, at(0), None), (9, at(0), None), (3, at(5), None)]
    assert grid.frame({"value": value[:, 1:]}, 1).rows() == back.rows()[3:]
    assert grid.of(np.array([1])).frame({"value": value[[1]]}).rows() == [(7, at(0), None), (7, at(5), 1.5)]


def test_of_windows_before_the_first_nothing_is_known() -> None:
    frame = pl.DataFrame(
        {
            "instrument_id": pl.Series([3, 3, 3], dtype=pl.Int16),
            "window_start": [at(0), at(5), at(5)],
            "count": [4, 5, 6],
        }
    )
    sheet = Sheet(frame, Grid.spanning(frame["instrument_id"], START, at(10)))
    np.testing.assert_equal(sheet.column("count", 3), [[np.nan, 4.0, 6.0]])  # of two rows the later
    assert sheet.present(3).tolist() == [[False, True, True]]
    assert sheet.present(1).tolist() == [[True]]
    with pytest.raises(ValueError, match="read-only"):
        sheet.column("count", 1)[0, 0] = 0.0


def test_an_empty_grid_knows_nobody() -> None:
    grid = Grid.spanning(pl.Series([], dtype=pl.Int16), START, at(5))
    assert grid.rows_of(np.array([1])).tolist() == [-1]
    assert grid.frame({"value": np.empty((0, 1))}).is_empty()

"""Facts → windows."""

from __future__ import annotations

from datetime import datetime

import polars as pl

__all__ = ["build_windows"]


def build_windows(
    trades: pl.DataFrame,
    quotes: pl.DataFrame,
    books: pl.DataFrame,
    feed_gaps: pl.DataFrame,
    rejected_frames: pl.DataFrame,
    instruments: pl.DataFrame,
    start: datetime,
    end: datetime,
) -> pl.DataFrame:
    """One row for every active instrument and 5 s window of [start, end), with or without data: `schema.WINDOWS`.

    Sorted by (window_start, instrument_id). Facts outside the range or of inactive instruments are left out.
    `feed_gaps` needs every gap that overlaps [start, end); `rejected_frames` those received in it.
    """
    raise NotImplementedError

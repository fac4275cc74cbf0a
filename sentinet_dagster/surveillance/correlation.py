"""Features → correlations."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import polars as pl

__all__ = ["CORRELATION_LOOKBACK", "build_correlations"]

CORRELATION_LOOKBACK: Final = timedelta(minutes=25)


def build_correlations(features: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """One row for every window of [start, end) that has features: `schema.CORRELATIONS`, sorted by window_start.

    `features` must reach back to start - CORRELATION_LOOKBACK, as far as there are any.
    """
    raise NotImplementedError

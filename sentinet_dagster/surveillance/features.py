"""Windows → features."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import polars as pl

__all__ = ["FEATURE_LOOKBACK", "build_features"]

FEATURE_LOOKBACK: Final = timedelta(minutes=6)


def build_features(
    windows: pl.DataFrame, start: datetime, end: datetime, completeness_floor: float = 0.8
) -> pl.DataFrame:
    """One row for every row of `windows` in [start, end): `schema.FEATURES`, sorted by (window_start, instrument_id).

    `windows` must reach back to start - FEATURE_LOOKBACK, as far as there are any.
    """
    raise NotImplementedError

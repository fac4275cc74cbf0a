"""Findings → alerts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from sentinet_dagster.surveillance.settings import SurveillanceSettings

__all__ = ["ALERT_LOOKBACK", "JUDGE_LOOKBACK", "build_alerts"]

ALERT_LOOKBACK: Final = timedelta(minutes=30)
"""How far before `start` every frame given to `build_alerts` must reach, as far as there are rows."""

JUDGE_LOOKBACK: Final = timedelta(minutes=61)
"""How long after a fact its window can still matter to a verdict: late ranges are extended forward by it."""


def build_alerts(
    windows: pl.DataFrame,
    features: pl.DataFrame,
    correlations: pl.DataFrame,
    scores: pl.DataFrame,
    instruments: pl.DataFrame,
    settings: SurveillanceSettings,
    start: datetime,
    end: datetime,
    code_hash: str,
) -> pl.DataFrame:
    """The alerts that open in [start, end), by every enabled detector: `schema.ALERTS`.

    The first four frames must reach back to start - ALERT_LOOKBACK.
    """
    raise NotImplementedError

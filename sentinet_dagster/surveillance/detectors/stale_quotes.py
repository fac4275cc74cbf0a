"""stale_quotes: nobody quotes any more while others trade.

What: an instrument that is usually quoted at least twice a window had no quote for 30 s, in which at least
    three executions happened; critical after two minutes. Where nothing trades either, silence is ordinary.
Evidence level: L1
Blind: in the first three minutes after a start or a gap; to quotes that are repeated unchanged; while the
    feed itself is known to be silent: then the data is not whole, and `feed_gap` says so.
Example: the best bid and ask of XRP-USDT stand still for 45 s and 112 executions.
Source: the consolidated tape's rules on non-firm quotes; issue 6.

>>> STALE_QUOTES.summary("XRP-USDT", {"silent_s": 45.0, "trades": 112.0})
'XRP-USDT had no quote for 45 s, in which it traded 112 times'
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from pydantic import Field

from sentinet_dagster.surveillance.detectors.base import (
    Detector,
    Evidence,
    Inputs,
    Lookback,
    Thresholds,
    graded,
    limit,
    verdicts,
)
from sentinet_dagster.surveillance.rolling import lagged_moments
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["STALE_QUOTES"]

_PAST: Final = 60
_LONGEST: Final = 24  # windows of silence that are told apart
_MIN_SAMPLES: Final = 30
_LOOKBACK: Final = Lookback(windows=(_PAST + _LONGEST) * WINDOW)


class StaleQuotesThresholds(Thresholds, frozen=True):
    """Seconds of silence, and what must have happened in them and before."""

    silent_s: float = Field(default=30.0, ge=5, le=120)
    critical_silent_s: float = Field(default=120.0, ge=5, le=120)
    trades: float = Field(default=3, ge=1)
    usual_quotes: float = Field(default=2.0, gt=0)
    """A window, in the five minutes before the two in which silence is looked for."""


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    grid = inputs.grid(_LOOKBACK.windows)
    columns = grid.columns - _PAST - _LONGEST
    seen = inputs.of_windows(grid, ["quote_count", "trade_count"])
    quotes, broken = seen["quote_count"], inputs.broken(grid)
    past = lagged_moments(quotes[:, :-_LONGEST], broken[:, :-_LONGEST], _PAST, columns)
    silent, traded = np.zeros((len(quotes), columns)), np.zeros((len(quotes), columns))
    goes_on = np.ones((len(quotes), columns), dtype=np.bool_)
    for lag in range(_LONGEST):
        now = slice(grid.columns - lag - columns, grid.columns - lag)
        goes_on &= ~broken[:, now] & (quotes[:, now] == 0)
        silent += np.where(goes_on, WINDOW.seconds, 0)
        traded += np.where(goes_on, seen["trade_count"][:, now], 0)
    usual = np.where(past.samples >= _MIN_SAMPLES, past.mean, np.nan)
    frame = grid.frame({"silent_s": silent, "trades": traded, "usual_quotes": usual}, columns)
    critical = pl.col("silent_s") >= pl.col(limit("critical_silent_s"))
    return verdicts(
        frame.join(thresholds, on="instrument_id").filter(pl.col("silent_s") > 0),
        score=pl.col("silent_s"),
        threshold=pl.col(limit("silent_s")),
        severity=graded(critical),
        fires=(pl.col("silent_s") >= pl.col(limit("silent_s")))
        & (pl.col("trades") >= pl.col(limit("trades")))
        & (pl.col("usual_quotes") >= pl.col(limit("usual_quotes"))),
        evidence=pl.struct("silent_s", "trades", "usual_quotes"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    return (
        f"{symbol} had no quote for {finding['silent_s']:.0f} s, in which it traded "
        f"{finding['trades']:.0f} times"
    )


STALE_QUOTES = Detector(
    name="stale_quotes",
    version=1,
    evidence_level="L1",
    lookback=_LOOKBACK,
    thresholds=StaleQuotesThresholds,
    detect=_detect,
    summary=_summary,
)

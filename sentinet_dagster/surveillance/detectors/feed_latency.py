"""feed_latency: what a venue sends arrives later than it usually does.

What: the mean delay of a window's rows, receipt minus the venue's own time, is more than 100 ms above the
    median of the five minutes before, in three windows running; critical from a second on. It says that
    everything else judged now was judged late.
Evidence level: feed
Blind: in the first 2.5 minutes after a start or a gap; on a venue that names no time; to clocks that drift
    slowly; it cannot tell the network from the venue.
Example: Binance's trades arrive 1.8 s late for half a minute, and were 12 ms late before.
Source: the product's first specification (issue 6); MiFID II RTS 25 on business clocks for why to watch it.

>>> FEED_LATENCY.summary("BTC-USDT", {"excess_ms": 840.0, "usual_ms": 12.0})
'BTC-USDT arrives 840 ms later than usual (12 ms), for 15 s at least'
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
from sentinet_dagster.surveillance.rolling import lagged_deciles, lagged_greatest
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["FEED_LATENCY"]

_PAST: Final = 60
_HELD: Final = 3  # windows
_MEDIAN: Final = 5
_MIN_SAMPLES: Final = 30
_LOOKBACK: Final = Lookback(windows=(_PAST + _HELD) * WINDOW)


class FeedLatencyThresholds(Thresholds, frozen=True):
    """Above the feed's own usual delay."""

    excess_ms: float = Field(default=100.0, gt=0)
    critical_excess_ms: float = Field(default=1000.0, gt=0)


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    """The score is the least excess of the three windows."""
    grid = inputs.grid(_LOOKBACK.windows)
    columns = grid.columns - _PAST - _HELD
    latency = inputs.of_windows(grid, ["latency_ms_mean"])["latency_ms_mean"]
    # Held against the past of the first of the three, so that they do not raise it.
    (usual,) = lagged_deciles(
        latency[:, : -_HELD + 1],
        inputs.broken(grid)[:, : -_HELD + 1],
        _PAST,
        _MIN_SAMPLES,
        columns,
        [_MEDIAN],
    )
    late = -lagged_greatest(np.where(np.isnan(latency), np.inf, -latency), _HELD, columns)
    frame = grid.frame(
        {
            "usual_ms": usual,
            "excess_ms": np.where(np.isinf(late), np.nan, late - usual),
            "latency_ms_mean": latency[:, -columns:],
        },
        columns,
    )
    excess = pl.col("excess_ms")
    critical = excess > pl.col(limit("critical_excess_ms"))
    return verdicts(
        frame.join(thresholds, on="instrument_id"),
        score=excess,
        threshold=pl.col(limit("excess_ms")),
        severity=graded(critical),
        fires=excess > pl.col(limit("excess_ms")),
        evidence=pl.struct("excess_ms", "usual_ms", "latency_ms_mean"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    return (
        f"{symbol} arrives {finding['excess_ms']:.0f} ms later than usual "
        f"({finding['usual_ms']:.0f} ms), "
        f"for {_HELD * WINDOW.seconds} s at least"
    )


FEED_LATENCY = Detector(
    name="feed_latency",
    version=1,
    evidence_level="feed",
    lookback=_LOOKBACK,
    thresholds=FeedLatencyThresholds,
    detect=_detect,
    summary=_summary,
)

"""crossed_market: the best bid stands above the best ask.

What: within the window the bid of a quote was above its ask by at least half a basis point; critical if it
    was so on the mean of the window. On one venue that is an error of the venue or of the feed.
Evidence level: L1
Blind: to bids and asks of different venues (`venue_divergence`); a locked market, bid equal to ask, is none.
Example: the quotes of ETH-USDT show a bid 3 bps above the ask for two seconds.
Source: Regulation NMS, rule 610(d) on locked and crossed markets.

>>> CROSSED_MARKET.summary("ETH-USDT", {"crossed_bps": 3.1, "spread_bps_mean": 0.2})
'ETH-USDT was bid up to 3.1 bps above its ask'
"""

from __future__ import annotations

import polars as pl
from pydantic import Field

from sentinet_dagster.surveillance.detectors.base import (
    Detector,
    Evidence,
    Inputs,
    Thresholds,
    graded,
    limit,
    verdicts,
)

__all__ = ["CROSSED_MARKET"]


class CrossedMarketThresholds(Thresholds, frozen=True):
    """How far crossed."""

    crossed_bps: float = Field(default=0.5, ge=0)


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    crossed = pl.col("crossed_bps")
    frame = inputs.judged_windows.with_columns(crossed_bps=-pl.col("spread_bps_min"))
    return verdicts(
        frame.join(thresholds, on="instrument_id").filter(crossed > 0),
        score=crossed,
        threshold=pl.col(limit("crossed_bps")),
        severity=graded(pl.col("spread_bps_mean") < 0),
        fires=crossed > pl.col(limit("crossed_bps")),
        evidence=pl.struct("crossed_bps", "spread_bps_mean", pl.col("quote_count").cast(pl.Int64)),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    return f"{symbol} was bid up to {finding['crossed_bps']:.1f} bps above its ask"


CROSSED_MARKET = Detector(
    name="crossed_market",
    version=1,
    evidence_level="L1",
    thresholds=CrossedMarketThresholds,
    detect=_detect,
    summary=_summary,
)

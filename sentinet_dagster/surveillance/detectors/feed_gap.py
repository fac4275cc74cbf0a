"""feed_gap: data is missing; what is judged of these windows is silent or lowered.

What: more than a second of the window lies inside a gap of the feed, or frames were refused; critical where
    nothing of the window's trades was received. It tells people that surveillance was blind, and since when.
Evidence level: feed
Blind: to what nobody noticed: a venue that leaves data out without a sequence to show it.
Example: the socket of Binance was away for 12 s; three windows of all its instruments are not whole.
Source: MiFID II RTS 7 on monitoring, and issue 6: completeness is part of every verdict.

>>> FEED_GAP.summary("BTC-USDT", {"gap_seconds": 5.0, "refused_frames": 0, "completeness": 0.0})
'BTC-USDT data 0 % whole: 5.0 s of 5 s missing, 0 frames refused'
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

__all__ = ["FEED_GAP"]


class FeedGapThresholds(Thresholds, frozen=True):
    """The missing share of a window, 0 to 1."""

    missing_share: float = Field(default=0.2, gt=0, le=1)


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    """Only windows that are not whole have a row."""
    missing = 1 - pl.col("completeness")
    nothing = pl.col("trade_completeness") == 0
    return verdicts(
        inputs.judged_windows.filter(missing > 0).join(thresholds, on="instrument_id"),
        score=missing,
        threshold=pl.col(limit("missing_share")),
        severity=graded(nothing),
        fires=missing >= pl.col(limit("missing_share")),
        evidence=pl.struct(
            "gap_seconds",
            pl.col("refused_frames").cast(pl.Int64),
            "completeness",
            "trade_completeness",
            "book_completeness",
        ),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    return (
        f"{symbol} data {100 * finding['completeness']:.0f} % whole: "
        f"{finding['gap_seconds']:.1f} s of 5 s "
        f"missing, {finding['refused_frames']} frames refused"
    )


FEED_GAP = Detector(
    name="feed_gap",
    version=1,
    evidence_level="feed",
    thresholds=FeedGapThresholds,
    detect=_detect,
    summary=_summary,
)

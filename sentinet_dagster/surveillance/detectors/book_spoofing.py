"""book_spoofing: a large order near the touch, withdrawn untraded in seconds, while the other side trades.

What: within the window an order of at least 20 % of its side's depth within 10 bps, and 10,000 of quote
    currency, was withdrawn whole and untraded, having stood for less than 10 s; and against the other side
    more than twice as much was executed as against its own. `spoofing` tells the same by the best prices
    alone, where no book is taken.
Evidence level: L2
Blind: where the venue's books are not taken as differences; to orders that stand longer than 10 s or are
    withdrawn in parts. A feed is anonymous: it never says whose order it was.
Example: 300,000 of bids appear one tick below the best and go after 1.8 s, while asks are bought.
Source: CFTC v. Coscia, 2013; ESMA, MAR indicators: orders with no intention to execute.

>>> numbers = {"side": "bid", "notional": 300000.0, "depth_share": 0.48, "withdrawn_life_s": 1.8}
>>> BOOK_SPOOFING.summary("BTC-USDT", numbers)
'BTC-USDT bid of 300,000 (48 % of its side) withdrawn untraded after 1.8 s while asks traded: consistent \
with spoofing'
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from pydantic import Field

from sentinet_dagster.surveillance.book_sides import book_sides
from sentinet_dagster.surveillance.detectors.base import (
    Evidence,
    EvidenceLevel,
    Inputs,
    Lookback,
    Thresholds,
    limit,
    strongest,
    verdicts,
)

__all__ = ["BOOK_SPOOFING"]


class BookSpoofingThresholds(Thresholds, frozen=True):
    """All must hold."""

    depth_share: float = Field(default=0.2, gt=0)
    """Of what rests on that side within 10 bps, mean over the window."""
    notional: float = Field(default=10_000.0, ge=0)
    life_s: float = Field(default=10.0, gt=0, le=10)
    opposite_ratio: float = Field(default=2.0, ge=1)
    """Executed against the other side, over executed against its own."""


@dataclass(frozen=True, slots=True)
class BookSpoofing:
    """The detector; see the module. Its score is the orders' share of their side's depth."""

    name: str = "book_spoofing"
    version: int = 1
    evidence_level: EvidenceLevel = "L2"
    lookback: Lookback = Lookback()
    thresholds: type[Thresholds] = BookSpoofingThresholds

    def detect(self, inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
        """See `Detector`. Only windows with such orders have a row: that of the side with the most."""
        measured = (
            book_sides(inputs.judged(inputs.windows))
            .filter(pl.col("withdrawn_max") > 0)
            .with_columns(notional=pl.col("withdrawn_max") * pl.col("mid"))
            .with_columns(depth_share=pl.col("notional") / pl.col("depth"))
            .join(thresholds, on="instrument_id")
        )
        fires = (
            (pl.col("depth_share") >= pl.col(limit("depth_share")))
            & (pl.col("notional") >= pl.col(limit("notional")))
            & (pl.col("withdrawn_life_s") < pl.col(limit("life_s")))
            & (
                pl.col("opposite_traded")
                > pl.col(limit("opposite_ratio")) * pl.col("traded_near").fill_null(0.0)
            )
        )
        return verdicts(
            strongest(measured, fires, pl.col("depth_share"), "side"),
            score=pl.col("depth_share"),
            threshold=pl.col(limit("depth_share")),
            severity=pl.lit("warning"),
            fires=pl.col("fires"),
            evidence=pl.struct(
                "side",
                "withdrawn_max",
                "withdrawn_life_s",
                "notional",
                "depth_share",
                "traded_near",
                "opposite_traded",
            ),
        )

    def summary(self, symbol: str, finding: Evidence) -> str:
        """See `Detector`."""
        other = "bids" if finding["side"] == "ask" else "asks"
        return (
            f"{symbol} {finding['side']} of {finding['notional']:,.0f} "
            f"({100 * finding['depth_share']:.0f} % of its "
            f"side) withdrawn untraded after {finding['withdrawn_life_s']:.1f} s while {other} "
            "traded: consistent "
            "with spoofing"
        )


BOOK_SPOOFING = BookSpoofing()

"""layering: orders on several levels of one side, placed and withdrawn together, while the other side trades.

What: within the window at least three levels of one side were filled and emptied together within 10 s,
    untraded; together they were at least 20 % of the depth within 10 bps, and 10,000 of quote currency; and
    against the other side more than twice as much was executed as against theirs.
Evidence level: L2
Blind: where the venue's books are not taken as differences; to orders that stand longer than 10 s; to levels
    at which others' orders stay. A feed is anonymous: it never says whose orders they were.
Example: 5 levels of asks, 420,000 in all, appear and go within 4 s, while others sell into the bids: the
    owner of the layer buys there.
Source: FCA and CFTC cases on layering (Coscia, 2013; Sarao, 2015); ESMA, MAR indicators of layering.

>>> numbers = {"side": "ask", "layers": 5.0, "notional": 420000.0, "depth_share": 0.61}
>>> LAYERING.summary("ETH-USDT", numbers)
'ETH-USDT 5 levels of asks, 420,000 (61 % of their side), placed and withdrawn together while bids traded: \
consistent with layering'
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

__all__ = ["LAYERING"]


class LayeringThresholds(Thresholds, frozen=True):
    """All must hold."""

    layers: float = Field(default=3, ge=3)
    depth_share: float = Field(default=0.2, gt=0)
    """Of what rests on that side within 10 bps, mean over the window."""
    notional: float = Field(default=10_000.0, ge=0)
    opposite_ratio: float = Field(default=2.0, ge=1)
    """Executed against the other side, over executed against this one."""


@dataclass(frozen=True, slots=True)
class Layering:
    """The detector; see the module. Its score is the orders' share of their side's depth."""

    name: str = "layering"
    version: int = 1
    evidence_level: EvidenceLevel = "L2"
    lookback: Lookback = Lookback()
    thresholds: type[Thresholds] = LayeringThresholds

    def detect(self, inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
        """See `Detector`. Only windows with such orders have a row: that of the side with the most."""
        measured = (
            book_sides(inputs.judged(inputs.windows))
            .filter(pl.col("layers") > 0)
            .with_columns(notional=pl.col("layered_max") * pl.col("mid"))
            .with_columns(depth_share=pl.col("notional") / pl.col("depth"))
            .join(thresholds, on="instrument_id")
        )
        fires = (
            (pl.col("layers") >= pl.col(limit("layers")))
            & (pl.col("depth_share") >= pl.col(limit("depth_share")))
            & (pl.col("notional") >= pl.col(limit("notional")))
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
                "side", "layers", "layered_max", "notional", "depth_share", "traded_near", "opposite_traded"
            ),
        )

    def summary(self, symbol: str, finding: Evidence) -> str:
        """See `Detector`."""
        other = "bids" if finding["side"] == "ask" else "asks"
        return (
            f"{symbol} {finding['layers']:.0f} levels of {finding['side']}s, {finding['notional']:,.0f} "
            f"({100 * finding['depth_share']:.0f} % of their side), placed and withdrawn together "
            f"while {other} "
            "traded: consistent with layering"
        )


LAYERING = Layering()

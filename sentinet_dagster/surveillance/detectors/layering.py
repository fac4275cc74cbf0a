"""layering: orders on several levels of one side, placed and withdrawn together, while the other side trades.

What: within the window at least three levels of one side were filled and emptied together within 10 s,
    untraded; together they were at least 20 % of the depth within 10 bps, 10,000 of quote currency, and five
    times the median of such groups in the five minutes before; and against the other side more than twice as
    much was executed as against theirs.
Evidence level: L2
Blind: in the first 2.5 minutes after a start or a gap; where the venue's books are not taken as differences;
    to orders that stand longer than 10 s; to levels at which others' orders stay; where levels are layered
    all the time. A feed is anonymous: it never says whose orders they were.
Example: 5 levels of asks, 420,000 in all, appear and go within 4 s, while others sell into the bids: the
    owner of the layer buys there.
Source: FCA and CFTC cases on layering (Coscia, 2013; Sarao, 2015); ESMA, MAR indicators of layering.

>>> numbers = {"side": "ask", "layers": 5.0, "notional": 420000.0, "depth_share": 0.61}
>>> LAYERING.summary("ETH-USDT", numbers)
'ETH-USDT 5 levels of asks, 420,000 (61 % of their side), placed and withdrawn together while bids traded: \
consistent with layering'
"""

from __future__ import annotations

from typing import Final

import polars as pl
from pydantic import Field

from sentinet_dagster.surveillance.detectors.base import Detector, Evidence, Inputs, limit
from sentinet_dagster.surveillance.detectors.book_sides import ORDER_LOOKBACK, OrderThresholds, judge_orders

__all__ = ["LAYERING"]

_MEDIAN: Final = 5  # the decile


class LayeringThresholds(OrderThresholds, frozen=True):
    """All must hold."""

    layers: float = Field(default=3, ge=3)
    usual_ratio: float = Field(default=5.0, ge=1)
    """Over the median of such groups in the windows of the five minutes before."""


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    shown = (
        "side",
        "layers",
        "layered_max",
        "notional",
        "depth_share",
        pl.col(f"layered_max_d{_MEDIAN}").alias("usual"),
        "traded_near",
        "opposite_traded",
    )
    more = (pl.col("layers") >= pl.col(limit("layers"))) & (
        pl.col("layered_max") > pl.col(limit("usual_ratio")) * pl.col(f"layered_max_d{_MEDIAN}")
    )
    return judge_orders(inputs, thresholds, "layered_max", {"layered_max": [_MEDIAN]}, more, shown)


def _summary(symbol: str, finding: Evidence) -> str:
    other = "bids" if finding["side"] == "ask" else "asks"
    return (
        f"{symbol} {finding['layers']:.0f} levels of {finding['side']}s, {finding['notional']:,.0f} "
        f"({100 * finding['depth_share']:.0f} % of their side), placed and withdrawn together "
        f"while {other} "
        "traded: consistent with layering"
    )


LAYERING = Detector(
    name="layering",
    version=2,
    evidence_level="L2",
    lookback=ORDER_LOOKBACK,
    thresholds=LayeringThresholds,
    detect=_detect,
    summary=_summary,
)

"""book_spoofing: a large order near the touch, withdrawn untraded in seconds, while the other side trades.

What: within the window an order of at least 20 % of its side's depth within 10 bps, and 10,000 of quote
    currency, was withdrawn whole and untraded, having stood for less than 10 s; against the other side more
    than twice as much was executed as against its own; and both are held against the windows of the five
    minutes before: the order was larger than in nine of ten, and the order times what was executed against
    the other side was more than 1.75 times the greatest of the one times the greatest of the other.
    `spoofing` tells the same by the best prices alone, where no book is taken.
Evidence level: L2
Blind: in the first 2.5 minutes after a start or a gap; where the venue's books are not taken as differences;
    to orders that stand longer than 10 s or are withdrawn in parts; where such orders are withdrawn all the
    time, unless more is executed than usual: who shows an order of a usual size and trades little is not
    told from a market maker; of a series of equal ones the first is found. A feed is anonymous: it never
    says whose order it was.
Example: 300,000 of bids appear one tick below the best and go after 1.8 s, while asks are bought.
Source: CFTC v. Coscia, 2013; ESMA, MAR indicators: orders with no intention to execute.

>>> numbers = {"side": "bid", "notional": 300000.0, "depth_share": 0.48, "withdrawn_life_s": 1.8}
>>> BOOK_SPOOFING.summary("BTC-USDT", numbers)
'BTC-USDT bid of 300,000 (48 % of its side) withdrawn untraded after 1.8 s while asks traded: consistent \
with spoofing'
"""

from __future__ import annotations

from typing import Final

import polars as pl
from pydantic import Field

from sentinet_dagster.surveillance.detectors.base import Detector, Evidence, Inputs, limit
from sentinet_dagster.surveillance.detectors.book_sides import ORDER_LOOKBACK, OrderThresholds, judge_orders

__all__ = ["BOOK_SPOOFING"]

_NINTH: Final = 9  # the decile that nine windows of ten do not exceed
_GREATEST: Final = 10


class BookSpoofingThresholds(OrderThresholds, frozen=True):
    """All must hold."""

    life_s: float = Field(default=10.0, gt=0, le=10)
    usual_ratio: float = Field(default=1.75, ge=1)
    """Of the order times what was executed against the other side, over the product of the greatest of both
    in the windows of the five minutes before."""


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    usual, greatest = pl.col(f"withdrawn_max_d{_NINTH}"), pl.col(f"withdrawn_max_d{_GREATEST}")
    most_executed = pl.col(f"opposite_traded_near_d{_GREATEST}")
    shown = (
        "side",
        "withdrawn_max",
        "withdrawn_life_s",
        "notional",
        "depth_share",
        usual.alias("usual"),
        greatest.alias("greatest"),
        "traded_near",
        "opposite_traded",
        most_executed.alias("most_opposite_traded"),
    )
    order, executed, ratio = pl.col("withdrawn_max"), pl.col("opposite_traded"), pl.col(limit("usual_ratio"))
    more = (
        (pl.col("withdrawn_life_s") < pl.col(limit("life_s")))
        & (order > usual)
        & (order * executed > ratio * greatest * most_executed)
    )
    past = {"withdrawn_max": [_NINTH, _GREATEST], "traded_near": [_GREATEST]}
    return judge_orders(inputs, thresholds, "withdrawn_max", past, more, shown)


def _summary(symbol: str, finding: Evidence) -> str:
    other = "bids" if finding["side"] == "ask" else "asks"
    return (
        f"{symbol} {finding['side']} of {finding['notional']:,.0f} "
        f"({100 * finding['depth_share']:.0f} % of its "
        f"side) withdrawn untraded after {finding['withdrawn_life_s']:.1f} s while {other} "
        "traded: consistent "
        "with spoofing"
    )


BOOK_SPOOFING = Detector(
    name="book_spoofing",
    version=3,
    evidence_level="L2",
    lookback=ORDER_LOOKBACK,
    thresholds=BookSpoofingThresholds,
    detect=_detect,
    summary=_summary,
)

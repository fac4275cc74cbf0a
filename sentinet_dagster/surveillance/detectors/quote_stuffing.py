"""quote_stuffing: a flood of messages that hardly any trade comes of.

What: the messages of a window (quotes, books, and changes of the book's levels) are at least 200, more than
    five times the mean of the five minutes before and more than six standard deviations above it; and
    messages an execution are more than three times their usual number, so that a busy market is none.
Evidence level: L2 (L1 where no book is taken: then of quotes alone).
Blind: in the first 2.5 minutes after a start or a gap; on feeds that conflate, which Binance's books are,
    it sees no more than the changes between two messages; to a flood that lasts (after five minutes it is
    usual).
Example: the book of BTC-USDT changes 9,000 times in five seconds, usually 400 times, and trades as usual.
Source: ESMA, MAR guidelines on quote stuffing; Egginton, Van Ness, Van Ness, "Quote Stuffing", 2016.

>>> numbers = {"messages": 9000.0, "usual_messages": 400.0, "messages_per_trade": 310.0}
>>> QUOTE_STUFFING.summary("BTC-USDT", numbers)
'BTC-USDT had 9,000 messages in 5 s, usually 400, and 310 for each execution: consistent with quote stuffing'
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
    limit,
    verdicts,
)
from sentinet_dagster.surveillance.rolling import lagged_moments, z_score
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["QUOTE_STUFFING"]

_PAST: Final = 60
_MIN_SAMPLES: Final = 30
_LOOKBACK: Final = Lookback(windows=_PAST * WINDOW)


class QuoteStuffingThresholds(Thresholds, frozen=True):
    """All must be exceeded."""

    messages: float = Field(default=200, ge=1)
    message_ratio: float = Field(default=5.0, gt=1)
    message_z: float = Field(default=6.0, gt=0)
    order_trade_ratio: float = Field(default=3.0, gt=1)
    """Messages an execution, over their mean of the five minutes before."""


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    grid = inputs.grid(_LOOKBACK.windows)
    columns = grid.columns - _PAST
    seen = inputs.of_windows(grid, ["quote_count", "book_count", "flow_changes", "trade_count"])
    broken = inputs.broken(grid)
    messages = seen["quote_count"] + seen["book_count"] + seen["flow_changes"]
    per_trade = messages / np.maximum(seen["trade_count"], 1)
    past = lagged_moments(messages, broken, _PAST, columns)
    past_per_trade = lagged_moments(per_trade, broken, _PAST, columns)
    frame = grid.frame(
        {
            "messages": messages[:, _PAST:],
            "usual_messages": past.mean,
            "message_z": z_score(messages[:, _PAST:], past, _MIN_SAMPLES),
            "messages_per_trade": per_trade[:, _PAST:],
            "usual_per_trade": past_per_trade.mean,
        },
        columns,
    )
    messages_now, usual = pl.col("messages"), pl.col("usual_messages")
    surge = (messages_now > pl.col(limit("message_ratio")) * usual) & (
        pl.col("message_z") > pl.col(limit("message_z"))
    )
    idle = pl.col("messages_per_trade") > pl.col(limit("order_trade_ratio")) * pl.col("usual_per_trade")
    return verdicts(
        frame.join(thresholds, on="instrument_id"),
        score=pl.col("message_z"),
        threshold=pl.col(limit("message_z")),
        severity=pl.lit("warning"),
        fires=surge & idle & (messages_now >= pl.col(limit("messages"))),
        evidence=pl.struct(
            "messages", "usual_messages", "message_z", "messages_per_trade", "usual_per_trade"
        ),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    return (
        f"{symbol} had {finding['messages']:,.0f} messages in 5 s, usually "
        f"{finding['usual_messages']:,.0f}, and {finding['messages_per_trade']:.0f} for each execution: "
        "consistent with quote stuffing"
    )


QUOTE_STUFFING = Detector(
    name="quote_stuffing",
    version=1,
    evidence_level="L2",
    lookback=_LOOKBACK,
    thresholds=QuoteStuffingThresholds,
    detect=_detect,
    summary=_summary,
)

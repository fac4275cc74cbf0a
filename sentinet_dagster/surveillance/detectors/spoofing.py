r"""spoofing: one side of the best quotes outweighs the other by far, and the price does not follow.

What: |imbalance| of the best bid and ask above 0.6, averaged over the quotes of each of two windows in a
    row and leaning to the same side, while the price stays within 0.1 %. Large orders that mean to trade
    move the price or trade; those that are shown to impress do neither. A warning; where the book's changes
    are taken too, which tell orders from impressions, no more than information.
Evidence level: L1. Feeds are anonymous: an alert says "consistent with", never who.
Blind: to layers behind the best price, to an order shown for less than a window, to one side of many
    small traders; where the tick is large against the price, queues are long and lopsided by themselves:
    raise `imbalance` there.
Example: the best bid of SOL-USDT is twelve times the best ask for twenty seconds; the mid stays where it
    was.
Source: Cao, Hansch, Wang, "The information content of an open limit-order book", 2009 (imbalance leads
    the price); Lee, Eom, Park, "Microstructure-based manipulation", 2013 (spoofing orders lift it without
    trading).

>>> finding = {"imbalance_mean": 0.84, "price_move_bps": 3.1, "quote_count": 25}
>>> print(SPOOFING.summary("SOL-USDT", finding).replace(" while", "\n while"))
SOL-USDT bids outweigh asks (imbalance +0.84 over 25 quotes)
 while the price moved 3.1 bps: consistent with spoofing
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
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["SPOOFING"]

_LOOKBACK: Final = Lookback(windows=WINDOW)


class SpoofingThresholds(Thresholds, frozen=True):
    """When a lean is one."""

    imbalance: float = Field(default=0.6, gt=0, lt=1)
    price_move_bps: float = Field(default=10.0, gt=0)
    """The price, over this window and the three before, must have moved less."""
    quotes: int = Field(default=8, ge=1)
    """Quotes each window must have: a mean of few says nothing."""


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    grid = inputs.grid(_LOOKBACK.windows)
    columns = grid.columns - 1
    seen = inputs.of_windows(grid, ["imbalance_mean", "quote_count", "flow_seconds"])
    imbalance, quotes = seen["imbalance_mean"], seen["quote_count"]
    same_side = np.sign(imbalance[:, 1:]) == np.sign(imbalance[:, :-1])
    least = np.minimum(np.abs(imbalance[:, 1:]), np.abs(imbalance[:, :-1]))
    held = grid.frame(
        {
            "held_imbalance": np.where(same_side, least, 0.0),
            "quote_count": quotes[:, 1:],
            "least_quotes": np.minimum(quotes[:, 1:], quotes[:, :-1]),
            "flow_seconds": seen["flow_seconds"][:, 1:],
        },
        columns,
    )
    leaning = pl.col("held_imbalance") > pl.col(limit("imbalance"))
    still = pl.col("price_move_bps") < pl.col(limit("price_move_bps"))
    # Where the orders themselves are seen, `book_spoofing` and `layering` are the better witnesses.
    hint = pl.when(pl.col("flow_seconds") > 0).then(pl.lit("info")).otherwise(pl.lit("warning"))
    enough = pl.col("least_quotes") >= pl.col(limit("quotes"))
    return verdicts(
        inputs.judged_features.join(held, on=["instrument_id", "window_start"]).join(
            thresholds, on="instrument_id"
        ),
        score=pl.when(enough).then("held_imbalance"),
        threshold=pl.col(limit("imbalance")),
        severity=hint,
        fires=leaning & still & enough,
        evidence=pl.struct(
            "imbalance_mean",
            "held_imbalance",
            "depth_imbalance",
            "price_move_bps",
            pl.col("quote_count").cast(pl.Int64),
        ),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    imbalance = finding["imbalance_mean"]
    sides = "bids outweigh asks" if imbalance > 0 else "asks outweigh bids"
    return (
        f"{symbol} {sides} (imbalance {imbalance:+.2f} over {finding['quote_count']} quotes) while the "
        f"price moved {finding['price_move_bps']:.1f} bps: consistent with spoofing"
    )


SPOOFING = Detector(
    name="spoofing",
    version=1,
    evidence_level="L1",
    lookback=_LOOKBACK,
    thresholds=SpoofingThresholds,
    detect=_detect,
    summary=_summary,
)

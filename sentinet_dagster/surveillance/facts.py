"""The facts of a market in memory: all that windows are made of, as one value.

What lives here: keeping the relations of schema `market` together, and cutting them by time and instrument.
What never does: reading them, changing what they say (`injection.py` does, on purpose).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import polars as pl

from sentinet_dagster.surveillance.schema import (
    BOOK_FLOWS,
    BOOKS,
    FEED_GAPS,
    QUOTES,
    REFERENCE_PRICES,
    REJECTED_FRAMES,
    TRADES,
)
from sentinet_dagster.surveillance.windows import build_windows

__all__ = ["Facts", "joined"]

_TIMED: Final = ("trades", "quotes", "books", "book_flows", "reference_prices")


@dataclass(frozen=True, slots=True)
class Facts:
    """Frames of the schemas of these names; the arguments of `build_windows`."""

    trades: pl.DataFrame
    quotes: pl.DataFrame
    books: pl.DataFrame
    book_flows: pl.DataFrame
    reference_prices: pl.DataFrame
    feed_gaps: pl.DataFrame
    rejected_frames: pl.DataFrame
    instruments: pl.DataFrame

    @classmethod
    def none_of(cls, instruments: pl.DataFrame) -> Facts:
        """A market in which nothing happened."""
        return cls(
            trades=TRADES.empty(),
            quotes=QUOTES.empty(),
            books=BOOKS.empty(),
            book_flows=BOOK_FLOWS.empty(),
            reference_prices=REFERENCE_PRICES.empty(),
            feed_gaps=FEED_GAPS.empty(),
            rejected_frames=REJECTED_FRAMES.empty(),
            instruments=instruments,
        )

    def windows(self, start: datetime, end: datetime) -> pl.DataFrame:
        """`build_windows` of them."""
        return build_windows(
            self.trades,
            self.quotes,
            self.books,
            self.book_flows,
            self.reference_prices,
            self.feed_gaps,
            self.rejected_frames,
            self.instruments,
            start,
            end,
        )

    def between(self, start: datetime, end: datetime) -> Facts:
        """What happened in [start, end). Gaps and refusals stay: they are few, and windows cut them."""
        inside = pl.col("time").is_between(start, end, closed="left")
        return replace(self, **{name: getattr(self, name).filter(inside) for name in _TIMED})

    def of(self, instrument_id: int) -> Facts:
        """What happened to one instrument; gaps, refusals and instruments stay."""
        mine = pl.col("instrument_id") == instrument_id
        return replace(self, **{name: getattr(self, name).filter(mine) for name in _TIMED})


def joined(parts: list[Facts]) -> Facts:
    """Facts of several instruments or spans together; gaps, refusals and instruments are the first part's."""
    frames = {name: pl.concat([getattr(part, name) for part in parts]) for name in _TIMED}
    return replace(parts[0], **frames)

"""The normalised events: what a venue's frame means, with the unit of every field.

What lives here: values only. What never does: parsing, sockets, clocks, the database.

Conventions, for every event
    *_at            microseconds since 1970-01-01 UTC (int). `occurred_at` is when the venue says it happened;
                    None where the venue says nothing: it is never made up. `received_at` is when we saw the
                    bytes.
    price           in the instrument's quote currency
    size            in the instrument's base currency; contracts are converted by the venue module
    instrument_id   `market.instruments.instrument_id`
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Literal

import msgspec

__all__ = [
    "AggressorSide",
    "Book",
    "Event",
    "FactRelation",
    "FeedGap",
    "GapCause",
    "Quote",
    "ReferencePrice",
    "RejectedFrame",
    "Trade",
]


class AggressorSide(IntEnum):
    """Who took liquidity: the side of the order that crossed the spread."""

    BUY = 1
    SELL = -1
    UNKNOWN = 0


class GapCause(StrEnum):
    """Why data is missing. Stored as `market.feed_gaps.cause`; a new cause is a new word here."""

    DISCONNECTED = "disconnected"  # the socket was closed or could not be opened
    SEQUENCE_BREAK = "sequence_break"  # the venue's own numbering skipped: a book had to be rebuilt
    CHECKSUM_MISMATCH = "checksum_mismatch"  # the venue's checksum of the book differs from ours
    CROSSED_BOOK = "crossed_book"  # best bid at or above best ask in our book
    BOOK_OUTRUN = "book_outrun"  # the price left the levels that the book's snapshot covered
    STALE = "stale"  # the socket was open and silent for longer than the channel allows
    NOT_RUNNING = "not_running"  # from the daemon's last frame before a stop or a crash to its first after
    SPOOL_DAMAGED = "spool_damaged"  # what waited on the disk for the database cannot be read back
    SHED = "shed"  # we were overloaded and dropped events by policy


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One execution at the venue, or the executions of one taker order summed (Binance `aggTrade`)."""

    instrument_id: int
    trade_id: int
    occurred_at: int
    received_at: int
    price: float
    size: float
    aggressor: int  # an AggressorSide
    fills: int = 1  # executions summed in this row: 1, or last − first + 1 of an aggregate


class Quote(msgspec.Struct, frozen=True, gc=False):
    """The best bid and ask after a change. Level 1."""

    instrument_id: int
    update_id: int
    occurred_at: int | None
    received_at: int
    bid_price: float
    bid_size: float
    ask_price: float
    ask_size: float


class Book(msgspec.Struct, frozen=True, gc=False):
    """The top of the book, best level first, at most 20 levels a side; sides may differ in length. L2."""

    instrument_id: int
    update_id: int
    occurred_at: int | None
    received_at: int
    bid_prices: tuple[float, ...]
    bid_sizes: tuple[float, ...]
    ask_prices: tuple[float, ...]
    ask_sizes: tuple[float, ...]


class ReferencePrice(msgspec.Struct, frozen=True, gc=False):
    """What a derivative is valued at. A field the venue did not send is None.

    A source of delayed prices, which tells neither trades nor quotes, gives the last price as `mark_price`.
    """

    instrument_id: int
    occurred_at: int | None
    received_at: int
    mark_price: float | None = None
    index_price: float | None = None
    funding_rate: float | None = None  # as a fraction per funding interval: 0.0001 is one basis point
    next_funding_at: int | None = None


FactRelation = Literal["trades", "quotes", "books", "reference_prices"]
"""What can be missing: a table of schema market."""


class FeedGap(msgspec.Struct, frozen=True, gc=False):
    """A span in which data is known to be missing: [started_at, ended_at).

    `instrument_id` None: the whole venue. `channel` None: not one channel of it. `relation` is the table of
    schema market that lacks the data, None: any may. `lost_events` None: nobody can know how many.
    """

    venue: str
    channel: str | None
    instrument_id: int | None
    started_at: int
    ended_at: int
    cause: GapCause
    detail: str = ""
    lost_events: int | None = None
    relation: FactRelation | None = None


class RejectedFrame(msgspec.Struct, frozen=True, gc=False):
    """A frame that could not be parsed, kept as received (cut to `frame[:65536]`) with the reason."""

    venue: str
    received_at: int
    error: str
    frame: bytes
    channel: str | None = None
    instrument_id: int | None = None


Event = Trade | Quote | Book | ReferencePrice | FeedGap | RejectedFrame

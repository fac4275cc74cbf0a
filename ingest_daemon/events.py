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
from typing import Final, Literal

import msgspec

__all__ = [
    "FLOW_DISTANCES_BPS",
    "AggressorSide",
    "Book",
    "BookFlow",
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


FLOW_DISTANCES_BPS: Final = (0, 1, 2, 5, 10, 25)
"""Where the distances of `BookFlow` begin, basis points from the touch.

Narrow where books are densest and orders meant to impress stand, wide where only the sum matters: the spread
of liquid pairs is below 1, depth is measured to 10 (`bid_depth_10bps`), beyond 25 is background.
"""


class BookFlow(msgspec.Struct, frozen=True, gc=False):
    """What came into a book and left it within one second, on one side, at one distance from the touch. L2.

    The rules by which these numbers are made are those of `book_flow.py`. A second without a change of the
    book and without a trade has no row, nor has a side and distance where nothing happened. Sizes are in base
    units.
    """

    instrument_id: int
    time: int  # start of the second, by the times of the stream
    received_at: int  # of the frame that closed it
    side: int  # 1 the bids, -1 the asks
    distance_bps: int  # of FLOW_DISTANCES_BPS: beyond it (0: from the touch on) up to the next one, included
    is_partial: bool  # the book was not in sync throughout: the numbers are a part, and not to be trusted
    added: float  # by which levels grew from one update of the book to the next
    removed: float  # by which levels shrank
    cancelled: float  # of what is removed, what no trade explains
    traded: float  # executed against this side, by the time of the trades
    adds: int  # times a level grew
    cancels: int  # times a level shrank and trades do not explain all of it
    levels: int  # different prices that grew or shrank
    largest_added: float  # the most that one level grew at once
    fleeting: float  # of what is cancelled, orders withdrawn at once and whole within 10 s of their placing
    withdrawn: float  # the largest of them
    withdrawn_life_us: int | None  # microseconds that it stood; None where there is none
    layers: int  # levels of the largest group of them, see `book_flow.py`, nearest level here; 0: none
    layered: float  # the size of that group


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


FactRelation = Literal["trades", "quotes", "books", "book_flows", "reference_prices"]
"""What can be missing: a table of schema market."""


class FeedGap(msgspec.Struct, frozen=True, gc=False):
    """A span in which data is known to be missing: [started_at, ended_at).

    `instrument_id` None: the whole venue. `channel` None: not one channel of it. `relation` is the table of
    schema market that lacks the data, None: any may. `lost_events` None: nobody can know how many.
    `is_repaired`: told again, once nothing of it is missing any more.
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
    is_repaired: bool = False


class RejectedFrame(msgspec.Struct, frozen=True, gc=False):
    """A frame that could not be parsed, kept as received (cut to `frame[:65536]`) with the reason.

    Or the count of those that were not kept (`refusals.py`): `frame` is empty then, `frames` says how many,
    of one 5 s window, received from `received_at` to `last_received_at`.
    """

    venue: str
    received_at: int
    error: str
    frame: bytes
    channel: str | None = None
    instrument_id: int | None = None
    frames: int = 1
    last_received_at: int | None = None


Event = Trade | Quote | Book | BookFlow | ReferencePrice | FeedGap | RejectedFrame

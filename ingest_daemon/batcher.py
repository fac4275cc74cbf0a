"""When a batch is full, and what it holds. What lives here: counting events and sorting them by relation.

What never does: clocks (`now` is an argument), the database, sockets. A batch is what `store.py` writes in
one transaction.

Three bounds close a batch: rows, bytes and age. The first two hold always, except that one event larger than
the byte bound is a batch of its own. Age is counted in the caller's `now` from the first event on, never from
`received_at`: a replayed recording is years old and its batches are not.

A batch of many rows is due after a fifth of the age: then a transaction is worth its price, and a busy market
is written with little delay. A quiet one is written in few transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Final

import msgspec

from ingest_daemon.events import Book, BookFlow, Event, FeedGap, Quote, ReferencePrice, RejectedFrame, Trade

__all__ = ["Batch", "Batcher", "Limits", "batch_of"]

# Bytes of a row as PostgreSQL's binary COPY carries it, near enough to bound memory and transactions by.
_TRADE_BYTES = 94
_QUOTE_BYTES = 102
_BOOK_BYTES = 150
_LEVEL_BYTES = 24  # price and size, with the length words of the two arrays
_BOOK_FLOW_BYTES = 190
_REFERENCE_PRICE_BYTES = 90
_FEED_GAP_BYTES = 120
_REJECTED_FRAME_BYTES = 80
_ALWAYS: Final[Mapping[type[Event], int]] = {
    Trade: _TRADE_BYTES,
    Quote: _QUOTE_BYTES,
    BookFlow: _BOOK_FLOW_BYTES,
    ReferencePrice: _REFERENCE_PRICE_BYTES,
}
"""Of the events that all are of one size."""

_MANY_ROWS: Final = 100
_SOONER: Final = 5  # such a batch is due after this part of the age

_seen_at = attrgetter("received_at")


class Limits(msgspec.Struct, frozen=True):
    """What closes a batch, whichever comes first."""

    rows: int = 10_000
    bytes: int = 4 * 1024 * 1024
    age_us: int = 200_000

    def __post_init__(self) -> None:
        if self.rows < 1 or self.bytes < 1 or self.age_us < 0:
            raise ValueError(f"limits must be rows >= 1, bytes >= 1 and age_us >= 0, got {self}")


class Batch(msgspec.Struct, frozen=True):
    """Events of one venue by relation, each list in order of arrival. Whoever holds it leaves it as it is."""

    venue: str
    trades: list[Trade]
    quotes: list[Quote]
    books: list[Book]
    reference_prices: list[ReferencePrice]
    feed_gaps: list[FeedGap]
    rejected_frames: list[RejectedFrame]
    rows: int
    bytes: int  # approximate
    # A default, as a spool of before knows none.
    book_flows: list[BookFlow] = msgspec.field(default_factory=list)

    @property
    def oldest_received_at(self) -> int:
        """When the first of it was received, microseconds since 1970 UTC; a gap counts by its end."""
        facts = (self.trades, self.quotes, self.books, self.book_flows, self.reference_prices)
        oldest: list[int] = [min(map(_seen_at, each)) for each in (*facts, self.rejected_frames) if each]
        return min([*oldest, *(gap.ended_at for gap in self.feed_gaps)])


class Batcher:
    """Collects the events of one venue until a bound is reached. Not thread-safe; owned by one task."""

    def __init__(self, venue: str, limits: Limits) -> None:
        self._venue = venue
        self._limits = limits
        self._open: _OpenBatch | None = None

    @property
    def rows(self) -> int:
        """Events that wait in the open batch."""
        return 0 if self._open is None else self._open.rows

    @property
    def due_at(self) -> int | None:
        """When the open batch becomes too old, in the caller's clock; None while there is none."""
        batch = self._open
        if batch is None:
            return None
        age = self._limits.age_us
        return batch.opened_at + (age // _SOONER if batch.rows >= _MANY_ROWS else age)

    @property
    def rows_to_wait_for(self) -> int:
        """So many more rows, and the open batch is due sooner or full."""
        rows, bound = self.rows, self._limits.rows
        return (_MANY_ROWS if rows < _MANY_ROWS < bound else bound) - rows

    def add(self, events: Iterable[Event], now: int) -> list[Batch]:
        """Take events in; return the batches that this made full, oldest first.

        Args:
            events: in the order they happened to us.
            now: microseconds of a clock that does not go back, the same clock for every call; when they came.
        """
        full: list[Batch] = []
        most_rows, most_bytes = self._limits.rows, self._limits.bytes
        batch = self._open or _OpenBatch(now)
        append, rows, used = batch.append, batch.rows, batch.bytes
        for event in events:
            kind = type(event)
            size = _ALWAYS.get(kind) or _size_of(event)
            if rows and (rows >= most_rows or used + size > most_bytes):
                batch.rows, batch.bytes = rows, used
                full.append(self._close(batch))
                batch = _OpenBatch(now)
                append, rows, used = batch.append, 0, 0
            append[kind](event)
            rows += 1
            used += size
        batch.rows, batch.bytes = rows, used
        self._open = batch if rows else None
        if rows >= most_rows or used >= most_bytes:
            full.append(self._close(batch))
        return full

    def take_due(self, now: int) -> Batch | None:
        """The open batch if it is too old by `now`, else None."""
        due_at = self.due_at
        if self._open is None or due_at is None or now < due_at:
            return None
        return self._close(self._open)

    def flush(self) -> Batch | None:
        """The open batch whatever its age, or None if there is none: for the end of a feed."""
        return None if self._open is None else self._close(self._open)

    def _close(self, batch: _OpenBatch) -> Batch:
        self._open = None
        return batch.sealed(self._venue)


def batch_of(venue: str, events: Iterable[Event]) -> Batch:
    """All of the events, at least one, as one batch whatever its size."""
    batch = _OpenBatch(0)
    for event in events:
        batch.append[type(event)](event)
        batch.rows += 1
        batch.bytes += _size_of(event)
    return batch.sealed(venue)


class _OpenBatch:
    """A batch that still grows."""

    __slots__ = ("_book_flows", "_lists", "append", "bytes", "opened_at", "rows")

    def __init__(self, opened_at: int) -> None:
        self._lists: tuple[
            list[Trade], list[Quote], list[Book], list[ReferencePrice], list[FeedGap], list[RejectedFrame]
        ] = ([], [], [], [], [], [])
        trades, quotes, books, reference_prices, feed_gaps, rejected_frames = self._lists
        self._book_flows: list[BookFlow] = []
        self.append: dict[type[Event], Callable[[Any], None]] = {
            Trade: trades.append,
            Quote: quotes.append,
            Book: books.append,
            BookFlow: self._book_flows.append,
            ReferencePrice: reference_prices.append,
            FeedGap: feed_gaps.append,
            RejectedFrame: rejected_frames.append,
        }
        self.opened_at = opened_at
        self.rows = 0
        self.bytes = 0

    def sealed(self, venue: str) -> Batch:
        return Batch(venue, *self._lists, rows=self.rows, bytes=self.bytes, book_flows=self._book_flows)


def _size_of(event: Event) -> int:
    """Bytes the event takes in the database's binary COPY, approximately."""
    match event:
        case Book():
            return _BOOK_BYTES + _LEVEL_BYTES * (len(event.bid_prices) + len(event.ask_prices))
        case FeedGap():
            return _FEED_GAP_BYTES + len(event.detail)
        case RejectedFrame():
            return _REJECTED_FRAME_BYTES + len(event.error) + len(event.frame)
        case _:
            return _ALWAYS[type(event)]

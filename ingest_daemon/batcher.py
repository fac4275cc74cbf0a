"""When a batch is full, and what it holds. What lives here: counting and sorting events by relation.

What never does: clocks (`now` is an argument), the database, sockets. A batch is what `store.py` writes in one go.

Three bounds close a batch: rows, bytes and age. The first two hold always, except that one event larger than
the byte bound is a batch of its own. Age is counted in the caller's `now` from the first event on, never from
`received_at`: a replayed recording is years old and its batches are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from ingest_daemon.events import Book, Event, FeedGap, Quote, ReferencePrice, RejectedFrame, Trade

__all__ = ["Batch", "Batcher", "Limits"]

# Bytes of a row as PostgreSQL's binary COPY carries it, near enough to bound memory and transactions by.
_TRADE_BYTES = 94
_QUOTE_BYTES = 102
_BOOK_BYTES = 150
_LEVEL_BYTES = 24  # price and size with the array's own length words
_REFERENCE_PRICE_BYTES = 90
_FEED_GAP_BYTES = 120
_REJECTED_FRAME_BYTES = 80


class Limits(msgspec.Struct, frozen=True):
    """What closes a batch, whichever comes first."""

    rows: int = 10_000
    bytes: int = 4 * 1024 * 1024
    age_us: int = 200_000

    def __post_init__(self) -> None:
        if self.rows < 1 or self.bytes < 1 or self.age_us < 0:
            raise ValueError(f"limits must be rows >= 1, bytes >= 1 and age_us >= 0, got {self}")


class Batch(msgspec.Struct, frozen=True):
    """Events of one venue by relation, each in the order they came. Whoever holds it does not change it."""

    venue: str
    trades: list[Trade]
    quotes: list[Quote]
    books: list[Book]
    reference_prices: list[ReferencePrice]
    feed_gaps: list[FeedGap]
    rejected_frames: list[RejectedFrame]
    rows: int
    bytes: int  # approximate
    oldest_received_at: int  # microseconds since 1970 UTC; a gap counts by its end


class Batcher:
    """Collects the events of one venue until a bound is reached. Not thread-safe; owned by one task."""

    def __init__(self, venue: str, limits: Limits) -> None:
        self.venue = venue
        self.limits = limits
        self._open()

    @property
    def rows(self) -> int:
        """Events that wait in the open batch."""
        return self._rows

    @property
    def due_at(self) -> int | None:
        """When the open batch becomes too old, in the caller's clock; None while it is empty."""
        return None if self._opened_at is None else self._opened_at + self.limits.age_us

    def add(self, events: Iterable[Event], now: int) -> list[Batch]:
        """Take events in; return the batches that this made full, oldest first.

        Args:
            events: in the order they happened to us.
            now: microseconds of any clock that does not go back, the same for every call.
        """
        full: list[Batch] = []
        for event in events:
            size = _size_of(event)
            if self._rows and self._bytes + size > self.limits.bytes:
                full.append(self._close())
            if self._opened_at is None:
                self._opened_at = now
            self._append[type(event)](event)
            self._rows += 1
            self._bytes += size
            seen = event.ended_at if isinstance(event, FeedGap) else event.received_at
            if self._oldest is None or seen < self._oldest:
                self._oldest = seen
            if self._rows >= self.limits.rows or self._bytes >= self.limits.bytes:
                full.append(self._close())
        return full

    def take_due(self, now: int) -> Batch | None:
        """The open batch if it is too old by `now`, else None."""
        due_at = self.due_at
        return self._close() if due_at is not None and now >= due_at else None

    def flush(self) -> Batch | None:
        """The open batch whatever its age, or None if it is empty: for the end of a feed."""
        return self._close() if self._rows else None

    def _open(self) -> None:
        self._trades: list[Trade] = []
        self._quotes: list[Quote] = []
        self._books: list[Book] = []
        self._reference_prices: list[ReferencePrice] = []
        self._feed_gaps: list[FeedGap] = []
        self._rejected_frames: list[RejectedFrame] = []
        self._append: dict[type[Event], Callable[..., None]] = {
            Trade: self._trades.append,
            Quote: self._quotes.append,
            Book: self._books.append,
            ReferencePrice: self._reference_prices.append,
            FeedGap: self._feed_gaps.append,
            RejectedFrame: self._rejected_frames.append,
        }
        self._rows = 0
        self._bytes = 0
        self._oldest: int | None = None
        self._opened_at: int | None = None

    def _close(self) -> Batch:
        assert self._oldest is not None, "an empty batch is never closed"
        batch = Batch(
            venue=self.venue,
            trades=self._trades,
            quotes=self._quotes,
            books=self._books,
            reference_prices=self._reference_prices,
            feed_gaps=self._feed_gaps,
            rejected_frames=self._rejected_frames,
            rows=self._rows,
            bytes=self._bytes,
            oldest_received_at=self._oldest,
        )
        self._open()
        return batch


def _size_of(event: Event) -> int:
    """Bytes the event takes in the database's binary COPY, approximately."""
    match event:
        case Trade():
            return _TRADE_BYTES
        case Quote():
            return _QUOTE_BYTES
        case Book():
            return _BOOK_BYTES + _LEVEL_BYTES * (len(event.bid_prices) + len(event.ask_prices))
        case ReferencePrice():
            return _REFERENCE_PRICE_BYTES
        case FeedGap():
            return _FEED_GAP_BYTES + len(event.detail)
        case RejectedFrame():
            return _REJECTED_FRAME_BYTES + len(event.error) + len(event.frame)

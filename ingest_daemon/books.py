"""A level-2 book from a snapshot and diffs, in sequence or silent.

What lives here: when a book may speak, and the way back after a break. What never does: the levels themselves
(`book_levels.py`), frames of a venue, sockets, clocks (times are arguments), fetching the snapshot.

A book that looks right and is wrong is worse than none. So a book says nothing unless
- its first diff bridges the snapshot and every next one follows on the one before;
- its best bid is below its best ask;
- the venue's checksum of it, where one was sent, is ours;
- the levels it shows lie inside the span of prices that the snapshot covered: a venue sends the best 1000
  levels a side, and of what lies beyond only what changes. When the price has moved so far that fewer than
  `depth` levels are left inside, the book shows those and wants a new snapshot.

While a snapshot is wanted, diffs are kept (the newest `buffer_limit`) and replayed onto it. A book that lost
its sequence is silent until then and reports the hole as one `FeedGap`; a book that merely wants a wider
snapshot goes on meanwhile, and the new one takes over without a hole.

Some venues send the snapshot in the stream, before the diffs that follow on it. Then nothing has to be
bridged: `start_over` takes it, and the book is right at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from ingest_daemon.book_flow import FlowMeter
from ingest_daemon.book_levels import (
    ChecksumRule,
    ContiguousIds,
    Diff,
    Fault,
    Levels,
    LinkedIds,
    SequenceRule,
    Snapshot,
    Texts,
    UnnumberedIds,
)
from ingest_daemon.events import Book, Event, FeedGap, GapCause, Quote

__all__ = [
    "BookBuilder",
    "ChecksumRule",
    "ContiguousIds",
    "Diff",
    "Fault",
    "LinkedIds",
    "SequenceRule",
    "Snapshot",
    "Texts",
    "UnnumberedIds",
]


class BookBuilder:
    """The book of one instrument. Feed it diffs and snapshots; it returns what can be said.

    Times are microseconds since 1970 UTC, when the bytes were seen.
    """

    def __init__(
        self,
        venue: str,
        channel: str,
        instrument_id: int,
        rule: SequenceRule,
        *,
        depth: int = 20,
        interval_us: int = 100_000,
        buffer_limit: int = 1_000,
        with_quotes: bool = False,
        with_books: bool = True,
        checksum_rule: ChecksumRule | None = None,
        kept_levels: int | None = None,
        told_levels: int | None = None,
        meter: FlowMeter | None = None,
    ) -> None:
        """Start silent, wanting a snapshot from the first diff on.

        Args:
            venue: for the `FeedGap`.
            channel: for the `FeedGap`.
            instrument_id: for every event.
            rule: how the venue numbers.
            depth: levels a side of a `Book`.
            interval_us: time is cut into spans of this length; at most one `Book` comes in each, the first.
            buffer_limit: diffs kept for a snapshot to come; of more, the oldest are dropped.
            with_quotes: also return a `Quote` when the best bid or ask changed.
            with_books: return a `Book` when one is due; without, a book is only held for its quotes.
            checksum_rule: how the venue sums up a book; diffs and snapshots then have `texts`.
            kept_levels: levels a side to keep, for a venue that does not say when one falls out of its span.
            told_levels: levels a side that a venue tells of; one that falls out of the span, it says is gone.
            meter: what counts the flow of the book. It is told of trades by whoever reads them.
        """
        self._venue, self._channel, self._instrument_id, self._rule = venue, channel, instrument_id, rule
        self._depth, self._interval_us = depth, interval_us
        self._with_quotes, self._with_books = with_quotes, with_books
        self._checksum_rule, self._kept_levels = checksum_rule, kept_levels
        self._told_levels, self._meter = told_levels or kept_levels, meter
        self._levels: Levels | None = None  # None: out of sync
        self._wants_wider = False  # in sync, but few levels are left inside the snapshot's span
        self._snapshot: Snapshot | None = None  # waits for the first diff that is not before it
        self._diffs_before_snapshot = 0
        self._kept: deque[Diff] = deque(maxlen=buffer_limit)
        self._gap: FeedGap | None = None  # the hole we are in; its end is not known yet
        self._good_at = 0  # when the book was last known to be right
        self._last_ids = (-1, -1)  # of the last diff
        self._said_id = -1  # update of the last Book
        self._said_span = -1
        self._said_quote: tuple[float, float, float, float] | None = None

    @property
    def in_sync(self) -> bool:
        """Whether the book is known to be right."""
        return self._levels is not None

    @property
    def wants_snapshot(self) -> bool:
        """Whether a snapshot taken now would help: not before the first diff, which it must overlap."""
        return self._snapshot is None and bool(self._kept) and (self._levels is None or self._wants_wider)

    @property
    def why(self) -> str:
        """What broke the book, with the numbers; empty while it is in sync, and before it ever was."""
        return "" if self._gap is None else self._gap.detail

    def apply(self, diff: Diff, received_at: int) -> list[Event]:
        """Take in a diff; return what it says.

        A `FeedGap` on being right again, a `Quote` if wanted, a `Book` if due, the `BookFlow`s it closes.
        """
        ids = (diff.first_id, diff.last_id)
        if ids == self._last_ids:  # the venue said the same twice
            return []
        self._last_ids = ids
        if self._levels is None or self._wants_wider or self._snapshot is not None:
            self._kept.append(diff)
        if self._levels is not None:
            fault = self._follow(self._levels, diff, received_at)
            if fault is not None:
                self.lose(fault, received_at)
                self._kept.append(diff)
                return self._flows()
            self._good_at = received_at
        self._try_to_bridge(received_at)
        return self._say(received_at)

    def apply_snapshot(self, snapshot: Snapshot, received_at: int) -> list[Event]:
        """Take in a snapshot, wanted or not. One that the diffs do not reach is dropped, another wanted."""
        self._snapshot = snapshot
        self._diffs_before_snapshot = 0
        self._try_to_bridge(received_at)
        return self._say(received_at)

    def start_over(self, snapshot: Snapshot, received_at: int) -> list[Event]:
        """Take in a snapshot that the stream sends here: what follows it in the stream follows on it."""
        self._kept.clear()
        self._last_ids = (-1, -1)
        if self._meter is not None:
            self._meter.cut(received_at)  # what changed meanwhile, nobody knows
        levels = self._levels_of(snapshot)
        fault = levels.fault()
        if fault is not None:
            self.lose(fault, received_at)
            return self._flows()
        self._trust(levels, received_at)
        return self._say(received_at)

    def lose(self, fault: Fault, received_at: int) -> None:
        """Go out of sync. What is missing lies between the last time the book was right and the next."""
        if self._meter is not None:
            self._meter.cut(received_at)
        if self._levels is not None:
            self._gap = FeedGap(
                venue=self._venue,
                channel=self._channel,
                instrument_id=self._instrument_id,
                started_at=self._good_at,
                ended_at=received_at,
                cause=fault.cause,
                detail=fault.detail,
                relation="books" if self._with_books else "quotes",
            )
        self._levels = self._snapshot = self._said_quote = None
        self._wants_wider = False
        self._kept.clear()

    def open_gap(self, now: int) -> FeedGap | None:
        """The hole that the book is in, as if it ended `now`; None while in sync and before it ever was."""
        if self._gap is None:
            return None
        return msgspec.structs.replace(self._gap, ended_at=max(now, self._gap.started_at))

    def open_gaps(self, now: int) -> list[FeedGap]:
        """As `open_gap`, of each relation that this book is the source of."""
        gap = self.open_gap(now)
        if gap is None:
            return []
        gaps = [gap]
        if self._with_quotes and self._with_books:
            gaps.append(msgspec.structs.replace(gap, relation="quotes"))
        if self._meter is not None:
            gaps.append(msgspec.structs.replace(gap, relation="book_flows"))
        return gaps

    def close(self, now: int) -> list[Event]:
        """The end of the session: the hole that the book is in, and what its flow has counted so far."""
        if self._meter is not None:
            self._meter.cut(now)
        return [*self.open_gaps(now), *self._flows()]

    def _follow(self, levels: Levels, diff: Diff, received_at: int | None = None) -> Fault | None:
        """Apply the next diff, or say why that gives no book to trust. With a time, its flow is counted."""
        if not self._rule.follows(diff, levels.last_id):
            link = "" if diff.previous_id is None else f", which follows {diff.previous_id}"
            numbers = f"book at update {levels.last_id}, next diff is {diff.first_id} to {diff.last_id}{link}"
            return Fault(GapCause.SEQUENCE_BREAK, numbers)
        if self._meter is None or received_at is None:
            levels.apply(diff)
            return levels.fault()
        changes = levels.apply_noting(diff, self._told_levels)
        fault = levels.fault()
        if fault is None:
            self._meter.count(changes, diff.occurred_at, received_at)
        return fault

    def _levels_of(self, snapshot: Snapshot) -> Levels:
        return Levels(snapshot, self._checksum_rule, self._kept_levels)

    def _flows(self) -> list[Event]:
        return [] if self._meter is None else [*self._meter.take()]

    def _trust(self, levels: Levels, received_at: int) -> None:
        # A wider snapshot of a book in sync says nothing new: its flow goes on.
        if self._meter is not None and not self._meter.is_on:
            self._meter.begin()
        self._levels, self._snapshot = levels, None
        self._wants_wider = False
        self._good_at = received_at

    def _try_to_bridge(self, received_at: int) -> None:
        """Build the book from the waiting snapshot and the diffs kept, once one of them reaches it."""
        snapshot = self._snapshot
        if snapshot is None:
            return
        while self._kept and self._rule.is_before(self._kept[0], snapshot.last_id):
            self._kept.popleft()
            self._diffs_before_snapshot += 1
        if not self._kept:
            # Diffs that never catch up have another numbering than the snapshot.
            if self._diffs_before_snapshot > (self._kept.maxlen or 0):
                self._snapshot = None
            return
        self._snapshot = None
        if not self._rule.bridges(self._kept[0], snapshot.last_id):
            return
        levels = self._levels_of(snapshot)
        levels.apply(self._kept.popleft())
        fault = levels.fault()
        while self._kept and fault is None:
            fault = self._follow(levels, self._kept[0])
            if fault is None:
                self._kept.popleft()
        if fault is None:
            self._trust(levels, received_at)

    def _say(self, received_at: int) -> list[Event]:
        """What is new and due, if the book is right."""
        levels = self._levels
        if levels is None:
            return self._flows()
        events: list[Event] = [*self.open_gaps(received_at)]
        self._gap = None
        if self._with_quotes:
            events.extend(self._quote(levels, received_at))
        span = received_at // self._interval_us
        if self._with_books and span > self._said_span and levels.last_id != self._said_id:
            self._said_span, self._said_id = span, levels.last_id
            events.append(self._book(levels, received_at))
        if not self._wants_wider and not levels.cover(self._depth):
            self._wants_wider = True
        events.extend(self._flows())
        return events

    def _book(self, levels: Levels, received_at: int) -> Book:
        bid_prices, bid_sizes = levels.bids.top(self._depth)
        ask_prices, ask_sizes = levels.asks.top(self._depth)
        return Book(
            self._instrument_id,
            levels.last_id,
            levels.occurred_at,
            received_at,
            bid_prices,
            bid_sizes,
            ask_prices,
            ask_sizes,
        )

    def _quote(self, levels: Levels, received_at: int) -> Iterable[Quote]:
        bid_prices, bid_sizes = levels.bids.top(1)
        ask_prices, ask_sizes = levels.asks.top(1)
        if not bid_prices or not ask_prices:
            return
        best = (bid_prices[0], bid_sizes[0], ask_prices[0], ask_sizes[0])
        if best != self._said_quote:
            self._said_quote = best
            yield Quote(self._instrument_id, levels.last_id, levels.occurred_at, received_at, *best)

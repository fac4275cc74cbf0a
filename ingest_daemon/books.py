"""A level-2 book from a snapshot and diffs, in sequence or silent.

What lives here: the levels, the venue's sequence rules, the way back after a break. What never does: frames
of a venue, sockets, clocks (times are arguments), fetching the snapshot.

A book that looks right and is wrong is worse than none. So a book says nothing unless
- its first diff bridges the snapshot and every next one follows on the one before;
- its best bid is below its best ask;
- the levels it shows lie inside the span of prices that the snapshot covered: a venue sends the best 1000
  levels a side, and of what lies beyond only what changes. When the price has moved so far that fewer than
  `depth` levels are left inside, the book shows those and wants a new snapshot.

While a snapshot is wanted, diffs are kept (the newest `buffer_limit`) and replayed onto it. A book that lost
its sequence is silent until then and reports the hole as one `FeedGap`; a book that merely wants a wider
snapshot goes on meanwhile, and the new one takes over without a hole.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from ingest_daemon.events import Book, Event, FeedGap, GapCause, Quote

__all__ = ["BookBuilder", "ContiguousIds", "Diff", "LinkedIds", "SequenceRule", "Snapshot"]

Level = tuple[float, float]  # price, size in base units; a size of 0 in a diff removes the level


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """A whole book as of the update `last_id`. Truncated: the venue may know more levels than it sent."""

    last_id: int
    bids: Sequence[Level]
    asks: Sequence[Level]
    is_bids_truncated: bool
    is_asks_truncated: bool


class Diff(msgspec.Struct, frozen=True, gc=False):
    """The levels that changed in the updates `first_id` to `last_id`, both included, as absolute sizes."""

    first_id: int
    last_id: int
    previous_id: int | None  # `last_id` of the diff before; None where the venue does not say
    occurred_at: int | None  # microseconds since 1970 UTC
    bids: Sequence[Level]
    asks: Sequence[Level]


class SequenceRule(Protocol):
    """How a venue numbers its diffs."""

    def is_before(self, diff: Diff, snapshot_id: int) -> bool:
        """Whether the snapshot holds all of the diff, so that it is not applied."""

    def bridges(self, diff: Diff, snapshot_id: int) -> bool:
        """Whether nothing is missing between the snapshot and this diff, the first not before it."""

    def follows(self, diff: Diff, last_id: int) -> bool:
        """Whether nothing is missing between the update `last_id` of the book and this diff."""


class ContiguousIds:
    """Ids count up by one within the symbol: `first_id` = `last_id` of the diff before + 1 (Binance spot)."""

    def is_before(self, diff: Diff, snapshot_id: int) -> bool:
        """`last_id` at or below the snapshot's."""
        return diff.last_id <= snapshot_id

    def bridges(self, diff: Diff, snapshot_id: int) -> bool:
        """The diff covers the update after the snapshot."""
        return diff.first_id <= snapshot_id + 1 <= diff.last_id

    def follows(self, diff: Diff, last_id: int) -> bool:
        """`first_id` is the next."""
        return diff.first_id == last_id + 1 and diff.last_id > last_id


class LinkedIds:
    """Ids are shared among symbols and skip; a diff names the one before: `previous_id` (Binance futures)."""

    def is_before(self, diff: Diff, snapshot_id: int) -> bool:
        """`last_id` below the snapshot's."""
        return diff.last_id < snapshot_id

    def bridges(self, diff: Diff, snapshot_id: int) -> bool:
        """The snapshot lies inside the diff, or between it and the one it names as the one before."""
        begins_at = diff.first_id if diff.previous_id is None else min(diff.first_id, diff.previous_id)
        return begins_at <= snapshot_id <= diff.last_id

    def follows(self, diff: Diff, last_id: int) -> bool:
        """`previous_id` is where the book is."""
        return diff.previous_id == last_id and diff.last_id > last_id


class _Fault(msgspec.Struct, frozen=True):
    """Why a book cannot be trusted."""

    cause: GapCause
    detail: str


class _Side:
    """One side of a book. `sign` is 1 for bids, −1 for asks; a key is sign × price, so the best is highest.

    Keys ascend: changes happen near the best level, so near the end of the list, where inserting is cheap.
    """

    __slots__ = ("_keys", "_sign", "_sizes", "_worst")

    def __init__(self, sign: int, levels: Iterable[Level], is_truncated: bool) -> None:
        self._sign = sign
        self._sizes = {sign * price: size for price, size in levels if size > 0.0}
        self._keys = sorted(self._sizes)
        # None: every level is known.
        self._worst = self._keys[0] if is_truncated and self._keys else None

    def apply(self, levels: Iterable[Level]) -> None:
        sign, sizes, keys = self._sign, self._sizes, self._keys
        for price, size in levels:
            key = sign * price
            if size > 0.0:
                if key not in sizes:
                    keys.insert(bisect_left(keys, key), key)
                sizes[key] = size
            elif key in sizes:
                del sizes[key]
                del keys[bisect_left(keys, key)]

    def best_price(self) -> float | None:
        return self._sign * self._keys[-1] if self._keys else None

    def top(self, depth: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Prices and sizes of the best levels that are surely all there are, best first."""
        keys = self._keys[-depth:]
        if self._worst is not None and keys and keys[0] < self._worst:
            keys = keys[bisect_left(keys, self._worst) :]
        keys.reverse()
        return tuple([self._sign * key for key in keys]), tuple([self._sizes[key] for key in keys])

    def covers(self, depth: int) -> bool:
        """Whether the best `depth` levels are known for sure."""
        return self._worst is None or (len(self._keys) >= depth and self._keys[-depth] >= self._worst)


class _Levels:
    """Both sides as of one update."""

    __slots__ = ("asks", "bids", "last_id", "occurred_at")

    def __init__(self, snapshot: Snapshot) -> None:
        self.bids = _Side(1, snapshot.bids, snapshot.is_bids_truncated)
        self.asks = _Side(-1, snapshot.asks, snapshot.is_asks_truncated)
        self.last_id = snapshot.last_id
        self.occurred_at: int | None = None

    def apply(self, diff: Diff) -> None:
        self.bids.apply(diff.bids)
        self.asks.apply(diff.asks)
        self.last_id = diff.last_id
        self.occurred_at = diff.occurred_at

    def fault(self) -> _Fault | None:
        """Why these levels cannot be right, or None."""
        bid, ask = self.bids.best_price(), self.asks.best_price()
        if bid is not None and ask is not None and bid >= ask:
            crossed = f"best bid {bid} at or above best ask {ask} at update {self.last_id}"
            return _Fault(GapCause.CROSSED_BOOK, crossed)
        if not self.cover(1):
            outrun = f"best bid {bid}, best ask {ask} at update {self.last_id}: beyond the snapshot's levels"
            return _Fault(GapCause.BOOK_OUTRUN, outrun)
        return None

    def cover(self, depth: int) -> bool:
        """Whether the best `depth` levels of both sides are known for sure."""
        return self.bids.covers(depth) and self.asks.covers(depth)


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
        """
        self._venue, self._channel, self._instrument_id, self._rule = venue, channel, instrument_id, rule
        self._depth, self._interval_us, self._with_quotes = depth, interval_us, with_quotes
        self._levels: _Levels | None = None  # None: out of sync
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
        """Take in a diff; return a `FeedGap` on being right again, a `Quote` if wanted, a `Book` if due."""
        ids = (diff.first_id, diff.last_id)
        if ids == self._last_ids:  # the venue said the same twice
            return []
        self._last_ids = ids
        if self._levels is None or self._wants_wider or self._snapshot is not None:
            self._kept.append(diff)
        if self._levels is not None:
            fault = self._follow(self._levels, diff)
            if fault is not None:
                self._lose(fault, diff, received_at)
                return []
            self._good_at = received_at
        self._try_to_bridge(received_at)
        return self._say(received_at)

    def apply_snapshot(self, snapshot: Snapshot, received_at: int) -> list[Event]:
        """Take in a snapshot, wanted or not. One that the diffs do not reach is dropped, another wanted."""
        self._snapshot = snapshot
        self._diffs_before_snapshot = 0
        self._try_to_bridge(received_at)
        return self._say(received_at)

    def open_gap(self, now: int) -> FeedGap | None:
        """The hole that the book is in, as if it ended `now`; None while in sync and before it ever was."""
        if self._gap is None:
            return None
        return msgspec.structs.replace(self._gap, ended_at=max(now, self._gap.started_at))

    def _follow(self, levels: _Levels, diff: Diff) -> _Fault | None:
        """Apply the next diff, or say why that gives no book to trust."""
        if not self._rule.follows(diff, levels.last_id):
            link = "" if diff.previous_id is None else f", which follows {diff.previous_id}"
            numbers = f"book at update {levels.last_id}, next diff is {diff.first_id} to {diff.last_id}{link}"
            return _Fault(GapCause.SEQUENCE_BREAK, numbers)
        levels.apply(diff)
        return levels.fault()

    def _lose(self, fault: _Fault, diff: Diff, received_at: int) -> None:
        """Go out of sync. What is missing lies between the last diff that was right and the next bridge."""
        self._gap = FeedGap(
            venue=self._venue,
            channel=self._channel,
            instrument_id=self._instrument_id,
            started_at=self._good_at,
            ended_at=received_at,
            cause=fault.cause,
            detail=fault.detail,
        )
        self._levels = self._snapshot = self._said_quote = None
        self._wants_wider = False
        self._kept.clear()
        self._kept.append(diff)

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
        levels = _Levels(snapshot)
        levels.apply(self._kept.popleft())
        fault = levels.fault()
        while self._kept and fault is None:
            fault = self._follow(levels, self._kept[0])
            if fault is None:
                self._kept.popleft()
        if fault is None:
            self._levels = levels
            self._wants_wider = False
            self._good_at = received_at

    def _say(self, received_at: int) -> list[Event]:
        """What is new and due, if the book is right."""
        levels = self._levels
        if levels is None:
            return []
        events: list[Event] = []
        gap = self.open_gap(received_at)
        if gap is not None:
            events.append(gap)
            self._gap = None
        if self._with_quotes:
            events.extend(self._quote(levels, received_at))
        span = received_at // self._interval_us
        if span > self._said_span and levels.last_id != self._said_id:
            self._said_span, self._said_id = span, levels.last_id
            events.append(self._book(levels, received_at))
        if not self._wants_wider and not levels.cover(self._depth):
            self._wants_wider = True
        return events

    def _book(self, levels: _Levels, received_at: int) -> Book:
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

    def _quote(self, levels: _Levels, received_at: int) -> Iterable[Quote]:
        bid_prices, bid_sizes = levels.bids.top(1)
        ask_prices, ask_sizes = levels.asks.top(1)
        if not bid_prices or not ask_prices:
            return
        best = (bid_prices[0], bid_sizes[0], ask_prices[0], ask_sizes[0])
        if best != self._said_quote:
            self._said_quote = best
            yield Quote(self._instrument_id, levels.last_id, levels.occurred_at, received_at, *best)

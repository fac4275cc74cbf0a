"""From an old socket to a new one without a hole and with nothing twice. Pure.

What lives here: which events of two sockets with the same subscriptions go on, and when the old may be
closed. What never does: sockets, clocks.

The old socket leads: what it says goes on. What the new one says first is kept, and forgotten when the old
one says it too. When everything that the old one tells is told by the new one as well, the old may be closed:
then what was kept goes on, and the new one leads. It may lag behind the old, so what the old one said is
known for some time yet, and not told again.

Two sockets of one venue send the same numbers: an event is the same if its kind, instrument and number are.
And they send in the same order: what was read before an event on the one was sent before it on the other. So
the trades of an instrument are taken over only once one of them was seen on both. Books, and quotes made from
books, are right on either, but each socket shows a selection of its own: of these, what the new one said
before an event of both is no news. What a socket says again is where it said it first. So what goes on is
known from what each of the two said until the old one is closed, in whatever order they were read.

Counts of refused frames are of both sockets, whichever made them due: they always go on.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from ingest_daemon.events import (
    Book,
    BookFlow,
    Event,
    FeedGap,
    Quote,
    ReferencePrice,
    RejectedFrame,
    Trade,
)

__all__ = ["Handover"]

_FLOW_PATIENCE_US = 5_000_000  # after the start of the first second that the new one tells

_Kind = tuple[type[Event], int | None]  # and the instrument


class Handover:
    """One change of sockets."""

    def __init__(self) -> None:
        self._said: set[Hashable] = set()  # by the old
        self._said_by_new: set[Hashable] = set()  # before it leads
        self._kept: dict[_Kind, dict[Hashable, Event]] = {}  # said by the new alone, in order
        self._kinds_of_old: set[_Kind] = set()  # since the new one speaks
        self._kinds_of_new: set[_Kind] = set()
        self._met: set[_Kind] = set()  # of which something was seen on both
        self._latest: dict[_Kind, int] = {}  # receive time of the old one's last
        self._flow_told: dict[_Kind, int] = {}  # the last second of which the old one told the flow
        self._flow_begun: dict[_Kind, int] = {}  # the first of which the new one did
        self._seen_at = 0  # receive time of the last event of all
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether the new one leads."""
        return self._is_over

    @property
    def is_ready(self) -> bool:
        """Whether the new one tells all that the old one does, from a point that the old one was read to."""
        if not self._kinds_of_new:
            return not self._said  # nothing happens at all
        trades = {kind for kind in self._kinds_of_old | self._kinds_of_new if kind[0] is Trade}
        if not self._met or not self._kinds_of_old <= self._kinds_of_new or not trades <= self._met:
            return False
        return all(
            self._flow_told.get(kind, 0) > begun or self._seen_at > begun + _FLOW_PATIENCE_US
            for kind, begun in self._flow_begun.items()
        )

    def from_old(self, events: Iterable[Event]) -> Sequence[Event]:
        """What of these goes on: all; once it is closed, the gaps that it was in, and counts."""
        passed = list(events)
        if self._is_over:
            return [event for event in passed if isinstance(event, FeedGap) or _is_count(event)]
        for event in passed:
            if isinstance(event, FeedGap) or _is_count(event):
                continue
            kind, key = _kind_of(event), _key_of(event)
            self._said.add(key)
            self._latest[kind] = _seen_at(event)
            self._seen_at = max(self._seen_at, self._latest[kind])
            if isinstance(event, BookFlow):
                self._flow_told[kind] = max(self._flow_told.get(kind, 0), event.time)
            if self._kinds_of_new and not isinstance(event, RejectedFrame):
                self._kinds_of_old.add(kind)
            if key in self._kept.get(kind, ()):
                self._meet(kind, key)
        return passed

    def from_new(self, events: Iterable[Event]) -> Sequence[Event]:
        """What of these goes on: before the old is closed counts alone, then what it did not say."""
        if self._is_over:
            return [event for event in events if _is_count(event) or not self._is_said(event)]
        counts: list[Event] = []
        for event in events:
            if _is_count(event):
                counts.append(event)
            elif not isinstance(event, FeedGap):  # the old one leads; what it misses, it tells
                self._keep(event)
        return counts

    def _keep(self, event: Event) -> None:
        """What the new one says before it leads."""
        kind, key = _kind_of(event), _key_of(event)
        self._kinds_of_new.add(kind)
        self._seen_at = max(self._seen_at, _seen_at(event))
        if isinstance(event, BookFlow):
            self._flow_begun.setdefault(kind, event.time)
            self._kept.setdefault(kind, {})[_place_of(event)] = event
        elif key not in self._said_by_new:
            self._said_by_new.add(key)
            if key in self._said:
                self._meet(kind, key)
            else:
                self._kept.setdefault(kind, {})[key] = event

    def close_old(self) -> Sequence[Event]:
        """The new one leads from here on. What was kept and goes on now."""
        self._is_over = True
        rest = [
            event
            for kind, kept in self._kept.items()
            for event in kept.values()
            if kind in self._met or kind[0] is not Book or _seen_at(event) > self._latest.get(kind, 0)
            if not self._is_said(event)
        ]
        self._kept.clear()
        return rest

    def _is_said(self, event: Event) -> bool:
        """Whether the old one said it; of a second of flow, that or better."""
        if isinstance(event, BookFlow) and (BookFlow, event.instrument_id, event.time, False) in self._said:
            return True
        return _key_of(event) in self._said

    def _meet(self, kind: _Kind, key: Hashable) -> None:
        """An event of the new one was said by the old one too."""
        self._met.add(kind)
        kept = self._kept.get(kind, {})
        if kind[0] is Trade:
            kept.pop(key, None)
            return
        is_last = key not in kept  # what the new one says now came after all that was kept
        for earlier in list(kept):
            del kept[earlier]
            if earlier == key and not is_last:
                return


def _kind_of(event: Event) -> _Kind:
    return type(event), event.instrument_id


def _seen_at(event: Event) -> int:
    return event.ended_at if isinstance(event, FeedGap) else event.received_at


def _is_count(event: Event) -> bool:
    return isinstance(event, RejectedFrame) and event.last_received_at is not None


def _key_of(event: Event) -> Hashable:
    """What is the same on both sockets: all but when it was received."""
    match event:
        case Trade(instrument_id, trade_id):
            return Trade, instrument_id, trade_id
        case Quote(instrument_id, update_id) | Book(instrument_id, update_id):
            return type(event), instrument_id, update_id
        case BookFlow():  # a second is told at once, at all distances where something happened
            return BookFlow, event.instrument_id, event.time, event.is_partial
        case ReferencePrice(instrument_id, occurred_at, _, mark, index, funding):
            return ReferencePrice, instrument_id, occurred_at, mark, index, funding
        case RejectedFrame():
            return RejectedFrame, event.frame
        case FeedGap():
            return FeedGap, event.instrument_id, event.channel, event.started_at


def _place_of(flow: BookFlow) -> Hashable:
    """What tells the flows of one second apart."""
    return flow.time, flow.is_partial, flow.side, flow.distance_bps

"""A recorded change from one connection to the next, made again, and the account of the frames in it. Pure.

What lives here: one handover for the two connections of a replay, moved by the steps that were recorded. What
never does: reading recordings, writing (`replay.py`), the rules of a handover (`handover.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from ingest_daemon.events import Book, BookFlow, Event, Quote, ReferencePrice, Trade
from ingest_daemon.handover import Handover
from ingest_daemon.recording import StepName

__all__ = ["RELATIONS", "Change", "StreamReport"]

RELATIONS: Final[Mapping[type[Event], str]] = {
    Trade: "trades",
    Quote: "quotes",
    Book: "books",
    BookFlow: "book_flows",
    ReferencePrice: "reference_prices",
}


class StreamReport(msgspec.Struct):
    """What became of a stream's frames. Of trades and tickers: frames = rows + duplicates + refused."""

    frames: int = 0
    rows: int = 0
    duplicates: int = 0
    gaps: int = 0
    refused: int = 0


class Change:
    """A change as the feed made it."""

    def __init__(self) -> None:
        self._handover = Handover()
        self._is_given_up = False
        self._held: dict[int, tuple[Event, StreamReport]] = {}  # said by the new one before it led

    def take(self, step: StepName) -> Iterator[tuple[Event, StreamReport | None]]:
        """What goes on by a step, each with the report of its stream."""
        if step == "done":
            for event in self._handover.close_old():
                yield event, self._held.pop(id(event), (event, None))[1]
        elif step == "given_up":
            self._is_given_up = True
        _count_repeated(self._held.values())
        self._held.clear()

    def admitted(self, events: Sequence[Event], report: StreamReport, *, is_new: bool) -> Sequence[Event]:
        """What of a connection's events goes on; the rest is counted as repeated, now or by a step."""
        handover = self._handover
        passed = handover.from_new(events) if is_new else handover.from_old(events)
        if is_new and not (handover.is_over or self._is_given_up):
            self._held |= {id(event): (event, report) for event in events}
            return passed
        kept = set(map(id, passed))
        _count_repeated((event, report) for event in events if id(event) not in kept)
        return passed


def _count_repeated(events: Iterable[tuple[Event, StreamReport]]) -> None:
    """What the other connection said is there already."""
    for event, report in events:
        if type(event) in RELATIONS:
            report.duplicates += 1

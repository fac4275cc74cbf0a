"""What was received and is not written yet. What lives here: one queue, bounded by bytes, of one event loop.

What never does: dropping anything. Who puts events in asks whether it is full, and waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from ingest_daemon.events import Event

__all__ = ["EventQueue"]


class _Item(NamedTuple):
    venue: str
    events: Sequence[Event]
    size: int
    arrived_at: float  # time.monotonic()


class EventQueue:
    """What the feeds received and the writer has not taken yet: bounded by bytes, of one event loop.

    `put` never refuses: an overshoot of one read of a socket is cheaper than an event without a place. The
    producers ask `is_full` and wait.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._items: deque[_Item] = deque()
        self._bytes = 0
        self._events = 0
        self._wanted = 1  # events that wake the writer
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self.is_closed = False

    @property
    def bytes(self) -> int:
        """Bytes of the frames that wait."""
        return self._bytes

    @property
    def events(self) -> int:
        """Events that wait."""
        return self._events

    @property
    def is_full(self) -> bool:
        """Whether the producers should wait."""
        return self._bytes >= self.limit

    @property
    def oldest_arrived_at(self) -> float | None:
        """When the oldest that waits was put in, by `time.monotonic`; None: nothing waits."""
        return self._items[0].arrived_at if self._items else None

    def put(self, venue: str, events: Sequence[Event], size: int) -> None:
        """Take events in. `size`: bytes of the frames they came in."""
        self._items.append(_Item(venue, events, size, time.monotonic()))
        self._bytes += size
        self._events += len(events)
        if self._events >= self._wanted or self._bytes >= self.limit:
            self._wake.set()

    async def wait_for_room(self) -> None:
        """Return when it is not full."""
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    def take(self) -> _Item | None:
        """The oldest item, or None if there is none."""
        if not self._items:
            return None
        item = self._items.popleft()
        self._bytes -= item.size
        self._events -= len(item.events)
        if not self.is_full:
            self._room.set()
        return item

    async def wait(self, events: int, timeout_s: float | None) -> None:
        """Return when so many events wait, when it is full or closed, or when the time is over."""
        self._wanted = events
        if self._events >= events or self.is_full or self.is_closed:
            return
        self._wake.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        """Nothing will be put any more: the writer ends when it has written what is here."""
        self.is_closed = True
        self._wake.set()

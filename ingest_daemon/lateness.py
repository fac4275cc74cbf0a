"""By how much the venue's time of an event is before ours. Pure.

What lives here: from when on a hole lacks data. What never does: finding holes, clocks.

We know when nothing was received. But windows are cut by the venue's times, and what was on its way when a
socket died is dated before that. So a gap begins earlier than the hole, by as much as what came just before
was late. What is a minute old or more when it comes is history, told on purpose, and says nothing of the way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ingest_daemon.events import Book, Event, Quote, ReferencePrice, Trade

__all__ = ["HISTORY_US", "lateness_us"]

HISTORY_US: Final = 60_000_000


def lateness_us(events: Iterable[Event]) -> int:
    """How late events came, at most, microseconds; 0 where none was late.

    >>> trade = Trade(1, 1, occurred_at=100, received_at=350, price=1.0, size=1.0, aggressor=1)
    >>> lateness_us([trade])
    250
    """
    latest = 0
    for event in events:
        if isinstance(event, Trade | Quote | Book | ReferencePrice) and event.occurred_at is not None:
            late = event.received_at - event.occurred_at
            if latest < late < HISTORY_US:
                latest = late
    return latest

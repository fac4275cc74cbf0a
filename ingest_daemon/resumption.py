"""The hole between two lives of the daemon. What lives here: its two ends, until both are known. Pure.

What never does: asking for either. The database and the spool say how far a venue was received before, the
feed when its first frame came. Usually the first is known before the second. While the database is away it is
not, and the daemon may be killed before it is: so what is open is kept by the caller, and given to the next
life. So is the very first frame of a venue, for a life that is killed before it wrote anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

__all__ = ["Hole", "Open", "Resumption"]


class Hole(NamedTuple):
    """Nothing of a venue was received between the two. Microseconds since 1970 UTC, as all here."""

    venue: str
    started_at: int
    ended_at: int


class Open(msgspec.Struct, frozen=True):
    """A hole of which the start is not known."""

    venue: str
    ended_at: int
    spooled_until: int | None  # how far the spool had the venue then; None: it had nothing of it


class Resumption:
    """Tells one hole a venue and life.

    Args:
        emit: takes a hole that is whole when the first frame of its venue comes, before that frame's events.
        keep: takes all that is open, each time when there is more of it.
        spooled: how far the spool had each venue when this life began.
        left_open: by former lives.
    """

    def __init__(
        self,
        emit: Callable[[Hole], None],
        keep: Callable[[Sequence[Open]], None],
        spooled: Mapping[str, int],
        left_open: Iterable[Open] = (),
    ) -> None:
        self._emit = emit
        self._keep = keep
        self._spooled = spooled
        self._open = list(left_open)
        self._written: Mapping[str, int] | None = None

    def resume(self, venue: str, received_at: int) -> None:
        """The first frame of a venue came."""
        mine = Open(venue, received_at, self._spooled.get(venue))
        is_first_of_all = venue not in self._spooled and venue not in (self._written or ())
        if self._written is None or is_first_of_all:
            self._keep((*self._open, mine))
        hole = None if self._written is None else self._closed(mine, self._written)
        self._open.append(mine)
        if hole is not None:
            self._emit(hole)

    def remember(self, written: Mapping[str, int]) -> Sequence[Hole]:
        """How far each venue was written before this start; one that never was is absent.

        Returns:
            What was open. It belongs before everything that waits to be written; `forget` it then.
        """
        self._written = written
        holes = [self._closed(each, written) for each in self._open]
        return [hole for hole in holes if hole is not None]

    def forget(self) -> None:
        """What was open is written, but for a venue of which nothing is."""
        self._keep([each for each in self._open if each.venue not in (self._written or ())])

    def _closed(self, open_: Open, written: Mapping[str, int]) -> Hole | None:
        """None: a recording that is played again, a clock set back, or a first start leaves no hole.

        What the database has from after the first frame says nothing of the time before it.
        """
        known = [open_.spooled_until, written.get(open_.venue)]
        known += [each.ended_at for each in self._open if each.venue == open_.venue]
        before = [until for until in known if until is not None and until < open_.ended_at]
        return Hole(open_.venue, max(before), open_.ended_at) if before else None

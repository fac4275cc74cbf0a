"""The hole between two lives of the daemon. What lives here: its two ends, until both are known.

What never does: asking for either. The ledger says how far a venue was received before, the feed when its
first frame came; which of the two is known first depends on whether the database was there at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

__all__ = ["Resumption"]


class Resumption:
    """Tells at most one hole a venue: from the last received before this start to the first after it.

    Args:
        emit: takes the venue and the two ends.
    """

    def __init__(self, emit: Callable[[str, int, int], None]) -> None:
        self._emit = emit
        self._first: dict[str, int] = {}
        self._last: Mapping[str, int] | None = None

    def resume(self, venue: str, received_at: int) -> None:
        """The first frame of a venue came. Microseconds since 1970 UTC, as all here."""
        self._first[venue] = received_at
        if self._last is not None:
            self._close(venue, self._last)

    def remember(self, last_received_at: Mapping[str, int]) -> None:
        """How far each venue was received before this start; one that never was is absent."""
        self._last = last_received_at
        for venue in self._first:
            self._close(venue, last_received_at)

    def _close(self, venue: str, last_received_at: Mapping[str, int]) -> None:
        ended_at = self._first[venue]
        started_at = last_received_at.get(venue, ended_at)
        if started_at < ended_at:  # a recording that is played again, or a clock set back, leaves no hole
            self._emit(venue, started_at, ended_at)

"""The hole between two lives of the daemon. What lives here: its two ends, and the gap once both are known.

What never does: asking for either. The ledger says how far a venue was received before, the feed when its
first frame came; which of the two is known first depends on whether the database was there at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ingest_daemon.events import FeedGap, GapCause

__all__ = ["Resumption"]


class Resumption:
    """Emits at most one gap a venue: from the last received before this start to the first after it.

    Args:
        emit: takes the gap.
    """

    def __init__(self, emit: Callable[[FeedGap], None]) -> None:
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
            detail = "the daemon was not running"
            self._emit(FeedGap(venue, None, None, started_at, ended_at, GapCause.NOT_RUNNING, detail))

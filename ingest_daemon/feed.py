"""One venue's stream, for ever.

What lives here: trying again and how long to wait before, the holes between. What never does: the socket
itself (`link.py`), the meaning of a frame (`venues`), batches, the database.

A feed ends only when it is cancelled. A socket that is lost or silent is opened again, and the hole from the
last frame before to the first frame after is a `FeedGap`. A refused login closes the socket, and the next try
waits long: venues lock accounts that hammer them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Never

import structlog

from ingest_daemon.backoff import backoff_s, login_backoff_s
from ingest_daemon.errors import FeedLost
from ingest_daemon.events import Event, FeedGap, GapCause
from ingest_daemon.intake import FeedStaleError, FeedStats, Intake, LoginLostError, Sink
from ingest_daemon.link import Link, Route, now
from ingest_daemon.recorder import VenueRecording
from ingest_daemon.venues import Credentials, KeyedVenueProtocol, Listing, Session, VenueProtocol

__all__ = ["Feed"]

_REJECTED_COUNTED_EVERY_S: Final = 5.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Hole:
    started_at: int
    cause: GapCause
    detail: str


class Feed:
    """One venue. `run` it in a task; cancel the task to end it."""

    def __init__(
        self,
        venue: str,
        protocol: VenueProtocol,
        symbols: Mapping[str, Listing],
        channels: Sequence[str],
        sink: Sink,
        *,
        websocket_url: str,
        rest_url: str,
        stale_after_s: float,
        is_recorded: bool = False,
        observe_parse: Callable[[float], None] = lambda _seconds: None,
        on_first_frame: Callable[[str, int], None] = lambda _venue, _received_at: None,
        rng: random.Random | None = None,
        credentials: Credentials | None = None,
        recording: VenueRecording | None = None,
    ) -> None:
        self._venue = venue
        self._protocol = protocol
        self._symbols = symbols
        self._channels = channels
        self._sink = sink
        self._route = Route(websocket_url, rest_url, stale_after_s, is_recorded, credentials is not None)
        self._intake = Intake(venue, credentials, observe_parse)
        self._on_first_frame = on_first_frame
        self._rng = rng or random.Random()  # noqa: S311 (jitter, no secret)
        self._credentials = credentials
        self._recording = recording
        self._log = _log.bind(venue=venue)
        self._hole: _Hole | None = None
        self._last_received_at: int | None = None

    @property
    def stats(self) -> FeedStats:
        """Counts since the start."""
        return self._intake.stats

    async def run(self) -> None:
        """Receive for ever."""
        attempt = refusals = 0
        counting = asyncio.create_task(self._count_rejected())
        try:
            while True:
                received = self.stats.frames
                lost = await self._receive_until_lost()
                self._note_loss(lost)
                if isinstance(lost, LoginLostError):
                    delay_s = login_backoff_s(refusals, self._rng)
                    refusals += 1
                else:
                    refusals = 0
                    attempt = 0 if self.stats.frames > received else attempt + 1
                    delay_s = backoff_s(attempt, self._rng)
                await asyncio.sleep(delay_s)
                self.stats.reconnects += 1
        finally:
            if not self._route.is_recorded:  # a recording's clock is known by its frames alone
                self._end_hole(now())
            counting.cancel()
            self._put(self._intake.counts_of_rejected(None), 0)

    async def _count_rejected(self) -> Never:
        """Write down how many frames were not kept one by one, soon after each window."""
        while True:
            await asyncio.sleep(_REJECTED_COUNTED_EVERY_S)
            if not self._route.is_recorded:  # its clock is known by its frames alone: the next one tells
                self._put(self._intake.counts_of_rejected(now()), 0)

    async def _receive_until_lost(self) -> FeedLost:
        """Open a socket and receive until it is lost; how it was lost."""
        link = Link(
            self._open_session(),
            self._protocol,
            self._route,
            self._intake,
            self._sink,
            self._put,
            self._go_live,
            None if self._recording is None else self._recording.connect,
        )
        try:
            return await link.run()
        finally:
            self._last_received_at = link.last_received_at or self._last_received_at

    def _open_session(self) -> Session:
        if isinstance(self._protocol, KeyedVenueProtocol):
            return self._protocol.open_session(self._venue, self._symbols, self._channels, self._credentials)
        return self._protocol.open_session(self._venue, self._symbols, self._channels)

    def _go_live(self, _link: Link, received_at: int) -> None:
        """Data comes, for the first time or again."""
        self._log.info("feed live", url=self._route.websocket_url)
        self._note_data(received_at)

    def _note_data(self, received_at: int) -> None:
        if self._last_received_at is None:
            self._on_first_frame(self._venue, received_at)
        self._end_hole(received_at)
        self.stats.state = "live"

    def _put(self, events: Sequence[Event], size: int) -> None:
        if events:
            self.stats.events += len(events)
            self._sink.put(self._venue, events, size)

    def _note_loss(self, lost: FeedLost) -> None:
        cause = GapCause.STALE if isinstance(lost, FeedStaleError) else GapCause.DISCONNECTED
        self.stats.state = "lost"
        self._log.warning("feed lost", cause=cause.value, error=str(lost))
        if self._hole is None and self._last_received_at is not None:
            self._hole = _Hole(self._last_received_at, cause, str(lost))

    def _end_hole(self, ended_at: int) -> None:
        hole, self._hole = self._hole, None
        if hole is not None:
            ended_at = max(ended_at, hole.started_at)  # our clock may have been set back
            gap = FeedGap(self._venue, None, None, hole.started_at, ended_at, hole.cause, hole.detail)
            self._put((gap,), 0)
            if self._recording is not None:
                self._recording.gap(gap)

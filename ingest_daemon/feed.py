"""One venue's stream, for ever.

What lives here: trying again, the holes between, taking over from one socket to the next, looking who is
silent. What never does: the socket itself (`link.py`), the rules of the take-over (`handover.py`) and of
silence (`vigil.py`), the meaning of a frame (`venues`), batches, the database.

A feed ends only when it is cancelled. A socket that is lost or silent is opened again, and the hole from the
last frame before to the first frame after is gaps. Before a venue closes a socket by its own rule, a new one
takes over without a hole. A refused login closes the socket, and the next try waits long: venues lock
accounts that hammer them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Never

import structlog

from ingest_daemon.backoff import backoff_s, login_backoff_s
from ingest_daemon.errors import FeedLost
from ingest_daemon.events import Event, FeedGap, GapCause
from ingest_daemon.handover import Handover
from ingest_daemon.holes import Holes
from ingest_daemon.intake import FeedStaleError, FeedStats, Intake, LoginLostError, Sink
from ingest_daemon.lateness import lateness_us
from ingest_daemon.link import Link, Route, now
from ingest_daemon.recorder import Tape, VenueRecording
from ingest_daemon.refusals import Tally
from ingest_daemon.venues import Credentials, KeyedVenueProtocol, Listing, Session, VenueProtocol
from ingest_daemon.vigil import Finding, Vigil

__all__ = ["Feed"]

_ROLL_S: Final = 1.0  # between two roll calls; and how long what an old socket said is known, at least
_OVERLAP_S: Final = 1.0  # of two sockets, at least
_LONGEST_OVERLAP_S: Final = 30.0  # what is not taken over by then is tried again later
_OF_THE_LONGEST: Final = 0.9  # of what the venue allows
_JITTER: Final = 0.2
_LOOK_S: Final = 0.05
_REJECTED_COUNTED_EVERY_S: Final = 5.0
_READS_LOOKED_AT: Final = 32  # before a hole

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Hole:
    started_at: int
    cause: GapCause
    detail: str


@dataclass
class _Reception:
    """A socket in a task of its own."""

    link: Link
    tape: Tape
    task: asyncio.Task[FeedLost]
    due_at: float  # when a new one is to take over; time.monotonic()
    is_settled: bool = False  # whether it has data, and does not lag behind one that it took over from

    async def end(self) -> None:
        """Close the socket; return when it is."""
        self.task.cancel()
        await asyncio.wait({self.task})


class Feed:
    """One venue. `run` it in a task; cancel the task to end it.

    Args:
        venue: the operator's name.
        protocol: its dialect.
        symbols: what to subscribe to.
        channels: of these.
        sink: where events go.
        websocket_url, rest_url: where the venue is.
        stale_after_s: a socket that is silent for longer is given up.
        channel_limits: channel → seconds after which one of its streams is stale; 0: never. What is not named
            is learnt.
        rotate_after_s: seconds after which a new socket takes over; None: before the venue closes it.
        overlap_s: how long both are open, at least.
        is_recorded: whether frames come with their receive times, as of a recording.
        observe_parse: takes the seconds that a parse took, for one in 64.
        on_first_frame: called once, with the venue and the receive time.
        rng: for jitter.
        credentials: of the account, where the venue wants one.
        tally: where counts of refused frames outlive the process.
    """

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
        channel_limits: Mapping[str, float] | None = None,
        rotate_after_s: float | None = None,
        overlap_s: float = _OVERLAP_S,
        is_recorded: bool = False,
        observe_parse: Callable[[float], None] = lambda _seconds: None,
        on_first_frame: Callable[[str, int], None] = lambda _venue, _received_at: None,
        rng: random.Random | None = None,
        credentials: Credentials | None = None,
        recording: VenueRecording | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._venue = venue
        self._protocol = protocol
        self._symbols = symbols
        self._channels = channels
        self._sink = sink
        self._route = Route(websocket_url, rest_url, stale_after_s, is_recorded, credentials is not None)
        self._intake = Intake(venue, credentials, observe_parse, tally, protocol.symbol_of)
        self._holes = Holes(venue, protocol, channels, symbols)
        self._vigil = Vigil(stale_after_s, channel_limits or {})
        self._rotate_after_s = rotate_after_s
        self._overlap_s = overlap_s
        self._on_first_frame = on_first_frame
        self._rng = rng or random.Random()  # noqa: S311 (jitter, no secret)
        self._credentials = credentials
        self._recording = recording
        self._log = _log.bind(venue=venue)
        self._current: Link | None = None
        self._hole: _Hole | None = None
        self._last_received_at: int | None = None
        self._latest: deque[Sequence[Event]] = deque(maxlen=_READS_LOOKED_AT)

    @property
    def stats(self) -> FeedStats:
        """Counts since the start."""
        return self._intake.stats

    async def run(self) -> None:
        """Receive for ever."""
        attempt = refusals = 0
        self._put(self._intake.left_of_rejected(now()), 0)
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
        """Receive on one socket after the other, until one is lost before the next took over; how."""
        current = self._receive()
        self._current = current.link
        try:
            while not await self._is_lost(current, _ROLL_S):
                if not current.is_settled:
                    self._settle(current)
                wants_rotation = await self._call_roll(current.link) or time.monotonic() >= current.due_at
                # One change after the other; and a recording has the beginning of none before data came.
                if wants_rotation and current.is_settled:
                    current = await self._rotate(current)
                    self._current = current.link
            return current.task.result()
        finally:
            await current.end()
            self._last_received_at = current.link.last_received_at or self._last_received_at
            if self._last_received_at is not None:
                self._tell(self._vigil.end(self._last_received_at))

    def _receive(self, old: _Reception | None = None) -> _Reception:
        """Open a socket; `old`: which it is to take over from."""
        tape = Tape(self._recording, None if old is None else old.tape)
        link = Link(
            self._open_session(),
            self._protocol,
            self._route,
            self._intake,
            self._sink,
            self._put,
            self._go_live,
            tape.connect,
        )
        longest_s = self._protocol.longest_connection_s
        due_s = self._rotate_after_s
        if due_s is None and longest_s is not None:
            due_s = _OF_THE_LONGEST * longest_s
        due_at = float("inf")
        if due_s is not None:
            due_at = time.monotonic() + due_s * (1 - _JITTER * self._rng.random())  # not all feeds at once
        return _Reception(link, tape, asyncio.create_task(link.run()), due_at)

    @staticmethod
    async def _is_lost(reception: _Reception, within_s: float) -> bool:
        await asyncio.wait({reception.task}, timeout=within_s)
        return reception.task.done()

    def _open_session(self) -> Session:
        if isinstance(self._protocol, KeyedVenueProtocol):
            return self._protocol.open_session(self._venue, self._symbols, self._channels, self._credentials)
        return self._protocol.open_session(self._venue, self._symbols, self._channels)

    async def _rotate(self, old: _Reception) -> _Reception:
        """Have a new socket take over; who leads now: the new one, or the old one where that failed."""
        old.tape.step("begun")
        new, handover = self._receive(old), Handover()
        old.link.put = lambda events, size: self._put(handover.from_old(events), size)
        new.link.put = lambda events, size: self._put(handover.from_new(events), size)
        try:
            leads = await self._overlap(old, new, handover)
            if leads:
                self._put(handover.close_old(), 0)
                for each in (old, new):
                    each.tape.step("done")
                await old.end()
        except BaseException:  # the end of the feed, which knows of the old one alone
            await old.end()
            await new.end()
            raise
        if not leads:
            for each in (old, new):
                each.tape.step("given_up")
            await new.end()
            old.link.put = self._put
            old.due_at = time.monotonic() + min(
                _LONGEST_OVERLAP_S, self._rotate_after_s or _LONGEST_OVERLAP_S
            )
            return old
        self._last_received_at = old.link.last_received_at
        self.stats.reconnects += 1
        self._log.info("feed taken over", url=self._route.websocket_url)
        return new

    def _settle(self, current: _Reception) -> None:
        """Once it was read for a while, it does not lag any more behind what an old one said."""
        link = current.link
        if link.last_received_at is not None and not link.is_held_back:
            link.put = self._put
            current.tape.settle()
            current.is_settled = True

    async def _overlap(self, old: _Reception, new: _Reception, handover: Handover) -> bool:
        """Wait until the new one tells all that the old one does, or one of them is lost."""
        until = time.monotonic() + _LONGEST_OVERLAP_S
        live_at = float("inf")
        while time.monotonic() < until:
            await asyncio.wait({old.task, new.task}, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            if new.task.done():
                self._log.warning("feed not taken over", error=str(new.task.result()))
                return False
            if old.task.done():
                self._take_over_from_lost(old, new)
                return True
            if new.link.last_received_at is not None:
                live_at = min(live_at, time.monotonic())
            if time.monotonic() - live_at >= self._overlap_s and handover.is_ready:
                return True
        self._log.warning("feed not taken over", error=f"not ready after {_LONGEST_OVERLAP_S:g} s")
        return False

    def _take_over_from_lost(self, old: _Reception, new: _Reception) -> None:
        """Nobody can say that nothing is missing: from the old one's last to now is a hole."""
        self._last_received_at = old.link.last_received_at or self._last_received_at
        self._note_loss(old.task.result())
        self._current = new.link
        if new.link.last_received_at is not None:
            self._note_data(max(new.link.last_received_at, self._last_received_at or 0))

    async def _call_roll(self, link: Link) -> bool:
        """See who is silent, and subscribe anew; whether a new socket is the next thing to try."""
        at, moment = time.monotonic(), now()
        heard = link.session.roll.call()
        if self._route.is_recorded or link.last_received_at is None:
            return False
        if link.is_held_back:
            self._vigil.forgive(at, moment)
            return False
        findings = self._vigil.call(heard, at, moment)
        self._tell(findings)
        wants_rotation = False
        for step, stream, started_at, _ in findings:
            if step == "tell":
                continue
            log = self._log.bind(channel=stream.channel, symbol=stream.symbol)
            silent_s = round((moment - started_at) / 1e6, 1)
            # An account that may have one socket gets no second one.
            if step == "resubscribe" or isinstance(self._protocol, KeyedVenueProtocol):
                log.warning("stream silent: subscribing anew", silent_s=silent_s)
                await link.say(link.session.roll.again(stream))
            else:
                log.warning("stream still silent: a new socket takes over", silent_s=silent_s)
                wants_rotation = True
        return wants_rotation

    def _tell(self, findings: Sequence[Finding]) -> None:
        """Silent streams as gaps."""
        for step, stream, started_at, ended_at in findings:
            if step == "tell":
                detail = f"nothing of {stream.channel} of {stream.symbol}, while the socket is alive"
                self._tell_gaps(self._holes.of_stream(stream, started_at, ended_at, GapCause.STALE, detail))

    def _go_live(self, link: Link, received_at: int) -> None:
        """Data comes on a socket."""
        if link is self._current:
            self._log.info("feed connected", url=self._route.websocket_url)
            self._note_data(received_at)
            self._vigil.begin(link.session.roll.streams, time.monotonic(), received_at)

    def _note_data(self, received_at: int) -> None:
        """Data comes, for the first time or again."""
        if self._last_received_at is None:
            self._on_first_frame(self._venue, received_at)
        self._end_hole(received_at)
        self.stats.state = "live"

    def _put(self, events: Sequence[Event], size: int) -> None:
        if events:
            self.stats.events += len(events)
            self._latest.append(events)
            self._sink.put(self._venue, events, size)

    def _note_loss(self, lost: FeedLost) -> None:
        cause = GapCause.STALE if isinstance(lost, FeedStaleError) else GapCause.DISCONNECTED
        self.stats.state = "lost"
        self._log.warning("feed lost", cause=cause.value, error=str(lost))
        if self._hole is None and self._last_received_at is not None:
            # What was lost is dated by the venue, and may have been as late as what came last.
            started_at = self._last_received_at - lateness_us(chain.from_iterable(self._latest))
            self._hole = _Hole(started_at, cause, str(lost))

    def _end_hole(self, ended_at: int) -> None:
        hole, self._hole = self._hole, None
        if hole is not None:
            ended_at = max(ended_at, hole.started_at)  # our clock may have been set back
            self._tell_gaps(self._holes.of_all(hole.started_at, ended_at, hole.cause, hole.detail))

    def _tell_gaps(self, gaps: Sequence[FeedGap]) -> None:
        self._put(gaps, 0)
        if self._recording is not None:
            for gap in gaps:
                self._recording.gap(gap)

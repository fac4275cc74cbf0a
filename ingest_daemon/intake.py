"""What becomes of a venue's bytes, whatever brought them: redacted, counted, parsed, or excused.

What lives here: the counts of a feed, and what is written down instead of a frame that has no events. What
never does: sockets, HTTP, the meaning of a frame (`venues`), batches, the database.

What comes from a venue that wants an account is redacted before it is parsed, so no event, error or log has a
key.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from ingest_daemon.drift import Change, Drift
from ingest_daemon.errors import FeedLost, LoginRefused, ParseError, VenueRefused
from ingest_daemon.events import Event
from ingest_daemon.refusals import Refusals, Tally
from ingest_daemon.venues import Credentials, Request, Session
from ingest_daemon.venues.fields import DECODE_ERRORS

__all__ = ["FeedStaleError", "FeedStats", "Intake", "LoginLostError", "Sink"]

_PARSES_TIMED: Final = 64  # one in so many at most: timing each would cost as much as a tenth of parsing it
_TIMED_A_LOOK: Final = 4  # and of those, one in so many is looked at field by field, which costs more

_log = structlog.get_logger(__name__)


class Sink(Protocol):
    """Where events go. Never drops any."""

    @property
    def is_full(self) -> bool:
        """Whether to wait for room before reading on."""

    def put(self, venue: str, events: Sequence[Event], size: int) -> None:
        """Take events in, full or not. `size`: bytes of the frames they came in."""

    async def wait_for_room(self) -> None:
        """Return when it is not full."""


@dataclass
class FeedStats:
    """Counts since the start."""

    state: str = "starting"  # then "live" while frames come in, "lost" while they do not
    frames: int = 0
    bytes: int = 0
    events: int = 0
    rejected: int = 0
    not_kept: int = 0  # of the rejected: counted together in a row, without their bytes
    refused: int = 0
    reconnects: int = 0
    drift: Mapping[Change, int] = field(default_factory=dict)  # frames of those looked at


class FeedStaleError(FeedLost):
    """The venue is there, and silent for longer than its setting allows."""


class LoginLostError(FeedLost):
    """The venue was given up since it refuses our account."""


class Intake:
    """Of one venue. Not thread-safe; owned by its feed.

    Args:
        venue: the operator's name of it.
        credentials: of the account, to be hidden wherever the venue repeats them.
        observe_parse: takes the seconds that a parse took, for one in 64 at most.
        tally: where counts of refused frames outlive the process.
        symbol_of: the symbol in the name of a stream, as the protocol knows it.
    """

    def __init__(
        self,
        venue: str,
        credentials: Credentials | None,
        observe_parse: Callable[[float], None],
        tally: Tally | None = None,
        symbol_of: Callable[[str], str] = lambda _: "",
    ) -> None:
        self._drift = Drift()
        self._symbol_of = symbol_of
        self.stats = FeedStats(drift=self._drift.counts)
        self._venue = venue
        self._credentials = credentials
        self._observe_parse = observe_parse
        self._refusals = Refusals(venue, tally=tally)
        self._log = _log.bind(venue=venue)

    def parse(self, session: Session, frames: Sequence[bytes], received_at: int, into: list[Event]) -> None:
        """The events of frames that came together; of one that cannot be read, what is kept of it.

        Args:
            session: of the socket they came from.
            frames: at least one, in order.
            received_at: when they came, microseconds since 1970 UTC.
            into: takes the events; those before an error too.

        Raises:
            LoginLostError: the venue refuses our account.
        """
        stats = self.stats
        timed = stats.frames // _PARSES_TIMED
        stats.frames += len(frames)
        stats.bytes += sum(map(len, frames))
        if stats.frames // _PARSES_TIMED > timed:
            begun = time.perf_counter()
            self._parse_all(session, frames[:1], received_at, into)
            self._observe_parse(time.perf_counter() - begun)
            if stats.frames // _PARSES_TIMED // _TIMED_A_LOOK > timed // _TIMED_A_LOOK:
                self._look(session.stream_of(frames[0]), frames[0])
            frames = frames[1:]
        self._parse_all(session, frames, received_at, into)

    def _parse_all(
        self, session: Session, frames: Sequence[bytes], received_at: int, into: list[Event]
    ) -> None:
        parse, extend = session.parse, into.extend
        left = iter(frames)
        while True:
            try:
                for frame in left:
                    extend(parse(frame, received_at))
            except (ParseError, VenueRefused) as error:
                extend(self.excuse(error, session.stream_of(frame), frame, received_at))
            else:
                return

    def answer(self, session: Session, request: Request, body: bytes, received_at: int) -> Sequence[Event]:
        """The events of an answer to a request; `b""` where none came. Raises LoginLostError."""
        try:
            events = session.answer(request, body, received_at)
        except (ParseError, VenueRefused) as error:
            return self.excuse(error, request.path, body, received_at) if body else ()
        if body:  # each is looked at: they are few
            self._look(request.path, body)
        return events

    def excuse(
        self, error: ParseError | VenueRefused, channel: str, frame: bytes, received_at: int
    ) -> Sequence[Event]:
        """What is written down instead of the events of a frame that has none.

        Raises:
            LoginLostError: the venue refuses our account.
        """
        if isinstance(error, LoginRefused):
            self.note_refused_login(str(error))
            raise LoginLostError(f"login refused: {error}") from error
        if isinstance(error, VenueRefused):
            self.stats.refused += 1
            self._log.error("venue refused a request", error=str(error))
            return ()
        self.stats.rejected += 1
        self._tell(self._drift.refused(self._channel_of(channel), str(error)))
        events = self._refusals.take(str(error), frame, received_at, channel or None)
        self.stats.not_kept = self._refusals.left_out
        return events

    def _look(self, stream: str, frame: bytes) -> None:
        """Whether the frame looks as those before it; garbage belongs to no stream."""
        if stream:
            try:
                self._tell(self._drift.look(self._channel_of(stream), frame))
            except DECODE_ERRORS:  # it was refused just now
                return

    def _tell(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._log.warning("venue changed its format", **change._asdict())

    def _channel_of(self, stream: str) -> str:
        """A stream without the symbol, the path of an answer without its query: one for all instruments."""
        stream = stream.partition("?")[0]
        symbol = self._symbol_of(stream)
        return re.sub(re.escape(symbol), "", stream, flags=re.IGNORECASE).strip("@:./-") if symbol else stream

    def counts_of_rejected(self, now: int | None) -> Sequence[Event]:
        """The counts of frames that were not kept one by one, of windows over by `now`; None: all of them."""
        return self._refusals.flush() if now is None else self._refusals.due(now)

    def left_of_rejected(self, now: int) -> Sequence[Event]:
        """The counts of a former process that may not be written."""
        return self._refusals.left(now)

    def note_refused_login(self, why: str) -> None:
        """The venue refuses our account: a human must act."""
        self.stats.refused += 1
        self._log.error("venue refused the login", error=why)

    def redacted_all(self, messages: Sequence[bytes]) -> Sequence[bytes]:
        """Each without a key."""
        if self._credentials is None:
            return messages
        return [self._credentials.redact_bytes(message) for message in messages]

    def redacted(self, data: bytes) -> bytes:
        """The bytes without a key."""
        return data if self._credentials is None else self._credentials.redact_bytes(data)

    def words(self, error: Exception) -> str:
        """The error in one line, without a key; some have a name and no words."""
        words = " ".join(str(error).split()) or type(error).__name__
        return words if self._credentials is None else self._credentials.redact(words)

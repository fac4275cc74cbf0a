"""The file with sockets: one venue's stream, for ever.

What lives here: connecting, subscribing, receive times, the watchdog, back-off, fetching what a session asks
for. What never does: the meaning of a frame (`venues`), batches, the database.

A feed ends only when it is cancelled. A socket that is lost or silent is opened again, and the hole from the
last frame before to the first frame after is a `FeedGap`. While the sink is full the socket is not read: TCP
pushes back, nothing is dropped.

A venue may want an account. What comes from it is redacted before it is parsed, so no event, error or log has
a key. A refused login closes the socket, and the next try waits long: venues lock accounts that hammer them.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Never, Protocol
from urllib.parse import urlsplit

import httpx
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from ingest_daemon.errors import FeedLost, LoginRefused, ParseError, VenueRefused
from ingest_daemon.events import Event, FeedGap, GapCause, RejectedFrame
from ingest_daemon.venues import (
    Credentials,
    KeyedSession,
    KeyedVenueProtocol,
    Listing,
    Request,
    Session,
    VenueProtocol,
)

__all__ = [
    "HTTP_TIMEOUT_S",
    "Feed",
    "FeedStaleError",
    "FeedStats",
    "LoginLostError",
    "Sink",
    "backoff_s",
    "is_local",
    "login_backoff_s",
]

RECORDED: Final = Subprotocol("sentinet.recorded.v1")
"""Every frame is a line of a recording: nanoseconds since 1970 UTC, a space, the venue's frame."""

_LONGEST_FRAME: Final = 16 * 2**20
_KEPT_OF_A_REJECTED_FRAME: Final = 65_536
_PARSES_TIMED: Final = 64  # one in so many: timing each would cost as much as a tenth of parsing it
HTTP_TIMEOUT_S: Final = 10.0
_FIRST_BACKOFF_S: Final = 0.5
_LONGEST_BACKOFF_S: Final = 30.0
_FIRST_LOGIN_BACKOFF_S: Final = 60.0
_LONGEST_LOGIN_BACKOFF_S: Final = 900.0
_LOGIN_STATUSES: Final = (401, 403)

# They write whole URLs, some with a key, at INFO and DEBUG.
for _library in ("httpx", "httpcore", "websockets"):
    logging.getLogger(_library).setLevel(logging.WARNING)

_log = structlog.get_logger(__name__)


class Sink(Protocol):
    """Where events go. Never drops any."""

    @property
    def is_full(self) -> bool:
        """Whether to wait for room before reading on."""

    def put(self, venue: str, events: Sequence[Event], size: int) -> None:
        """Take events in, full or not. `size`: bytes of the frame they came in."""

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
    refused: int = 0
    reconnects: int = 0


@dataclass(frozen=True)
class _Hole:
    started_at: int
    cause: GapCause
    detail: str


class FeedStaleError(FeedLost):
    """The socket is open, and silent for longer than the venue's setting allows."""


class LoginLostError(FeedLost):
    """The socket was given up since the venue refuses our account."""


def backoff_s(attempt: int, rng: random.Random) -> float:
    """Seconds to wait before the `attempt`-th try in a row, the first being 0: full jitter, capped.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return rng.uniform(0.0, min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** min(attempt, 16)))


def login_backoff_s(attempt: int, rng: random.Random) -> float:
    """Seconds to wait after the `attempt`-th refused login in a row, the first being 0: half of it jitter."""
    longest = min(_LONGEST_LOGIN_BACKOFF_S, _FIRST_LOGIN_BACKOFF_S * 2.0 ** min(attempt, 16))
    return rng.uniform(longest / 2, longest)


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
    ) -> None:
        self.stats = FeedStats()
        self._venue = venue
        self._protocol = protocol
        self._symbols = symbols
        self._channels = channels
        self._sink = sink
        self._websocket_url = websocket_url
        self._rest_url = rest_url
        self._stale_after_s = stale_after_s
        self._is_recorded = is_recorded
        self._observe_parse = observe_parse
        self._on_first_frame = on_first_frame
        self._rng = rng or random.Random()  # noqa: S311 (jitter, no secret)
        self._credentials = credentials
        self._log = _log.bind(venue=venue)
        self._hole: _Hole | None = None
        self._last_received_at: int | None = None
        self._heard_at = 0.0
        self._is_held_back = False

    async def run(self) -> None:
        """Receive for ever."""
        attempt = refusals = 0
        try:
            while True:
                received = self.stats.frames
                lost = await self._receive_until_lost()
                _obey_cancellation()
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
            if not self._is_recorded:  # a recording's clock is known by its frames alone
                self._end_hole(_now())

    async def _receive_until_lost(self) -> FeedLost:
        """Open a socket and receive until it is lost; how it was lost."""
        session = self._open_session()
        try:
            socket = await self._connect(session)
        except (OSError, TimeoutError, WebSocketException) as error:
            return self._unconnected(error)
        client = httpx.AsyncClient(timeout=HTTP_TIMEOUT_S, trust_env=not is_local(self._rest_url))
        lost: FeedLost | None = None
        async with socket, client:
            try:
                async with asyncio.TaskGroup() as tasks:
                    self._heard_at = time.monotonic()
                    tasks.create_task(self._watch())
                    tasks.create_task(self._keep_alive(socket, session))
                    await self._receive(socket, session, client, tasks)
            except* FeedLost as losses:
                lost = next(error for error in losses.exceptions if isinstance(error, FeedLost))
            finally:
                # Of what the session still misses, the hole or the end of the feed takes over from here.
                if self._last_received_at is not None:
                    self._put(session.close(self._last_received_at), 0)
        assert lost is not None, "receiving ends by a loss"
        return lost

    def _open_session(self) -> Session:
        if isinstance(self._protocol, KeyedVenueProtocol):
            return self._protocol.open_session(self._venue, self._symbols, self._channels, self._credentials)
        return self._protocol.open_session(self._venue, self._symbols, self._channels)

    def _unconnected(self, error: Exception) -> FeedLost:
        why = self._words(error)
        if self._credentials is None or not isinstance(error, InvalidStatus):
            return FeedLost(f"cannot connect: {why}")
        if error.response.status_code not in _LOGIN_STATUSES:
            return FeedLost(f"cannot connect: {why}")
        self.stats.refused += 1
        self._log.error("venue refused the login", error=why)
        return LoginLostError(f"login refused: {why}")

    async def _connect(self, session: Session) -> ClientConnection:
        url = self._websocket_url + session.path()
        return await connect(
            url,
            compression=None,
            max_size=_LONGEST_FRAME,
            # The watchdog notices a dead link; a ping would also time out while we hold the socket back.
            ping_interval=None,
            close_timeout=1.0,
            proxy=None if is_local(url) else True,
            subprotocols=[RECORDED] if self._is_recorded else None,
        )

    async def _receive(
        self, socket: ClientConnection, session: Session, client: httpx.AsyncClient, tasks: asyncio.TaskGroup
    ) -> Never:
        if self._is_recorded and socket.subprotocol != RECORDED:
            raise FeedLost(f"the server sends no receive times: it does not accept {RECORDED}")
        try:
            for text in session.subscribe():
                await socket.send(text)
            self._log.info("feed connected", url=self._websocket_url)
            while True:
                message = await socket.recv(decode=False)
                self._heard_at = time.monotonic()
                self._take(session, message)
                for request in session.pending_requests():
                    tasks.create_task(self._fetch(client, session, request))
                for text in session.pending_messages():
                    await socket.send(text)
                if self._sink.is_full:
                    await self._wait_for_room()
        except ConnectionClosed as error:
            raise FeedLost(self._words(error)) from error

    def _take(self, session: Session, message: bytes) -> None:
        if self._is_recorded and message.startswith(b"{"):
            self._take_answer(session, message)
            return
        frame, received_at = self._split(message)
        stats = self.stats
        stats.frames += 1
        stats.bytes += len(frame)
        if stats.state != "live" and _gives_data(session):
            self._go_live(received_at)
        if stats.state == "live":
            self._last_received_at = received_at
        begun = 0.0 if stats.frames % _PARSES_TIMED else time.perf_counter()
        try:
            events = session.parse(frame, received_at)
        except (ParseError, VenueRefused) as error:
            events = self._excuse(error, session.stream_of(frame), frame, received_at)
        if begun:
            self._observe_parse(time.perf_counter() - begun)
        self._put(events, len(frame))

    def _go_live(self, received_at: int) -> None:
        """Data comes, for the first time or again."""
        if self._last_received_at is None:
            self._on_first_frame(self._venue, received_at)
        self._end_hole(received_at)
        self.stats.state = "live"

    def _take_answer(self, session: Session, message: bytes) -> None:
        """A server of recordings answers a request in its own time: that is no part of the recording."""
        try:
            session.parse(message, self._last_received_at or 0)
        except (ParseError, VenueRefused) as error:
            self.stats.refused += 1
            self._log.error("venue refused a request", error=str(error))

    def _split(self, message: bytes) -> tuple[bytes, int]:
        """The venue's frame and when it was received, by our clock or the recording's."""
        message = self._redacted(message)
        if not self._is_recorded:
            return message, _now()
        stamp, _, frame = message.partition(b" ")
        if not stamp.isdigit():
            raise FeedLost(f"a frame without a receive time: {message[:40]!r}")
        return frame, int(stamp) // 1_000

    def _put(self, events: Sequence[Event], size: int) -> None:
        if events:
            self.stats.events += len(events)
            self._sink.put(self._venue, events, size)

    def _excuse(
        self, error: ParseError | VenueRefused, channel: str, frame: bytes, received_at: int
    ) -> Sequence[Event]:
        """What is written down instead of the events of a frame that has none."""
        if isinstance(error, LoginRefused):
            self.stats.refused += 1
            self._log.error("venue refused the login", error=str(error))
            raise LoginLostError(f"login refused: {error}") from error
        if isinstance(error, VenueRefused):
            self.stats.refused += 1
            self._log.error("venue refused a request", error=str(error))
            return ()
        self.stats.rejected += 1
        kept = frame[:_KEPT_OF_A_REJECTED_FRAME]
        return (RejectedFrame(self._venue, received_at, str(error), kept, channel or None),)

    async def _wait_for_room(self) -> None:
        self._is_held_back = True
        try:
            await self._sink.wait_for_room()
        finally:
            self._heard_at = time.monotonic()
            self._is_held_back = False

    async def _watch(self) -> Never:
        """Raise when the socket is silent for too long; while we do not read it, it may be."""
        while True:
            silent_s = 0.0 if self._is_held_back else time.monotonic() - self._heard_at
            if silent_s >= self._stale_after_s:
                raise FeedStaleError(f"no frame for {self._stale_after_s:g} s")
            await asyncio.sleep(self._stale_after_s - silent_s)

    async def _keep_alive(self, socket: ClientConnection, session: Session) -> None:
        """Send what the venue wants to hear from a client whose socket is idle."""
        idle_s = self._protocol.keep_alive_s
        while idle_s is not None:
            silent_s = time.monotonic() - self._heard_at
            if silent_s < idle_s:
                await asyncio.sleep(idle_s - silent_s)
                continue
            text = session.keep_alive()
            if text is not None:
                with suppress(ConnectionClosed):  # who reads the socket will see it
                    await socket.send(text)
            await asyncio.sleep(idle_s)

    async def _fetch(self, client: httpx.AsyncClient, session: Session, request: Request) -> None:
        """Answer a request of the session; what cannot be fetched now, the session asks for again."""
        try:
            response = await client.get(self._rest_url + request.path)
            body = b"" if response.is_server_error else self._redacted(response.content)
            failure = f"HTTP status {response.status_code}"
        except httpx.HTTPError as error:
            body, failure = b"", self._words(error)
        if not body:
            self._log.warning("request failed", path=request.path, error=failure)
        received_at = self._last_received_at if self._is_recorded else None
        self._answer(session, request, body, _now() if received_at is None else received_at)

    def _answer(self, session: Session, request: Request, body: bytes, received_at: int) -> None:
        try:
            events = session.answer(request, body, received_at)
        except (ParseError, VenueRefused) as error:
            events = self._excuse(error, request.path, body, received_at) if body else ()
        self._put(events, len(body))

    def _redacted(self, data: bytes) -> bytes:
        return data if self._credentials is None else self._credentials.redact_bytes(data)

    def _words(self, error: Exception) -> str:
        """The error in one line, without a key; some have a name and no words."""
        words = " ".join(str(error).split()) or type(error).__name__
        return words if self._credentials is None else self._credentials.redact(words)

    def _note_loss(self, lost: FeedLost) -> None:
        cause = GapCause.STALE if isinstance(lost, FeedStaleError) else GapCause.DISCONNECTED
        self.stats.state = "lost"
        self._log.warning("feed lost", cause=cause.value, error=str(lost))
        if self._hole is None and self._last_received_at is not None:
            self._hole = _Hole(self._last_received_at, cause, str(lost))

    def _end_hole(self, now: int) -> None:
        hole, self._hole = self._hole, None
        if hole is not None:
            ended_at = max(now, hole.started_at)  # our clock may have been set back
            gap = FeedGap(self._venue, None, None, hole.started_at, ended_at, hole.cause, hole.detail)
            self._put((gap,), 0)


def _now() -> int:
    return time.time_ns() // 1_000


def _obey_cancellation() -> None:
    """Raise if this task was cancelled: a TaskGroup that is ending by an error swallows it (Python 3.11)."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _gives_data(session: Session) -> bool:
    """Whether a frame of it shows that data flows; what comes before a login does not."""
    return not isinstance(session, KeyedSession) or session.is_logged_in


def is_local(url: str) -> bool:
    """Whether a URL is this machine's: then no proxy stands between."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

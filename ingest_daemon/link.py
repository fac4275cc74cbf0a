"""The only file with sockets: one socket and its session, from connecting to its loss.

What lives here: connecting, subscribing, receive times, the watchdog, fetching what a session asks for. What
never does: trying again (`feed.py`), the meaning of a frame (`venues`), batches, the database.

While the sink is full the socket is not read: TCP pushes back, nothing is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Never
from urllib.parse import urlsplit

import httpx
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from ingest_daemon.errors import FeedLost, ParseError, VenueRefused
from ingest_daemon.events import Event
from ingest_daemon.intake import FeedStaleError, Intake, LoginLostError, Sink
from ingest_daemon.recorder import ConnectionRecording
from ingest_daemon.venues import KeyedSession, Request, Session, VenueProtocol
from ingest_daemon.wire import LONGEST_MESSAGE, Arrival, WireConnection

__all__ = ["HTTP_TIMEOUT_S", "RECORDED", "Link", "Route", "is_local", "now"]

RECORDED: Final = Subprotocol("sentinet.recorded.v1")
"""Every frame is a line of a recording: nanoseconds since 1970 UTC, a space, the venue's frame."""

HTTP_TIMEOUT_S: Final = 10.0
_SAYING_S: Final = 1.0
_LOGIN_STATUSES: Final = (401, 403)

# They write whole URLs, some with a key, at INFO and DEBUG.
for _library in ("httpx", "httpcore", "websockets"):
    logging.getLogger(_library).setLevel(logging.WARNING)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Route:
    """How a venue is reached."""

    websocket_url: str
    rest_url: str
    stale_after_s: float  # a socket that is silent for longer is given up
    is_recorded: bool = False  # whether frames come with their receive times
    has_account: bool = False


class Link:
    """One socket. `run` it once.

    Args:
        session: what is said and understood on it.
        protocol: of the session.
        route: where it leads.
        intake: what becomes of the frames.
        sink: who says when to stop reading.
        put: takes the events, and the bytes they came in; may be replaced at any time.
        on_data: called with the link and the receive time of the first frame that shows that data flows.
        record: begins a recording of what comes from that frame on; so there is no login in it.
    """

    def __init__(
        self,
        session: Session,
        protocol: VenueProtocol,
        route: Route,
        intake: Intake,
        sink: Sink,
        put: Callable[[Sequence[Event], int], None],
        on_data: Callable[[Link, int], None],
        record: Callable[[], ConnectionRecording] | None = None,
    ) -> None:
        self.session = session
        self.put = put
        self.last_received_at: int | None = None  # once data flows
        self._protocol = protocol
        self._route = route
        self._intake = intake
        self._sink = sink
        self._on_data = on_data
        self._record = record
        self._recording: ConnectionRecording | None = None
        self._heard_at = 0.0
        self.is_held_back = False
        self._socket: ClientConnection | None = None

    async def run(self) -> FeedLost:
        """Open the socket and receive until it is lost; how it was lost."""
        try:
            socket = await self._connect()
        except (OSError, TimeoutError, WebSocketException) as error:
            return self._unconnected(error)
        client = httpx.AsyncClient(timeout=HTTP_TIMEOUT_S, trust_env=not is_local(self._route.rest_url))
        lost: FeedLost | None = None
        async with socket, client:
            try:
                async with asyncio.TaskGroup() as tasks:
                    self._heard_at = time.monotonic()
                    tasks.create_task(self._watch())
                    tasks.create_task(self._keep_alive(socket))
                    await self._receive(socket, client, tasks)
            except* FeedLost as losses:
                lost = next(error for error in losses.exceptions if isinstance(error, FeedLost))
            finally:
                # Of what the session still misses, the hole or the end of the feed takes over from here.
                if self.last_received_at is not None:
                    self.put(self.session.close(self.last_received_at), 0)
                if self._recording is not None:
                    self._recording.close(self.last_received_at)
        _obey_cancellation()
        assert lost is not None, "receiving ends by a loss"
        return lost

    async def say(self, texts: Sequence[str]) -> None:
        """Say something, if the socket is open and takes it soon; who reads it will see if it is not."""
        with suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(_SAYING_S):
                for text in texts:
                    if self._socket is not None:
                        await self._socket.send(text)

    def _unconnected(self, error: Exception) -> FeedLost:
        why = self._intake.words(error)
        is_refused = isinstance(error, InvalidStatus) and error.response.status_code in _LOGIN_STATUSES
        if not (self._route.has_account and is_refused):
            return FeedLost(f"cannot connect: {why}")
        self._intake.note_refused_login(why)
        return LoginLostError(f"login refused: {why}")

    async def _connect(self) -> WireConnection:
        url = self._route.websocket_url + self.session.path()
        connection = await connect(
            url,
            create_connection=WireConnection,
            compression=None,
            max_size=LONGEST_MESSAGE,
            # The watchdog notices a dead link; a ping would also time out while we hold the socket back.
            ping_interval=None,
            close_timeout=1.0,
            proxy=None if is_local(url) else True,
            subprotocols=[RECORDED] if self._route.is_recorded else None,
        )
        assert isinstance(connection, WireConnection), "it is told to make one"
        return connection

    async def _receive(
        self, socket: WireConnection, client: httpx.AsyncClient, tasks: asyncio.TaskGroup
    ) -> Never:
        if self._route.is_recorded and socket.subprotocol != RECORDED:
            raise FeedLost(f"the server sends no receive times: it does not accept {RECORDED}")
        session = self.session
        try:
            for text in session.subscribe():
                await socket.send(text)
            self._socket = socket
            while True:
                arrival = await socket.receive()
                self._heard_at = time.monotonic()
                self._take(arrival)
                for request in session.pending_requests():
                    tasks.create_task(self._fetch(client, request))
                for text in session.pending_messages():
                    await socket.send(text)
                if self._sink.is_full:
                    await self._wait_for_room()
        except ConnectionClosed as error:
            raise FeedLost(self._intake.words(error)) from error

    def _take(self, arrival: Arrival) -> None:
        frames = self._intake.redacted_all(arrival.messages)
        if self._route.is_recorded:
            for message in frames:
                self._take_recorded(message)
            return
        while frames:
            # Before a login nobody knows which frame is the first one of data.
            together = frames if self._note_data(arrival.received_at) else frames[:1]
            self._parse(together, arrival.received_at)
            frames = frames[len(together) :]

    def _take_recorded(self, message: bytes) -> None:
        """Each frame has its own time."""
        if message.startswith(b"{"):
            self._take_answer(message)
            return
        stamp, _, frame = message.partition(b" ")
        if not stamp.isdigit():
            raise FeedLost(f"a frame without a receive time: {message[:40]!r}")
        received_at = int(stamp) // 1_000
        self._note_data(received_at)
        self._parse((frame,), received_at)

    def _note_data(self, received_at: int) -> bool:
        """A frame comes: whether it shows that data flows."""
        if self.last_received_at is not None:
            self.last_received_at = received_at
        elif _gives_data(self.session):
            self.last_received_at = received_at
            if self._record is not None:
                self._recording = self._record()
            self._on_data(self, received_at)
        return self.last_received_at is not None

    def _parse(self, frames: Sequence[bytes], received_at: int) -> None:
        if self._recording is not None:
            for frame in frames:
                self._recording.frame(frame, received_at)
        events: list[Event] = []
        try:
            self._intake.parse(self.session, frames, received_at, events)
        finally:
            if events:
                self.put(events, sum(map(len, frames)))

    def _take_answer(self, message: bytes) -> None:
        """A server of recordings answers a request in its own time: that is no part of the recording."""
        try:
            self.session.parse(message, self.last_received_at or 0)
        except (ParseError, VenueRefused) as error:
            self._intake.excuse(VenueRefused(str(error)), "", message, 0)

    async def _wait_for_room(self) -> None:
        self.is_held_back = True
        try:
            await self._sink.wait_for_room()
        finally:
            self._heard_at = time.monotonic()
            self.is_held_back = False

    async def _watch(self) -> Never:
        """Raise when the socket is silent for too long; while we do not read it, it may be."""
        stale_after_s = self._route.stale_after_s
        while True:
            silent_s = 0.0 if self.is_held_back else time.monotonic() - self._heard_at
            if silent_s >= stale_after_s:
                raise FeedStaleError(f"no frame for {stale_after_s:g} s")
            await asyncio.sleep(stale_after_s - silent_s)

    async def _keep_alive(self, socket: ClientConnection) -> None:
        """Send what the venue wants to hear from a client whose socket is idle."""
        idle_s = self._protocol.keep_alive_s
        while idle_s is not None:
            silent_s = time.monotonic() - self._heard_at
            if silent_s < idle_s:
                await asyncio.sleep(idle_s - silent_s)
                continue
            text = self.session.keep_alive()
            if text is not None:
                with suppress(ConnectionClosed):  # who reads the socket will see it
                    await socket.send(text)
            await asyncio.sleep(idle_s)

    async def _fetch(self, client: httpx.AsyncClient, request: Request) -> None:
        """Answer a request of the session; what cannot be fetched now, the session asks for again."""
        try:
            response = await client.get(self._route.rest_url + request.path)
            body = b"" if response.is_server_error else self._intake.redacted(response.content)
            failure = f"HTTP status {response.status_code}"
        except httpx.HTTPError as error:
            body, failure = b"", self._intake.words(error)
        if not body:
            _log.warning("request failed", path=request.path, error=failure)
        recorded_at = self.last_received_at if self._route.is_recorded else None
        received_at = recorded_at or now()
        if self._recording is not None:
            self._recording.answer(request, body, received_at)
        events = self._intake.answer(self.session, request, body, received_at)
        if events:
            self.put(events, len(body))


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1_000


def is_local(url: str) -> bool:
    """Whether a URL is this machine's: then no proxy stands between."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _obey_cancellation() -> None:
    """Raise if this task was cancelled: a TaskGroup that is ending by an error swallows it (Python 3.11)."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _gives_data(session: Session) -> bool:
    """Whether a frame of it shows that data flows; what comes before a login does not."""
    return not isinstance(session, KeyedSession) or session.is_logged_in

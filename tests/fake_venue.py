"""A venue under a test's control: a real WebSocket and REST server on loopback that does what it is told."""

from __future__ import annotations

import asyncio
import http
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

PATIENCE_S = 120  # until a client comes, which may be a process that starts


class FakeVenue:
    """One client at a time. Sends what the test says, keeps what the client said."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        self.answers = answers  # path of a REST request → body; any other: status 503
        self.requests: list[str] = []
        self.received: list[str] = []
        self.refusal: http.HTTPStatus | None = None  # how a socket is refused, while it is set
        self.paths: list[str] = []  # of the sockets asked for
        self.on_request: Callable[[], None] = lambda: None  # called when a REST request comes
        self.answers_requests = asyncio.Event()  # while it is not set, REST requests wait
        self.answers_requests.set()
        self.greeting: list[str] = []  # what a client hears before it has said anything
        self.port = 0
        self._clients: asyncio.Queue[ServerConnection] = asyncio.Queue()
        self._client: ServerConnection | None = None

    @property
    def websocket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def accept(self) -> ServerConnection:
        """Wait for the next client that has said its first word; what is sent goes to it from now on."""
        async with asyncio.timeout(PATIENCE_S):
            self._client = await self._clients.get()
        return self._client

    async def send(self, *frames: str) -> None:
        assert self._client is not None, "accept() first"
        for frame in frames:
            await self._client.send(frame)

    def cut(self) -> None:
        """Cut the socket without a word."""
        assert self._client is not None, "accept() first"
        self._client.transport.abort()

    async def _serve_client(self, connection: ServerConnection) -> None:
        for frame in self.greeting:
            await connection.send(frame)
        first = await connection.recv()
        self.received.append(str(first))
        await self._clients.put(connection)
        with suppress(ConnectionClosed):
            async for message in connection:
                self.received.append(str(message))

    async def _answer_request(self, connection: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            self.paths.append(request.path)
            return None if self.refusal is None else connection.respond(self.refusal, f"no: {request.path}")
        self.requests.append(request.path)
        self.on_request()
        await self.answers_requests.wait()
        body = self.answers.get(request.path)
        status = http.HTTPStatus.SERVICE_UNAVAILABLE if body is None else http.HTTPStatus.OK
        return connection.respond(status, body or "")

    @asynccontextmanager
    async def serve(self, port: int = 0, subprotocol: str | None = None) -> AsyncIterator[FakeVenue]:
        server: Server
        async with serve(
            self._serve_client,
            "127.0.0.1",
            port,
            process_request=self._answer_request,
            subprotocols=None if subprotocol is None else [Subprotocol(subprotocol)],
            compression=None,
            close_timeout=1,
        ) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            yield self

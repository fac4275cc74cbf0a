"""Venues on this machine, each in its own protocol: WebSocket streams and REST.

What lives here: the URLs, the life of the process. What never does: the command line (`venue_arguments.py`),
delivery (`venue_hub.py`), what a venue says (`venue_dialects`), where frames come from (`venue_sources.py`),
the market (`ingest_daemon.venues.simulated`).

    ws://HOST:PORT/<market>…      what the venue has below its WebSocket address
    http://HOST:PORT/<market>…    what it has below its REST address
    http://HOST:PORT/healthz  /ledger  /episodes[?until_us=…]  POST /script?starts_at_us=…
    http://HOST:PORT/faults/cut  /faults/silence   POST: drop every socket; let every one fall silent

<market> is spot, usdm or coinm for Binance's, and a key of `ingest_daemon.venues.VENUES` for every other.
With it as their path, these are the base URLs of a venue in `venues.yaml`. All tell the same simulated
market; a recording is played by its own market alone.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import logging
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import uvloop
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from ingest_daemon.venues import Credentials
from ingest_daemon.venues.simulated import (
    Episode,
)
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.venue_arguments import faults_of, history_of, parser, source_of
from sentinet_dagster.runtime.venue_dialects import Answer, Caller, Dialect, dialects_of
from sentinet_dagster.runtime.venue_faults import CALM, Faults
from sentinet_dagster.runtime.venue_hub import RECORDED, Client, Hub, Observe, unobserved
from sentinet_dagster.runtime.venue_sources import (
    REST_ROOTS,
    Source,
)

_SECOND_US = 1_000_000
_FURTHEST_AHEAD_US = 86_400 * _SECOND_US  # a script has no end: what is asked for must have one
_PING_EVERY_S = 20.0
_PING_TIMEOUT_S = 60.0
_CLOSE_TIMEOUT_S = 30.0  # at the end of a recording, for a client to read all of it
_STOP_S = 0.5  # when the server is stopped
_HANDSHAKE_TIMEOUT_S = 60.0  # a question for the book waits until the play has come to it


class VenueServer:
    """Serves one source. Use as an async context manager: it listens from `async with` on, and sends.

    Args:
        source: what to send.
        host: where to listen.
        port: where to listen; 0 for any that is free.
        close_at_end: close the sockets with code 1000 once the source has ended; otherwise they stay open,
            silent.
        account: who may log in at the venues that want an account; None: anybody.
        keeps_facts: whether the ledger keeps what was said, not only how much: for tests, it grows.
        faults: what is done to the messages on their way.
        seed: chooses to which.
        observe: told the market, each message that was sent, and to how many clients.

    Raises (on entering):
        UserError: the address is in use or not ours.
    """

    def __init__(
        self,
        source: Source,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        close_at_end: bool = False,
        account: Credentials | None = None,
        keeps_facts: bool = False,
        faults: Faults = CALM,
        seed: int = 0,
        observe: Observe = unobserved,
    ) -> None:
        self.dialects: Mapping[str, Dialect] = dialects_of(source, account)
        self.hub = Hub(
            self.dialects,
            waits_for_clients=source.waits_for_clients,
            keeps_facts=keeps_facts,
            faults=faults,
            seed=seed,
            observe=observe,
        )
        self.has_ended = asyncio.Event()
        self._source = source
        self._host = host
        self._port = port
        self._close_at_end = close_at_end
        self._server: Server | None = None
        self._sending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> VenueServer:
        try:
            self._server = await serve(
                self._serve_socket,
                self._host,
                self._port,
                process_request=self._answer_request,
                select_subprotocol=_choose_subprotocol,
                compression=None,
                open_timeout=_HANDSHAKE_TIMEOUT_S,
                ping_interval=_PING_EVERY_S,
                ping_timeout=_PING_TIMEOUT_S,
                close_timeout=_CLOSE_TIMEOUT_S,
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UserError(f"port {self._port} is in use: give another one, or 0 for any") from error
            raise UserError(f"cannot listen on {self._host}: {error.strerror or error}") from error
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        self._sending = asyncio.create_task(self._send())
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        assert self._sending is not None
        self._sending.cancel()
        with suppress(asyncio.CancelledError):
            await self._sending
        self._server.close()
        try:
            await asyncio.wait_for(asyncio.shield(self._server.wait_closed()), _STOP_S)
        except TimeoutError:
            self.hub.cut()
            await self._server.wait_closed()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def markets(self) -> dict[str, dict[str, str]]:
        """The dialect and the base URLs of each market."""
        address = f"{self._host}:{self._port}"
        return {
            market: {
                "protocol": dialect.protocol,
                "websocket_url": f"ws://{address}/{market}",
                "rest_url": f"http://{address}/{market}",
            }
            for market, dialect in self.dialects.items()
        }

    async def _send(self) -> None:
        async for batch in self._source.batches(self.hub):
            await self.hub.publish(batch)
            await asyncio.sleep(0)  # at full speed too, clients and requests have their turn
        await self.hub.flush()
        self.has_ended.set()
        if self._close_at_end:
            await self.hub.close()

    async def _serve_socket(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        market, path, query = _parts(connection.request.path)
        is_combined = not f"{path}/".startswith("/ws/") or market not in REST_ROOTS
        client = Client(connection, market, Caller(path, query), is_combined=is_combined)
        await self.hub.serve(client)

    async def _answer_request(self, _connection: ServerConnection, request: Request) -> Response | None:
        """Answer a request for REST; None for one for a WebSocket."""
        market, path, query = _parts(request.path)
        dialect = self.dialects.get(market)
        if dialect is not None and "Upgrade" in request.headers:
            refusal = dialect.refuses(path, query)
            return None if refusal is None else _response(refusal)
        if dialect is not None:
            answer = await dialect.answer(path, query)
            if answer.message is not None:
                self.hub.note(market, answer.message)
            return _response(answer)
        whole = urlsplit(request.path).path.rstrip("/")
        if whole in ("/faults/cut", "/faults/silence", "/script"):
            if request.method != "POST":
                return _json({"error": "use POST"}, HTTPStatus.METHOD_NOT_ALLOWED)
            return await self._do_for_operator(whole, query)
        return self._answer_operator(whole, query)

    async def _do_for_operator(self, path: str, query: Mapping[str, str]) -> Response:
        match path:
            case "/faults/cut":
                return _json({"cut": self.hub.cut()})
            case "/faults/silence":
                return _json({"silenced": self.hub.fall_silent()})
            case _:
                return await self._begin_script(query)

    async def _begin_script(self, query: Mapping[str, str]) -> Response:
        starts_at = query.get("starts_at_us", "")
        if not (starts_at.isascii() and starts_at.isdigit()):
            return _refusal(f"Illegal value {starts_at!r} of parameter 'starts_at_us'.")
        try:
            await self._source.begin_script(int(starts_at))
        except (LookupError, ValueError) as error:
            return _json({"error": error.args[0]}, HTTPStatus.CONFLICT)
        return _json({"starts_at_us": int(starts_at)})

    def _answer_operator(self, path: str, query: Mapping[str, str]) -> Response:
        if path == "/healthz":
            return _json({"status": "ok"})
        if path == "/ledger":
            return _json({"streams": self._ledger(), "has_ended": self.has_ended.is_set()})
        if path == "/episodes":
            until = query.get("until_us", str(_now_us()))
            if not (until.isascii() and until.isdigit() and int(until) <= _now_us() + _FURTHEST_AHEAD_US):
                return _refusal(f"Illegal value {until!r} of parameter 'until_us'.")
            return _json({"episodes": [_episode_json(e) for e in self._source.episodes(int(until))]})
        return _not_found(path)

    def _ledger(self) -> dict[str, Any]:
        ledger = sorted(self.hub.ledger.items())
        return {
            f"{market}/{stream}": {
                "frames": e.frames,
                "deliveries": e.deliveries,
                "damaged": e.damaged,
                "ids": e.ids,
            }
            for (market, stream), e in ledger
        }


def _choose_subprotocol(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Times are told by the markets that can play a recording."""
    assert connection.request is not None
    market, *_ = _parts(connection.request.path)
    return RECORDED if RECORDED in offered and market in REST_ROOTS else None


def _parts(target: str) -> tuple[str, str, dict[str, str]]:
    """Of the target of a request: market, path below it, query."""
    url = urlsplit(target)
    market, slash, below = url.path.lstrip("/").partition("/")
    query = {name: values[-1] for name, values in parse_qs(url.query).items()}
    return market, (slash + below).rstrip("/"), query


def _episode_json(episode: Episode) -> dict[str, Any]:
    return {
        "kind": episode.kind,
        "instruments": [{"venue": key.venue, "venue_symbol": key.symbol} for key in episode.instruments],
        "starts_at_us": episode.starts_at,
        "ends_at_us": episode.ends_at,
        "size": episode.size,
        "direction": episode.direction,
    }


def _response(answer: Answer) -> Response:
    headers = Headers(
        {"Content-Type": "application/json", "Content-Length": str(len(answer.body)), "Connection": "close"}
    )
    return Response(answer.status.value, answer.status.phrase, headers, answer.body)


def _json(value: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return _response(Answer(json.dumps(value).encode(), status))


def _refusal(message: str) -> Response:
    return _json({"error": message}, HTTPStatus.BAD_REQUEST)


def _not_found(path: str) -> Response:
    return _json({"error": f"nothing at {path}"}, HTTPStatus.NOT_FOUND)


def _now_us() -> int:
    return time.time_ns() // 1000


async def _run(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    live_start_us = _now_us() if arguments.live_start_us is None else arguments.live_start_us
    async with VenueServer(
        source_of(arguments, live_start_us),
        arguments.host,
        arguments.port,
        close_at_end=arguments.close_at_end,
        faults=faults_of(arguments),
        seed=arguments.seed,
    ) as server:
        ready: dict[str, Any] = {"host": arguments.host, "port": server.port, "markets": server.markets}
        if not arguments.recording:
            ready |= {"seed": arguments.seed, "live_start_us": live_start_us}
        if arguments.history is not None:
            ready["history"] = await asyncio.to_thread(history_of, arguments, live_start_us)
        print(json.dumps(ready), flush=True)  # noqa: T201 (how a parent process knows)
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0, or 2 with one line on stderr if the user must change something."""
    # A client that goes away in the middle of a handshake is nothing to write a traceback about.
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    try:
        uvloop.run(_run(parser().parse_args(arguments)))
    except UserError as error:
        sys.stderr.write(f"venue server: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The clients of the venue server: what each is subscribed to, what it is sent, and the ledger of it.

What lives here: Binance's requests over a socket and their answers, delivery. What never does: REST
(`venue_server.py`), where frames come from and when (`venue_sources.py`).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State
from websockets.typing import Subprotocol

from sentinet_dagster.runtime.venue_sources import SourceFrame, stream_key

# Under this subprotocol a data message is a line of a recording: `<receive time, ns since 1970> <raw
# message>`.
RECORDED = Subprotocol("sentinet.recorded.v1")
# A client that leaves this much unread is cut off, or waited for.
_MOST_UNSENT_BYTES = 64 * 2**20
_ENOUGH_UNSENT_BYTES = 4 * 2**20
_POLL_S = 0.001
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS")
_INVALID_REQUEST, _INVALID_JSON = 2, 3  # the venue's codes
_ID_FIELD = {"trade": re.compile(rb'"t":(\d+)'), "aggTrade": re.compile(rb'"a":(\d+)')}


@dataclass(slots=True)
class StreamLedger:
    """What was sent of one stream."""

    frames: int = 0  # that at least one client was sent
    deliveries: int = 0  # summed over clients
    ids: list[list[int]] = field(default_factory=list)  # first and last of each unbroken run of trade ids

    def note(self, frame: SourceFrame, clients: int) -> None:
        """One frame was sent to `clients` clients."""
        self.frames += 1
        self.deliveries += clients
        pattern = _ID_FIELD.get(frame.stream.split("@")[1])
        match = pattern.search(frame.text) if pattern else None
        if match is None:
            return
        number = int(match[1])
        if self.ids and self.ids[-1][1] == number - 1:
            self.ids[-1][1] = number
        else:
            self.ids.append([number, number])


class Client:
    """One socket."""

    def __init__(self, connection: ServerConnection, market: str, *, is_combined: bool) -> None:
        self.connection = connection
        self.market = market
        self.wanted: dict[str, str] = {}  # key of a stream → its name as the client asked for it
        self._is_combined = is_combined
        self._is_recorded = connection.subprotocol == RECORDED

    @property
    def unsent_bytes(self) -> int:
        """What the client has not read yet, and its kernel has no room for."""
        return self.connection.transport.get_write_buffer_size()

    def deliver(self, frames: Iterable[SourceFrame]) -> None:
        """Write `frames`, all of them wanted, in one go."""
        protocol = self.connection.protocol
        for frame in frames:
            text = frame.text
            if not self._is_combined:
                text = text[len('{"stream":"') + len(frame.stream) + len('","data":') : -1]
            if self._is_recorded:
                text = b"%d %s" % (frame.received_ns, text)
            protocol.send_text(text)
        self.connection.transport.write(b"".join(protocol.data_to_send()))


class Hub:
    """All clients of a server.

    Args:
        streams: the streams of each market.
        waits_for_clients: whether a slow client holds up the delivery; otherwise it is cut off in the end.
    """

    def __init__(self, streams: Mapping[str, frozenset[str]], *, waits_for_clients: bool) -> None:
        self._known = {market: {stream_key(name) for name in names} for market, names in streams.items()}
        self._waits_for_clients = waits_for_clients
        self._clients: set[Client] = set()
        self._changed = asyncio.Event()
        self.ledger: dict[tuple[str, str], StreamLedger] = {}

    def wants(self, channel: str, market: str | None = None, symbol: str | None = None) -> bool:
        """See `venue_sources.Demand`."""
        return any(
            key.partition("@")[2] == channel
            and market in (None, client.market)
            and (symbol is None or key.startswith(f"{symbol.lower()}@"))
            for client in self._clients
            for key in client.wanted
        )

    async def subscribed(self, markets: Sequence[str]) -> None:
        """See `venue_sources.Demand`."""
        while not all(any(c.market == market and c.wanted for c in self._clients) for market in markets):
            self._changed.clear()
            await self._changed.wait()

    def unknown(self, market: str, names: Iterable[str]) -> list[str]:
        """Those of `names` that are no stream of `market`."""
        return [name for name in names if "@" not in name or stream_key(name) not in self._known[market]]

    async def serve(self, client: Client, streams: Iterable[str]) -> None:
        """Keep a client, subscribed to `streams` at first, until its socket is closed."""
        self._clients.add(client)
        self._subscribe(client, streams)
        try:
            with suppress(ConnectionClosed):
                async for message in client.connection:
                    await client.connection.send(self.answer(client, message))
        finally:
            self._clients.discard(client)

    def answer(self, client: Client, message: str | bytes) -> str:
        """Carry out a request of a client; the answer, an error in the venue's form where it cannot be."""
        try:
            request = json.loads(message)
        except ValueError as error:
            return _refusal(_INVALID_JSON, f"Invalid JSON: {error}", None)
        number = request.get("id") if isinstance(request, dict) else None
        method = request.get("method") if isinstance(request, dict) else None
        if method not in _METHODS:
            expected = ", ".join(f"`{name}`" for name in _METHODS)
            return _refusal(
                _INVALID_REQUEST,
                f"Invalid request: unknown variant `{method}`, expected one of {expected}",
                number,
            )
        if method == "LIST_SUBSCRIPTIONS":
            return json.dumps({"result": list(client.wanted.values()), "id": number})
        names = request.get("params")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return _refusal(_INVALID_REQUEST, "Invalid request: params is not a list of stream names", number)
        if unknown := self.unknown(client.market, names):
            return _refusal(_INVALID_REQUEST, f"Invalid request: unknown stream {', '.join(unknown)}", number)
        if method == "SUBSCRIBE":
            self._subscribe(client, names)
        else:
            for name in names:
                client.wanted.pop(stream_key(name), None)
        return json.dumps({"result": None, "id": number})

    async def publish(self, frames: Sequence[SourceFrame]) -> None:
        """Send each frame to whom it is for, and write it down."""
        counts = [0] * len(frames)
        for client in tuple(self._clients):
            if client.connection.state is not State.OPEN or not client.wanted:
                continue
            mine = [
                i
                for i, frame in enumerate(frames)
                if frame.market == client.market and stream_key(frame.stream) in client.wanted
            ]
            for i in mine:
                counts[i] += 1
            if mine:
                client.deliver([frames[i] for i in mine])
                await self._mind_backlog(client)
        for frame, count in zip(frames, counts, strict=True):
            if count:
                self.ledger.setdefault((frame.market, frame.stream), StreamLedger()).note(frame, count)

    async def close(self) -> None:
        """Close every socket as a venue that has nothing more to say (code 1000)."""
        closing = [client.connection.close() for client in self._clients]
        await asyncio.gather(*closing)

    def cut(self) -> int:
        """Drop every socket without a word; how many there were."""
        clients = tuple(self._clients)
        for client in clients:
            client.connection.transport.abort()
        return len(clients)

    def _subscribe(self, client: Client, names: Iterable[str]) -> None:
        for name in names:
            client.wanted[stream_key(name)] = name
        self._changed.set()

    async def _mind_backlog(self, client: Client) -> None:
        if self._waits_for_clients:
            while client.unsent_bytes > _ENOUGH_UNSENT_BYTES and client.connection.state is State.OPEN:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)
        elif client.unsent_bytes > _MOST_UNSENT_BYTES:
            client.connection.transport.abort()


def _refusal(code: int, text: str, number: object) -> str:
    return json.dumps({"error": {"code": code, "msg": text}, "id": number})

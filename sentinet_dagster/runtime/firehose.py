"""A venue that says as much as it is told to: the load of `sentinet benchmark ingest`.

What lives here: frames of Binance's spot market rendered beforehand, their pace, and a ledger of what was
sent when. What never does: a market (`ingest_daemon.venues.simulated`), other dialects (`venue_server.py`),
measuring.

Half of the frames are trades, half quotes, over eight symbols. They are numbered through, as the trade's id
or the quote's update id, so a row tells when it was sent. All that is due goes out in one write, as bytes in
which only numbers and times are filled in: the sender takes little of the machine.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from multiprocessing.connection import Connection
from typing import Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

import numpy as np
import numpy.typing as npt
import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from sentinet_dagster.runtime.ports import LOOPBACK

__all__ = ["CHANNELS", "FIRST_NUMBER", "SYMBOLS", "Frames", "Order", "Sent", "serve_firehose"]

SYMBOLS: Final = (
    "BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "BNBUSDT", "ADAUSDT", "LTCUSDT", "DOTUSDT",
)  # fmt: skip
CHANNELS: Final = ("aggTrade", "bookTicker")
FIRST_NUMBER: Final = 1_000_000_000  # of ten digits, as all that follow
_DIGITS: Final = 10
_STAMP_DIGITS: Final = 13  # milliseconds since 1970
_CYCLE: Final = 1_024  # frames after which symbols and prices repeat
_TICK_S: Final = 0.002

_TRADE: Final = (
    '{{"stream":"{stream}@aggTrade","data":{{"e":"aggTrade","E":{stamp},"s":"{symbol}","a":{number},'
    '"p":"{price:.8f}","q":"{size:.8f}","f":1,"l":1,"T":{stamp},"m":{seller},"M":true}}}}'
)
_TICKER: Final = (
    '{{"stream":"{stream}@bookTicker","data":{{"u":{number},"s":"{symbol}","b":"{price:.8f}",'
    '"B":"{size:.8f}","a":"{ask:.8f}","A":"{size:.8f}"}}}}'
)

_Bytes = npt.NDArray[np.uint8]
Sent = npt.NDArray[np.int64]
"""A row for each write: the first number, the number after the last, nanoseconds since 1970 UTC."""


class Order(NamedTuple):
    """What to send."""

    frames_per_s: float
    seconds: float


class Frames:
    """A cycle of frames as they go over the wire: text frames of a server, unmasked."""

    def __init__(self) -> None:
        texts = [_text(position) for position in range(_CYCLE)]
        wire = [_header(len(text)) + text for text in texts]
        self._bytes: _Bytes = np.frombuffer(b"".join(wire), np.uint8).copy()
        self._starts = np.cumsum([0, *map(len, wire)])
        numbers = [
            start + frame.index(b"N" * _DIGITS) for start, frame in zip(self._starts, wire, strict=False)
        ]
        self._numbers_at = np.array(numbers)[:, None] + np.arange(_DIGITS)
        stamps = np.flatnonzero(self._bytes == ord("S") | 0x80)
        self._stamps_at = stamps.reshape(-1, _STAMP_DIGITS)
        self._stamp = 0

    def render(self, first: int, count: int, now_ms: int) -> bytes:
        """The frames numbered from `first` on, saying that it is `now_ms`, milliseconds since 1970 UTC."""
        if now_ms != self._stamp:
            self._bytes[self._stamps_at] = _digits(np.array([now_ms]), _STAMP_DIGITS)
            self._stamp = now_ms
        parts = []
        while count > 0:
            at = first % _CYCLE
            until = min(at + count, _CYCLE)
            numbers = np.arange(first, first + until - at)
            self._bytes[self._numbers_at[at:until]] = _digits(numbers, _DIGITS)
            parts.append(self._bytes[self._starts[at] : self._starts[until]].tobytes())
            first, count = first + until - at, count - (until - at)
        return b"".join(parts)


def _text(position: int) -> bytes:
    """A frame with places for its number (N) and its times (a byte that no text has)."""
    symbol = SYMBOLS[position // 2 % len(SYMBOLS)]
    price = 100.0 * (1 + position // 2 % len(SYMBOLS)) + position % 17 / 100
    template = _TICKER if position % 2 else _TRADE
    text = template.format(
        stream=symbol.lower(),
        symbol=symbol,
        number="N" * _DIGITS,
        stamp="\x00" * _STAMP_DIGITS,
        price=price,
        ask=price + 0.01,
        size=(1 + position % 29) / 100,
        seller="true" if position % 3 else "false",
    )
    return text.encode().replace(b"\x00", bytes([ord("S") | 0x80]))


def _header(length: int) -> bytes:
    """Of a whole text frame (RFC 6455, section 5.2)."""
    return bytes([0x81, length]) if length < 126 else b"\x81\x7e" + length.to_bytes(2, "big")


def _digits(numbers: npt.NDArray[np.int64], count: int) -> _Bytes:
    """ASCII digits, a row for each number."""
    powers = 10 ** np.arange(count - 1, -1, -1)
    return (numbers[:, None] // powers % 10 + ord("0")).astype(np.uint8)


class _Firehose:
    """One client, and what it is sent."""

    def __init__(self) -> None:
        self.port = 0
        self._frames = Frames()
        self._next = FIRST_NUMBER
        self._client: ServerConnection | None = None
        self._is_subscribed = asyncio.Event()

    async def talk(self, client: ServerConnection) -> None:
        """Hear what is wanted, in the address or in requests, as the venue does, until the client is gone."""
        assert client.request is not None
        wanted = _streams_in(client.request.path)
        self._take_on(client, wanted)
        try:
            async for message in client:
                request = json.loads(message)
                wanted.update(request["params"])
                await client.send(json.dumps({"result": None, "id": request["id"]}))
                self._take_on(client, wanted)
        except ConnectionClosed:
            pass

    def _take_on(self, client: ServerConnection, wanted: set[str]) -> None:
        if len(wanted) == len(SYMBOLS) * len(CHANNELS):
            self._client = client
            self._is_subscribed.set()

    async def until_subscribed(self) -> None:
        """Return when a client has asked for every stream."""
        await self._is_subscribed.wait()

    async def send(self, order: Order) -> Sent:
        """Send at a steady pace. What the client does not read in time waits here, as at a venue."""
        assert self._client is not None, "somebody has subscribed"
        transport = self._client.transport
        sent: list[tuple[int, int, int]] = []
        began, first, total = time.perf_counter(), self._next, round(order.frames_per_s * order.seconds)
        while self._next < first + total:
            due = min(total, int((time.perf_counter() - began) * order.frames_per_s)) - (self._next - first)
            if due > 0:
                now_ns = time.time_ns()
                transport.write(self._frames.render(self._next, due, now_ns // 1_000_000))
                sent.append((self._next, self._next + due, now_ns))
                self._next += due
            await asyncio.sleep(_TICK_S)
        return np.array(sent, np.int64)


def _streams_in(path: str) -> set[str]:
    streams = parse_qs(urlsplit(path).query).get("streams", [])
    return {stream for each in streams for stream in each.split("/")}


async def _run(pipe: Connection) -> None:
    firehose = _Firehose()
    async with serve(firehose.talk, LOOPBACK, 0, compression=None, ping_interval=None) as server:
        pipe.send(next(iter(server.sockets)).getsockname()[1])
        await firehose.until_subscribed()
        pipe.send("subscribed")
        while (order := await asyncio.to_thread(pipe.recv)) is not None:
            pipe.send(await firehose.send(order))
        server.close()


def serve_firehose(pipe: Connection) -> None:
    """A process of its own: says its port, then `subscribed`; an `Order` is answered with `Sent`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it says when it ends
    try:
        uvloop.run(_run(pipe))
    except (EOFError, BrokenPipeError):
        return  # who started it is gone

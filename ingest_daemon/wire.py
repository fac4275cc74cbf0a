"""WebSocket messages many at a time: what one read of the socket brought is handed over at once.

What lives here: taking whole messages out of the bytes of a socket. What never does: the handshake, control
and fragmented frames, closing (all `websockets`'), connecting (`link.py`), the meaning of a message.

The library hands over message by message, through a parser made of generators and a queue: 7 µs of CPU each,
more than all that the daemon does with them. Venues send nearly everything as whole, unmasked frames, which
are cut out of the bytes here for a tenth of that; every other frame, and one that breaks the rules, is given
to the library, which sees nothing but whole frames. Source: RFC 6455, section 5.2.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, Final, NamedTuple

from websockets.asyncio.client import ClientConnection
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import Event, State

__all__ = ["LONGEST_MESSAGE", "Arrival", "WireConnection"]

LONGEST_MESSAGE: Final = 16 * 2**20
"""Bytes of a message at most; what is longer ends the connection. Also to be given to `connect`."""

_MOST_HELD: Final = 256 * 2**10
"""Bytes of messages that nobody has asked for, at which the socket is no longer read."""

_HEAD_END: Final = b"\r\n\r\n"
_WHOLE_TEXT: Final = 0x81  # first byte of a frame: final, no extension, text
_WHOLE_BINARY: Final = 0x82
_TWO_BYTE_LENGTH: Final = 126  # second byte: how the length is written; from 128 on, masked
_EIGHT_BYTE_LENGTH: Final = 127


class Arrival(NamedTuple):
    """What one read of the socket brought."""

    messages: list[bytes]
    received_at: int  # when it was read, microseconds since 1970 UTC
    size: int  # bytes


class WireConnection(ClientConnection):
    """A connection of `websockets` that is read with `receive`, never with `recv`."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_seen = b""  # the last bytes of the handshake's answer so far
        self._is_upgraded = False
        self._parts: list[bytes] = []  # of a frame that is not whole yet
        self._have = 0  # bytes in them
        self._need = 2  # bytes at which it is worth looking again
        self._fragments: list[bytes] = []
        self._arrivals: deque[Arrival] = deque()
        self._messages: list[bytes] = []  # of the read under way
        self._held = 0
        self._is_paused = False
        self._is_lost = False
        self._wake = asyncio.Event()

    async def receive(self) -> Arrival:
        """What came with one read, at least one message.

        Raises:
            ConnectionClosed: the connection is lost, and all that came before was handed over.
        """
        while not self._arrivals:
            if self._is_lost:
                raise self.close_exc
            self._wake.clear()
            await self._wake.wait()
        arrival = self._arrivals.popleft()
        self._held -= arrival.size
        if self._is_paused and self._held < _MOST_HELD and not self.transport.is_closing():
            self._is_paused = False
            self.transport.resume_reading()
        return arrival

    def data_received(self, data: bytes) -> None:
        """Take in what one read brought. Called by the event loop."""
        received_at = time.time_ns() // 1_000
        if not self._is_upgraded:
            data = self._take_head(data)
        if self._is_upgraded and data:
            self._take(data)
        elif data:
            super().data_received(data)
        if self._messages:
            self._hand_over(received_at)

    def process_event(self, event: Event) -> None:
        """Put the parts of a message together; everything else is the library's. Called by it."""
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        self._fragments.append(bytes(event.data))
        if event.fin:
            self._messages.append(b"".join(self._fragments))
            self._fragments.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        """Have `receive` say so. Called by the event loop."""
        super().connection_lost(exc)
        self._is_lost = True
        self._wake.set()

    def _take_head(self, data: bytes) -> bytes:
        """Give the handshake's answer to the library; what came after it."""
        seen = self._head_seen + data
        end = seen.find(_HEAD_END)
        if end < 0:
            self._head_seen = seen[-len(_HEAD_END) + 1 :]
            return data
        until = end + len(_HEAD_END) - len(self._head_seen)
        super().data_received(data[:until])
        self._is_upgraded = self.protocol.state is State.OPEN
        return data[until:]

    def _take(self, data: bytes) -> None:
        """Cut whole messages out; keep the beginning of one that is not whole."""
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        if self.protocol.state is not State.OPEN:
            super().data_received(data)
            return
        at = self._cut(data)
        if at < len(data):
            self._parts.append(data[at:])
            self._have = len(data) - at

    def _cut(self, data: bytes) -> int:
        """Where what is left begins."""
        at, end = 0, len(data)
        append = self._messages.append
        while end - at >= 2:
            start, length = at + 2, data[at + 1]
            if length == _TWO_BYTE_LENGTH:
                start = at + 4
                length = (data[at + 2] << 8) | data[at + 3] if end >= start else end
            elif length == _EIGHT_BYTE_LENGTH:
                start = at + 10
                length = int.from_bytes(data[at + 2 : start]) if end >= start else end
            elif length > _EIGHT_BYTE_LENGTH:
                return self._fail(data, at)
            stop = start + length
            if end >= start and length > LONGEST_MESSAGE:
                return self._fail(data, at)
            if stop > end:
                self._need = stop - at if end >= start else start - at
                return at
            if data[at] in (_WHOLE_TEXT, _WHOLE_BINARY) and not self._fragments:
                append(data[start:stop])
            else:
                super().data_received(data[at:stop])
                if self.protocol.state is not State.OPEN:
                    return self._fail(data, stop)
            at = stop
        self._need = 2
        return at

    def _fail(self, data: bytes, at: int) -> int:
        """Give the rest to the library: the connection ends, or it knows why it must."""
        super().data_received(data[at:])
        return len(data)

    def _hand_over(self, received_at: int) -> None:
        messages, self._messages = self._messages, []
        size = sum(map(len, messages))
        self._arrivals.append(Arrival(messages, received_at, size))
        self._held += size
        if self._held >= _MOST_HELD and not self._is_paused and self.protocol.state is State.OPEN:
            self._is_paused = True
            self.transport.pause_reading()
        self._wake.set()

"""What a session of Binance asks to subscribe to, in which requests, and what to do with a refused one.

What lives here: the state of the asking. What never does: frames, sockets, clocks.

A client may send five messages a second, so one request is for many streams; and of a request with one wrong
stream all may be refused. So a refused request is sent again in halves, symbol by symbol in the end: the
wrong one is named, and takes no others along.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

__all__ = ["Subscriptions"]

_STREAMS_PER_REQUEST = 200


class Subscriptions:
    """The requests of one socket."""

    def __init__(self, streams: Sequence[str]) -> None:
        """Ask for nothing yet; the streams of one symbol follow each other."""
        self._streams = streams
        self._asked: dict[int, Sequence[str]] = {}
        self._number = 0  # of the last request
        self._messages: list[str] = []

    def opening(self) -> Sequence[str]:
        """SUBSCRIBE requests of at most 200 streams each, numbered from 1."""
        self._asked.clear()
        self._number = 0
        size = _STREAMS_PER_REQUEST
        return [self._request(self._streams[i : i + size]) for i in range(0, len(self._streams), size)]

    def pending_messages(self) -> Sequence[str]:
        """What to send now; each is returned once."""
        if not self._messages:
            return ()
        messages, self._messages = self._messages, []
        return messages

    def refused(self, number: int | str | None) -> str | None:
        """What a refused request was, in words; None: it is asked again in parts."""
        streams = self._asked.pop(number, ()) if isinstance(number, int) else ()
        if not streams:
            return "a request"
        symbols = list(dict.fromkeys(map(_symbol_in, streams)))
        if len(symbols) == 1:
            first, *more = streams
            return f"to subscribe to {first}" + (f" and {len(more)} more" if more else "")
        first_half = set(symbols[: len(symbols) // 2])
        for is_first in (True, False):
            self._messages.append(
                self._request([name for name in streams if (_symbol_in(name) in first_half) is is_first])
            )
        return None

    def _request(self, streams: Sequence[str]) -> str:
        self._number += 1
        self._asked[self._number] = streams
        return msgspec.json.encode({"method": "SUBSCRIBE", "params": streams, "id": self._number}).decode()


def _symbol_in(stream: str) -> str:
    return stream.partition("@")[0]

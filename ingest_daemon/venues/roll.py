"""Which streams of a session speak, at no cost to a frame but the first of each stream after a roll call.

What lives here: listeners in the place of readers. What never does: clocks, deciding who is silent for too
long (`vigil.py`), sockets.

A session looks a frame's reader up in a table of its own. A roll call puts a listener in the place of each
reader; the listener's first frame notes the time, puts the reader back and reads. All further frames find the
reader itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import msgspec

from ingest_daemon.events import Event
from ingest_daemon.venues.fields import Reader

__all__ = ["Roll", "Stream"]


class Stream(msgspec.Struct, frozen=True):
    """A channel of one symbol, as a session subscribed to it."""

    channel: str
    symbol: str
    instrument_ids: tuple[int, ...]  # more than one where instruments share an index


class Roll:
    """The streams of one session."""

    def __init__(self) -> None:
        self._again: dict[Stream, Sequence[str]] = {}
        self._listeners: list[tuple[dict[Any, Reader], Hashable, Reader]] = []
        self._heard: dict[Stream, int] = {}
        self._spoke: list[int] = []  # places in the list of listeners

    @property
    def streams(self) -> Sequence[Stream]:
        """All of them."""
        return tuple(self._again)

    def add(
        self,
        readers: dict[Any, Reader],
        key: Hashable,
        stream: Stream,
        read: Reader,
        again: Sequence[str] = (),
    ) -> None:
        """Enter a reader into a session's table, and have it heard.

        Args:
            readers: the table.
            key: where the session looks the reader up.
            stream: whose frames it reads; may have several keys.
            read: the reader.
            again: the texts that subscribe to the stream anew.
        """
        place = len(self._listeners)

        def listen(frame: bytes, received_at: int) -> Sequence[Event]:
            readers[key] = read
            self._spoke.append(place)
            self._heard.setdefault(stream, received_at)
            return read(frame, received_at)

        self._again[stream] = again
        self._listeners.append((readers, key, listen))
        readers[key] = listen

    def call(self) -> Mapping[Stream, int]:
        """The streams that spoke since the last call, and when each did first, microseconds since 1970."""
        if not self._spoke:
            return {}
        for place in self._spoke:
            readers, key, listen = self._listeners[place]
            readers[key] = listen
        self._spoke.clear()
        heard, self._heard = self._heard, {}
        return heard

    def again(self, stream: Stream) -> Sequence[str]:
        """The texts that subscribe to a stream anew; none where the session has no such stream."""
        return self._again.get(stream, ())

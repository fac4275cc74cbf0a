"""Venues whose every message is a list of items, each with a kind and a symbol, after a login.

What lives here: who reads an item, and the login's place in a session. What never does: what an item says,
the form of an answer, sockets, clocks.

A list may mix kinds and symbols. One item that cannot be read refuses the whole frame: what is quarantined is
what was received. A frame is counted to the stream of its first item.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from ingest_daemon.errors import ParseError
from ingest_daemon.events import Event
from ingest_daemon.venues.fields import DECODE_ERRORS, VALUE_SHOWN, Reader, explanation
from ingest_daemon.venues.logins import Login
from ingest_daemon.venues.stream_books import StreamSession

__all__ = ["Head", "HeadReader", "ItemListSession", "first_head"]

Head = tuple[str, str]  # the kind of an item, and its symbol; "" where it has none
HeadReader = Callable[[msgspec.Raw], Head]

_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


def first_head(frame: bytes, read_head: HeadReader) -> Head:
    """What the first item of a frame is; a pair of "" where there is none."""
    try:
        items = _decode_items(frame)
        return read_head(items[0]) if items else ("", "")
    except DECODE_ERRORS:
        return "", ""


class ItemListSession(StreamSession):
    """One socket's worth of state; a venue says how an item begins and what an answer means."""

    def __init__(
        self,
        login: Login,
        readers: Mapping[Head, Reader],
        channels: Mapping[str, str],
        read_head: HeadReader,
        read_answer: Callable[[str, bytes], bool],
    ) -> None:
        """Start.

        Args:
            login: what to send first.
            readers: of the items subscribed to.
            channels: kind of an item → the channel that it comes in.
            read_head: kind and symbol of an item.
            read_answer: whether an item of this kind is an answer, after acting on it.
        """
        super().__init__()
        self._login = login
        self._readers = readers
        self._channel_of = channels
        self._read_head = read_head
        self._read_answer = read_answer

    @property
    def is_logged_in(self) -> bool:
        """Whether data may come."""
        return self._login.is_done

    def subscribe(self) -> Sequence[str]:
        """The login; without credentials the subscriptions."""
        return self._login.opening()

    def keep_alive(self) -> str | None:
        """A subscription over again, whose answer shows that the socket is alive while no market is open."""
        return self._login.keep_alive()

    def stream_of(self, frame: bytes) -> str:
        """`channel:symbol` of the first item; "" for answers and garbage."""
        kind, symbol = first_head(frame, self._read_head)
        channel = self._channel_of.get(kind, "")
        return f"{channel}:{symbol}" if channel and symbol else ""

    def parse(self, frame: bytes, received_at: int) -> Sequence[Event]:
        """The events of one frame. ParseError names the field and its value; VenueRefused, what was asked."""
        return self.read_with(self._read_items, frame, received_at)

    def pending_messages(self) -> Sequence[str]:
        """The subscriptions after the login; subscribing anew to the books that are lost."""
        return (*self._login.pending_messages(), *super().pending_messages())

    def _read_items(self, frame: bytes, received_at: int) -> Sequence[Event]:
        items = _decode_items(frame)
        if not items:
            raise ParseError("an empty list")
        events: list[Event] = []
        for raw in items:
            item = bytes(raw)
            try:
                events += self._read_item(raw, item, received_at)
            except DECODE_ERRORS as error:
                raise ParseError(explanation(item, error)) from error
        return events or ()

    def _read_item(self, raw: msgspec.Raw, item: bytes, received_at: int) -> Sequence[Event]:
        head = self._read_head(raw)
        read = self._readers.get(head)
        if read is not None:
            return read(item, received_at)
        kind, symbol = head
        if not symbol and self._read_answer(kind, item):
            return ()
        raise ParseError(f"an item {kind!r:.{VALUE_SHOWN}} of {symbol!r:.{VALUE_SHOWN}} is not subscribed")

"""Books whose snapshot comes in the stream, and subscribing anew where one is lost.

What lives here: the books of one session, and when it is time to ask again. What never does: frames of a
venue, sockets, clocks. A break costs the one instrument: its channel is unsubscribed and subscribed again.

A frame of a book that cannot be read loses the book: it may have changed a level, and where the venue numbers
nothing, nothing else would ever show it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ingest_daemon.books import BookBuilder, Diff, Fault, Snapshot
from ingest_daemon.errors import ParseError
from ingest_daemon.events import Event, GapCause
from ingest_daemon.venues.base import Request
from ingest_daemon.venues.fields import DECODE_ERRORS, Reader, explanation
from ingest_daemon.venues.roll import Roll

__all__ = ["Pauses", "StreamBooks", "StreamSession", "UpdateReader"]

UpdateReader = Callable[[bytes], Snapshot | Diff | None]  # None: a frame that changes nothing

_FIRST_PAUSE_US = 1_000_000  # between two requests for one symbol; doubles …
_LONGEST_PAUSE_US = 60_000_000  # … up to this
_CALM_US = 600_000_000  # after so long without a request the pauses start anew
_UNREADABLE = Fault(GapCause.SEQUENCE_BREAK, "a frame of the book could not be read")


class Pauses:
    """When one may ask again: growing pauses, so that a venue is not asked in a loop."""

    def __init__(self) -> None:
        self._asked_at = -_CALM_US
        self._pause_us = 0

    def are_over(self, now: int) -> bool:
        """Whether to ask now; if so, it counts as asked, and the next pause begins."""
        if now < self._asked_at + self._pause_us:
            return False
        is_calm = now >= self._asked_at + _CALM_US
        self._pause_us = _FIRST_PAUSE_US if is_calm else min(2 * self._pause_us, _LONGEST_PAUSE_US)
        self._asked_at = now
        return True


class StreamBooks:
    """The books of one session."""

    def __init__(self) -> None:
        self._builders: list[BookBuilder] = []
        self._lost: dict[BookBuilder, tuple[Pauses, Sequence[str]]] = {}
        self._messages: list[str] = []

    def add(self, builder: BookBuilder, read_update: UpdateReader, resubscribe: Sequence[str]) -> Reader:
        """The reader of the stream of one book.

        Args:
            builder: the book.
            read_update: what a frame says.
            resubscribe: the texts that make the venue send its snapshot again.
        """
        self._builders.append(builder)
        pauses = Pauses()

        def read(frame: bytes, received_at: int) -> Sequence[Event]:
            try:
                update = read_update(frame)
            except (ParseError, *DECODE_ERRORS):
                builder.lose(_UNREADABLE, received_at)
                self._lost[builder] = pauses, resubscribe
                raise
            if update is None:
                return ()
            if isinstance(update, Snapshot):
                events = builder.start_over(update, received_at)
            else:
                events = builder.apply(update, received_at)
            if builder.in_sync:
                self._lost.pop(builder, None)
            else:
                self._lost[builder] = pauses, resubscribe
            return events

        return read

    def ask_where_lost(self, now: int) -> None:
        """Subscribe anew where a book is lost and the last time is long enough ago. Call with any frame."""
        for pauses, resubscribe in self._lost.values():
            if pauses.are_over(now):
                self._messages.extend(resubscribe)

    @property
    def are_any_lost(self) -> bool:
        """Whether `ask_where_lost` has anything to look at."""
        return bool(self._lost)

    def pending_messages(self) -> Sequence[str]:
        """What to send now; each is returned once."""
        if not self._messages:
            return ()
        messages, self._messages = self._messages, []
        return messages

    def close(self, now: int) -> list[Event]:
        """The gaps of books that are out of sync, as if they ended `now`, and the flow that is open."""
        return [event for builder in self._builders for event in builder.close(now)]


class StreamSession:
    """What sessions of venues have in common that ask nothing of a REST interface."""

    def __init__(self) -> None:
        self.books = StreamBooks()
        self.roll = Roll()

    def read_with(self, read: Reader, frame: bytes, received_at: int) -> Sequence[Event]:
        """The events of one frame by its reader; what decoding raises becomes a ParseError with the value."""
        try:
            events = read(frame, received_at)
        except DECODE_ERRORS as error:
            raise ParseError(explanation(frame, error)) from error
        if self.books.are_any_lost:
            self.books.ask_where_lost(received_at)
        return events

    def pending_messages(self) -> Sequence[str]:
        """Subscribing anew to the books that are lost."""
        return self.books.pending_messages()

    def pending_requests(self) -> Sequence[Request]:
        """None: snapshots come in the stream."""
        return ()

    def answer(self, request: Request, body: bytes, received_at: int) -> Sequence[Event]:  # noqa: ARG002
        """Nothing is ever asked for, so any answer is wrong."""
        raise ParseError(f"answer to {request.path}, which was not asked for")

    def close(self, now: int) -> Sequence[Event]:
        """The gaps of books that are out of sync, and the flow that is open."""
        return self.books.close(now)

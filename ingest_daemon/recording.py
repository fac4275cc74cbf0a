"""The form of a recording: what a line holds, and how a file is called. Pure.

What lives here: lines to bytes and back. What never does: files, threads, clocks, what a frame means.

    <ns since 1970 UTC> <one message of the venue>       as it was received, to the byte
    <ns since 1970 UTC> {"sentinet":"<kind>", …}         what the daemon adds

What is added makes a replay do what the daemon did: a `connection` opens each file and says whose messages
these are; an `answer` is what the venue's REST interface gave the session (the snapshot of a book); a `gap`
is a hole that the feed noticed, or that is repaired now; `repair` are trades that were fetched afterwards; a
`handover` is a step of the change from one connection to the next; `missed` are messages that were received
and could not be recorded; `closed` is the end of the socket. A message that no line can hold, such as one
with a newline, is wrapped in a `frame`.

    <venue>/<when the socket was opened>-<part>.zst      parts of one connection, from 0000 on; complete
    <venue>/<when the socket was opened>-<part>.zst.part the same while it is written, or cut off by a crash
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

import msgspec

from ingest_daemon.errors import RecordingError
from ingest_daemon.events import FeedGap, Trade

__all__ = [
    "UNFINISHED",
    "Answer",
    "Closed",
    "Connection",
    "Entry",
    "FileName",
    "Gap",
    "Missed",
    "Note",
    "Repair",
    "Step",
    "StepName",
    "answer_of",
    "entry_of",
    "file_name",
    "line_of",
    "parse_file_name",
]

UNFINISHED: Final = ".part"
"""What stands behind the name of a file that is not complete."""

_MARK: Final = b'{"sentinet":"'
_FILE_NAME: Final = re.compile(r"(\d{8}T\d{6}\.\d{6}Z)-(\d{4,})\.zst(\.part)?")


class Connection(msgspec.Struct, frozen=True, tag_field="sentinet", tag="connection"):
    """Whose messages follow. The first line of every file."""

    venue: str
    protocol: str
    symbols: tuple[str, ...]
    channels: tuple[str, ...]
    opened: str  # as in the file's name
    part: int  # of this connection's files, from 0
    after: str = ""  # the connection, by when it was opened, that this one takes over from


class Answer(msgspec.Struct, frozen=True, tag_field="sentinet", tag="answer"):
    """An answer of the REST interface to what the session asked; an empty body: there was none."""

    key: str
    path: str
    body: str  # its bytes as Latin-1: any byte is one character

    @property
    def content(self) -> bytes:
        """The answer to the byte."""
        return self.body.encode("latin-1")


class Gap(msgspec.Struct, frozen=True, tag_field="sentinet", tag="gap"):
    """A hole that no frame shows: the feed or the daemon noticed it."""

    gap: FeedGap


class Repair(msgspec.Struct, frozen=True, tag_field="sentinet", tag="repair"):
    """Trades that were missed and fetched from the venue's history."""

    symbol: str
    trades: tuple[Trade, ...]


StepName = Literal["begun", "given_up", "done", "settled"]


class Step(msgspec.Struct, frozen=True, tag_field="sentinet", tag="handover"):
    """From connection to connection (`handover.py`). `begun` stands in the old one's file.

    `given_up` and `done` in both, so that the end of the old one comes after; `settled` in the new one's:
    from there on it tells all that it receives.
    """

    step: StepName


class Missed(msgspec.Struct, frozen=True, tag_field="sentinet", tag="missed"):
    """Lines that could not be recorded, with when the first and the last of them were received."""

    lines: int
    first_at: int  # microseconds since 1970 UTC
    last_at: int


class Closed(msgspec.Struct, frozen=True, tag_field="sentinet", tag="closed"):
    """The socket ended. `at`: how far it had been received, microseconds since 1970 UTC; None: not at all."""

    at: int | None


class _Wrapped(msgspec.Struct, frozen=True, tag_field="sentinet", tag="frame"):
    frame: str  # its bytes as Latin-1


Note = Connection | Answer | Gap | Repair | Step | Missed | Closed
"""What the daemon adds."""


class Entry(NamedTuple):
    """A line: a message of the venue, or a note."""

    received_at: int  # microseconds since 1970 UTC
    content: bytes | Note


class FileName(NamedTuple):
    """What a file's name says."""

    opened: str
    part: int


_encode = msgspec.json.encode
_decode_note = msgspec.json.Decoder(Note | _Wrapped).decode


def line_of(received_at: int, content: bytes | Note) -> bytes:
    """The line of an entry, with its newline."""
    if isinstance(content, bytes):
        text = content if _fits_a_line(content) else _encode(_Wrapped(content.decode("latin-1")))
    else:
        text = _encode(content)
    return b"%d000 %s\n" % (received_at, text)


def entry_of(line: bytes) -> Entry:
    """What a line, without its newline, holds.

    Raises:
        RecordingError: it has not the form.
    """
    stamp, _, text = line.rstrip(b"\r").partition(b" ")
    if not (stamp.isdigit() and text):
        raise RecordingError("not `<ns since 1970 UTC> <frame>`")
    received_at = int(stamp) // 1_000
    if not text.startswith(_MARK):
        return Entry(received_at, text)
    try:
        note = _decode_note(text)
    except msgspec.MsgspecError as error:
        raise RecordingError(f"a note that this version does not know: {error}") from None
    return Entry(received_at, note.frame.encode("latin-1") if isinstance(note, _Wrapped) else note)


def answer_of(key: str, path: str, body: bytes) -> Answer:
    """The note of an answer."""
    return Answer(key, path, body.decode("latin-1"))


def file_name(opened: str, part: int) -> str:
    """How a complete file is called."""
    return f"{opened}-{part:04}.zst"


def parse_file_name(name: str) -> FileName | None:
    """The opposite, finished or not; None: it is no file of a recorder."""
    found = _FILE_NAME.fullmatch(name)
    return None if found is None else FileName(found[1], int(found[2]))


def _fits_a_line(frame: bytes) -> bool:
    return b"\n" not in frame and not frame.startswith(_MARK) and frame[-1:] not in (b"", b"\r")

"""What the sockets receive, onto the disk: frames as they came, so that any day can be replayed to the byte.

What lives here: the buffer between the feeds and a thread of its own, rotation, packing, and what is done
when the disk does not take it. What never does: the form of a line (`recording.py`), sockets, the meaning of
a frame.

    <directory>/<venue>/<file>    one stream a connection; a new file each UTC hour, and when one is large

A feed only appends to a buffer that is bounded by bytes: it never waits for the disk. What the buffer cannot
hold and the disk does not take is lost to the recording, not to the database: counted, told once and when it
is over, seen in /healthz and /metrics, and a line `missed` in the recording itself. Each second what there is
reaches the system, as a whole block: a killed daemon loses that much at most. A file gets its name when it is
complete and on the disk; one that a crash left behind keeps `.part`, is never touched again, and can be
replayed.

Feeds record what is received, after it was redacted, once the venue has said yes to a login: no login, no
key.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import structlog

from ingest_daemon.events import FeedGap, Trade
from ingest_daemon.recording import (
    Closed,
    Connection,
    Entry,
    Gap,
    Missed,
    Note,
    Repair,
    Step,
    StepName,
    answer_of,
)
from ingest_daemon.recording_writer import RecordingWriter, joined

__all__ = ["ConnectionRecording", "Recorder", "Tape", "VenueRecording"]

_POLL_S: Final = 0.2  # how often the thread looks into the buffer: nobody wakes it for a frame
_FLUSH_S: Final = 1.0
_RETRY_S: Final = 10.0
_STOP_S: Final = 10.0
_NOTE_BYTES: Final = 200  # what a note takes in the buffer, about
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_log = structlog.get_logger(__name__)


class _Asked(Protocol):
    """A request of a session: `venues.Request`."""

    @property
    def key(self) -> str: ...
    @property
    def path(self) -> str: ...


class _Item(NamedTuple):
    """What waits for the disk. No content: nothing more will come of the connection."""

    connection: ConnectionRecording
    received_at: int
    content: bytes | Note | None
    size: int


class ConnectionRecording:
    """One socket's. Called by a feed, on the event loop; never waits."""

    def __init__(self, venue: VenueRecording, recorder: Recorder, head: Connection) -> None:
        self.head = head
        self.is_closed = False
        self._is_retired = False
        self._venue = venue
        self._recorder = recorder
        self._last_at = 0
        self._missed: Missed | None = None  # for want of room in the buffer

    def frame(self, frame: bytes, received_at: int) -> None:
        """A message, redacted. `received_at`: microseconds since 1970 UTC."""
        self._put(frame, received_at, len(frame))

    def answer(self, request: _Asked, body: bytes, received_at: int) -> None:
        """What the REST interface answered, redacted; an empty body: nothing."""
        self._put(answer_of(request.key, request.path, body), received_at, len(body) + _NOTE_BYTES)

    def gap(self, gap: FeedGap) -> None:
        """A hole that no frame shows."""
        self._put(Gap(gap), max(self._last_at, gap.ended_at), _NOTE_BYTES)

    def repaired(self, symbol: str, trades: Sequence[Trade]) -> None:
        """Trades that were missed, and fetched."""
        size = _NOTE_BYTES * (1 + len(trades))
        self._put(Repair(symbol, tuple(trades)), max(self._last_at, _now()), size)

    def step(self, step: StepName) -> None:
        """A step of a handover that it is part of; nothing once its file is complete."""
        if not self._is_retired:
            self._put(Step(step), max(self._last_at, _now()), _NOTE_BYTES)

    def close(self, at: int | None) -> None:
        """The socket ended; `at`: as the session was told, None if it was told nothing."""
        self._put(Closed(at), max(self._last_at, at or 0), _NOTE_BYTES)
        self.is_closed = True
        self._venue.retire_all_but_the_last()

    def retire(self) -> None:
        """Nothing more will come: the file can be completed."""
        self._is_retired = True
        self._recorder.give(_Item(self, self._last_at, None, 0))

    def _put(self, content: bytes | Note, received_at: int, size: int) -> None:
        self._last_at = received_at
        recorder = self._recorder
        if not recorder.has_room(size):
            recorder.unbuffered_lines += 1
            self._missed = joined(self._missed, Missed(1, received_at, received_at))
            return
        if self._missed is not None:
            recorder.give(_Item(self, received_at, self._missed, _NOTE_BYTES))
            self._missed = None
        recorder.give(_Item(self, received_at, content, size))


class VenueRecording:
    """One venue's: a recording of each connection. A gap between two is in the one before."""

    def __init__(self, recorder: Recorder, head: Connection) -> None:
        self._recorder = recorder
        self._head = head
        self._connections: list[ConnectionRecording] = []  # oldest first; all but the last are open
        self._opened_at = 0

    def connect(self, after: ConnectionRecording | None = None) -> ConnectionRecording:
        """A socket was opened now. `after`: that of the socket that it takes over from."""
        self._opened_at = max(_now(), self._opened_at + 1)  # no two have one name
        opened = f"{_EPOCH + timedelta(microseconds=self._opened_at):%Y%m%dT%H%M%S.%fZ}"
        head = self._head
        before = "" if after is None else after.head.opened
        head = Connection(head.venue, head.protocol, head.symbols, head.channels, opened, 0, before)
        connection = ConnectionRecording(self, self._recorder, head)
        self._connections.append(connection)
        self.retire_all_but_the_last()
        return connection

    def gap(self, gap: FeedGap) -> None:
        """A hole that the feed or the daemon noticed."""
        last = self._connections[-1] if self._connections else self.connect()
        last.gap(gap)

    def repaired(self, symbol: str, trades: Sequence[Trade]) -> None:
        """Trades that were missed, and fetched."""
        last = self._connections[-1] if self._connections else self.connect()
        last.repaired(symbol, trades)

    def retire_all_but_the_last(self) -> None:
        """Of connections that are closed: gaps come to the last one still."""
        *earlier, last = self._connections
        for connection in earlier:
            if connection.is_closed:
                connection.retire()
        self._connections = [*(each for each in earlier if not each.is_closed), last]


class Tape:
    """The recording of one socket from its first data on, and of its part in a change of sockets.

    Args:
        venue: where it is; None: nothing is recorded.
        old: that of the socket that it takes over from.
    """

    def __init__(self, venue: VenueRecording | None, old: Tape | None = None) -> None:
        self._venue = venue
        self._old = old
        self._connection: ConnectionRecording | None = None

    @property
    def connect(self) -> Callable[[], ConnectionRecording] | None:
        """What begins it; None: nothing is recorded."""
        return None if self._venue is None else self._connect

    def _connect(self) -> ConnectionRecording:
        assert self._venue is not None, "it is asked for where something is recorded"
        old, self._old = self._old, None
        self._connection = self._venue.connect(None if old is None else old._connection)
        return self._connection

    def step(self, step: StepName) -> None:
        """A step of the change, if there is anything of it."""
        if self._connection is not None:
            self._connection.step(step)

    def settle(self) -> None:
        """The change that it came by is over, if it came by one and the socket still is there."""
        connection = self._connection
        if connection is not None and connection.head.after and not connection.is_closed:
            connection.step("settled")


class Recorder:
    """Writes every venue's recordings in a thread of its own. `start` it, and `close` it at the end.

    Args:
        directory: made when the first file is.
        buffer_bytes: what may wait for the disk.
        file_bytes: what makes a file large.
    """

    def __init__(
        self, directory: Path, buffer_bytes: int = 32 * 2**20, file_bytes: int = 256 * 2**20
    ) -> None:
        self.unbuffered_lines = 0
        """For which the buffer had no room. Written by the event loop; what follows, by the thread."""
        self.written_bytes = 0
        self.unwritten_lines = 0
        self.failures = 0
        self.cpu_s = 0.0
        self.trouble: str | None = None
        """Why nothing is recorded now; None while all is well."""
        self._directory = directory
        self._file_bytes = file_bytes
        self._limit = buffer_bytes
        self._items: deque[_Item] = deque()
        self._given = self._taken = 0  # bytes; each has one thread that writes it
        self._venues: dict[str, VenueRecording] = {}
        self._writers: dict[ConnectionRecording, RecordingWriter] = {}
        self._retry_at = self._flush_at = 0.0
        self._lost_at_first = self._overflowed_by = 0
        self._is_overflowing = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def venue(
        self, venue: str, protocol: str, symbols: Iterable[str], channels: Iterable[str]
    ) -> VenueRecording:
        """The recordings of a venue; called once for each."""
        head = Connection(venue, protocol, tuple(symbols), tuple(channels), opened="", part=0)
        made = self._venues[venue] = VenueRecording(self, head)
        return made

    def gap(self, gap: FeedGap) -> None:
        """A hole that the daemon noticed, in the recording of its venue."""
        self._venues[gap.venue].gap(gap)

    def repaired(self, venue: str, symbol: str, trades: Sequence[Trade]) -> None:
        """Trades of a venue that were missed, and fetched."""
        self._venues[venue].repaired(symbol, trades)

    @property
    def lost_lines(self) -> int:
        """That are in no recording, since the start."""
        return self.unbuffered_lines + self.unwritten_lines

    @property
    def waiting_bytes(self) -> int:
        """What waits for the disk."""
        return self._given - self._taken

    def has_room(self, size: int) -> bool:
        """Whether the buffer takes so many bytes more."""
        return self._given - self._taken + size <= self._limit

    def give(self, item: _Item) -> None:
        """Take a line into the buffer."""
        self._given += item.size
        self._items.append(item)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Write what waits and complete the files; wait for it at most ten seconds, should the disk hang."""
        self._closing.set()
        self._thread.join(_STOP_S)
        if self._thread.is_alive():
            _log.error("recording not completed", directory=str(self._directory))

    def _run(self) -> None:
        is_well = False
        try:
            while not self._closing.wait(_POLL_S):
                self._write_waiting()
                if time.monotonic() >= self._flush_at:
                    self._flush_at = time.monotonic() + _FLUSH_S
                    self._notice_overflow()
                    self._flush()
                self.cpu_s = time.thread_time()
            self._write_waiting()
            for connection in list(self._writers):
                self._finish(connection)
            is_well = True
        finally:
            if not is_well:  # a fault of ours: seen in /healthz, and by the thread's own traceback
                self.trouble = "the recorder has failed"

    def _write_waiting(self) -> None:
        """Everything that is in the buffer now; of a connection in its order."""
        chosen: dict[ConnectionRecording, list[_Item]] = {}
        for _ in range(len(self._items)):
            item = self._items.popleft()
            chosen.setdefault(item.connection, []).append(item)
        for connection, items in chosen.items():
            self._write(
                connection, [Entry(at, content) for _, at, content, _ in items if content is not None]
            )
            if items[-1].content is None:
                self._finish(connection)
            self._taken += sum([item.size for item in items])

    def _write(self, connection: ConnectionRecording, entries: Sequence[Entry]) -> None:
        writer = self._writers.get(connection)
        if writer is None:
            writer = RecordingWriter(self._directory, connection.head, self._file_bytes)
            self._writers[connection] = writer
        if self.trouble is not None and time.monotonic() < self._retry_at:
            writer.lose(entries)
        else:
            self._attempt(writer, partial(writer.write, entries))
        self._count(writer)

    def _notice_overflow(self) -> None:
        """Since it was last looked, the buffer had no room: the disk is too slow, or there is too much."""
        before, self._overflowed_by = self._overflowed_by, self.unbuffered_lines
        self._is_overflowing = self.unbuffered_lines > before
        if self._is_overflowing and self.trouble is None:
            self._fail("the buffer is full: the disk takes too long", before + self.unwritten_lines)

    def _flush(self) -> None:
        for writer in self._writers.values():
            self._attempt(writer, writer.complete if writer.is_old else partial(self._flush_one, writer))
            self._count(writer)

    def _flush_one(self, writer: RecordingWriter) -> None:
        if writer.flush() and self.trouble is not None and not self._is_overflowing:
            self.trouble = None
            lost = self.lost_lines - self._lost_at_first
            _log.warning("recording again", directory=str(self._directory), lost_lines=lost)

    def _finish(self, connection: ConnectionRecording) -> None:
        writer = self._writers.pop(connection)
        self._attempt(writer, writer.complete)
        self._count(writer)

    def _attempt(self, writer: RecordingWriter, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            lost_before = self.lost_lines
            writer.abandon()
            self.failures += 1
            self._retry_at = time.monotonic() + _RETRY_S
            self._fail(error.strerror or str(error), lost_before)

    def _fail(self, reason: str, lost_before: int) -> None:
        """Said once, until it works again."""
        if self.trouble is None:
            self._lost_at_first = lost_before
            _log.error("recording failed", directory=str(self._directory), error=reason)
        self.trouble = reason

    def _count(self, writer: RecordingWriter) -> None:
        """Take over what a writer counted."""
        self.written_bytes += writer.written_bytes
        self.unwritten_lines += writer.lost_lines
        writer.written_bytes = writer.lost_lines = 0


def _now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1_000

"""Batches on disk while the database is away. The only file of the daemon that writes such files.

What lives here: segments, their checksums, fsync, the bound. What never does: what is given up when it is
full (`shedding.py`), the database, deciding when to spool or to drain.

    <directory>/<number>-<µs since 1970 UTC>.segment    records, oldest first; the time is the first one's
    <directory>/lock                                    held by the daemon whose spool it is

A record is `SREC`, the length of its body, the body's CRC-32 (both 32 bits, little-endian), and the body: a
`_Record` in MessagePack. `append` returns once the record is fsynced. A power cut can tear nothing but the
end of the last segment, which was never acknowledged: `open` cuts it off. A damaged record elsewhere is
skipped, and the span it covered becomes a gap. A segment is deleted when all of it is committed; one that
was drained in part is drained again after a crash, which writes nothing twice.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple, get_args

import msgspec
import structlog

from ingest_daemon.batcher import Batch
from ingest_daemon.copy_rows import times_of
from ingest_daemon.errors import SpoolUnusable
from ingest_daemon.events import Book, FactRelation, FeedGap, GapCause, Quote, ReferencePrice, Trade
from ingest_daemon.lateness import HISTORY_US
from ingest_daemon.shedding import LEVELS, add_gap, drop, gaps_batch, shed, stands_for

__all__ = ["Spool"]

_MAGIC: Final = b"SREC"
_HEAD: Final = struct.Struct("<4sII")
_LONGEST_SEGMENT: Final = 8 * 2**20
_SEGMENTS: Final = 8  # at least, of a full spool: what is shed first is a part
_ROOM: Final = 8  # a full spool sheds until one part in so many is free: seldom, then much

_log = structlog.get_logger(__name__)


class _Record(msgspec.Struct, array_like=True):
    venue: str
    oldest: int  # of received_at, microseconds since 1970 UTC
    newest: int
    batch: bytes  # MessagePack, deflated


class _Segment:
    """A file. `level` is how far it was shed, as far as this process knows: at worst once too often."""

    __slots__ = ("began_at", "level", "path", "size")

    def __init__(self, path: Path, size: int = 0) -> None:
        self.path = path
        self.began_at = int(path.stem.partition("-")[2])
        self.size = size
        self.level = 0


class _Found(NamedTuple):
    """A whole record of a segment, or None for damage, and where it ends."""

    record: _Record | None
    end: int


class Spool:
    """Batches in order. Not thread-safe: one caller at a time. `open` before anything else.

    Args:
        directory: its own, made if it is not there.
        limit: bytes that its segments may take.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self.reached: dict[str, int] = {}
        """As `Store.reached`, by what a former process left here."""
        self.bytes = 0
        self.lost: dict[tuple[str, str], int] = {}
        """Events shed since the start, by venue and relation."""
        self._directory = directory
        self.limit = limit
        self._longest_segment = min(_LONGEST_SEGMENT, limit // _SEGMENTS)
        self._segments: list[_Segment] = []
        self._number = 0
        self._writing: IO[bytes] | None = None  # the last segment, while it grows
        self._reading: Iterator[Batch] | None = None  # the first segment, once it is drained
        self._next: Batch | None = None
        self._gaps: dict[str, Sequence[FeedGap]] = {}  # of batches given up, not in a segment yet
        self._venues: set[str] = set()  # that have records here, or had
        self._read_until = 0  # newest received_at of what was drained
        self._lock: IO[bytes] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether everything is drained."""
        return not self._segments and not self._gaps and self._next is None

    @property
    def segments(self) -> int:
        """Files that are not drained."""
        return len(self._segments)

    @property
    def oldest_at(self) -> int | None:
        """When the oldest that waits in them was received, microseconds since 1970 UTC."""
        oldest = self._segments[:1]  # another thread may ask
        return oldest[0].began_at if oldest else None

    def open(self) -> None:
        """Take the directory, cut off what a power cut left torn.

        Raises:
            SpoolUnusable: the directory cannot be used, or another daemon has it.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._lock = (self._directory / "lock").open("ab")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._find_segments()
        except BlockingIOError:
            self.close()
            raise SpoolUnusable(f"{self._directory}: another daemon has it") from None
        except OSError as error:
            self.close()
            raise SpoolUnusable(f"{self._directory}: {error.strerror or error}") from error

    def close(self) -> None:
        """Let go of the directory; what is in it stays."""
        self._stop_writing()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def append(self, batch: Batch) -> None:
        """Keep a batch: on return it is on the disk, or what was shed for want of room is a gap.

        Raises:
            SpoolUnusable: the disk does not take it; the batch is still the caller's.
        """
        try:
            self._append(batch)
        except OSError as error:
            self._stop_writing()
            raise SpoolUnusable(f"{self._directory}: {error.strerror or error}") from error

    def peek(self) -> Batch | None:
        """The oldest batch that is not drained, or None.

        Raises:
            SpoolUnusable: the disk cannot be read.
        """
        try:
            while self._next is None and self._segments:
                self._next = self._read_next()
        except OSError as error:
            raise SpoolUnusable(f"{self._directory}: {error.strerror or error}") from error
        if self._next is None and self._gaps:
            venue = next(iter(self._gaps))
            self._next = gaps_batch(venue, self._gaps.pop(venue))
        return self._next

    def advance(self) -> None:
        """The batch that `peek` returned is committed."""
        self._next = None
        self.peek()  # deletes a segment that is drained

    def _append(self, batch: Batch) -> None:
        gaps = self._gaps.get(batch.venue, ())
        if gaps:
            batch = _with_gaps(batch, gaps)
        data = _encode(batch)
        if self.bytes + len(data) > self.limit:
            self._make_room(len(data))
        if self.bytes + len(data) > self.limit:
            thin = shed(batch, LEVELS)
            data = _encode(thin)
            if self.bytes + len(data) > self.limit:
                self._count(batch, None)
                self._gaps[batch.venue] = _merged(drop(batch))
                return
            self._count(batch, thin)
        self._write(data, batch.oldest_received_at)
        self._venues.add(batch.venue)
        self._gaps.pop(batch.venue, None)

    def _write(self, data: bytes, oldest: int) -> None:
        if self._writing is None or self._segments[-1].size + len(data) > self._longest_segment:
            self._stop_writing()
            self._number += 1
            path = self._directory / f"{self._number:012d}-{oldest}.segment"
            self._writing = path.open("xb", buffering=0)
            self._segments.append(_Segment(path))
            _sync(self._directory)
        segment = self._segments[-1]
        try:
            written = self._writing.write(data)
            if written != len(data):
                raise OSError(f"{written} of {len(data)} bytes written")  # noqa: TRY301
            os.fsync(self._writing.fileno())
        except OSError:
            os.ftruncate(self._writing.fileno(), segment.size)
            raise
        segment.size += len(data)
        self.bytes += len(data)

    def _stop_writing(self) -> None:
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def _make_room(self, size: int) -> None:
        """Shed the oldest first, all of them to a level before any goes further."""
        self._stop_writing()
        target = self.limit - self.limit // _ROOM
        for level in range(1, LEVELS + 1):
            for segment in self._segments:
                if self.bytes + size <= target:
                    return
                is_read = self._reading is not None and segment is self._segments[0]
                if segment.level < level and not is_read:
                    self._shed_segment(segment, level)

    def _shed_segment(self, segment: _Segment, level: int) -> None:
        """Rewrite a segment; at every moment the old one or the new one is whole."""
        parts = []
        lost = []
        for batch, _ in self._restored(segment, segment.began_at):
            thin = shed(batch, level)
            lost.append((batch, thin))
            parts.append(_encode(thin))
        data = b"".join(parts)
        segment.level = level
        if len(data) >= segment.size:
            return
        new = segment.path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(segment.path)
        _sync(self._directory)
        self.bytes -= segment.size - len(data)
        segment.size = len(data)
        for batch, thin in lost:
            self._count(batch, thin)

    def _count(self, batch: Batch, left: Batch | None) -> None:
        for relation in (*get_args(FactRelation), "rejected_frames"):
            kept = () if left is None else getattr(left, relation)
            count = sum(map(stands_for, getattr(batch, relation))) - sum(map(stands_for, kept))
            if count:
                key = batch.venue, relation
                self.lost[key] = self.lost.get(key, 0) + count

    def _find_segments(self) -> None:
        for path in self._directory.glob("*.new"):
            path.unlink()
        paths = sorted(self._directory.glob("*.segment"))
        last: dict[str, _Record] = {}
        for path in paths:
            end = _survey(path.read_bytes(), last)
            if path == paths[-1] and end < path.stat().st_size:
                _log.warning("spool: a torn end is cut off", segment=path.name, at=end)
                os.truncate(path, end)
            self._number = int(path.stem.partition("-")[0])
            if end or path != paths[-1]:
                self._segments.append(_Segment(path, path.stat().st_size))
            else:
                path.unlink()
        self.bytes = sum(segment.size for segment in self._segments)
        self._venues |= last.keys()
        self.reached |= {venue: _reached(record) for venue, record in last.items()}

    def _read_next(self) -> Batch | None:
        """The next batch of the first segment; None where there is no more: then the segment is gone."""
        segment = self._segments[0]
        if self._reading is None:
            if len(self._segments) == 1:
                self._stop_writing()
            self._reading = self._batches(segment)
        batch = next(self._reading, None)
        if batch is None:
            segment.path.unlink()
            self.bytes -= segment.size
            self._segments.pop(0)
            self._reading = None
        return batch

    def _batches(self, segment: _Segment) -> Iterator[Batch]:
        for batch, newest in self._restored(segment, self._read_until or segment.began_at):
            self._read_until = max(self._read_until, newest)
            yield batch

    def _restored(self, segment: _Segment, since: int) -> Iterator[tuple[Batch, int]]:
        """The batches, gaps in the place of damaged ones, and how far was received with each."""
        is_damaged = False
        for record, _ in _records(segment.path.read_bytes()):
            if record is None:
                is_damaged = True
                continue
            if is_damaged:
                yield from self._damage(segment, since, record.oldest)
                is_damaged = False
            since = max(since, record.newest)
            yield _decode(record), since
        if is_damaged:
            place = self._segments.index(segment) + 1
            following = self._segments[place].began_at if place < len(self._segments) else since
            yield from self._damage(segment, since, following)

    def _damage(self, segment: _Segment, since: int, until: int) -> Iterator[tuple[Batch, int]]:
        """Nobody knows whose the lost records were: the span is a gap of every venue here."""
        _log.error("spool: records are damaged", segment=segment.path.name)
        span = (min(since, until), max(since, until))
        for venue in sorted(self._venues):
            gap = FeedGap(venue, None, None, *span, GapCause.SPOOL_DAMAGED, segment.path.name)
            # By relation, so that one of them can be repaired.
            each = [msgspec.structs.replace(gap, relation=relation) for relation in get_args(FactRelation)]
            yield gaps_batch(venue, each), since


def _survey(data: bytes, last: dict[str, _Record]) -> int:
    """Where the last whole record ends; `last` is told the last one of each venue."""
    end = 0
    for record, until in _records(data):
        if record is not None:
            end = until
            known = last.get(record.venue)
            if known is None or known.newest <= record.newest:  # what is late is no news of how far it is
                last[record.venue] = record
    return end


def _reached(record: _Record) -> int:
    batch = _decode(record)
    dated: tuple[Sequence[Trade | Quote | Book | ReferencePrice], ...] = (
        batch.trades, batch.quotes, batch.books, batch.reference_prices,
    )  # fmt: skip
    times = [time for events in dated if events for time in times_of(events)]
    return min([record.newest, *(time for time in times if time > record.newest - HISTORY_US)])


def _records(data: bytes) -> Iterator[_Found]:
    """The records of a segment in order; None once for each stretch that is none."""
    position = 0
    while position < len(data):
        found = _record_at(data, position)
        if found is None:
            following = data.find(_MAGIC, position + 1)
            while following >= 0 and _record_at(data, following) is None:
                following = data.find(_MAGIC, following + 1)
            yield _Found(None, position)
            if following < 0:
                return
            position = following
        else:
            yield found
            position = found.end


def _record_at(data: bytes, position: int) -> _Found | None:
    if len(data) - position < _HEAD.size:
        return None
    magic, length, checksum = _HEAD.unpack_from(data, position)
    end = position + _HEAD.size + length
    body = memoryview(data)[position + _HEAD.size : end]
    if magic != _MAGIC or len(body) != length or zlib.crc32(body) != checksum:
        return None
    return _Found(_decode_record(body), end)


def _encode(batch: Batch) -> bytes:
    newest = max(
        event.ended_at if isinstance(event, FeedGap) else event.received_at
        for relation in (
            batch.trades, batch.quotes, batch.books, batch.book_flows, batch.reference_prices,
            batch.feed_gaps, batch.rejected_frames,
        )
        for event in relation
    )  # fmt: skip
    content = zlib.compress(msgspec.msgpack.encode(batch), 1)
    body = msgspec.msgpack.encode(_Record(batch.venue, batch.oldest_received_at, newest, content))
    return _HEAD.pack(_MAGIC, len(body), zlib.crc32(body)) + body


_decode_record = msgspec.msgpack.Decoder(_Record).decode
_decode_batch = msgspec.msgpack.Decoder(Batch).decode


def _decode(record: _Record) -> Batch:
    return _decode_batch(zlib.decompress(record.batch))


def _with_gaps(batch: Batch, gaps: Sequence[FeedGap]) -> Batch:
    merged = _merged((*gaps, *batch.feed_gaps))
    more = len(merged) - len(batch.feed_gaps)
    return msgspec.structs.replace(batch, feed_gaps=list(merged), rows=batch.rows + more)


def _merged(gaps: Sequence[FeedGap]) -> Sequence[FeedGap]:
    merged: Sequence[FeedGap] = ()
    for gap in gaps:
        merged = add_gap(merged, gap)
    return merged


def _sync(directory: Path) -> None:
    """A new name is on the disk once its directory is."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

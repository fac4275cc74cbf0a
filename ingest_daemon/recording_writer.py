"""One connection's recording onto the disk.

What lives here: packing, names, rotation, and the account of what was not written. What never does: threads,
buffers, deciding when to try again (`recorder.py`).

A file grows under its name with `.part`. It is complete when its last block is on the disk; then it gets its
name, and never changes. After an error it is left as it is, and the next file of the connection begins by
saying how many lines are missing before it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

import msgspec
import zstandard

from ingest_daemon.recording import UNFINISHED, Connection, Entry, Missed, file_name, line_of

__all__ = ["RecordingWriter", "joined"]

_HOUR_US: Final = 3_600_000_000
_HOUR_S: Final = 3_600.0
_LEVEL: Final = 3


class RecordingWriter:
    """The files of one connection, one after the other. After an OSError, `abandon` before anything else.

    Args:
        directory: where the venue's folder is.
        head: what opens each file.
        file_bytes: what makes a file large enough.
    """

    def __init__(self, directory: Path, head: Connection, file_bytes: int) -> None:
        self.written_bytes = 0
        """Packed, since the start."""
        self.lost_lines = 0
        """That are in no file."""
        self._folder = directory / head.venue
        self._head = head
        self._file_bytes = file_bytes
        self._part = 0
        self._path = self._folder
        self._file: IO[bytes] | None = None
        self._packer: zstandard.ZstdCompressionObj | None = None
        self._size = 0
        self._until = 0  # where the file's hour ends, microseconds since 1970 UTC
        self._began = 0.0
        self._unflushed: Missed | None = None  # what would be missing if this were the end
        self._missed: Missed | None = None  # what is missing, and is not said in a file yet
        self._said: Missed | None = None  # what is missing, and is said in a line that is not flushed yet

    @property
    def is_old(self) -> bool:
        """Whether the file is open for an hour: with a silent socket no line ends it."""
        return self._file is not None and time.monotonic() >= self._began + _HOUR_S

    def write(self, entries: Sequence[Entry]) -> None:
        """Append lines; a file that is full, or whose hour is over, is completed.

        Raises:
            OSError: the disk does not take them. Those that are not in a file are counted.
        """
        written = 0
        try:
            for position, entry in enumerate(entries):
                if self._file is None or entry.received_at >= self._until:
                    self._pack(entries[written:position])
                    written = position
                    self.complete()
                    self._open(entry.received_at)
            self._pack(entries[written:])
            written = len(entries)
            if self._size >= self._file_bytes:
                self.complete()
        except OSError:
            self.lose(entries[written:])
            raise

    def flush(self) -> bool:
        """Hand what is packed to the system as a whole block; whether there was anything. Raises OSError."""
        if self._packer is None or self._unflushed is None:
            return False
        self._put(self._packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
        self._unflushed = self._said = None
        return True

    def complete(self) -> None:
        """End the file, see it onto the disk, give it its name. Raises OSError."""
        if self._file is None or self._packer is None:
            return
        self._put(self._packer.flush())
        os.fsync(self._file.fileno())
        self._file.close()
        self._path.rename(self._path.with_name(self._path.name.removesuffix(UNFINISHED)))
        _sync(self._folder)
        self._file = self._packer = self._unflushed = self._said = None

    def abandon(self) -> None:
        """Leave the file as it is: what was not flushed is missing."""
        if self._file is not None:
            self._file.close()
        self._file = self._packer = None
        lost, said = self._unflushed, self._said
        self._unflushed = self._said = None
        if lost is not None:
            self.lost_lines += lost.lines
            self._missed = joined(self._missed, lost)
        if said is not None:  # these were counted when they were lost
            self._missed = joined(self._missed, said)

    def lose(self, entries: Sequence[Entry]) -> None:
        """These will not be written."""
        if entries:
            self.lost_lines += len(entries)
            self._missed = joined(self._missed, _span(entries))

    def _open(self, received_at: int) -> None:
        name = file_name(self._head.opened, self._part)
        path = self._folder / (name + UNFINISHED)
        self._folder.mkdir(parents=True, exist_ok=True)
        if path.with_name(name).exists():
            raise FileExistsError(f"{path.with_name(name)} is there already")
        self._file = path.open("xb", buffering=0)
        self._path = path
        self._packer = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
        self._size = 0
        self._until = (received_at // _HOUR_US + 1) * _HOUR_US
        self._began = time.monotonic()
        head = msgspec.structs.replace(self._head, part=self._part)
        self._part += 1
        self._put(self._packer.compress(line_of(received_at, head)))
        if self._missed is not None:
            self._put(self._packer.compress(line_of(received_at, self._missed)))
            self._said, self._missed = self._missed, None

    def _pack(self, entries: Sequence[Entry]) -> None:
        if entries:
            assert self._packer is not None, "_open() has made it"
            self._put(self._packer.compress(b"".join([line_of(*entry) for entry in entries])))
            self._unflushed = joined(self._unflushed, _span(entries))

    def _put(self, data: bytes) -> None:
        assert self._file is not None, "_open() has opened it"
        rest = memoryview(data)
        while rest:  # a disk that takes a part says why with the rest
            written = self._file.write(rest)
            self._size += written
            self.written_bytes += written
            rest = rest[written:]


def joined(one: Missed | None, other: Missed) -> Missed:
    """Both together."""
    if one is None:
        return other
    return Missed(one.lines + other.lines, min(one.first_at, other.first_at), max(one.last_at, other.last_at))


def _span(entries: Sequence[Entry]) -> Missed:
    return Missed(len(entries), entries[0].received_at, entries[-1].received_at)


def _sync(directory: Path) -> None:
    """A new name is on the disk once its directory is."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

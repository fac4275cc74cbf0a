"""Recordings on the disk: opening, unpacking, which files belong together. `recorder.py` writes them.

What lives here: lines out of plain, gzip and zstd files, and the parts of one connection as one recording.
What never does: what a frame means, the database.

A packed file whose end is missing, by a power cut or since it is being written, is read as far as it goes, to
the last whole line; that it was cut is said.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import msgspec
import zstandard

from ingest_daemon.errors import RecordingError
from ingest_daemon.recording import (
    UNFINISHED,
    Connection,
    Entry,
    Note,
    entry_of,
    file_name,
    parse_file_name,
)

__all__ = ["Cut", "Part", "Recording", "find_recordings", "read_entries"]

_CHUNK: Final = 2**18
_WITH_GZIP_HEADER: Final = 31
_PACKED: Final = (".gz", ".zst")


class Cut(msgspec.Struct, frozen=True):
    """A file that is not whole, or one that is missing."""

    path: str
    lines: int  # that could be read
    reason: str


OnCut = Callable[[Cut], None]


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


_UNPACKERS: Final[dict[str, Callable[[], _Unpacker]]] = {
    ".gz": lambda: zlib.decompressobj(_WITH_GZIP_HEADER),
    ".zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
}


@dataclass(frozen=True)
class Part:
    """A file of a recording. One that is not wanted is read for the state of its books alone."""

    path: Path
    is_wanted: bool = True


@dataclass(frozen=True)
class Recording:
    """What one socket received, in one file or several; `connection` says whose, if a recorder wrote it."""

    parts: Sequence[Part]
    connection: Connection | None = None
    missing: Sequence[Cut] = ()

    @property
    def path(self) -> Path:
        """The first file that is wanted: what messages call it."""
        return next(part.path for part in self.parts if part.is_wanted)

    def entries(self, on_cut: OnCut) -> Iterator[tuple[Entry, bool]]:
        """Every line in order, and whether its file is wanted.

        Raises:
            RecordingError: as `read_entries`.
        """
        for part in self.parts:
            for entry in read_entries(part.path, on_cut):
                yield entry, part.is_wanted


def read_entries(path: Path, on_cut: OnCut | None = None) -> Iterator[Entry]:
    """The lines of a file in their order.

    Args:
        path: plain, or packed as its name says: `.gz`, `.zst`.
        on_cut: told at the end that the file is cut off; None: that is an error.

    Raises:
        RecordingError: the file cannot be read, or a line has not the form; the message names file and line.
    """
    number = 0
    cuts: list[str] = []
    try:
        for number, line in enumerate(_lines(path, cuts.append), start=1):
            try:
                entry = entry_of(line)
            except RecordingError as error:
                raise RecordingError(f"{path}, line {number}: {error}") from None
            yield entry
    except OSError as error:
        raise RecordingError(f"{path}, after line {number}: {error.strerror or error}") from None
    for reason in cuts:
        if on_cut is None:
            raise RecordingError(f"{path}, after line {number}: {reason}")
        on_cut(Cut(str(path), number, reason))


def _lines(path: Path, say_cut: Callable[[str], None]) -> Iterator[bytes]:
    """Without their newlines. Of a file that is cut the last line is left out: it may not be whole."""
    rest = b""
    is_cut = False

    def say(reason: str) -> None:
        nonlocal is_cut
        is_cut = True
        say_cut(reason)

    for data in _contents(path, say):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
    if rest and not is_cut:
        yield rest


def _contents(path: Path, say_cut: Callable[[str], None]) -> Iterator[bytes]:
    start = _UNPACKERS.get(_kind_of(path))
    with path.open("rb") as file:
        if start is None:
            while data := file.read(_CHUNK):
                yield data
            return
        unpacker, is_begun = start(), False
        try:
            while data := file.read(_CHUNK):
                while data:
                    yield unpacker.decompress(data)
                    is_begun, data = True, b""
                    if unpacker.eof:
                        data, unpacker, is_begun = unpacker.unused_data, start(), False
        except (zlib.error, zstandard.ZstdError) as error:
            say_cut(f"damaged: {error}")
            return
        if is_begun or not file.tell():
            say_cut("the end is missing")


def _kind_of(path: Path) -> str:
    return Path(path.name.removesuffix(UNFINISHED)).suffix


def find_recordings(paths: Iterable[Path]) -> list[Recording]:
    """The recordings of files and folders, in the order of their first mention.

    The parts of one connection are one recording. A part needs what its books were before: parts before it
    that are not asked for are looked up beside it, and read without being wanted.

    Raises:
        RecordingError: a folder has no recording in it, or a file cannot be read.
    """
    connections: dict[tuple[Path, str], dict[int, Path]] = {}
    found: list[tuple[Path, str] | Path] = []
    for path in _files(paths):
        name = parse_file_name(path.name)
        key = path if name is None else (path.parent, name.opened)
        if key not in found:
            found.append(key)
        if name is not None and isinstance(key, tuple):
            connections.setdefault(key, {})[name.part] = path
    return [
        Recording((Part(key),), _connection_in(key))
        if isinstance(key, Path)
        else _connected(*key, connections[key])
        for key in found
    ]


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(file for file in path.rglob("*") if _kind_of(file) in _PACKED and file.is_file())
        if not inside:
            raise RecordingError(f"{path}: no file in it ends in {' or '.join(_PACKED)}")
        yield from inside


def _connected(folder: Path, opened: str, wanted: dict[int, Path]) -> Recording:
    parts: list[Part] = []
    missing: list[Cut] = []
    for number in range(max(wanted) + 1):
        path = wanted.get(number) or _beside(folder / file_name(opened, number))
        if path is None:
            name = folder / file_name(opened, number)
            missing.append(Cut(str(name), 0, "missing: books are out of sync until they are rebuilt"))
        else:
            parts.append(Part(path, is_wanted=number in wanted))
    connection = next(filter(None, (_connection_in(path) for path in wanted.values())), None)
    return Recording(parts, connection, missing)


def _beside(path: Path) -> Path | None:
    unfinished = path.with_name(path.name + UNFINISHED)
    return next((each for each in (path, unfinished) if each.exists()), None)


def _connection_in(path: Path) -> Connection | None:
    """What the first line says, if a recorder wrote it."""
    first = next(read_entries(path, lambda _cut: None), None)
    content: bytes | Note | None = None if first is None else first.content
    return content if isinstance(content, Connection) else None

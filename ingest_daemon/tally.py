"""Counts of refused frames that outlive a killed daemon. [IO]

What lives here: one small file a venue, mapped into memory, with the last counts of `refusals.py`. What never
does: deciding what is counted, the database.

Frames that are not kept are counted for seconds before a row is made of them. Were the counts in memory
alone, a crash would lose them, although the ledger says that their venue was received beyond them. A changed
page is the kernel's: it survives the process. A power cut may lose the last seconds.

A row that was made is made again by the next life, as nobody here knows whether it was committed: it is the
same row, so it is written once. After an hour it is not: then it is, or waits in the spool.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ingest_daemon.refusals import LONGEST_ERROR, LeftOut

__all__ = ["FileTally"]

# Frames, whether a row was made, first and last received_at, lengths of the error and of the channel (65535:
# there is none).
_HEAD: Final = struct.Struct("<IIqqHH")
_LONGEST_CHANNEL: Final = 128
_SLOT: Final = _HEAD.size + LONGEST_ERROR + _LONGEST_CHANNEL
_SLOTS: Final = 256
_NONE: Final = 65_535
_REMADE_US: Final = 3_600_000_000


class FileTally:
    """The counts of one venue: a ring of the last ones. See `refusals.Tally`.

    Args:
        path: its file, made if it is not there.

    Raises:
        OSError: it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            os.ftruncate(file.fileno(), _SLOT * _SLOTS)
            self._map = mmap.mmap(file.fileno(), _SLOT * _SLOTS)
        self._left = list(self._read())
        self._next = 0
        self._busy: dict[int, int] = {}  # id of a count → its slot

    def left(self, now: int) -> list[LeftOut]:
        """What a former life counted and may not have written."""
        return [count for count, is_told in self._left if not is_told or count.last_at > now - _REMADE_US]

    def note(self, count: LeftOut) -> None:
        """A count began, or grew."""
        slot = self._busy.get(id(count))
        if slot is None:
            slot = self._busy[id(count)] = self._next
            self._next = (self._next + 1) % _SLOTS
        self._write(slot, count, is_told=False)

    def told(self, count: LeftOut) -> None:
        """A row was made of it."""
        slot = self._busy.pop(id(count), None)
        if slot is not None:
            self._write(slot, count, is_told=True)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()

    def _write(self, slot: int, count: LeftOut, *, is_told: bool) -> None:
        at = slot * _SLOT
        error = count.error.encode()
        channel = None if count.channel is None else count.channel.encode(errors="replace")[:_LONGEST_CHANNEL]
        text = error + (channel or b"")
        start = at + _HEAD.size
        self._map[start : start + len(text)] = text
        _HEAD.pack_into(
            self._map,
            at,
            count.frames,
            is_told,
            count.first_at,
            count.last_at,
            len(error),
            _NONE if channel is None else len(channel),
        )

    def _read(self) -> Iterator[tuple[LeftOut, bool]]:
        for at in range(0, _SLOT * _SLOTS, _SLOT):
            frames, told, first_at, last_at, error_size, channel_size = _HEAD.unpack_from(self._map, at)
            if not frames:
                continue
            start = at + _HEAD.size
            end = start + error_size
            error = self._map[start:end].decode(errors="replace")
            channel = None
            if channel_size != _NONE:
                channel = self._map[end : end + channel_size].decode(errors="replace")
            yield LeftOut(error, channel, first_at, last_at, frames), bool(told)

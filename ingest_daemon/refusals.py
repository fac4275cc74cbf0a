"""Which refused frames are kept, and the account of those that are not. Pure: times are arguments.

What lives here: the sampling of one venue's refused frames. What never does: deciding that a frame is
refused, clocks, the database.

A venue that changes its format refuses itself a thousand times a second; each frame on the disk would fill
it. So frames are told apart by kind, which is the error without the values in it, and of each kind

    the first of a UTC hour is kept, and more while its token bucket has a token,
    within a bound of bytes an hour; those left out are counted in one row a kind and 5 s window.

Every row says how many frames it stands for, so the sum over any whole window is exact. All buckets are full
again when an hour begins: what is kept of an hour depends on that hour alone, and a replay keeps the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from ingest_daemon.events import RejectedFrame

__all__ = [
    "LONGEST_ERROR",
    "LONGEST_FRAME",
    "OTHER_KINDS",
    "Allowance",
    "LeftOut",
    "Refusals",
    "Tally",
    "kind_of",
]

LONGEST_FRAME: Final = 65_536
"""Bytes that are kept of a frame."""
OTHER_KINDS: Final = "other"
"""The kind of every frame once an hour had as many kinds as are told apart."""

_HOUR_US: Final = 3_600_000_000
_WINDOW_US: Final = 5_000_000
_LONGEST_KIND: Final = 200
LONGEST_ERROR: Final = 768
"""Bytes of an error that stands for many frames."""
# Quoted text and numbers: what differs between two frames with the same fault.
_VALUE: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\d[\w.:+-]*""")


class Allowance(msgspec.Struct, frozen=True):
    """What is kept of a venue's refused frames in a UTC hour."""

    burst: int = 20  # of a kind at once
    every_us: int = 60_000_000  # and one more of it in so long
    kinds: int = 32  # told apart; all further ones are one kind
    bytes: int = 4 * 2**20  # of frames, beyond the first of each kind


class _Bucket:
    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: int) -> None:
        self.tokens = tokens
        self.at = at


class LeftOut:
    """Frames of one kind and window that are not kept."""

    __slots__ = ("channel", "error", "first_at", "frames", "last_at")

    def __init__(
        self, error: str, channel: str | None, first_at: int, last_at: int | None = None, frames: int = 0
    ) -> None:
        self.error = _clipped(error)
        self.channel = channel
        self.first_at = first_at
        self.last_at = first_at if last_at is None else last_at
        self.frames = frames

    def add(self, channel: str | None, received_at: int) -> None:
        """One more."""
        self.frames += 1
        self.first_at = min(self.first_at, received_at)
        self.last_at = max(self.last_at, received_at)
        if channel != self.channel:
            self.channel = None


class Tally(Protocol):
    """Where counts outlive the process."""

    def left(self, now: int) -> Sequence[LeftOut]:
        """What a former process counted and may not have written."""

    def note(self, count: LeftOut) -> None:
        """A count began, or grew."""

    def told(self, count: LeftOut) -> None:
        """A row was made of it."""


class Refusals:
    """One venue's. Not thread-safe.

    Args:
        venue: the operator's name of it.
        allowance: how much is kept.
        tally: where counts outlive the process; None: nowhere, as of a replay.
    """

    def __init__(self, venue: str, allowance: Allowance | None = None, tally: Tally | None = None) -> None:
        self.left_out = 0
        """Frames that were counted and not kept, since the start."""
        self._venue = venue
        self._allowance = allowance or Allowance()
        self._hour = -1
        self._buckets: dict[str, _Bucket] = {}
        self._bytes = 0
        self._tally = tally
        self._moment = -1
        self._at_once: set[tuple[str, bytes]] = set()  # kept of that moment: frames are read many at a time
        self._open: dict[tuple[int, str], LeftOut] = {}  # by window and kind

    @property
    def is_any_open(self) -> bool:
        """Whether frames are counted that no row was made of yet."""
        return bool(self._open)

    def take(
        self, error: str, frame: bytes, received_at: int, channel: str | None
    ) -> Sequence[RejectedFrame]:
        """The rows that a refused frame makes due: itself if it is kept, the counts of windows that ended.

        Args:
            error: why it was refused.
            frame: all of it; what is longer than `LONGEST_FRAME` is cut.
            received_at: microseconds since 1970 UTC.
            channel: the stream it came in, where that is known.
        """
        rows = list(self.due(received_at)) if self._open else []
        kind = kind_of(error)
        kept = frame[:LONGEST_FRAME]
        if received_at != self._moment:
            self._moment, self._at_once = received_at, set()
        # The same again at the same moment would be the same row: it is counted.
        is_other = (error, kept) not in self._at_once
        if is_other and self._may_keep(kind, len(kept), received_at):
            self._at_once.add((error, kept))
            rows.append(RejectedFrame(self._venue, received_at, error, kept, channel))
            return rows
        if kind not in self._buckets:
            kind = OTHER_KINDS
        key = received_at // _WINDOW_US, kind
        self.left_out += 1
        found = self._open.get(key)
        if found is None:
            found = self._open[key] = LeftOut(error, channel, received_at)
        found.add(channel, received_at)
        if self._tally is not None:
            self._tally.note(found)
        return rows

    def due(self, now: int) -> Sequence[RejectedFrame]:
        """The counts of the windows that ended by `now`; each is returned once."""
        window = now // _WINDOW_US
        return self._take([key for key in self._open if key[0] < window])

    def flush(self) -> Sequence[RejectedFrame]:
        """The counts of every window, ended or not: for the end of a feed."""
        return self._take(list(self._open))

    def _take(self, keys: Sequence[tuple[int, str]]) -> Sequence[RejectedFrame]:
        counts = [self._open.pop(key) for key in keys]
        if self._tally is not None:
            for count in counts:
                self._tally.told(count)
        return tuple(self._row(count) for count in counts)

    def left(self, now: int) -> Sequence[RejectedFrame]:
        """The counts of a former process that may not be written."""
        return () if self._tally is None else tuple(self._row(each) for each in self._tally.left(now))

    def _row(self, left_out: LeftOut) -> RejectedFrame:
        return RejectedFrame(
            self._venue,
            left_out.first_at,
            f"not kept, {left_out.frames} like: {left_out.error}",
            b"",
            left_out.channel,
            frames=left_out.frames,
            last_received_at=left_out.last_at,
        )

    def _may_keep(self, kind: str, size: int, now: int) -> bool:
        hour = now // _HOUR_US
        if hour != self._hour:
            self._hour, self._bytes = hour, 0
            self._buckets.clear()
        allowance = self._allowance
        if kind not in self._buckets and len(self._buckets) >= allowance.kinds:
            kind = OTHER_KINDS
        bucket = self._buckets.get(kind)
        if bucket is None:
            self._buckets[kind] = _Bucket(allowance.burst - 1, now)
            return True
        gained = max(0, now - bucket.at) / allowance.every_us
        bucket.tokens = min(float(allowance.burst), bucket.tokens + gained)
        bucket.at = now
        if bucket.tokens < 1.0 or self._bytes + size > allowance.bytes:
            return False
        bucket.tokens -= 1.0
        self._bytes += size
        return True


def kind_of(error: str) -> str:
    """An error without the values in it: of frames with the same fault the same.

    >>> kind_of("price: '-1' at byte 17")
    "price: … at byte …"
    """
    return _VALUE.sub("…", error)[:_LONGEST_KIND]


def _clipped(error: str) -> str:
    """The same text wherever it comes from: valid UTF-8, and not longer than is kept."""
    return error.encode(errors="replace")[:LONGEST_ERROR].decode(errors="ignore")

"""The two sides of a level-2 book, and what a venue says that makes and changes them.

What lives here: snapshots, diffs, the venues' rules of numbering, the levels and what shows that they are
wrong. What never does: what to do about it (`books.py`), frames of a venue, sockets, clocks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import inf
from typing import NamedTuple, Protocol

import msgspec

from ingest_daemon.events import GapCause

__all__ = [
    "Change",
    "ChecksumRule",
    "ContiguousIds",
    "Diff",
    "Fault",
    "Level",
    "Levels",
    "LinkedIds",
    "SequenceRule",
    "SideChanges",
    "Snapshot",
    "Texts",
    "UnnumberedIds",
]

Change = tuple[float, float, float]  # key of a level (see `_Side`), its size before and after

_TEXTS_PER_LEVEL, _TEXTS_KEPT = 4, 1_000  # words of gone levels are forgotten beyond this

Level = tuple[float, float]  # price, size in base units; a size of 0 in a diff removes the level


class Texts(msgspec.Struct, frozen=True, gc=False):
    """What a checksum is made of: for each level its words, as the venue writes them, in the levels' order.

    A checksum is of the digits that were sent, which a float does not keep ("0.10" is 0.1).
    """

    bids: Sequence[str]
    asks: Sequence[str]
    checksum: int | None  # the venue's; None: it sent none this time


_NO_TEXTS = Texts((), (), None)


class ChecksumRule(Protocol):
    """How a venue sums up a book."""

    @property
    def depth(self) -> int:
        """The levels a side that go into it."""

    def checksum(self, bids: Sequence[str], asks: Sequence[str]) -> int:
        """The checksum of the words of the best levels, best first."""


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """A whole book as of the update `last_id`. Truncated: the venue may know more levels than it sent."""

    last_id: int
    bids: Sequence[Level]
    asks: Sequence[Level]
    is_bids_truncated: bool
    is_asks_truncated: bool
    occurred_at: int | None = None  # microseconds since 1970 UTC
    texts: Texts | None = None


class Diff(msgspec.Struct, frozen=True, gc=False):
    """The levels that changed in the updates `first_id` to `last_id`, both included, as absolute sizes."""

    first_id: int
    last_id: int
    previous_id: int | None  # `last_id` of the diff before; None where the venue does not say
    occurred_at: int | None  # microseconds since 1970 UTC
    bids: Sequence[Level]
    asks: Sequence[Level]
    texts: Texts | None = None


class SequenceRule(Protocol):
    """How a venue numbers its diffs."""

    def is_before(self, diff: Diff, snapshot_id: int) -> bool:
        """Whether the snapshot holds all of the diff, so that it is not applied."""

    def bridges(self, diff: Diff, snapshot_id: int) -> bool:
        """Whether nothing is missing between the snapshot and this diff, the first not before it."""

    def follows(self, diff: Diff, last_id: int) -> bool:
        """Whether nothing is missing between the update `last_id` of the book and this diff."""


class ContiguousIds:
    """Ids count up by one within the symbol: `first_id` = `last_id` of the diff before + 1 (Binance spot)."""

    def is_before(self, diff: Diff, snapshot_id: int) -> bool:
        """`last_id` at or below the snapshot's."""
        return diff.last_id <= snapshot_id

    def bridges(self, diff: Diff, snapshot_id: int) -> bool:
        """The diff covers the update after the snapshot."""
        return diff.first_id <= snapshot_id + 1 <= diff.last_id

    def follows(self, diff: Diff, last_id: int) -> bool:
        """`first_id` is the next."""
        return diff.first_id == last_id + 1 and diff.last_id > last_id


class LinkedIds:
    """Ids are shared among symbols and skip; a diff names the one before: `previous_id` (Binance futures)."""

    def is_before(self, diff: Diff, snapshot_id: int) -> bool:
        """`last_id` below the snapshot's."""
        return diff.last_id < snapshot_id

    def bridges(self, diff: Diff, snapshot_id: int) -> bool:
        """The snapshot lies inside the diff, or between it and the one it names as the one before."""
        begins_at = diff.first_id if diff.previous_id is None else min(diff.first_id, diff.previous_id)
        return begins_at <= snapshot_id <= diff.last_id

    def follows(self, diff: Diff, last_id: int) -> bool:
        """`previous_id` is where the book is."""
        return diff.previous_id == last_id and diff.last_id > last_id


class UnnumberedIds:
    """The venue numbers nothing: ids are our own, in the order of arrival. Only a checksum shows a loss."""

    def is_before(self, diff: Diff, snapshot_id: int) -> bool:
        """Arrived before the snapshot."""
        return diff.last_id <= snapshot_id

    def bridges(self, diff: Diff, snapshot_id: int) -> bool:
        """Arrived after it."""
        return diff.first_id > snapshot_id

    def follows(self, diff: Diff, last_id: int) -> bool:
        """Arrived later."""
        return diff.first_id > last_id


class Fault(msgspec.Struct, frozen=True):
    """Why a book cannot be trusted."""

    cause: GapCause
    detail: str


class SideChanges(NamedTuple):
    """What a diff changed on one side. Keys are sign × price: the best has the highest."""

    changes: list[Change]
    best_before: float | None  # key of the best level; None: the side was empty
    best_after: float | None
    horizon: float  # below this key levels come and go without anyone having placed or withdrawn them


class _Side:
    """One side of a book. `sign` is 1 for bids, −1 for asks; a key is sign × price, so the best is highest.

    Keys ascend: changes happen near the best level, so near the end of the list, where inserting is cheap.
    """

    __slots__ = ("_keys", "_sign", "_sizes", "_texts", "_worst")

    def __init__(self, sign: int, levels: Sequence[Level], texts: Sequence[str], is_truncated: bool) -> None:
        self._sign = sign
        self._sizes = {sign * price: size for price, size in levels if size > 0.0}
        # Words of levels that are gone stay behind; only those of levels that are there are looked up.
        self._texts = _by_key(sign, levels, texts) if texts else {}
        self._keys = sorted(self._sizes)
        # None: every level is known.
        self._worst = self._keys[0] if is_truncated and self._keys else None

    def apply(self, levels: Iterable[Level], changes: list[Change] | None = None) -> None:
        """Make it the side as of a diff; `changes` takes what differs from before."""
        sign, sizes, keys = self._sign, self._sizes, self._keys
        for price, size in levels:
            key = sign * price
            before = sizes.get(key, 0.0)
            if size == before:
                continue
            if changes is not None:
                changes.append((key, before, size))
            if size > 0.0:
                if not before:
                    keys.insert(bisect_left(keys, key), key)
                sizes[key] = size
            else:
                del sizes[key]
                del keys[bisect_left(keys, key)]

    def best_key(self) -> float | None:
        return self._keys[-1] if self._keys else None

    def horizon(self, told: int | None) -> float:
        """The worst key that is surely known, where the venue tells of `told` levels (None: of all)."""
        if self._worst is not None:
            return self._worst
        is_full = told is not None and len(self._keys) >= told
        return self._keys[0] if is_full else -inf

    def apply_texts(self, levels: Iterable[Level], texts: Iterable[str]) -> None:
        self._texts.update(_by_key(self._sign, levels, texts))
        if len(self._texts) > _TEXTS_PER_LEVEL * len(self._keys) + _TEXTS_KEPT:
            self._texts = {key: self._texts[key] for key in self._keys}

    def cut(self, depth: int) -> None:
        """Forget what lies behind the best `depth` levels."""
        beyond = len(self._keys) - depth
        if beyond > 0:
            for key in self._keys[:beyond]:
                del self._sizes[key]
            del self._keys[:beyond]

    def texts(self, depth: int) -> list[str]:
        """The words of the best levels, best first."""
        return [self._texts[key] for key in self._keys[: -depth - 1 : -1]]

    def best_price(self) -> float | None:
        return self._sign * self._keys[-1] if self._keys else None

    def top(self, depth: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Prices and sizes of the best levels that are surely all there are, best first."""
        keys = self._keys[-depth:]
        if self._worst is not None and keys and keys[0] < self._worst:
            keys = keys[bisect_left(keys, self._worst) :]
        keys.reverse()
        return tuple([self._sign * key for key in keys]), tuple([self._sizes[key] for key in keys])

    def covers(self, depth: int) -> bool:
        """Whether the best `depth` levels are known for sure."""
        return self._worst is None or (len(self._keys) >= depth and self._keys[-depth] >= self._worst)


def _by_key(sign: int, levels: Iterable[Level], texts: Iterable[str]) -> dict[float, str]:
    return {sign * price: text for (price, _), text in zip(levels, texts, strict=True)}


class Levels:
    """Both sides as of one update.

    `kept` is how many levels a side the venue keeps us informed of; what a diff pushes beyond is forgotten.
    None: it tells of a level that leaves the span itself, or there is no span.
    """

    __slots__ = ("_checksum", "_kept", "_rule", "asks", "bids", "last_id", "occurred_at")

    def __init__(self, snapshot: Snapshot, rule: ChecksumRule | None = None, kept: int | None = None) -> None:
        texts = snapshot.texts or _NO_TEXTS
        self.bids = _Side(1, snapshot.bids, texts.bids, snapshot.is_bids_truncated)
        self.asks = _Side(-1, snapshot.asks, texts.asks, snapshot.is_asks_truncated)
        self.last_id = snapshot.last_id
        self.occurred_at = snapshot.occurred_at
        self._rule = None if snapshot.texts is None else rule
        self._kept = kept
        self._checksum = texts.checksum

    def apply(self, diff: Diff) -> None:
        """Make it the book as of the diff."""
        self.bids.apply(diff.bids)
        self.asks.apply(diff.asks)
        self._follow(diff)

    def apply_noting(self, diff: Diff, told: int | None) -> tuple[SideChanges, SideChanges]:
        """As `apply`; what changed in the bids and in the asks.

        Of a side that is cut to the best `told` levels, by the venue or by us, the worst come and go as
        better ones go and come: nobody placed or withdrew them.
        """
        sides = self.bids, self.asks
        before = [(side.best_key(), side.horizon(told)) for side in sides]
        noted: tuple[list[Change], list[Change]] = [], []
        for side, levels, changes in zip(sides, (diff.bids, diff.asks), noted, strict=True):
            side.apply(levels, changes)
        self._follow(diff)
        bids, asks = (
            SideChanges(changes, best, side.best_key(), max(horizon, side.horizon(told)))
            for side, changes, (best, horizon) in zip(sides, noted, before, strict=True)
        )
        return bids, asks

    def _follow(self, diff: Diff) -> None:
        """What a diff brings beside its levels."""
        if self._kept is not None:
            self.bids.cut(self._kept)
            self.asks.cut(self._kept)
        if diff.texts is None:
            self._rule = None  # the words are no longer those of these levels
        else:
            self.bids.apply_texts(diff.bids, diff.texts.bids)
            self.asks.apply_texts(diff.asks, diff.texts.asks)
            self._checksum = diff.texts.checksum
        self.last_id = diff.last_id
        self.occurred_at = diff.occurred_at

    def fault(self) -> Fault | None:
        """Why these levels cannot be right, or None."""
        if self._rule is not None and self._checksum is not None:
            depth = self._rule.depth
            ours = self._rule.checksum(self.bids.texts(depth), self.asks.texts(depth))
            if ours != self._checksum:
                differs = f"our checksum is {ours}, the venue's {self._checksum}, at update {self.last_id}"
                return Fault(GapCause.CHECKSUM_MISMATCH, differs)
        bid, ask = self.bids.best_price(), self.asks.best_price()
        if bid is not None and ask is not None and bid >= ask:
            crossed = f"best bid {bid} at or above best ask {ask} at update {self.last_id}"
            return Fault(GapCause.CROSSED_BOOK, crossed)
        if not self.cover(1):
            outrun = f"best bid {bid}, best ask {ask} at update {self.last_id}: beyond the snapshot's levels"
            return Fault(GapCause.BOOK_OUTRUN, outrun)
        return None

    def cover(self, depth: int) -> bool:
        """Whether the best `depth` levels of both sides are known for sure."""
        return self.bids.covers(depth) and self.asks.covers(depth)

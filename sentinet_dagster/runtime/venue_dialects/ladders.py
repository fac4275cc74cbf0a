"""What a venue last told of a book, and how the next state differs from it.

What lives here: the difference of two states, and the count of changes. What never does: the wording, the
checksums (the dialects).
"""

from __future__ import annotations

from typing import NamedTuple

from sentinet_dagster.runtime.venue_dialects.facts import Level, Top

__all__ = ["Change", "Ladder"]


class Change(NamedTuple):
    """One step of a book: the levels that changed, size 0 where one is gone."""

    bids: list[Level]
    asks: list[Level]
    previous_number: int  # of the state before, by the market's count; -1: there was none
    step: int  # the count of changes, from 1


class Ladder:
    """One book as told so far."""

    def __init__(self) -> None:
        self._bids: dict[float, float] = {}
        self._asks: dict[float, float] = {}
        self._number = -1
        self._count = 0

    def move(self, top: Top) -> Change | None:
        """Take the next state; None where nothing changed."""
        bids, asks = dict(top.bids), dict(top.asks)
        changes = _difference(self._bids, bids), _difference(self._asks, asks)
        if top.number == self._number or not any(changes):
            return None
        previous, self._number = self._number, top.number
        self._bids, self._asks = bids, asks
        self._count += 1
        return Change(*changes, previous, self._count)


def _difference(before: dict[float, float], after: dict[float, float]) -> list[Level]:
    changed = [(price, size) for price, size in after.items() if before.get(price) != size]
    return changed + [(price, 0.0) for price in before if price not in after]

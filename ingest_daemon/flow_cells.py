"""The sums of one second, side and distance from the touch: a `BookFlow` in the making. Pure.

What lives here: adding up. What never does: deciding what counts where (`book_flow.py`).
"""

from __future__ import annotations

from typing import Final

from ingest_daemon.events import FLOW_DISTANCES_BPS, BookFlow

__all__ = ["NEAREST", "PLACES", "Cell"]

PLACES: Final = tuple(reversed(FLOW_DISTANCES_BPS))
"""Distances in the order of a book's keys, the farthest first: a place is a number of this list."""

NEAREST: Final = len(PLACES) - 1


class Cell:
    """The sums of one place."""

    __slots__ = (
        "added", "adds", "executions", "explained", "fleeting", "largest_added", "layered", "layers",
        "levels", "removals", "removed", "traded", "withdrawn", "withdrawn_life_us",
    )  # fmt: skip

    def __init__(self) -> None:
        self.added = self.removed = self.traded = 0.0
        self.adds = self.removals = 0
        self.explained = 0.0  # of what is removed, by trades
        self.executions = 0  # removals that trades explain wholly
        self.levels: set[float] = set()
        self.largest_added = self.fleeting = self.withdrawn = self.layered = 0.0
        self.withdrawn_life_us: int | None = None
        self.layers = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing happened."""
        return not (self.levels or self.traded)

    def settle(self, dust: float) -> None:
        """No trade will explain any more; less than the share `dust` of a sum is what arithmetic leaves."""
        if self.removed - self.explained <= dust * self.removed:
            self.explained = self.removed

    def withdraw(self, size: float, life_us: int) -> None:
        """An order was placed and withdrawn untraded."""
        self.fleeting += size
        if size > self.withdrawn:
            self.withdrawn, self.withdrawn_life_us = size, life_us

    def stack(self, size: float, layers: int) -> None:
        """Such orders at several levels were placed together and withdrawn together."""
        if (size, layers) > (self.layered, self.layers):
            self.layered, self.layers = size, layers

    def event(
        self, instrument_id: int, time: int, received_at: int, side: int, distance_bps: int, is_partial: bool
    ) -> BookFlow:
        """What it has come to."""
        return BookFlow(
            instrument_id, time, received_at, side, distance_bps, is_partial,
            self.added, self.removed, self.removed - self.explained, self.traded,
            self.adds, self.removals - self.executions, len(self.levels),
            self.largest_added, self.fleeting, self.withdrawn, self.withdrawn_life_us,
            self.layers, self.layered,
        )  # fmt: skip

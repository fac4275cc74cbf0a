"""Orders that were placed together and withdrawn together: the layers of layering. Pure.

What lives here: finding such groups. What never does: what a withdrawal is (`book_flow.py`).

Comparing each with each would cost more than the book itself where makers move hundreds of orders a second.
So both times are cut into spans of twice TOGETHER that overlap by half: whatever lies within TOGETHER is
inside one span, what lies further apart than twice of it never is. And an order much smaller than the largest
is no layer beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

__all__ = ["FEWEST_LAYERS", "LEAST_LAYER", "TOGETHER_US", "Group", "Withdrawal", "together"]

TOGETHER_US: Final = 100_000
FEWEST_LAYERS: Final = 3
LEAST_LAYER: Final = 0.1  # of the largest withdrawal


class Withdrawal(NamedTuple):
    """An order that was placed and withdrawn untraded."""

    withdrawn_at: int  # microseconds
    placed_at: int
    key: float  # of the level; the greatest is nearest to the touch
    size: float
    place: int  # of its distance


class Group(NamedTuple):
    """Several levels. The greater group is the one of more size."""

    size: float
    layers: int
    place: int  # of the nearest level


def together(withdrawals: Sequence[Withdrawal]) -> Iterator[Group]:
    """Groups of at least FEWEST_LAYERS levels; overlapping spans may give one several times, or in part.

    >>> layers = [Withdrawal(900_000 + n, n, 99.0 - n, 5.0, n) for n in range(3)]
    >>> later = Withdrawal(900_000, 300_000, 98.5, 7.0, 1)
    >>> set(together([*layers, later]))
    {Group(size=15.0, layers=3, place=0)}
    """
    spans: defaultdict[tuple[int, int], list[Withdrawal]] = defaultdict(list)
    least = LEAST_LAYER * max((each.size for each in withdrawals), default=0.0)
    for each in withdrawals:
        if each.size < least:
            continue
        withdrawn, placed = each.withdrawn_at // TOGETHER_US, each.placed_at // TOGETHER_US
        spans[withdrawn, placed].append(each)
        spans[withdrawn - 1, placed].append(each)
        spans[withdrawn, placed - 1].append(each)
        spans[withdrawn - 1, placed - 1].append(each)
    for members in spans.values():
        if len(members) >= FEWEST_LAYERS:
            levels = {each.key: each for each in members}
            if len(levels) >= FEWEST_LAYERS:
                size = sum(each.size for each in levels.values())
                yield Group(size, len(levels), levels[max(levels)].place)

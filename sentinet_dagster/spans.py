"""Moments as int microseconds since 1970 UTC, and sets of half-open spans of them. Pure.

What lives here: converting, cutting, joining, subtracting. What never does: what a span means.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

__all__ = [
    "HOUR",
    "SECOND",
    "Span",
    "by_hour",
    "in_microseconds",
    "inside",
    "merged",
    "moment",
    "touches",
    "without",
]

Span = tuple[int, int]

SECOND = 1_000_000
HOUR = 3600 * SECOND

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def in_microseconds(moment: datetime) -> int:
    """Microseconds since 1970 UTC, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(microseconds: int) -> datetime:
    """The inverse of `in_microseconds`.

    >>> moment(1723161600000001).isoformat()
    '2024-08-09T00:00:00.000001+00:00'
    """
    return _EPOCH + microseconds * _MICROSECOND


def by_hour(spans: Iterable[Span]) -> dict[int, Span]:
    """Start of an hour → the range from the first to the last moment of `spans` in it.

    >>> hours = by_hour([(HOUR - 20, HOUR - 10), (HOUR - 5, HOUR + 5)])
    >>> hours == {0: (HOUR - 20, HOUR), HOUR: (HOUR, HOUR + 5)}
    True
    """
    hours: dict[int, Span] = {}
    for start, end in spans:
        hour = start - start % HOUR
        while hour < end:
            low, high = max(start, hour), min(end, hour + HOUR)
            known = hours.get(hour, (low, high))
            hours[hour] = (min(low, known[0]), max(high, known[1]))
            hour += HOUR
    return hours


def inside(spans: Iterable[Span], start: int, end: int) -> list[Span]:
    """The parts of `spans` in [start, end).

    >>> inside([(0, 3), (5, 9)], 2, 6)
    [(2, 3), (5, 6)]
    """
    return [(max(low, start), min(high, end)) for low, high in spans if low < end and high > start]


def touches(spans: Iterable[Span], start: int, end: int) -> bool:
    """Whether any moment of [start, end) is in `spans`."""
    return any(low < end and high > start for low, high in spans)


def without(spans: Sequence[Span], taken: Iterable[Span]) -> tuple[Span, ...]:
    """`spans` minus `taken`.

    >>> without([(0, 9)], [(2, 3), (8, 12)])
    ((0, 2), (3, 8))
    """
    for start, end in taken:
        spans = [
            part
            for low, high in spans
            for part in ((low, min(high, start)), (max(low, end), high))
            if part[0] < part[1]
        ]
    return tuple(spans)


def merged(spans: Iterable[Span], most: int) -> tuple[Span, ...]:
    """`spans` ascending, neighbours joined; of more than `most` those nearest to one another are joined, too.

    >>> merged([(5, 6), (0, 2), (2, 3), (20, 30)], 2)
    ((0, 6), (20, 30))
    """
    joined: list[Span] = []
    for low, high in sorted(spans):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    if len(joined) > most:
        by_gap = sorted(range(1, len(joined)), key=lambda i: joined[i][0] - joined[i - 1][1])
        cuts = [0, *sorted(by_gap[len(by_gap) + 1 - most :]), len(joined)]
        joined = [(joined[low][0], joined[high - 1][1]) for low, high in pairwise(cuts)]
    return tuple(joined)

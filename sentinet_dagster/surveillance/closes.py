"""When a trading day ends: a time of day in a place, as moments.

What lives here: one form and its meaning. What never does: holidays, sessions, the hours of a feed (the
daemon's).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

__all__ = ["CLOSE_FORM", "closes_between"]

CLOSE_FORM: Final = r"^([01]\d|2[0-3]):[0-5]\d [A-Za-z][\w/+-]*$"
"""A time of day and a time zone of the IANA database, such as 16:00 America/New_York."""

_DAY: Final = timedelta(days=1)


def closes_between(close: str, start: datetime, end: datetime) -> Iterator[datetime]:
    """The moments in [start, end) at which it is that time in that place, in UTC, ascending.

    Raises:
        ValueError: not of CLOSE_FORM.
        zoneinfo.ZoneInfoNotFoundError: there is no such time zone.

    >>> [str(each) for each in closes_between("16:00 America/New_York", datetime(2026, 3, 6, tzinfo=UTC),
    ...                                       datetime(2026, 3, 9, tzinfo=UTC))]
    ['2026-03-06 21:00:00+00:00', '2026-03-07 21:00:00+00:00', '2026-03-08 20:00:00+00:00']
    """
    if not re.match(CLOSE_FORM, close):
        raise ValueError(
            f"{close!r} is no close; the form is a time and a zone such as 16:00 America/New_York"
        )
    clock, place = close.split(" ")
    zone = ZoneInfo(place)
    day = start.astimezone(zone).date() - _DAY
    while True:
        moment = datetime.combine(day, time.fromisoformat(clock), zone).astimezone(UTC)
        if moment >= end:
            return
        if moment >= start:
            yield moment
        day += _DAY

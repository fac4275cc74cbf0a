"""When a venue's market is open. Pure: the moment is an argument.

What lives here: one form, days of the week and two times in a place's own time. What never does: holidays.
They differ by venue and year; on one a feed that is silent counts as lost, which is for a human to look at.
"""

from __future__ import annotations

import re
from datetime import datetime, time
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["ACCEPTED", "MarketHours"]

ACCEPTED: Final = "days, times and a time zone, such as Mon-Fri 09:30-16:00 America/New_York"

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_FORM: Final = re.compile(r"(\w{3})-(\w{3}) (\d\d:\d\d)-(\d\d:\d\d) ([\w/+-]+)")


class MarketHours(NamedTuple):
    """Open on these days from `opens` to `closes`, by the clocks of `zone`."""

    days: frozenset[int]  # 0 is Monday
    opens: time
    closes: time
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str) -> MarketHours:
        """Read the form that `ACCEPTED` tells.

        Raises:
            ValueError: it is another one.

        >>> from datetime import UTC
        >>> hours = MarketHours.parse("Mon-Fri 09:30-16:00 America/New_York")
        >>> hours.is_open(datetime(2024, 6, 3, 13, 30, tzinfo=UTC))
        True
        """
        found = _FORM.fullmatch(text)
        if found is None or not {found[1], found[2]} <= set(_DAYS):
            raise ValueError(text)
        first, last = _DAYS.index(found[1]), _DAYS.index(found[2])
        opens, closes = time.fromisoformat(found[3]), time.fromisoformat(found[4])
        if opens >= closes or first > last:
            raise ValueError(text)
        try:
            zone = ZoneInfo(found[5])
        except (ZoneInfoNotFoundError, OSError):
            raise ValueError(text) from None
        return cls(frozenset(range(first, last + 1)), opens, closes, zone)

    def is_open(self, moment: datetime) -> bool:
        """Whether the market is open at a moment, which has a time zone."""
        there = moment.astimezone(self.zone)
        return there.weekday() in self.days and self.opens <= there.time() < self.closes

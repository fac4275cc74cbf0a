"""Market hours: in a place's own time, over its changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ingest_daemon.hours import MarketHours

NEW_YORK = MarketHours.parse("Mon-Fri 09:30-16:00 America/New_York")


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        (datetime(2024, 6, 3, 13, 29, 59, tzinfo=UTC), False),
        (datetime(2024, 6, 3, 13, 30, tzinfo=UTC), True),
        (datetime(2024, 6, 3, 19, 59, 59, tzinfo=UTC), True),
        (datetime(2024, 6, 3, 20, tzinfo=UTC), False),
        (datetime(2024, 1, 8, 13, 30, tzinfo=UTC), False),  # an hour later in winter
        (datetime(2024, 1, 8, 14, 30, tzinfo=UTC), True),
        (datetime(2024, 6, 1, 15, tzinfo=UTC), False),  # a Saturday
    ],
)
def test_it_is_open_by_the_clocks_of_the_place(moment: datetime, is_open: bool) -> None:
    assert NEW_YORK.is_open(moment) is is_open


@pytest.mark.parametrize(
    "text",
    [
        "",
        "always",
        "Mon-Fri 09:30-16:00",
        "Mon-Fri 16:00-09:30 America/New_York",
        "Fri-Mon 09:30-16:00 America/New_York",
        "Mon-Fry 09:30-16:00 America/New_York",
        "Mon-Fri 09:30-25:00 America/New_York",
        "Mon-Fri 09:30-16:00 America/Nowhere",
        "Mon-Fri 09:30-16:00 /etc/passwd",
        "Mon-Fri 09:30-16:00 America",
    ],
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        MarketHours.parse(text)

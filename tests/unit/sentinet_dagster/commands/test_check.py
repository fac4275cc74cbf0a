"""`sentinet check`: what a range is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sentinet_dagster.commands.check import parse_range
from sentinet_dagster.runtime.errors import UserError

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_a_range_is_two_times() -> None:
    assert parse_range("2026-01-31T10:00Z/2026-01-31T11:00Z", NOW) == (
        NOW - timedelta(hours=2),
        NOW - timedelta(hours=1),
    )
    assert parse_range("2h/0s", NOW) == (NOW - timedelta(hours=2), NOW)


@pytest.mark.parametrize("text", ["2h", "0s/2h", "2026-01-31T10:00Z", "2026-01-31T11:00Z/2026-01-31T10:00Z"])
def test_what_is_none_is_refused_with_the_accepted_form(text: str) -> None:
    with pytest.raises(UserError, match=r"--range .* is no range: write 2026-01-31T12:00Z/2026"):
        parse_range(text, NOW)


def test_a_time_that_is_none_is_named() -> None:
    with pytest.raises(UserError, match="'noon' is not a time"):
        parse_range("noon/0s", NOW)

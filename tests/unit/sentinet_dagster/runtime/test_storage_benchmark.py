"""The storage benchmark before it touches a server: its size is said, and refused where there is no room."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.storage_benchmark import Span, measure_storage, needed_bytes

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
SPAN = Span(datetime(2026, 1, 31, tzinfo=UTC), days=30, trades=720_000)


def test_too_little_room_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(
        UserError, match=r"^1,000,000,000,000 trades take about 186,267\.5 GB .* smaller --tr"
    ):
        measure_storage(NOWHERE, 10**12, tmp_path, disk=tmp_path / "not" / "yet", tell=told.append)
    assert told == []


def test_the_size_is_told_first(tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(UserError, match=r"^cannot connect to"):
        measure_storage(NOWHERE, 100_000, tmp_path, disk=None, tell=told.append)
    assert told == [
        "100,000 trades take about 3.0 GB while they are measured; how much room the server has cannot be "
        "seen from here"
    ]


def test_more_trades_need_more_room() -> None:
    assert needed_bytes(2_000_000) - needed_bytes(1_000_000) == 200_000_000


def test_a_span_is_divided_evenly() -> None:
    assert SPAN.end - SPAN.start == timedelta(days=30)
    assert SPAN.step_us() == 3_600_000
    assert SPAN.step_us(4) == 4 * SPAN.step_us()
    assert SPAN.before_last_hour == 719_000
    assert SPAN.at(0.5) == datetime(2026, 1, 16, tzinfo=UTC)

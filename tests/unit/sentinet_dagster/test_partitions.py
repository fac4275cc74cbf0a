"""Ranges of windows: what the tags say, and where hours cut."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from sentinet_dagster.partitions import (
    HOURS,
    RANGE_END_TAG,
    RANGE_START_TAG,
    RULES,
    hour_ranges,
    in_microseconds,
    moment,
    partition_key,
    partition_range,
    slices,
    tagged_range,
)
from sentinet_dagster.surveillance.schema import WINDOW_US

NOON = datetime(2024, 8, 9, 12, tzinfo=UTC)


def test_the_running_hour_has_a_partition_and_the_next_has_none() -> None:
    def running() -> str:
        return partition_key(datetime.now(UTC))

    before, last = running(), HOURS.get_last_partition_key()
    assert last in (before, running())


def test_a_run_without_tags_is_about_whole_hours() -> None:
    assert tagged_range({"dagster/partition": "2024-08-09-12:00"}) is None


def test_a_range_is_read_with_its_offset() -> None:
    tags = {RANGE_START_TAG: "2024-08-09T14:00:00+02:00", RANGE_END_TAG: "2024-08-09T12:00:05+00:00"}
    assert tagged_range(tags) == (NOON, NOON + timedelta(seconds=5))


@pytest.mark.parametrize(
    "tags",
    [
        {RANGE_START_TAG: "2024-08-09T12:00:00+00:00"},
        {RANGE_START_TAG: "2024-08-09T12:00:00", RANGE_END_TAG: "2024-08-09T12:00:05"},
        {RANGE_START_TAG: "2024-08-09T12:00:05+00:00", RANGE_END_TAG: "2024-08-09T12:00:05+00:00"},
        {RANGE_START_TAG: "noon", RANGE_END_TAG: "2024-08-09T12:00:05+00:00"},
    ],
)
def test_a_wrong_range_is_refused(tags: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        tagged_range(tags)


def test_a_moment_is_of_the_hour_in_which_it_lies() -> None:
    for minutes in (0, 1, 59):
        key = partition_key(NOON + timedelta(minutes=minutes, seconds=30))
        assert partition_range({"dagster/partition": key}) == (NOON, NOON + timedelta(hours=1))


def test_a_run_of_partitions_is_about_their_hours() -> None:
    backfill = {
        "dagster/asset_partition_range_start": partition_key(NOON),
        "dagster/asset_partition_range_end": partition_key(NOON + timedelta(hours=3)),
    }
    assert partition_range(backfill) == (NOON, NOON + timedelta(hours=4))
    assert partition_range({}) is None


def test_hours_and_slices_cover_a_range_once_and_in_order() -> None:
    start, end = NOON - timedelta(minutes=25), NOON + timedelta(hours=2, seconds=5)
    for cut in (list(hour_ranges(start, end)), list(slices(start, end, timedelta(minutes=10)))):
        assert (cut[0][0], cut[-1][1]) == (start, end)
        assert all(one[1] == other[0] for one, other in pairwise(cut))
        assert all(low.replace(minute=0, second=0) + timedelta(hours=1) >= high for low, high in cut)
    assert list(hour_ranges(NOON, NOON)) == []


def test_microseconds_are_exact() -> None:
    late = datetime(2024, 8, 9, 12, 0, 0, 123457, tzinfo=UTC)
    assert moment(in_microseconds(late)) == late


def test_the_rules_agree_with_the_judgement() -> None:
    assert RULES.window == WINDOW_US
    for span in (RULES.lookback, RULES.silence, RULES.first_hour):
        assert span % WINDOW_US == 0
    assert RULES.silence <= RULES.lookback

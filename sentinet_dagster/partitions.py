"""Hours: how judged relations are partitioned, and which windows of an hour a run is about.

What lives here: the partition definition, the tags that narrow a run to a range of windows, arithmetic on
hours, the rules of the plan. What never does: the database, the clock, Dagster's instance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from dagster import HourlyPartitionsDefinition, TimeWindowPartitionMapping

from sentinet_dagster.planning import Rules
from sentinet_dagster.settings import SETTINGS
from sentinet_dagster.spans import in_microseconds, moment
from sentinet_dagster.surveillance.findings import JUDGE_LOOKBACK

__all__ = [
    "HOUR",
    "HOURS",
    "INSTRUMENTS_TAG",
    "PARTITION_FORMAT",
    "RANGE_END_TAG",
    "RANGE_START_TAG",
    "RULES",
    "SILENCE",
    "TOUCHED_TAG",
    "hour_ranges",
    "in_microseconds",
    "is_whole",
    "looking_back",
    "moment",
    "partition_key",
    "partition_range",
    "pieces_text",
    "range_tags",
    "slices",
    "tagged_instruments",
    "tagged_pieces",
    "tagged_range",
]

PARTITION_FORMAT: Final = "%Y-%m-%d-%H:%M"
RANGE_START_TAG: Final = "sentinet/range_start"
RANGE_END_TAG: Final = "sentinet/range_end"
_FIRST_TAG: Final = "dagster/asset_partition_range_start"
_LAST_TAG: Final = "dagster/asset_partition_range_end"
TOUCHED_TAG: Final = "sentinet/touched"
INSTRUMENTS_TAG: Final = "sentinet/instruments"
HOUR: Final = timedelta(hours=1)

SILENCE: Final = timedelta(minutes=1)
"""No window exists further than this from the last fact of any instrument before it: a feed that is off for a
night leaves no rows. One that fell silent still has windows, empty ones, for as long."""

# end_offset=1: the hour that is still running has a partition.
HOURS: Final = HourlyPartitionsDefinition(start_date=SETTINGS.first_hour, end_offset=1, fmt=PARTITION_FORMAT)


def looking_back(span: timedelta) -> TimeWindowPartitionMapping:
    """What looks back past the start of its hour: a backfill must have judged so many hours before.

    >>> looking_back(timedelta(minutes=61)).start_offset
    -2
    """
    return TimeWindowPartitionMapping(start_offset=-math.ceil(span / HOUR), end_offset=0)


_MICROSECOND: Final = timedelta(microseconds=1)

RULES: Final = Rules(
    lookback=JUDGE_LOOKBACK // _MICROSECOND,
    silence=SILENCE // _MICROSECOND,
    first_hour=in_microseconds(SETTINGS.first_hour),
    lateness=SETTINGS.lateness // _MICROSECOND,
    late_horizon=SETTINGS.late_horizon // _MICROSECOND,
)


def partition_key(at: datetime) -> str:
    """The key of the hour in which `at` lies. Dagster takes any text of the format for a key, and `23:05` for
    the hour after it.

    >>> partition_key(datetime(2024, 8, 8, 23, 5, 30))
    '2024-08-08-23:00'
    """
    return at.replace(minute=0).strftime(PARTITION_FORMAT)


def tagged_range(tags: Mapping[str, str]) -> tuple[datetime, datetime] | None:
    """The range of windows a run was narrowed to, or None: whole hours.

    Raises:
        ValueError: one of the two tags alone, or not ISO 8601 with an offset.
    """
    texts = tags.get(RANGE_START_TAG), tags.get(RANGE_END_TAG)
    if texts == (None, None):
        return None
    if texts[0] is None or texts[1] is None:
        raise ValueError(f"{RANGE_START_TAG} and {RANGE_END_TAG} go together")
    start, end = datetime.fromisoformat(texts[0]), datetime.fromisoformat(texts[1])
    if start.tzinfo is None or end.tzinfo is None or start >= end:
        raise ValueError(
            f"{RANGE_START_TAG}={texts[0]} {RANGE_END_TAG}={texts[1]}: want two ascending times with offsets"
        )
    return start, end


def pieces_text(pieces: Sequence[tuple[int, int]]) -> str:
    """The value of TOUCHED_TAG: ISO 8601 intervals, of microseconds since 1970 UTC.

    >>> pieces_text([(0, 5_000_000)])
    '1970-01-01T00:00:00+00:00/1970-01-01T00:00:05+00:00'
    """
    return ",".join(f"{moment(start).isoformat()}/{moment(end).isoformat()}" for start, end in pieces)


def tagged_pieces(tags: Mapping[str, str]) -> Sequence[tuple[datetime, datetime]] | None:
    """The parts of the run's range whose windows are to be built anew from facts, or None: all of it.

    Raises:
        ValueError: the tag is not a list of intervals as `pieces_text` writes them.

    >>> tagged_pieces({TOUCHED_TAG: ""})
    []
    """
    text = tags.get(TOUCHED_TAG)
    if text is None:
        return None
    try:
        pairs = [piece.split("/") for piece in text.split(",") if piece]
        return [(datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in pairs]
    except ValueError as error:
        raise ValueError(f"{TOUCHED_TAG}={text}: want intervals such as {pieces_text([(0, 1)])}") from error


def tagged_instruments(tags: Mapping[str, str]) -> Sequence[int] | None:
    """The instruments, by their numbers, whose facts the run is about, or None: all.

    Raises:
        ValueError: the tag is not a list of numbers.

    >>> tagged_instruments({INSTRUMENTS_TAG: "3,17"})
    [3, 17]
    """
    text = tags.get(INSTRUMENTS_TAG)
    if text is None:
        return None
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise ValueError(f"{INSTRUMENTS_TAG}={text}: want numbers of instruments, such as 3,17") from error


def is_whole(tags: Mapping[str, str]) -> bool:
    """Whether a run judges all windows of its hours, from all facts."""
    return not tags.keys() & {RANGE_START_TAG, RANGE_END_TAG, TOUCHED_TAG, INSTRUMENTS_TAG}


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags by which Dagster makes a run one of the partitions from `first` to `last`."""
    return {_FIRST_TAG: first, _LAST_TAG: last}


def partition_range(tags: Mapping[str, str]) -> tuple[datetime, datetime] | None:
    """The hours of a run by the tags that Dagster gives it: one partition, or a range of them in a backfill.

    >>> [hour.hour for hour in partition_range({"dagster/partition": "2024-08-08-05:00"})]
    [5, 6]
    """
    first = tags.get(_FIRST_TAG, tags.get("dagster/partition"))
    last = tags.get(_LAST_TAG, tags.get("dagster/partition"))
    if first is None or last is None:
        return None
    return HOURS.time_window_for_partition_key(first).start, HOURS.time_window_for_partition_key(last).end


def hour_ranges(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """[start, end) cut at full hours, in order; nothing where it is empty.

    >>> [(a.hour, b.minute) for a, b in hour_ranges(datetime(2024, 1, 1, 5, 30), datetime(2024, 1, 1, 6, 10))]
    [(5, 0), (6, 10)]
    """
    return slices(start, end, HOUR)


def slices(start: datetime, end: datetime, length: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """[start, end) cut at every multiple of `length` since the start of the day, in order."""
    while start < end:
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
        cut = min(end, midnight + ((start - midnight) // length + 1) * length)
        yield start, cut
        start = cut

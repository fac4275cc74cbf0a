"""The order of a backfill's parts: each after the one before, none after one that failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from sentinet_dagster.commands.backfill import days, hours_between
from sentinet_dagster.commands.backfilling import PART_TAG, ask, judge_in_order
from sentinet_dagster.partitions import INSTRUMENTS_TAG

START = datetime(2026, 1, 1, 20, tzinfo=UTC)
PARTS = days(hours_between(START, START + timedelta(hours=60)))


class Desk:
    """Judges at once, and remembers what."""

    by = "a test"

    def __init__(self, failing: Sequence[str] = ()) -> None:
        self.asked: list[str] = []
        self.tags: list[Mapping[str, str]] = []
        self.judged: set[str] = set()
        self.failing = set(failing)

    def has_judged(self, tags: Mapping[str, str]) -> bool:
        return tags[PART_TAG] in self.judged

    def ask(self, keys: Sequence[str], tags: Mapping[str, str]) -> str:
        self.asked.append(keys[0])
        self.tags.append(tags)
        if keys[0] not in self.failing:
            self.judged.add(tags[PART_TAG])
        return keys[0]

    def wait(self, part: str) -> bool:
        return part not in self.failing


FIRST, SECOND, THIRD, FOURTH = (f"{part[0]:%Y-%m-%d-%H:%M}" for part in PARTS)


def test_parts_are_judged_in_order_with_progress() -> None:
    desk, said = Desk(), list[str]()
    result = judge_in_order(desk, PARTS, None, False, said.append)
    assert desk.asked == [FIRST, SECOND, THIRD, FOURTH]
    assert [len(part) for part in PARTS] == [4, 24, 24, 8]
    assert said[0] == "judged to 2026-01-01-23:00, part 1 of 4"
    assert (result["status"], result["runs"]) == ("COMPLETED_SUCCESS", {"succeeded": 4, "failed": 0})


def test_a_part_that_fails_is_the_last_and_the_same_backfill_goes_on_there() -> None:
    desk = Desk(failing=[SECOND])
    result = judge_in_order(desk, PARTS, None, False, print)
    assert (result["status"], result["runs"]) == ("COMPLETED_FAILED", {"succeeded": 1, "failed": 1})
    desk.asked, desk.failing = [], set()
    result = judge_in_order(desk, PARTS, None, True, print)
    assert desk.asked == [SECOND, THIRD, FOURTH]
    assert result["skipped"] == 1
    desk.asked = []
    assert judge_in_order(desk, PARTS, None, True, print)["skipped"] == 4


def test_what_follows_a_part_that_is_judged_anew_is_judged_anew() -> None:
    desk = Desk()
    judge_in_order(desk, PARTS, None, False, print)
    desk.judged = {tags[PART_TAG] for tags in desk.tags[2:]}
    desk.asked = []
    judge_in_order(desk, PARTS, None, True, print)
    assert desk.asked == [FIRST, SECOND, THIRD, FOURTH]


@pytest.mark.parametrize("numbers", [None, [3, 7]])
def test_a_backfill_of_some_instruments_is_another_one(numbers: list[int] | None) -> None:
    desk = Desk()
    judge_in_order(desk, PARTS, [3], False, print)
    desk.asked = []
    assert judge_in_order(desk, PARTS, numbers, True, print)["skipped"] == 0
    assert desk.tags[0][INSTRUMENTS_TAG] == "3"
    assert desk.tags[-1].get(INSTRUMENTS_TAG) == (None if numbers is None else "3,7")


def test_without_waiting_all_is_one_run() -> None:
    desk = Desk()
    result = ask(desk, [hour for part in PARTS for hour in part], None)
    assert (desk.asked, result["status"]) == ([FIRST], "REQUESTED")

"""The hole between two lives of the daemon: one hole a venue and life, whichever end is known first."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon.resumption import Hole, Open, Resumption

VENUES = ("a", "b", "c")
MOMENTS = st.dictionaries(st.sampled_from(VENUES), st.integers(0, 9))


@given(MOMENTS, MOMENTS, MOMENTS, st.integers(0, 3))
def test_the_order_in_which_the_ends_are_known_does_not_matter(
    written: dict[str, int], spooled: dict[str, int], first: dict[str, int], known_after: int
) -> None:
    holes: list[Hole] = []
    resumption = Resumption(holes.append, lambda _open: None, spooled)
    for number, (venue, received_at) in enumerate(first.items()):
        if number == known_after:
            holes += resumption.remember(written)
        resumption.resume(venue, received_at)
    if known_after >= len(first):
        holes += resumption.remember(written)

    expected = {}
    for venue, ended_at in first.items():
        before = [known[venue] for known in (written, spooled) if venue in known and known[venue] < ended_at]
        if before:
            expected[venue] = [max(before), ended_at]
    assert {venue: ends for venue, *ends in holes} == expected
    assert len(holes) == len(expected)


def test_what_a_killed_life_left_open_is_told_by_the_next_one() -> None:
    kept: list[Sequence[Open]] = []
    holes: list[Hole] = []
    Resumption(holes.append, kept.append, {}).resume("a", 20)  # and dies: 5 was the last before it
    third = Resumption(holes.append, kept.append, {"a": 25}, kept[-1])
    third.resume("a", 30)

    assert holes == []
    assert third.remember({"a": 5}) == [Hole("a", 5, 20), Hole("a", 25, 30)]
    third.forget()
    assert not kept[-1]


def test_a_life_that_wrote_nothing_at_all_is_a_hole_from_its_first_frame_on() -> None:
    kept: list[Sequence[Open]] = []
    holes: list[Hole] = []
    first = Resumption(holes.append, kept.append, {})
    first.remember({})
    first.resume("a", 20)  # and dies before it is written
    second = Resumption(holes.append, kept.append, {}, kept[-1])
    second.remember({})
    second.forget()
    second.resume("a", 30)
    assert holes == [Hole("a", 20, 30)]

    third = Resumption(holes.append, kept.append, {}, kept[-1])
    assert third.remember({"a": 35}) == holes  # as it was told: it is written once
    third.forget()
    third.resume("a", 40)
    assert holes == [Hole("a", 20, 30), Hole("a", 35, 40)]
    assert not kept[-1]


def test_what_is_written_already_is_not_told_once_more() -> None:
    holes: list[Hole] = []
    # The hole was written, and its end with it; then the daemon died before it could forget.
    again = Resumption(holes.append, lambda _open: None, {}, [Open("a", 20, None)])

    assert again.remember({"a": 20}) == []

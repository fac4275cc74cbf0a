"""Refused frames: few rows whatever comes, every frame counted in its own window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon.events import RejectedFrame
from ingest_daemon.refusals import LONGEST_FRAME, OTHER_KINDS, Allowance, Refusals, kind_of

HOUR = 3_600_000_000
WINDOW = 5_000_000
START = 478_656 * HOUR


def windows(rows: Iterable[RejectedFrame]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for row in rows:
        counts[row.received_at // WINDOW] += row.frames
    return counts


received = st.lists(
    st.tuples(st.integers(0, 2 * HOUR), st.sampled_from(["a", "b 1", "b 2", "c 'x'"]), st.integers(0, 99)),
    max_size=60,
)


@given(received, st.integers(1, 4), st.integers(1, 3), st.integers(0, 200))
def test_every_frame_is_counted_once_in_its_own_window(
    frames: list[tuple[int, str, int]], burst: int, kinds: int, size: int
) -> None:
    refusals = Refusals("here", Allowance(burst=burst, kinds=kinds, bytes=size))
    frames = sorted(frames)
    rows = [
        row for at, error, length in frames for row in refusals.take(error, b"x" * length, START + at, None)
    ]
    rows += refusals.flush()

    assert windows(rows) == Counter((START + at) // WINDOW for at, _, _ in frames)
    assert refusals.left_out == sum(row.frames for row in rows if row.last_received_at is not None)
    assert not refusals.is_any_open


@given(received, st.integers(0, 60))
def test_an_hour_is_sampled_alike_whatever_came_before(frames: list[tuple[int, str, int]], cut: int) -> None:
    """So a replay of an hour gives the rows that were written live."""

    def rows_of(frames: list[tuple[int, str, int]]) -> list[RejectedFrame]:
        refusals = Refusals("here", Allowance(burst=2))
        rows = [row for at, error, _ in frames for row in refusals.take(error, b"x", START + at, None)]
        return [*rows, *refusals.flush()]

    frames = sorted(frames)
    later = [frame for frame in frames if frame[0] >= HOUR]
    whole = [row for row in rows_of(frames) if row.received_at >= START + HOUR]
    assert Counter(map(msgspec.json.encode, whole)) == Counter(map(msgspec.json.encode, rows_of(later)))


def test_the_first_of_each_kind_is_kept_and_then_as_many_as_the_bucket_gives() -> None:
    refusals = Refusals("here", Allowance(burst=3, every_us=60_000_000))
    kept = [
        received_at
        for received_at in range(START, START + 180_000_000, 1_000_000)  # one a second for three minutes
        for row in refusals.take(f"price: {received_at}", b"{", received_at, "trade")
        if row.frames == 1 and row.frame
    ]
    assert [(at - START) // 1_000_000 for at in kept] == [0, 1, 2, 60, 120]
    (other,) = refusals.take("not JSON", b"{", START + 180_000_000, None)[-1:]
    assert (other.error, other.frame, other.frames) == ("not JSON", b"{", 1)


def test_what_is_not_kept_is_one_row_a_window_and_kind() -> None:
    refusals = Refusals("here", Allowance(burst=1))
    for offset in (0, 1, 2, WINDOW - 1):
        assert len(refusals.take(f"size: {offset}", b"{", START + offset, "trade")) == (offset == 0)
    (row,) = refusals.take("size: 9", b"{", START + WINDOW, "book")

    assert row == RejectedFrame(
        "here",
        START + 1,
        "not kept, 3 like: size: 1",
        b"",
        "trade",
        frames=3,
        last_received_at=START + WINDOW - 1,
    )
    refusals.take("size: 9", b"{", START + WINDOW + 1, "trade")
    (mixed,) = refusals.due(START + 2 * WINDOW)
    assert (mixed.channel, mixed.frames) == (None, 2)
    assert refusals.due(START + 9 * WINDOW) == ()


def test_a_flood_of_anything_takes_bounded_rows_and_bytes() -> None:
    refusals = Refusals("here")
    rows: list[RejectedFrame] = []
    for number in range(100_000):  # each error another kind, each frame large, all within a minute
        error = "".join(chr(97 + (number >> shift) % 16) for shift in (0, 4, 8, 12))
        rows += refusals.take(error, b"x" * 100_000, START + number * 600, None)
    rows += refusals.flush()

    assert sum(row.frames for row in rows) == 100_000
    assert len(rows) < 33 + 64 + 12 * 33
    assert max(len(row.frame) for row in rows) == LONGEST_FRAME
    assert sum(len(row.frame) for row in rows) <= 33 * LONGEST_FRAME + 4 * 2**20


def test_the_same_frame_again_at_the_same_moment_is_counted() -> None:
    refusals = Refusals("here")
    rows = [row for _ in range(5) for row in refusals.take("odd", b"{", START, None)]
    rows += refusals.take("odd", b"[", START, None)
    rows += refusals.take("odd", b"{", START + 1, None)
    rows += refusals.flush()

    assert [(row.received_at, row.frame, row.frames) for row in rows] == [
        (START, b"{", 1), (START, b"[", 1), (START + 1, b"{", 1), (START, b"", 4),
    ]  # fmt: skip


def test_kinds_beyond_those_told_apart_are_one() -> None:
    refusals = Refusals("here", Allowance(burst=1, kinds=2))
    for error in ("a", "b", "c", "d", "e"):
        refusals.take(error, b"{", START, None)
    (row,) = refusals.flush()
    assert row.frames == 2
    assert OTHER_KINDS == "other"


def test_values_make_no_kind() -> None:
    assert kind_of("p: '-1' is no price at 17") == kind_of("p: '0.5' is no price at 4")
    assert kind_of('"x\\"y" is odd') == kind_of('"" is odd')
    assert kind_of("no price") != kind_of("no size")

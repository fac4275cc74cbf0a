"""Counts of refused frames over crashes: whenever the daemon dies, every frame is in one row."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_daemon.events import RejectedFrame
from ingest_daemon.refusals import LONGEST_ERROR, Allowance, LeftOut, Refusals
from ingest_daemon.tally import FileTally

START = 1_723_161_600_000_000
SECOND = 1_000_000
HOUR = 3_600 * SECOND
NOTHING_KEPT = Allowance(burst=1)


def written(rows: list[RejectedFrame]) -> dict[tuple[object, ...], RejectedFrame]:
    """As the database has them: by its unique key."""
    return {(row.venue, row.received_at, row.frame, row.error): row for row in rows}


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2 * SECOND),  # after the one before
            st.sampled_from(["a", "b '1'", "c 2"]),
            st.sampled_from([None, "trade", "bookTicker"]),
            st.booleans(),  # whether the daemon dies after it
        ),
        max_size=40,
    )
)
def test_whenever_the_daemon_dies_every_frame_is_in_one_row(
    frames: list[tuple[int, str, str | None, bool]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "spool" / "tally"
        rows: list[RejectedFrame] = []
        now = START
        tally = FileTally(path)
        refusals = Refusals("here", NOTHING_KEPT, tally)
        for number, (pause, error, channel, dies) in enumerate(frames):
            now += pause + 1
            rows += refusals.take(error, b"%d" % number, now, channel)
            if dies:
                tally = FileTally(path)  # nobody closed it
                refusals = Refusals("here", NOTHING_KEPT, tally)
                rows += refusals.left(now)
        rows += refusals.flush()

        assert sum(row.frames for row in written(rows).values()) == len(frames)


def test_what_is_left_is_as_it_was_counted(tmp_path: Path) -> None:
    for channel in (None, "", "btcusdt@träde"):
        path = tmp_path / f"tally-{channel}"
        count = LeftOut("price: 'ä' is none", channel, START, START + 9, 3)
        FileTally(path).note(count)

        (left,) = FileTally(path).left(START)
        assert (left.error, left.channel, left.first_at, left.last_at, left.frames) == (
            count.error, channel, START, START + 9, 3,
        )  # fmt: skip


def test_an_error_of_any_length_and_of_no_unicode_makes_the_same_row_in_the_next_life(tmp_path: Path) -> None:
    for number, error in enumerate(["ä" * LONGEST_ERROR, "\udc80 odd", "x" * 5_000]):
        path = tmp_path / str(number)
        refusals = Refusals("here", NOTHING_KEPT, FileTally(path))
        refusals.take(error, b"", START, None)
        refusals.take(error, b"", START + 1, None)

        assert Refusals("here", tally=FileTally(path)).left(START) == refusals.flush()


def test_a_row_that_was_made_is_made_again_for_an_hour_and_one_that_was_not_for_ever(tmp_path: Path) -> None:
    tally = FileTally(tmp_path / "tally")
    told, untold = LeftOut("a", None, START, START, 1), LeftOut("b", None, START, START, 1)
    for count in (told, untold):
        tally.note(count)
    tally.told(told)

    next_life = FileTally(tmp_path / "tally")
    assert [each.error for each in next_life.left(START + HOUR - 1)] == ["a", "b"]
    assert [each.error for each in next_life.left(START + HOUR)] == ["b"]


def test_the_file_does_not_grow(tmp_path: Path) -> None:
    tally = FileTally(tmp_path / "tally")
    size = (tmp_path / "tally").stat().st_size
    for number in range(10_000):
        count = LeftOut("a", "b", number, number, 1)
        tally.note(count)
        tally.told(count)
    tally.close()

    assert (tmp_path / "tally").stat().st_size == size
    assert max(each.first_at for each in FileTally(tmp_path / "tally").left(0)) == 9_999

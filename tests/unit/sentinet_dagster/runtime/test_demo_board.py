"""What the demo's screen is told: steps while it starts, then the script with what was found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sentinet_dagster.runtime.demo_board import STEPS, Board, show
from sentinet_dagster.runtime.scorecard import GRACE, Raised, Scripted, Verdict

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
EPISODE = Scripted("spoofing", (("simulated", "SOL-USDT"),), START, START + 20 * SECOND)
ALERT = Raised("spoofing", ("simulated", "SOL-USDT"), START + 10 * SECOND, START + 14 * SECOND)


def test_steps_go_from_waiting_over_running_to_done() -> None:
    board = Board("demo", None)
    assert {step.state for step in board.snapshot().steps} == {"waiting"}
    with board.step(STEPS[0]):
        first = board.snapshot().steps[0]
        assert (first.title, first.state) == (STEPS[0], "running")
    assert board.snapshot().steps[0].state == "done"


def test_a_step_that_failed_is_never_done() -> None:
    board = Board("demo", None)
    with pytest.raises(RuntimeError), board.step(STEPS[0]):
        raise RuntimeError
    assert board.snapshot().steps[0].state == "running"


def test_the_clock_begins_with_the_script() -> None:
    board = Board("demo", timedelta(seconds=150))
    assert board.snapshot().elapsed_s is None
    board.script_at = datetime.now(UTC) + timedelta(hours=1)
    assert board.snapshot().elapsed_s == 0.0  # not yet begun is not before the beginning
    board.script_at = datetime.now(UTC) - timedelta(seconds=10)
    snapshot = board.snapshot()
    assert snapshot.elapsed_s is not None
    assert 10 <= snapshot.elapsed_s < 60
    assert snapshot.for_s == 150


@pytest.mark.parametrize(
    ("found_by", "now", "state"),
    [
        (None, START - SECOND, "to come"),
        (None, START, "running"),
        (None, EPISODE.ends_at, "not yet"),
        (None, EPISODE.ends_at + GRACE, "missed"),
        (ALERT, START + 14 * SECOND, "found"),
        (ALERT, EPISODE.ends_at + GRACE, "found"),
    ],
)
def test_an_episode_is_shown_as_it_stands(found_by: Raised | None, now: datetime, state: str) -> None:
    shown = show(Verdict(EPISODE, found_by), now)
    assert shown.state == state
    assert shown.instrument == "SOL-USDT"
    assert shown.delay_s == (14.0 if found_by else None)

"""A change of connections made again: what goes on, and what is counted as repeated."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ingest_daemon.events import RejectedFrame, Trade
from ingest_daemon.recording import StepName
from ingest_daemon.replay_changes import Change, StreamReport

COUNT = RejectedFrame("here", 1, "not kept, 7 like: why", b"", frames=7, last_received_at=2)
SAID_BY_BOTH = Trade(1, 5, 5, 0, 1.0, 1.0, 1)


@pytest.mark.parametrize("steps", [["given_up"], ["done"], []])
def test_counts_of_refused_frames_go_on_however_a_change_ends(steps: Sequence[StepName]) -> None:
    change, report = Change(), StreamReport()
    assert change.admitted([SAID_BY_BOTH], report, is_new=False) == [SAID_BY_BOTH]
    for step in steps:
        assert list(change.take(step)) == []

    assert change.admitted([COUNT, SAID_BY_BOTH], report, is_new=True) == [COUNT]

    assert list(change.take("given_up" if not steps else "settled")) == []
    assert report.duplicates == 1

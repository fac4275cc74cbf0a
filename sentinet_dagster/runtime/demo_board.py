"""What the demo's screen shows: written by the thread that runs the demo, read by the one that draws.

What lives here: putting steps, script and what is watched into one `Snapshot`. What never does: waiting,
asking.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sentinet_dagster.runtime.scorecard import Scripted, Verdict, judge
from sentinet_dagster.runtime.snapshot import Episode, EpisodeOutcome, Snapshot, Step
from sentinet_dagster.runtime.watch import Sight, Watch

STEPS = (
    "schema",
    "live feed",
    "half an hour of history",
    "Dagster",
    "half an hour judged",
    "model learnt, rollups made",
)


class Board:
    """The demo's state as the screen needs it. Fields are replaced whole, never changed in place."""

    def __init__(self, title: str, run_for: timedelta | None) -> None:
        self.watch: Watch | None = None
        self.dagster_url: str | None = None
        self.script_at: datetime | None = None
        self.episodes: Sequence[Scripted] = ()
        self.note = ""
        self._title = title
        self._run_for = run_for
        self._begun: dict[str, float] = {}
        self._took: dict[str, float] = {}

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show `title`, one of STEPS, as under way, and then as done."""
        self._begun = self._begun | {title: time.monotonic()}
        yield
        self._took = self._took | {title: time.monotonic() - self._begun[title]}

    def snapshot(self) -> Snapshot:
        """The screen's content now."""
        now = datetime.now(UTC)
        sight = self.watch.sight if self.watch is not None else Sight()
        script_at = self.script_at
        return Snapshot(
            title=self._title,
            now=now,
            elapsed_s=None if script_at is None else max((now - script_at).total_seconds(), 0.0),
            for_s=None if self._run_for is None else self._run_for.total_seconds(),
            dagster_url=self.dagster_url,
            flow=sight.flow,
            instruments=sight.instruments,
            feeds=sight.feeds,
            alerts=sight.alerts,
            episodes=tuple(show(verdict, now) for verdict in judge(self.episodes, sight.raised)),
            steps=tuple(self._step(title) for title in STEPS),
            note=self.note,
        )

    def _step(self, title: str) -> Step:
        if title in self._took:
            return Step(title, "done", self._took[title])
        if title in self._begun:
            return Step(title, "running", time.monotonic() - self._begun[title])
        return Step(title)


def show(verdict: Verdict, now: datetime) -> Episode:
    """An episode as the screen shows it. Of several instruments the first is named."""
    episode = verdict.episode
    found = verdict.found_by
    return Episode(
        kind=episode.kind,
        instrument=episode.instruments[0][1],
        starts_in_s=(episode.starts_at - now).total_seconds(),
        state=_outcome(verdict, now),
        found_by=found.detector if found else None,
        delay_s=verdict.delay_s,
    )


def _outcome(verdict: Verdict, now: datetime) -> EpisodeOutcome:
    episode = verdict.episode
    if verdict.found_by is not None:
        return "found"
    if now < episode.starts_at:
        return "to come"
    if now < episode.ends_at:
        return "running"
    return "missed" if episode.had_time(now) else "not yet"

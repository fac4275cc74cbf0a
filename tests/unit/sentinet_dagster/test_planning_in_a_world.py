"""The plan in a small world: runs that build, relate and judge in steps, in any order with commits, failures
and losses. Whatever happens, every verdict ends up as if everything had been judged once, at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinet_dagster.planning import (
    News,
    Outcome,
    Request,
    Rules,
    State,
    closed_until,
    decode_state,
    encode_state,
    plan,
)
from sentinet_dagster.spans import HOUR, SECOND, Span, inside

Values = npt.NDArray[np.uint64]

WINDOW = 5 * SECOND
START = 1_723_161_600 * SECOND  # 2024-08-09T00:00Z, a full hour
SILENCE, RELATED, REMEMBERED = 12, 50, 70  # windows that a window, a feature, a verdict looks back
RULES = Rules(
    lookback=(RELATED + REMEMBERED) * WINDOW, silence=SILENCE * WINDOW, first_hour=START, brief=120 * SECOND
)
WINDOWS = 3 * 720
WEIGHTS = np.random.default_rng(5).integers(1, 2**63, 100, dtype=np.uint64)


def position(moment: int) -> int:
    return (moment - START) // WINDOW


def looking_back(values: Values, windows: int) -> Values:
    """Each place: a number that tells what is there and in the places before it, as far as it looks."""
    seen = np.zeros_like(values)
    for back in range(windows + 1):
        seen[back:] += values[: len(values) - back] * WEIGHTS[back]
    return seen


def windows_of(facts: Values) -> Values:
    return looking_back(facts, SILENCE)


def features_of(windows: Values) -> Values:
    return np.where(windows > 0, looking_back(windows, RELATED), np.uint64(0))


def verdicts_of(features: Values) -> Values:
    return looking_back(features, REMEMBERED)


def nothing() -> Values:
    return np.zeros(WINDOWS, dtype=np.uint64)


@dataclasses.dataclass
class Run:
    """A run under way: what it has done of its three steps is stored."""

    request: Request
    steps: int = 0


@dataclasses.dataclass
class World:
    """Ledger, Dagster, clock and tables around the plan."""

    now: int = START + 5400 * SECOND
    state: State = dataclasses.field(default_factory=State)
    turns: int = 0
    fresh: list[Span] = dataclasses.field(default_factory=list)
    facts: Values = dataclasses.field(default_factory=nothing)
    windows: Values = dataclasses.field(default_factory=nothing)
    features: Values = dataclasses.field(default_factory=nothing)
    verdicts: Values = dataclasses.field(default_factory=nothing)
    flying: dict[str, Run] = dataclasses.field(default_factory=dict)
    outcomes: dict[str, Outcome] = dataclasses.field(default_factory=dict)

    def commit(self, first: int, length: int) -> None:
        self.facts[first : first + length + 1] += np.uint64(1)
        low = START + first * WINDOW
        self.fresh.append((low, low + length * WINDOW + 1))

    def tick(self, seconds: int) -> None:
        self.now += seconds * SECOND
        self.turns += 1
        heard = self.now if self.fresh else 0
        known = dict.fromkeys(self.flying, Outcome.RUNNING) | self.outcomes
        remembered = decode_state(encode_state(self.state))
        done = plan(remembered, News(self.turns, self.fresh, heard, heard), known, self.now, RULES)
        self.fresh, self.outcomes, self.state = [], {}, done.state
        closed = closed_until(self.state.received_until, self.state.committed_at, self.now, RULES)
        assert len(self.state.flights) <= RULES.most_flights
        for request in done.requests:
            assert request.hour <= request.start < request.end <= min(request.hour + HOUR, closed)
            assert request.hour not in [run.request.hour for run in self.flying.values()]
            assert list(request.touched) == inside(request.touched, request.start, request.end)
            self.flying[request.run_key] = Run(request)

    def step(self, which: int) -> None:
        """The next step of a run; after the last it has succeeded."""
        if which >= len(self.flying):
            return
        run = list(self.flying.values())[which]
        here = slice(position(run.request.start), position(run.request.end))
        if run.steps == 0:
            for start, end in run.request.touched:
                piece = slice(position(start), position(end))
                self.windows[piece] = windows_of(self.facts)[piece]
        elif run.steps == 1:
            self.features[here] = features_of(self.windows)[here]
        elif run.steps == 2:
            self.verdicts[here] = verdicts_of(self.features)[here]
            self.outcomes[run.request.run_key] = Outcome.SUCCEEDED
            del self.flying[run.request.run_key]
        run.steps += 1

    def fail(self, which: int) -> None:
        if which < len(self.flying):
            run_key = list(self.flying)[which]
            del self.flying[run_key]
            self.outcomes[run_key] = Outcome.FAILED

    def lose(self, which: int) -> None:
        """The run vanishes: Dagster never says anything of it."""
        if which < len(self.flying):
            del self.flying[list(self.flying)[which]]

    def move_clock(self, seconds: int) -> None:
        self.now += seconds * SECOND

    def settle(self) -> None:
        """Everything succeeds, the clock runs on."""
        while True:
            before = (self.state.touched, self.state.dirty, self.state.owed, self.state.flights)
            for _ in range(3 * len(self.flying)):
                self.step(0)
            self.tick(901)
            if self.now > START + 8 * 3600 * SECOND and not any(before):
                return

    def assert_all_is_judged(self) -> None:
        windows = windows_of(self.facts)
        verdicts = verdicts_of(features_of(windows))
        there = windows > 0
        assert np.array_equal(self.windows, windows)
        assert np.array_equal(self.verdicts[there], verdicts[there])


around_the_hour = st.integers(690, 730)
places = st.integers(0, WINDOWS - 50) | around_the_hour | around_the_hour.map(lambda place: place + 720)
commit = st.tuples(st.just("commit"), places, st.integers(0, 40))
long_commit = st.tuples(st.just("commit"), st.integers(0, 700), st.integers(400, 1400))
tick = st.tuples(st.just("tick"), st.integers(1, 120))
step = st.tuples(st.just("step"), st.integers(0, 2))
trouble = st.tuples(st.sampled_from(["fail", "lose"]), st.integers(0, 2))
clock = st.tuples(st.just("move_clock"), st.integers(-7200, 7200))


def play(events: Sequence[tuple[Any, ...]]) -> World:
    world = World()
    for name, *arguments in events:
        action: Callable[..., None] = getattr(world, name)
        action(*arguments)
    return world


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(commit, commit, tick, tick, tick, step, step, step, step, long_commit, trouble), max_size=60
    )
)
def test_every_verdict_ends_up_right_whatever_happens(events: list[tuple[Any, ...]]) -> None:
    world = play(events)
    world.settle()
    world.assert_all_is_judged()
    assert not world.state.failures


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(commit, tick, tick, step, step, step, trouble, clock), max_size=40))
def test_a_clock_that_is_moved_delays_and_loses_nothing(events: list[tuple[Any, ...]]) -> None:
    world = play(events)
    turns = world.turns
    world.settle()
    world.assert_all_is_judged()
    assert world.turns - turns < 300


def test_the_world_tells_a_verdict_that_was_judged_too_early() -> None:
    """The newest hour first, and what is owed forgotten: the tests above would see it."""
    world = World()
    world.commit(600, 200)
    world.tick(3600)
    assert [run.request.hour for run in world.flying.values()] == [START + HOUR]
    world.state = msgspec.structs.replace(world.state, owed=())
    world.settle()
    with pytest.raises(AssertionError):
        world.assert_all_is_judged()

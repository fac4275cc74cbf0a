"""The plan: nothing dirty is forgotten, no hour is judged twice at once, failures return, the cursor is
small."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from sentinet_dagster.planning import (
    HOUR,
    MOST_FAILURES,
    MOST_SPANS,
    SECOND,
    News,
    Outcome,
    Request,
    Rules,
    Span,
    State,
    closed_until,
    decode_state,
    effective_from,
    encode_state,
    plan,
)

WINDOW = 5 * SECOND
START = 1_723_161_600 * SECOND  # 2024-08-09T00:00Z, a full hour
RULES = Rules(lookback=600 * SECOND, silence=60 * SECOND, first_hour=START)


def at(seconds: float) -> int:
    return START + round(seconds * SECOND)


def heard(low: float, high: float, horizon: int = 1, received: float | None = None) -> News:
    """A batch with facts from `low` to `high`, received and committed when the last of them happened."""
    seen = at(high if received is None else received)
    return News(horizon, [(at(low), at(high))], received_until=seen, committed_at=seen)


def quiet(state: State) -> News:
    return News(state.horizon)


def ranges(requests: list[Request] | tuple[Request, ...]) -> list[tuple[float, float]]:
    return [((r.start - START) / SECOND, (r.end - START) / SECOND) for r in requests]


class TestClosing:
    def test_a_window_closes_once_received_data_is_past_its_end_by_the_lateness(self) -> None:
        assert closed_until(at(6.9), at(7), at(7), RULES) == at(0)
        assert closed_until(at(7.0), at(7), at(7), RULES) == at(5)

    def test_a_quiet_feed_is_closed_by_the_clock(self) -> None:
        assert closed_until(at(3), at(3), at(12.9), RULES) == at(0)
        assert closed_until(at(3), at(3), at(13), RULES) == at(10)

    def test_received_data_from_the_future_closes_nothing_ahead_of_the_clock(self) -> None:
        assert closed_until(at(9_000), at(9), at(10), RULES) == at(5)


class TestLive:
    def test_a_closed_window_is_requested_and_an_open_one_is_not(self) -> None:
        state, requests = plan(State(), heard(0.3, 8.1), {}, at(8.1), RULES)
        assert ranges(requests) == [(0, 5)]
        assert state.horizon == 1

    def test_while_a_run_of_the_hour_is_in_flight_its_hour_waits(self) -> None:
        state, (first,) = plan(State(), heard(0, 8), {}, at(8), RULES)
        state, requests = plan(state, heard(8, 13), {first.run_key: Outcome.RUNNING}, at(13), RULES)
        assert requests == []
        state, requests = plan(state, quiet(state), {first.run_key: Outcome.SUCCEEDED}, at(18), RULES)
        assert ranges(requests) == [(5, 10)]

    def test_late_facts_have_what_looks_back_on_them_judged_again(self) -> None:
        state, (first,) = plan(State(), heard(0, 900), {}, at(900), RULES)
        late = News(2, [(at(101), at(101))], at(905), at(905))
        _, requests = plan(state, late, {first.run_key: Outcome.SUCCEEDED}, at(905), RULES)
        assert ranges(requests) == [
            (100, 900)
        ]  # 100 … 705 by the look-back, 895 … 900 because it has closed now

    def test_late_facts_reach_into_the_next_hour_and_the_next_hour_waits(self) -> None:
        state, requests = plan(State(), heard(3590, 4000), {}, at(4000), RULES)
        assert ranges(requests) == [(3590, 3600)]
        state, requests = plan(state, quiet(state), {requests[0].run_key: Outcome.SUCCEEDED}, at(4005), RULES)
        assert ranges(requests) == [(3600, 3995)]

    def test_a_feed_that_fell_silent_is_judged_until_silence_and_no_further(self) -> None:
        state, (first,) = plan(State(), heard(0, 7), {}, at(7), RULES)
        state, requests = plan(state, quiet(state), {first.run_key: Outcome.SUCCEEDED}, at(3000), RULES)
        assert ranges(requests) == [(5, 70)]
        done = {requests[0].run_key: Outcome.SUCCEEDED}
        assert plan(state, quiet(state), done, at(6000), RULES)[1] == []

    def test_the_newest_hours_come_before_the_past(self) -> None:
        past = News(1, [(at(k * 7200), at(k * 7200 + 100)) for k in range(9)], at(99_999), at(99_999))
        _, requests = plan(State(), past, {}, at(99_999), RULES)
        assert [(r.hour - START) // HOUR for r in requests] == [16, 14]

    def test_facts_before_the_first_partition_are_left_alone(self) -> None:
        old = News(1, [(at(-7200), at(-7000)), (at(-10), at(3))], at(500), at(500))
        _, requests = plan(State(), old, {}, at(500), RULES)
        assert ranges(requests) == [(0, 65)]


class TestFailures:
    def test_a_failed_range_comes_back_after_a_pause_with_what_came_since(self) -> None:
        state, (first,) = plan(State(), heard(0, 8), {}, at(8), RULES)
        state, requests = plan(state, heard(8, 13), {first.run_key: Outcome.FAILED}, at(13), RULES)
        assert requests == []
        state, (second,) = plan(state, quiet(state), {}, at(18), RULES)
        assert (second.attempt, *ranges([second])) == (2, (0, 10))
        assert second.run_key != first.run_key

    def test_the_pause_doubles_and_is_bounded(self) -> None:
        state, (request,) = plan(State(), heard(0, 8), {}, at(8), RULES)
        now, pauses = at(8), []
        for _ in range(9):
            failed_at = now
            state, requests = plan(state, quiet(state), {request.run_key: Outcome.FAILED}, now, RULES)
            while not requests:
                now += SECOND
                state, requests = plan(state, quiet(state), {}, now, RULES)
            (request,) = requests
            pauses.append((now - failed_at) // SECOND)
        assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]

    def test_a_run_that_dagster_never_heard_of_is_taken_for_failed(self) -> None:
        state, _ = plan(State(), heard(0, 8), {}, at(8), RULES)
        state, requests = plan(state, quiet(state), {}, at(67), RULES)
        assert requests == []
        assert state.flights
        state, _ = plan(state, quiet(state), {}, at(68), RULES)
        assert not state.flights
        _, (again,) = plan(state, quiet(state), {}, at(73), RULES)
        assert again.start == at(0)

    def test_an_hour_that_keeps_failing_is_not_waited_for_and_is_made_good_later(self) -> None:
        state, (request,) = plan(State(), heard(3590, 3700), {}, at(3700), RULES)
        now = at(3700)
        for attempt in range(1, RULES.patience + 1):
            state, following = plan(state, quiet(state), {request.run_key: Outcome.FAILED}, now, RULES)
            assert [r.hour for r in following] == ([START + HOUR] if attempt == RULES.patience else [])
            now = state.failures[START].not_before
            state, (request,) = plan(state, quiet(state), {}, now, RULES)
            assert request.hour == START
        outcomes = {run.run_key: Outcome.SUCCEEDED for run in (request, *following)}
        _, (again,) = plan(state, quiet(state), outcomes, now + SECOND, RULES)
        assert again.start == START + HOUR
        assert again.end >= following[0].end


def test_a_model_judges_no_window_that_it_learnt_from_or_that_was_scored_before() -> None:
    early, late = datetime(2024, 8, 9, tzinfo=UTC), datetime(2024, 8, 9, 1, tzinfo=UTC)
    assert effective_from(early, None) == early
    assert effective_from(early, late) == late
    assert effective_from(late, early) == late


def test_the_cursor_survives_its_text() -> None:
    state, (request,) = plan(State(), heard(0, 8), {}, at(8), RULES)
    state, _ = plan(state, heard(8, 20, horizon=7), {request.run_key: Outcome.FAILED}, at(20), RULES)
    assert decode_state(encode_state(state)) == state
    assert decode_state(None) == State()


def test_the_cursor_is_bounded_whatever_is_dirty_and_however_much_fails() -> None:
    scattered = News(1, [(at(k * 9000), at(k * 9000 + 1)) for k in range(30 * MOST_SPANS)], at(1e9), at(1e9))
    state, requests = plan(State(), scattered, {}, at(1e9), RULES)
    now = at(1e9)
    for _ in range(2 * MOST_FAILURES):
        now += 400 * SECOND
        failed = {request.run_key: Outcome.FAILED for request in requests}
        state, requests = plan(state, quiet(state), failed, now, RULES)
    assert len(state.failures) <= MOST_FAILURES
    assert len(state.dirty) <= MOST_SPANS + RULES.most_flights
    assert len(encode_state(state)) < 20_000


# What follows plays any order of arrivals, ticks, successes and failures against a model of the world.

around_the_hour = st.integers(690, 730)
commit = st.tuples(st.just("commit"), st.integers(0, 5 * 720) | around_the_hour, st.integers(0, 40))
tick = st.tuples(st.just("tick"), st.integers(1, 120), st.just(0))
finish = st.tuples(st.just("finish"), st.integers(0, 3), st.sampled_from([Outcome.SUCCEEDED, Outcome.FAILED]))
lose = st.tuples(st.just("lose"), st.integers(0, 3), st.just(0))


@dataclasses.dataclass
class World:
    """Ledger, Dagster and clock around the plan.

    A window owes a run that started after the last commit within its look-back, and after what it looks back
    on was judged because of that commit. `owed`: window → first step that will do, end of what the commit
    reaches.
    """

    state: State = dataclasses.field(default_factory=State)
    now: int = at(6 * 3600)
    steps: int = 0
    fresh: list[Span] = dataclasses.field(default_factory=list)
    facts: set[int] = dataclasses.field(default_factory=set)
    owed: dict[int, dict[int, int]] = dataclasses.field(default_factory=dict)
    flying: dict[str, tuple[Request, int]] = dataclasses.field(default_factory=dict)
    outcomes: dict[str, Outcome] = dataclasses.field(default_factory=dict)

    def commit(self, first: int, length: int) -> None:
        low = START + first * WINDOW
        high = low + length * WINDOW + 1
        self.fresh.append((low, high))
        self.facts.update(range(low, high, WINDOW))

    def tick(self, seconds: int) -> None:
        self.now += seconds * SECOND
        self.steps += 1
        news = News(self.steps, self.fresh, self.now if self.fresh else 0, self.now if self.fresh else 0)
        for low, high in self.fresh:
            reach = high - high % WINDOW + WINDOW + RULES.lookback
            for window in range(low, reach, WINDOW):
                self.owe(window, self.steps, reach)
        self.fresh = []
        known = dict.fromkeys(self.flying, Outcome.RUNNING) | self.outcomes
        self.state, requests = plan(decode_state(encode_state(self.state)), news, known, self.now, RULES)
        self.outcomes = {}
        closed = closed_until(self.state.received_until, self.state.committed_at, self.now, RULES)
        assert len(self.state.flights) <= RULES.most_flights
        for request in requests:
            assert request.hour <= request.start < request.end <= min(request.hour + HOUR, closed)
            assert request.hour not in [other.hour for other, _ in self.flying.values()]
            self.flying[request.run_key] = (request, self.steps)

    def finish(self, which: int, outcome: Outcome) -> None:
        if which < len(self.flying):
            run_key = list(self.flying)[which]
            request, started = self.flying.pop(run_key)
            self.outcomes[run_key] = outcome
            if outcome is Outcome.SUCCEEDED:
                reach = 0
                for window in range(request.start, request.end, WINDOW):
                    debts = self.owed.get(window, {})
                    for step in [step for step in debts if step <= started]:
                        reach = max(reach, debts.pop(step))
                for window in range(request.end, reach, WINDOW):
                    self.owe(window, self.steps + 1, reach)

    def owe(self, window: int, step: int, reach: int) -> None:
        debts = self.owed.setdefault(window, {})
        debts[step] = max(reach, debts.get(step, 0))

    def lose(self, which: int) -> None:
        """The run vanishes: Dagster never says anything of it."""
        if which < len(self.flying):
            del self.flying[list(self.flying)[which]]

    def exists(self, window: int) -> bool:
        return any(window - back * WINDOW in self.facts for back in range(RULES.silence // WINDOW + 1))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(commit, commit, tick, tick, tick, finish, finish, lose), max_size=60))
def test_every_window_is_judged_after_its_last_commit_whatever_happens(
    events: list[tuple[str, int, int]],
) -> None:
    world = World()
    for name, *arguments in events:
        action: Callable[..., None] = getattr(world, name)
        action(*(arguments if name in ("commit", "finish") else arguments[:1]))
    for _ in range(400):  # the dust settles: everything succeeds, the clock runs on
        for _ in range(len(world.flying)):
            world.finish(0, Outcome.SUCCEEDED)
        world.tick(100)
    assert [window for window, debts in world.owed.items() if debts and world.exists(window)] == []
    assert not world.state.flights
    assert not world.state.failures

"""The plan: nothing dirty is forgotten, no hour is judged twice at once, failures return, the cursor is
small."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sentinet_dagster.planning import (
    MOST_FAILURES,
    MOST_SPANS,
    News,
    Outcome,
    Request,
    Rules,
    State,
    closed_until,
    decode_state,
    effective_from,
    encode_state,
    plan,
)
from sentinet_dagster.spans import HOUR, SECOND

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
        state, requests, *_ = plan(State(), heard(0.3, 8.1), {}, at(8.1), RULES)
        assert ranges(requests) == [(0, 5)]
        assert state.horizon == 1

    def test_while_a_run_of_the_hour_is_in_flight_its_hour_waits(self) -> None:
        state, (first,), *_ = plan(State(), heard(0, 8), {}, at(8), RULES)
        state, requests, *_ = plan(state, heard(8, 13), {first.run_key: Outcome.RUNNING}, at(13), RULES)
        assert requests == []
        state, requests, *_ = plan(state, quiet(state), {first.run_key: Outcome.SUCCEEDED}, at(18), RULES)
        assert ranges(requests) == [(5, 10)]

    def test_late_facts_have_what_looks_back_on_them_judged_again(self) -> None:
        state, (first,), *_ = plan(State(), heard(0, 900), {}, at(900), RULES)
        late = News(2, [(at(101), at(101))], at(905), at(905))
        _, requests, *_ = plan(state, late, {first.run_key: Outcome.SUCCEEDED}, at(905), RULES)
        assert ranges(requests) == [(100, 900)]  # … 765 by the look-back, 895 … 900 because it has closed now
        assert requests[0].touched == ((at(100), at(165)), (at(895), at(900)))  # only these are built anew

    def test_late_facts_reach_into_the_next_hour_and_the_next_hour_waits(self) -> None:
        state, requests, *_ = plan(State(), heard(3590, 4000), {}, at(4000), RULES)
        assert ranges(requests) == [(3590, 3600)]
        state, requests, *_ = plan(
            state, quiet(state), {requests[0].run_key: Outcome.SUCCEEDED}, at(4005), RULES
        )
        assert ranges(requests) == [(3600, 3995)]

    def test_a_feed_that_fell_silent_is_judged_until_silence_and_no_further(self) -> None:
        state, (first,), *_ = plan(State(), heard(0, 7), {}, at(7), RULES)
        state, requests, *_ = plan(state, quiet(state), {first.run_key: Outcome.SUCCEEDED}, at(3000), RULES)
        assert ranges(requests) == [(5, 70)]
        done = {requests[0].run_key: Outcome.SUCCEEDED}
        assert plan(state, quiet(state), done, at(6000), RULES)[1] == []

    def test_the_newest_hours_come_before_the_past(self) -> None:
        past = News(1, [(at(k * 7200), at(k * 7200 + 100)) for k in range(9)], at(99_999), at(99_999))
        _, requests, *_ = plan(State(), past, {}, at(99_999), RULES)
        assert [(r.hour - START) // HOUR for r in requests] == [16]  # one slot is for what is live

    def test_facts_before_the_first_partition_are_left_alone(self) -> None:
        old = News(1, [(at(-7200), at(-7000)), (at(-10), at(3))], at(500), at(500))
        _, requests, *_ = plan(State(), old, {}, at(500), RULES)
        assert ranges(requests) == [(0, 65)]


class TestFailures:
    def test_a_failed_range_comes_back_after_a_pause_with_what_came_since(self) -> None:
        state, (first,), *_ = plan(State(), heard(0, 8), {}, at(8), RULES)
        state, requests, *_ = plan(state, heard(8, 13), {first.run_key: Outcome.FAILED}, at(13), RULES)
        assert requests == []
        state, (second,), *_ = plan(state, quiet(state), {}, at(18), RULES)
        assert (second.attempt, *ranges([second])) == (2, (0, 10))
        assert second.run_key != first.run_key

    def test_the_pause_doubles_and_is_bounded(self) -> None:
        state, (request,), *_ = plan(State(), heard(0, 8), {}, at(8), RULES)
        now, pauses = at(8), []
        for _ in range(9):
            failed_at = now
            state, requests, *_ = plan(state, quiet(state), {request.run_key: Outcome.FAILED}, now, RULES)
            while not requests:
                now += SECOND
                state, requests, *_ = plan(state, quiet(state), {}, now, RULES)
            (request,) = requests
            pauses.append((now - failed_at) // SECOND)
        assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]

    def test_a_run_that_dagster_never_heard_of_is_taken_for_failed(self) -> None:
        state, *_ = plan(State(), heard(0, 8), {}, at(8), RULES)
        state, requests, *_ = plan(state, quiet(state), {}, at(67), RULES)
        assert requests == []
        assert state.flights
        state, *_ = plan(state, quiet(state), {}, at(68), RULES)
        assert not state.flights
        _, (again,), *_ = plan(state, quiet(state), {}, at(73), RULES)
        assert again.start == at(0)

    def test_an_hour_that_fails_is_not_waited_for_and_what_looked_back_on_it_is_judged_again(self) -> None:
        state, (request,), *_ = plan(State(), heard(3590, 3700), {}, at(3700), RULES)
        assert ranges([request]) == [(3590, 3600)]
        done = plan(state, quiet(state), {request.run_key: Outcome.FAILED}, at(3700), RULES)
        assert ranges(done.requests) == [(3600, 3695)]
        (early,) = done.requests
        state, (again,), *_ = plan(
            done.state, quiet(state), {early.run_key: Outcome.SUCCEEDED}, at(3705), RULES
        )
        assert (again.hour, again.attempt) == (START, 2)
        done = plan(state, quiet(state), {again.run_key: Outcome.SUCCEEDED}, at(3705), RULES)
        assert (ranges(done.requests), done.requests[0].touched) == (
            [(3600, 3695)],
            (),
        )  # no fact is read again

    def test_an_hour_that_keeps_failing_is_reported_until_it_is_judged(self) -> None:
        state, (request,), *_ = plan(State(), heard(0, 8), {}, at(8), RULES)
        now = at(8)
        reported = []
        for _ in range(RULES.patience + 2):
            done = plan(state, quiet(state), {request.run_key: Outcome.FAILED}, now, RULES)
            reported.append([(each.attempts, each.since, each.run_key) for each in done.failed])
            assert done.judged == []
            now = done.state.failures[START].not_before
            last = request.run_key
            state, (request,), *_ = plan(done.state, quiet(state), {}, now, RULES)
        assert reported[:2] == [[], []]
        assert [[each[:2] for each in failed] for failed in reported[2:]] == [
            [(attempts, at(8))] for attempts in (3, 4, 5)
        ]
        assert reported[-1][0][2] == last
        done = plan(state, quiet(state), {request.run_key: Outcome.SUCCEEDED}, now, RULES)
        assert (done.failed, done.judged, done.state.failures) == ([], [START], {})

    def test_a_clock_that_was_moved_back_makes_no_pause_longer_and_loses_no_run(self) -> None:
        state, (request,), *_ = plan(State(), heard(0, 8), {}, at(8), RULES)
        failed = plan(state, quiet(state), {request.run_key: Outcome.FAILED}, at(8), RULES).state
        assert plan(failed, quiet(state), {}, at(8 - 3600), RULES).state.failures == failed.failures
        assert plan(failed, heard(-3600, -3590), {}, at(8 - 3600), RULES).state.received_until <= at(8 - 3600)
        back = plan(state, quiet(state), {}, at(8 - 3600), RULES).state
        assert back.flights[START].requested_at == at(8 - 3600)
        assert not plan(back, quiet(state), {}, at(8 - 3600 + 60), RULES).state.flights


class TestCatchingUp:
    """Dagster was away, the feed was not."""

    HOURS = 12

    @pytest.mark.parametrize("run_s", [4, 40])
    def test_the_newest_hours_come_first_and_live_is_never_kept_waiting(self, run_s: int) -> None:
        now, end = at(self.HOURS * 3600 + 7), at(self.HOURS * 3600 + 7)
        state = State()
        news = News(1, [(at(0), now)], now, now)
        ends: dict[str, int] = {}
        tried: list[int] = []
        longest_wait = 0
        live = START + self.HOURS * HOUR
        for turn in range(2, 400):
            over = {key: Outcome.SUCCEEDED for key, moment in ends.items() if moment <= now}
            state, requests, *_ = plan(state, news, dict.fromkeys(ends, Outcome.RUNNING) | over, now, RULES)
            ends = {key: moment for key, moment in ends.items() if key not in over}
            for request in requests:
                is_long = request.end - request.start > RULES.brief
                ends[request.run_key] = now + (run_s if is_long else 2) * SECOND
                tried.append(request.hour)
            waits = [low for low, _ in state.dirty if low >= live]
            closed = closed_until(state.received_until, state.committed_at, now, RULES)
            if live not in state.flights and waits:
                longest_wait = max(longest_wait, closed - waits[0])
            end, now = now, now + 5 * SECOND
            news = News(turn, [(end, now)], now, now)
        first_tries = list(dict.fromkeys(tried))
        assert first_tries == sorted(first_tries, reverse=True)
        assert len(first_tries) == self.HOURS + 1
        assert not state.owed
        assert longest_wait <= 5 * SECOND
        assert max(low for low, _ in state.dirty) >= live


def test_a_model_judges_no_window_that_it_learnt_from_or_that_was_scored_before() -> None:
    early, late = datetime(2024, 8, 9, tzinfo=UTC), datetime(2024, 8, 9, 1, tzinfo=UTC)
    assert effective_from(early, None) == early
    assert effective_from(early, late) == late
    assert effective_from(late, early) == late


def test_the_cursor_survives_its_text() -> None:
    state, (request,), *_ = plan(State(), heard(0, 8), {}, at(8), RULES)
    state, *_ = plan(state, heard(8, 20, horizon=7), {request.run_key: Outcome.FAILED}, at(20), RULES)
    assert decode_state(encode_state(state)) == state
    assert decode_state(None) == State()


def test_the_cursor_is_bounded_whatever_is_dirty_and_however_much_fails() -> None:
    scattered = News(1, [(at(k * 9000), at(k * 9000 + 1)) for k in range(30 * MOST_SPANS)], at(1e9), at(1e9))
    state, requests, *_ = plan(State(), scattered, {}, at(1e9), RULES)
    now = at(1e9)
    for _ in range(2 * MOST_FAILURES):
        now += 400 * SECOND
        failed = {request.run_key: Outcome.FAILED for request in requests}
        state, requests, *_ = plan(state, quiet(state), failed, now, RULES)
    assert len(state.failures) <= MOST_FAILURES
    assert len(state.dirty) <= MOST_SPANS + RULES.most_flights
    assert len(encode_state(state)) < 20_000

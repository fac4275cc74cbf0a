"""When to look again: when the next window closes, at once behind a run, never for what tells nothing."""

from __future__ import annotations

import msgspec

from sentinet_dagster.pacing import closing_at, next_turn_at
from sentinet_dagster.planning import Failure, Flight, Rules, State
from sentinet_dagster.spans import HOUR, SECOND

START = 1_723_161_600 * SECOND  # 2024-08-09T00:00Z, a full hour
RULES = Rules(lookback=600 * SECOND, silence=60 * SECOND, first_hour=START, lateness=2 * SECOND)


def at(seconds: float) -> int:
    return START + round(seconds * SECOND)


LIVE = State(received_until=at(6), committed_at=at(6.1), dirty=((at(0), at(65)),))


def test_a_window_closes_when_received_data_will_be_past_it() -> None:
    assert next_turn_at(LIVE, at(6.3), RULES) == at(7.3)  # data is 0.3 s behind: at 7.0 of its clock


def test_data_that_is_late_already_may_come_at_any_moment() -> None:
    late = msgspec.structs.replace(LIVE, received_until=at(6.9))
    assert next_turn_at(late, at(9), RULES) == at(9.1)


def test_behind_a_run_of_its_hour_or_the_one_before_any_moment_may_do() -> None:
    closed = msgspec.structs.replace(
        LIVE, received_until=at(HOUR / SECOND + 7), dirty=((at(3600), at(3665)),)
    )
    now = at(3607.2)
    flight = Flight("run", at(3590), at(3600), 1, at(3605))
    for hour in (START, START + HOUR):
        assert next_turn_at(msgspec.structs.replace(closed, flights={hour: flight}), now, RULES) == now


def test_what_rests_after_a_failure_is_not_waited_for() -> None:
    failed = msgspec.structs.replace(LIVE, received_until=at(7), failures={START: Failure(1, at(100))})
    assert next_turn_at(failed, at(7.2), RULES) is None


def test_nothing_dirty_and_data_that_is_not_live_tell_nothing() -> None:
    assert next_turn_at(msgspec.structs.replace(LIVE, dirty=()), at(6.3), RULES) is None
    assert next_turn_at(LIVE, at(16), RULES) is None


def closing(state: State, received: float, now: float) -> int | None:
    return closing_at(state, at(received), at(received), at(now), RULES)


def test_a_tick_waits_for_the_next_window_even_where_one_is_closed_already() -> None:
    assert closing(LIVE, 6, 6.3) == at(7.3)
    assert closing(LIVE, 9.8, 10) == at(12.2)  # the window up to 5 is closed and dirty: it waits along


def test_a_tick_does_not_wait_before_a_backlog_or_where_data_is_not_live() -> None:
    assert closing(LIVE, 80, 80.1) is None
    assert closing(LIVE, 6, 16) is None
    assert closing(State(), 6, 6.3) == at(7.3)

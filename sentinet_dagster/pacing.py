"""When the next turn on the plan is worth its price. Pure: the plan's memory and a clock in, a moment out."""

from __future__ import annotations

from sentinet_dagster.planning import Rules, State, closed_until
from sentinet_dagster.spans import HOUR

__all__ = ["closing_at", "next_turn_at"]

_BACKLOG_WINDOWS = 12


def closing_at(state: State, received_until: int, committed_at: int, now: int, rules: Rules) -> int | None:
    """When the next window closes, if data goes on as it came; for a tick that can wait for it.

    None: it is not worth waiting. Data is not live, or more than a minute of closed windows waits already.

    Args:
        state: what the last turn left.
        received_until, committed_at: of the newest batch.
        now: the database's clock, microseconds since 1970 UTC.
        rules: the settings of the plan.
    """
    behind = now - received_until
    closed = closed_until(received_until, committed_at, now, rules)
    if behind >= rules.quiet_after:
        return None
    if state.dirty and state.dirty[0][0] < closed - _BACKLOG_WINDOWS * rules.window:
        return None
    return max(closed + rules.window + rules.lateness + max(behind, 0), now)


def next_turn_at(state: State, now: int, rules: Rules) -> int | None:
    """The first moment at which a turn may request a run, if data goes on as it came; `now` if any moment.

    None: there is nothing to wait for, or no telling. Nothing is dirty; what is dirty rests after a failure;
    or the newest data is not live, as in a replay, so that its clock does not run with ours.

    Args:
        state: what the last turn left.
        now: the database's clock, microseconds since 1970 UTC.
        rules: the settings of the plan.
    """
    behind = now - state.received_until
    if not state.dirty or behind >= rules.quiet_after:
        return None
    closed = closed_until(state.received_until, state.committed_at, now, rules)
    first = state.dirty[0][0]
    if first < closed:
        hour = first - first % HOUR
        is_judged_now = hour in state.flights or hour - HOUR in state.flights
        return now if is_judged_now else None
    closes = first + rules.window + rules.lateness  # on the clock of received data, which is `behind` ours
    return max(closes + max(behind, 0), now)

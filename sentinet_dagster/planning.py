"""The plan behind sensor `on_new_batches`: which windows must be judged, by which run, and when. Pure.

What lives here: the memory of the plan and the arithmetic on it. What never does: clock, database, Dagster.

The rule that everything follows from: *a window is dirty once facts were committed inside the look-back that
ends with it; it stays dirty until a run that started after that commit has succeeded.* So

    new batch        touches the windows of its facts, and the `silence` after them: these are built anew; and
                     dirties what looks back on them: `lookback` more, as far as windows exist
    run requested    takes the closed dirty windows of one hour; no second run of it until the first has ended
    run failed       its windows are dirty again, after a pause that doubles; nothing is ever skipped; after
                     `patience` failures it is reported, and keeps being tried
    run succeeded    nothing: what was committed meanwhile has dirtied its windows again by itself

An hour's first windows look back on the hour before. They wait for it where that takes a moment: at the turn
of the hour. They do not wait for an hour that fails, nor for one with much to judge: after a downtime the
newest hour comes first, then the past, and the past never takes the last slot. What was judged before what it
looks back on is *owed*: it stays in force, and is judged again once that is done.

Times are int microseconds since 1970 UTC. Spans are half-open and aligned to windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from sentinet_dagster.spans import HOUR, SECOND, Span, by_hour, inside, merged, touches, without

__all__ = [
    "FailedRange",
    "Failure",
    "Flight",
    "News",
    "Outcome",
    "Plan",
    "Request",
    "Rules",
    "Span",
    "State",
    "closed_until",
    "decode_state",
    "effective_from",
    "encode_state",
    "plan",
]

MOST_SPANS = (
    256  # bounds the memory; beyond it the nearest spans become one, which judges too much, never too little
)
MOST_PIECES = 8  # bounds a run's tags likewise
MOST_FAILURES = (
    64  # bounds the memory; while so many hours fail, the cause is not theirs: no further hour is tried
)


class Outcome(StrEnum):
    """What became of a requested run. A run that Dagster does not know (yet) has no outcome."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # or cancelled: its windows are not judged


class Rules(msgspec.Struct, frozen=True):
    """The settings of the plan. Spans of time in microseconds."""

    lookback: int  # how long after a window it matters to a verdict
    silence: int  # no window exists further than this from the fact before it
    first_hour: int  # facts before it have no partition: they wait for an earlier SENTINET_PARTITIONS_START
    window: int = 5 * SECOND
    lateness: int = 2 * SECOND  # a window is closed when received data is this far past its end
    quiet_after: int = 10 * SECOND  # no batch for so long: windows close by the clock
    most_flights: int = 2  # hours judged at once: live, and one of the past
    brief: int = 300 * SECOND  # a range no longer than this is soon judged: the hour after it waits
    patience: int = 3  # failures in a row after which a range is reported
    pause: int = 5 * SECOND  # after the first failure; doubles with each
    longest_pause: int = 300 * SECOND
    lost_after: int = 60 * SECOND  # a requested run that Dagster still does not know is taken for failed
    late_horizon: int = 24 * HOUR  # facts received later than this after their time are left to a backfill


class News(msgspec.Struct, frozen=True):
    """What the ledger says since the horizon that was asked from."""

    horizon: int  # every transaction below it has been read
    touched: Sequence[Span] = ()  # spans of `time` with new facts, as stored; the end may be included or not
    received_until: int = 0  # greatest received_at; 0: no new batch
    committed_at: int = 0  # of the newest batch; 0: no new batch
    # What came beyond `Rules.late_horizon` is not news: it is counted and left to a backfill.


class Flight(msgspec.Struct, frozen=True, array_like=True):
    """A run that was requested and has not been seen to end."""

    run_key: str
    start: int
    end: int
    attempt: int  # 1 for the first
    requested_at: int
    touched: tuple[Span, ...] = ()


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """How often the newest runs of an hour have failed, and until when it rests."""

    attempts: int
    not_before: int
    since: int = 0


class State(msgspec.Struct, frozen=True):
    """The memory, kept in ops.plans (see `claims.py`). Hours are the microsecond at which they start."""

    horizon: int = 0
    received_until: int = 0
    committed_at: int = 0
    frontier: int = 0  # no fact has a `time` from here on
    touched: tuple[Span, ...] = ()  # to be built anew from facts; all of it is dirty
    dirty: tuple[Span, ...] = ()  # to be judged; ascending, apart from one another
    owed: tuple[Span, ...] = ()  # judged before what they look back on: dirty once that is done
    flights: dict[int, Flight] = {}
    failures: dict[int, Failure] = {}


class Request(msgspec.Struct, frozen=True):
    """A run to launch: the windows [start, end) of the hour `hour`."""

    run_key: str
    hour: int
    start: int
    end: int
    attempt: int
    touched: tuple[Span, ...] = ()  # the windows in it to be built anew from facts; the others are as stored


class FailedRange(msgspec.Struct, frozen=True):
    """A range of an hour that keeps failing."""

    hour: int
    start: int
    end: int
    attempts: int
    since: int  # the first failure was seen
    run_key: str  # the newest failed run


class Plan(NamedTuple):
    """What a turn came to."""

    state: State  # to keep
    requests: Sequence[Request] = ()  # runs to launch, in this order
    failed: Sequence[FailedRange] = ()  # failed once more, `patience` times or more: to be reported
    judged: Sequence[int] = ()  # hours with a run that succeeded: what was reported of them is mended


def encode_state(state: State) -> str:
    """The memory's text. Its size is bounded by `MOST_SPANS`, `MOST_FAILURES` and `Rules.most_flights`."""
    return msgspec.json.encode(state).decode()


def decode_state(text: str | None) -> State:
    """The state of a text; the empty state where there is none.

    Raises:
        msgspec.ValidationError: the text is not a memory of this version. Reset the cursor: all facts are
        judged anew.
    """
    return msgspec.json.decode(text, type=State) if text else State()


def closed_until(received_until: int, committed_at: int, now: int, rules: Rules) -> int:
    """Windows that end at or before this moment are closed.

    The clock is that of received data; when no batch has come for `quiet_after`, it is the database's.
    Received data never runs ahead of `now`: were the daemon's clock wrong, windows would be judged before
    they are whole.
    """
    quiet = now - committed_at >= rules.quiet_after
    until = (now if quiet else min(received_until, now)) - rules.lateness
    return until - until % rules.window


def effective_from(trained_through: datetime, scored_until: datetime | None) -> datetime:
    """The first window that a new model judges: none that it learnt from, and none that was judged before.

    Args:
        trained_through: the end of the newest window learnt from.
        scored_until: the end of the newest window scored so far, looked up while no run is scoring.

    So whoever judges a window later, a backfill too, chooses the model that judged it first.
    """
    return trained_through if scored_until is None else max(trained_through, scored_until)


def plan(state: State, news: News, outcomes: Mapping[str, Outcome], now: int, rules: Rules) -> Plan:
    """One turn: learn what became of the runs in flight, what is dirty now, and what to request.

    Args:
        state: what the last turn left.
        news: the ledger since `state.horizon`.
        outcomes: run key → outcome, for the runs in flight that Dagster knows.
        now: the database's clock.
        rules: the settings.
    """
    state, failed, judged = _settle(state, outcomes, now, rules)
    state = _release(_observe(state, news, now, rules), rules)
    state, requests = _request(state, now, rules)
    return Plan(state, requests, failed, judged)


def _settle(
    state: State, outcomes: Mapping[str, Outcome], now: int, rules: Rules
) -> tuple[State, list[FailedRange], list[int]]:
    """Take the ended runs out of the air."""
    flights, failures = dict(state.flights), dict(state.failures)
    touched, dirty = list(state.touched), list(state.dirty)
    failed: list[FailedRange] = []
    judged: list[int] = []
    for hour, flight in state.flights.items():
        outcome = outcomes.get(flight.run_key)
        if outcome is Outcome.SUCCEEDED:
            del flights[hour]
            failures.pop(hour, None)
            judged.append(hour)
        elif outcome is Outcome.FAILED or (outcome is None and now - flight.requested_at >= rules.lost_after):
            del flights[hour]
            failures[hour] = failure = _failure(flight, failures.get(hour), now, rules)
            touched += flight.touched
            dirty.append((flight.start, flight.end))
            if failure.attempts >= rules.patience:
                failed.append(_failed_range(hour, flight, failure))
        elif outcome is None and now < flight.requested_at:  # the clock was moved back
            flights[hour] = msgspec.structs.replace(flight, requested_at=now)
    state = msgspec.structs.replace(state, flights=flights, failures=failures)
    return _with_dirty(state, touched, dirty), failed, judged


def _failure(flight: Flight, before: Failure | None, now: int, rules: Rules) -> Failure:
    pause = min(rules.pause << min(flight.attempt - 1, 30), rules.longest_pause)
    return Failure(flight.attempt, now + pause, now if before is None else before.since)


def _failed_range(hour: int, flight: Flight, failure: Failure) -> FailedRange:
    return FailedRange(hour, flight.start, flight.end, failure.attempts, failure.since, flight.run_key)


def _observe(state: State, news: News, now: int, rules: Rules) -> State:
    """Dirty what the new batches touched and what looks back on it."""
    window = rules.window
    found = [
        (max(low - low % window, rules.first_hour), high - high % window + window)
        for low, high in news.touched
        if high >= rules.first_hour
    ]
    frontier = max([state.frontier, *(high for _, high in found)])
    state = msgspec.structs.replace(
        state,
        horizon=news.horizon,
        # What seems to come from the future comes from a clock that is wrong, or was.
        received_until=min(max(state.received_until, news.received_until), now),
        committed_at=min(max(state.committed_at, news.committed_at), now),
        frontier=frontier,
    )

    def reaching(after: int) -> list[Span]:
        return [(low, min(high + after, frontier + rules.silence)) for low, high in found]

    # Whether a window exists depends on the facts up to `silence` before it.
    touched, dirty = reaching(rules.silence), reaching(rules.silence + rules.lookback)
    return _with_dirty(state, [*state.touched, *touched], [*state.dirty, *dirty])


def _release(state: State, rules: Rules) -> State:
    """Dirty what is owed and has its past judged now."""
    unsettled = _unsettled(state)
    free = [span for span in state.owed if not touches(unsettled, span[0] - rules.lookback, span[0])]
    state = msgspec.structs.replace(state, owed=without(state.owed, free))
    return _with_dirty(state, state.touched, [*state.dirty, *free])


def _request(state: State, now: int, rules: Rules) -> tuple[State, Sequence[Request]]:
    """Choose the hours to judge now, the newest first."""
    closed = closed_until(state.received_until, state.committed_at, now, rules)
    ready = by_hour(inside(state.dirty, 0, closed))
    waiting = _waiting(ready, state, now, rules)
    flying = {hour: (flight.start, flight.end) for hour, flight in state.flights.items()}
    past = [hour for hour, span in flying.items() if _is_past(hour, span, closed, rules)]
    slots, past_slots = rules.most_flights - len(flying), rules.most_flights - 1 - len(past)
    requests: list[Request] = []
    for hour in sorted(ready, reverse=True):
        is_past = _is_past(hour, ready[hour], closed, rules)
        if slots > 0 and (past_slots > 0 or not is_past) and waiting.get(hour) is False:
            requests.append(_request_for(hour, ready[hour], state, now))
            slots -= 1
            past_slots -= is_past
    return _requested(state, requests, now, rules), requests


def _is_past(hour: int, span: Span, closed: int, rules: Rules) -> bool:
    """Whether a run of the hour must leave a slot to live judgement: not that itself, nor its brief end of an
    hour that the next one waits for."""
    live = (closed - 1) - (closed - 1) % HOUR
    return hour < live - HOUR or (hour < live and span[1] - span[0] > rules.brief)


def _waiting(ready: Mapping[int, Span], state: State, now: int, rules: Rules) -> dict[int, bool]:
    """Of the hours that may be judged: whether each waits for the hour before it, which is briefly judged.

    An hour does not wait for one that waits itself: a chain of hours would never come to its newest.
    """
    waiting: dict[int, bool] = {}
    for hour in sorted(ready):
        if _may_start(hour, state, now, rules):
            before = state.flights.get(hour - HOUR)
            if before is not None:
                waiting[hour] = before.attempt == 1 and before.end - before.start <= rules.brief
            else:
                start, end = ready.get(hour - HOUR, (0, HOUR))
                waiting[hour] = end - start <= rules.brief and waiting.get(hour - HOUR) is False
    return waiting


def _may_start(hour: int, state: State, now: int, rules: Rules) -> bool:
    """Whether nothing of the hour is in flight, and it does not rest after a failure."""
    failure = state.failures.get(hour)
    if hour in state.flights or (failure is None and len(state.failures) >= MOST_FAILURES):
        return False
    # A clock that was moved back makes no pause longer.
    return failure is None or not failure.not_before - rules.longest_pause <= now < failure.not_before


def _request_for(hour: int, span: Span, state: State, now: int) -> Request:
    """A run of all that is dirty in the hour. What lies between is judged too: the judging is cheap, only the
    building from facts is not."""
    failure = state.failures.get(hour)
    attempt = 1 if failure is None else failure.attempts + 1
    touched = merged(inside(state.touched, *span), MOST_PIECES)
    # `now` makes the key new even after the memory was reset: Dagster launches a key only once, for ever.
    return Request(f"judge-{hour // SECOND}-{attempt}-{now}", hour, *span, attempt, touched)


def _requested(state: State, requests: Sequence[Request], now: int, rules: Rules) -> State:
    """The state with the requested runs in flight."""
    taken = [(request.start, request.end) for request in requests]
    unsettled = _unsettled(state)
    owed = without(state.owed, taken)
    for start, end in taken:
        before = inside(unsettled, start - rules.lookback, start)
        if before:  # judged before what it looks back on
            owed += ((start, min(end, max(high for _, high in before) + rules.lookback)),)
    flights = {
        request.hour: Flight(
            request.run_key, request.start, request.end, request.attempt, now, request.touched
        )
        for request in requests
    }
    return msgspec.structs.replace(
        state,
        flights={**state.flights, **flights},
        touched=without(state.touched, taken),
        dirty=without(state.dirty, taken),
        owed=merged(owed, MOST_SPANS),
    )


def _unsettled(state: State) -> list[Span]:
    """What is dirty or being judged."""
    return [*state.dirty, *((flight.start, flight.end) for flight in state.flights.values())]


def _with_dirty(state: State, touched: Iterable[Span], dirty: Iterable[Span]) -> State:
    """The state with these windows to build and to judge, few enough to remember."""
    few = merged(touched, MOST_SPANS)
    return msgspec.structs.replace(state, touched=few, dirty=merged([*dirty, *few], MOST_SPANS))

"""The plan behind sensor `on_new_batches`: which windows must be judged, by which run, and when. Pure.

What lives here: the memory of the plan and the arithmetic on it. What never does: clock, database, Dagster.

The rule that everything follows from: *a window is dirty once facts were committed inside the look-back that
ends with it; it stays dirty until a run that started after that commit has succeeded.* So

    new batch        dirties the windows it touched and, as later windows look back on them, `lookback` after
                     them, as far as windows exist: up to `silence` after the newest fact
    run requested    takes the closed dirty windows of one hour; no second run of it until the first has ended
    run failed       its windows are dirty again, after a pause that doubles; nothing is ever skipped
    run succeeded    nothing: what was committed meanwhile has dirtied its windows again by itself

An hour waits for the hour before it, as its first windows look back there. An hour that keeps failing is not
waited for; once it succeeds, what looked back on it is judged anew.

Times are int microseconds since 1970 UTC. Spans are half-open and aligned to windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

import msgspec

__all__ = [
    "Flight",
    "News",
    "Outcome",
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

Span = tuple[int, int]

SECOND = 1_000_000
HOUR = 3600 * SECOND
MOST_SPANS = (
    256  # bounds the cursor; beyond it the nearest spans become one, which judges too much, never too little
)
MOST_FAILURES = (
    64  # bounds the cursor; while so many hours fail, the cause is not theirs: no further hour is tried
)


class Outcome(StrEnum):
    """What became of a requested run. A run that Dagster does not know (yet) has no outcome."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # or cancelled: its windows are not judged


class Rules(msgspec.Struct, frozen=True):
    """The settings of the plan. Spans of time in microseconds."""

    lookback: int  # how long after a fact its window matters to a verdict
    silence: int  # no window exists further than this from the fact before it
    first_hour: int  # facts before it have no partition: they wait for an earlier SENTINET_PARTITIONS_START
    window: int = 5 * SECOND
    lateness: int = 2 * SECOND  # a window is closed when received data is this far past its end
    quiet_after: int = 10 * SECOND  # no batch for so long: windows close by the clock
    most_flights: int = 2  # hours judged at once: live, and one of the past
    patience: int = 3  # failures after which the next hour no longer waits
    pause: int = 5 * SECOND  # after the first failure; doubles with each
    longest_pause: int = 300 * SECOND
    lost_after: int = 60 * SECOND  # a requested run that Dagster still does not know is taken for failed


class News(msgspec.Struct, frozen=True):
    """What the ledger says since the horizon that was asked from."""

    horizon: int  # every transaction below it has been read
    touched: Sequence[Span] = ()  # spans of `time` with new facts, as stored; the end may be included or not
    received_until: int = 0  # greatest received_at; 0: no new batch
    committed_at: int = 0  # of the newest batch; 0: no new batch


class Flight(msgspec.Struct, frozen=True, array_like=True):
    """A run that was requested and has not been seen to end."""

    run_key: str
    start: int
    end: int
    attempt: int  # 1 for the first
    requested_at: int


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """How often the newest runs of an hour have failed, and until when it rests."""

    attempts: int
    not_before: int


class State(msgspec.Struct, frozen=True):
    """The memory, kept in ops.plans (see `claims.py`). Hours are the microsecond at which they start."""

    horizon: int = 0
    received_until: int = 0
    committed_at: int = 0
    frontier: int = 0  # no fact has a `time` from here on
    dirty: tuple[Span, ...] = ()  # ascending, apart from one another
    flights: dict[int, Flight] = {}
    failures: dict[int, Failure] = {}


class Request(msgspec.Struct, frozen=True):
    """A run to launch: the windows [start, end) of the hour `hour`."""

    run_key: str
    hour: int
    start: int
    end: int
    attempt: int


def encode_state(state: State) -> str:
    """The cursor's text. Its size is bounded by `MOST_SPANS`, `MOST_FAILURES` and `Rules.most_flights`."""
    return msgspec.json.encode(state).decode()


def decode_state(cursor: str | None) -> State:
    """The state of a cursor; the empty state where there is none.

    Raises:
        msgspec.ValidationError: the text is not a cursor of this version. Reset the cursor: all facts are
        judged anew.
    """
    return msgspec.json.decode(cursor, type=State) if cursor else State()


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


def plan(
    state: State, news: News, outcomes: Mapping[str, Outcome], now: int, rules: Rules
) -> tuple[State, Sequence[Request]]:
    """One tick: learn what became of the runs in flight, what is dirty now, and what to request.

    Args:
        state: what the last tick left.
        news: the ledger since `state.horizon`.
        outcomes: run key → outcome, for the runs in flight that Dagster knows.
        now: the database's clock.
        rules: the settings.

    Returns:
        The state to keep, and the runs to launch; their order is that of launching.
    """
    state = _settle(state, outcomes, now, rules)
    state = _observe(state, news, rules)
    return _request(state, now, rules)


def _settle(state: State, outcomes: Mapping[str, Outcome], now: int, rules: Rules) -> State:
    """Take the ended runs out of the air."""
    flights, failures, dirty = dict(state.flights), dict(state.failures), list(state.dirty)
    for hour, flight in state.flights.items():
        outcome = outcomes.get(flight.run_key)
        lost = outcome is None and now - flight.requested_at >= rules.lost_after
        if outcome is Outcome.SUCCEEDED:
            del flights[hour]
            failures.pop(hour, None)
            if flight.attempt > rules.patience:  # the hours after it did not wait
                dirty.append((flight.end, flight.end + rules.lookback))
        elif outcome is Outcome.FAILED or lost:
            del flights[hour]
            pause = min(rules.pause << min(flight.attempt - 1, 30), rules.longest_pause)
            failures[hour] = Failure(flight.attempt, now + pause)
            dirty.append((flight.start, flight.end))
    return msgspec.structs.replace(state, flights=flights, failures=failures, dirty=_merged(dirty))


def _observe(state: State, news: News, rules: Rules) -> State:
    """Dirty what the new batches touched and what looks back on it."""
    window = rules.window
    touched = [
        (low - low % window, high - high % window + window)
        for low, high in news.touched
        if high >= rules.first_hour
    ]
    frontier = max([state.frontier, *(high for _, high in touched)])
    spans = [
        (max(low, rules.first_hour), min(high + rules.lookback, frontier + rules.silence))
        for low, high in touched
    ]
    return msgspec.structs.replace(
        state,
        horizon=news.horizon,
        received_until=max(state.received_until, news.received_until),
        committed_at=max(state.committed_at, news.committed_at),
        frontier=frontier,
        dirty=_merged([*state.dirty, *spans]),
    )


def _request(state: State, now: int, rules: Rules) -> tuple[State, Sequence[Request]]:
    """Choose the hours to judge now: each chain of hours from its first, the newest chains before the
    past."""
    closed = closed_until(state.received_until, state.committed_at, now, rules)
    ready = _by_hour(_clipped(state.dirty, closed))
    free = rules.most_flights - len(state.flights)
    requests: list[Request] = []
    for hour in sorted(ready, reverse=True):
        if len(requests) >= free:
            break
        if _may_start(hour, ready, state, now, rules):
            requests.append(_request_for(hour, ready[hour], state, now))
    flights = {
        request.hour: Flight(request.run_key, request.start, request.end, request.attempt, now)
        for request in requests
    }
    dirty = _without(state.dirty, [(request.start, request.end) for request in requests])
    return msgspec.structs.replace(state, flights={**state.flights, **flights}, dirty=dirty), requests


def _may_start(hour: int, ready: Mapping[int, Span], state: State, now: int, rules: Rules) -> bool:
    """Whether nothing of the hour is in flight, it does not rest after a failure, and the hour before is
    judged."""
    failure, before = state.failures.get(hour), state.failures.get(hour - HOUR)
    if hour < rules.first_hour or hour in state.flights:
        return False
    if failure is None and len(state.failures) >= MOST_FAILURES:
        return False
    if failure is not None and now < failure.not_before:
        return False
    out_of_patience = before is not None and before.attempts >= rules.patience
    return out_of_patience or (hour - HOUR not in ready and hour - HOUR not in state.flights)


def _request_for(hour: int, span: Span, state: State, now: int) -> Request:
    failure = state.failures.get(hour)
    attempt = 1 if failure is None else failure.attempts + 1
    # `now` makes the key new even after the cursor was reset: Dagster launches a key only once, for ever.
    return Request(f"judge-{hour // SECOND}-{attempt}-{now}", hour, *span, attempt)


def _by_hour(spans: Iterable[Span]) -> dict[int, Span]:
    """Hour → the range from its first to its last window in `spans`.

    What lies between is judged too: it is rarely more than the look-back, and one run is cheaper than two.
    """
    hours: dict[int, Span] = {}
    for start, end in spans:
        hour = start - start % HOUR
        while hour < end:
            low, high = max(start, hour), min(end, hour + HOUR)
            known = hours.get(hour, (low, high))
            hours[hour] = (min(low, known[0]), max(high, known[1]))
            hour += HOUR
    return hours


def _clipped(spans: Iterable[Span], end: int) -> list[Span]:
    """The parts of `spans` before `end`."""
    return [(low, min(high, end)) for low, high in spans if low < end]


def _without(spans: Sequence[Span], taken: Sequence[Span]) -> tuple[Span, ...]:
    """`spans` minus `taken`."""
    for start, end in taken:
        spans = [
            part
            for low, high in spans
            for part in ((low, min(high, start)), (max(low, end), high))
            if part[0] < part[1]
        ]
    return tuple(spans)


def _merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """`spans` ascending, with neighbours joined, and at most `MOST_SPANS` of them."""
    merged: list[Span] = []
    for low, high in sorted(spans):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    if len(merged) > MOST_SPANS:
        by_gap = sorted(range(1, len(merged)), key=lambda i: merged[i][0] - merged[i - 1][1])
        cuts = [0, *sorted(by_gap[1 - MOST_SPANS :]), len(merged)]
        merged = [(merged[low][0], merged[high - 1][1]) for low, high in pairwise(cuts)]
    return tuple(merged)

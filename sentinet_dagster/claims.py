"""Who judges what: the plan's memory in the database, and taking turns on it.

What lives here: one turn. Read the memory and the ledger, let `planning.py` decide, write the memory and what
an operator must know, all in one transaction that nobody else's overlaps. What never does: deciding,
launching, waiting, telling anybody.

The sensor and the push listener both take turns, in any order, and each launches what its own turn
requested. A turn that does not commit has claimed nothing. One that has committed, but whose runs were never
launched (its process died in between), is found by `unlaunched`: the sensor launches these again under
their run keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import psycopg
from psycopg.rows import DictRow

from sentinet_dagster.planning import (
    FailedRange,
    News,
    Outcome,
    Request,
    Rules,
    State,
    decode_state,
    encode_state,
    plan,
)
from sentinet_dagster.queries import queries
from sentinet_dagster.spans import in_microseconds, moment

__all__ = [
    "LAUNCHED_WITHIN_S",
    "Explain",
    "Glance",
    "Outcomes",
    "ReportedRange",
    "RunFailure",
    "Turn",
    "glance",
    "take_turn",
]

_PLAN = "judge_windows"
LAUNCHED_WITHIN_S = 4.0  # whoever claims launches at once, in tenths of a second; later the sensor does

Outcomes = Callable[[Sequence[str]], Mapping[str, Outcome]]
"""Run keys → what became of those runs that were launched."""


class RunFailure(NamedTuple):
    """Why a run has failed."""

    run_id: str | None  # None: Dagster never heard of it
    error: str


Explain = Callable[[Sequence[str]], Mapping[str, RunFailure]]
"""Run keys → why these runs have failed."""


class ReportedRange(NamedTuple):
    """A row of surveillance.failed_ranges."""

    hour: datetime
    start: datetime
    end: datetime
    attempts: int
    error: str  # "" of one that is resolved
    run_id: str | None


class Turn(NamedTuple):
    """What a turn came to."""

    state: State
    requests: Sequence[Request]  # claimed by this turn: launch them
    unlaunched: Sequence[Request]  # claimed by an earlier one, long enough ago, and not launched
    now: int  # the database's clock, microseconds since 1970 UTC
    failed: Sequence[ReportedRange] = ()  # reported now, or again
    resolved: Sequence[ReportedRange] = ()  # reported earlier, and judged after all
    late: Sequence[tuple[datetime, datetime]] = ()  # facts of these spans came too late: left to a backfill


class Glance(NamedTuple):
    """How things stand between turns: the memory, and how far data has come. Microseconds since 1970 UTC."""

    state: State
    received_until: int
    committed_at: int
    now: int


def glance(connection: psycopg.Connection[DictRow]) -> Glance:
    """Look without claiming anything, and without waiting for somebody's turn.

    Raises:
        psycopg.OperationalError: the database is away.
    """
    known = _fetch(connection, "plan_state", plan=_PLAN)
    (edge,) = _fetch(connection, "ledger_edge")
    return Glance(
        decode_state(known[0]["state"] if known else None),
        _optional(edge["received_until"]),
        _optional(edge["committed_at"]),
        in_microseconds(edge["clock"]),
    )


def _unexplained(run_keys: Sequence[str]) -> Mapping[str, RunFailure]:  # noqa: ARG001
    return {}


def take_turn(
    connection: psycopg.Connection[DictRow],
    outcomes: Outcomes,
    rules: Rules,
    *,
    explain: Explain = _unexplained,
    anew: bool = False,
) -> Turn | None:
    """Bring the plan up to date and claim what is due.

    Args:
        connection: of the database with the ledger.
        outcomes: asks Dagster.
        rules: the settings of the plan.
        explain: asks Dagster, too; of ranges that keep failing.
        anew: forget everything: all facts are judged again. Without it, and without a memory, the answer
            is None: the sensor's first turn makes one.

    Raises:
        psycopg.OperationalError: the database is away; nothing is claimed.
    """
    with connection.transaction():
        _fetch(connection, "lock_plan", plan=_PLAN)
        known = [] if anew else _fetch(connection, "plan_state", plan=_PLAN)
        if not known and not anew:
            return None
        before = decode_state(known[0]["state"] if known else None)
        (ledger,) = _fetch(
            connection, "ledger_since", horizon=str(before.horizon), late_horizon=str(rules.late_horizon)
        )
        now = in_microseconds(ledger["clock"])
        found = outcomes([flight.run_key for flight in before.flights.values()]) if before.flights else {}
        state, requests, failed, judged = plan(before, _news(ledger), found, now, rules)
        _fetch(connection, "keep_plan", plan=_PLAN, state=encode_state(state))
        reported = _report(connection, failed, explain)
        resolved = _resolve(connection, judged)
        late = [(span.lower, span.upper) for span in ledger["beyond"]]
        if late:
            _fetch(connection, "note_late_hours", beyond=ledger["beyond"])
    unlaunched = _unlaunched(before, state, found, now)
    return Turn(state, requests, unlaunched, now, reported, resolved, late)


def _report(
    connection: psycopg.Connection[DictRow], failed: Sequence[FailedRange], explain: Explain
) -> Sequence[ReportedRange]:
    reasons = explain([each.run_key for each in failed]) if failed else {}
    reported = []
    for each in failed:
        reason = reasons.get(each.run_key, RunFailure(None, "Dagster has not heard of the run"))
        row = ReportedRange(
            moment(each.hour),
            moment(each.start),
            moment(each.end),
            each.attempts,
            reason.error,
            reason.run_id,
        )
        _fetch(connection, "report_failed_range", since=moment(each.since), **row._asdict())
        reported.append(row)
    return reported


def _resolve(connection: psycopg.Connection[DictRow], judged: Sequence[int]) -> Sequence[ReportedRange]:
    if not judged:
        return []
    rows = _fetch(connection, "resolve_failed_ranges", hours=[moment(hour) for hour in judged])
    return [
        ReportedRange(row["hour"], row["range_start"], row["range_end"], row["attempts"], "", None)
        for row in rows
    ]


def _unlaunched(before: State, after: State, found: Mapping[str, Outcome], now: int) -> Sequence[Request]:
    """The flights that are still in the plan, and that Dagster should know by now."""
    return [
        Request(flight.run_key, hour, flight.start, flight.end, flight.attempt, flight.touched)
        for hour, flight in before.flights.items()
        if after.flights.get(hour) == flight
        and flight.run_key not in found
        and now - flight.requested_at >= LAUNCHED_WITHIN_S * 1e6
    ]


def _fetch(connection: psycopg.Connection[DictRow], query: str, **parameters: object) -> list[DictRow]:
    cursor = connection.execute(queries()[query].sql, parameters)
    return cursor.fetchall() if cursor.description else []


def _news(ledger: DictRow) -> News:
    return News(
        horizon=int(ledger["horizon"]),
        touched=[(in_microseconds(span.lower), in_microseconds(span.upper)) for span in ledger["touched"]],
        received_until=_optional(ledger["received_until"]),
        committed_at=_optional(ledger["committed_at"]),
    )


def _optional(time: datetime | None) -> int:
    return 0 if time is None else in_microseconds(time)

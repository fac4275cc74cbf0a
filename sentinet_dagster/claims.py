"""Who judges what: the plan's memory in the database, and taking turns on it.

What lives here: one turn. Read the memory and the ledger, let `planning.py` decide, write the memory, all in
one transaction that nobody else's overlaps. What never does: deciding, launching, waiting.

The sensor and the push listener both take turns, in any order, and each launches what its own turn
requested. A turn that does not commit has claimed nothing. One that has committed, but whose runs were never
launched (its process died in between), is found by `unlaunched`: the sensor launches these again under
their run keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import psycopg
from psycopg.rows import DictRow

from sentinet_dagster.planning import (
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

__all__ = ["Outcomes", "Turn", "take_turn"]

_PLAN = "judge_windows"
_LAUNCHED_WITHIN_US = 4_000_000  # whoever claims launches at once: in tenths of a second
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Outcomes = Callable[[Sequence[str]], Mapping[str, Outcome]]
"""Run keys → what became of those runs that were launched."""


class Turn(NamedTuple):
    """What a turn came to."""

    state: State
    requests: Sequence[Request]  # claimed by this turn: launch them
    unlaunched: Sequence[Request]  # claimed by an earlier one, long enough ago, and not launched
    now: int  # the database's clock, microseconds since 1970 UTC


def take_turn(
    connection: psycopg.Connection[DictRow], outcomes: Outcomes, rules: Rules, *, anew: bool = False
) -> Turn | None:
    """Bring the plan up to date and claim what is due.

    Args:
        connection: of the database with the ledger.
        outcomes: asks Dagster.
        rules: the settings of the plan.
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
        (ledger,) = _fetch(connection, "ledger_since", horizon=str(before.horizon))
        now = _microseconds(ledger["clock"])
        found = outcomes([flight.run_key for flight in before.flights.values()]) if before.flights else {}
        state, requests = plan(before, _news(ledger), found, now, rules)
        _fetch(connection, "keep_plan", plan=_PLAN, state=encode_state(state))
    return Turn(state, requests, _unlaunched(before, state, found, now), now)


def _unlaunched(before: State, after: State, found: Mapping[str, Outcome], now: int) -> Sequence[Request]:
    """The flights that are still in the plan, and that Dagster should know by now."""
    return [
        Request(flight.run_key, hour, flight.start, flight.end, flight.attempt)
        for hour, flight in before.flights.items()
        if after.flights.get(hour) == flight
        and flight.run_key not in found
        and now - flight.requested_at >= _LAUNCHED_WITHIN_US
    ]


def _fetch(connection: psycopg.Connection[DictRow], query: str, **parameters: str) -> list[DictRow]:
    cursor = connection.execute(queries()[query].sql, parameters)
    return cursor.fetchall() if cursor.description else []


def _news(ledger: DictRow) -> News:
    return News(
        horizon=int(ledger["horizon"]),
        touched=[(_microseconds(span.lower), _microseconds(span.upper)) for span in ledger["touched"]],
        received_until=_optional(ledger["received_until"]),
        committed_at=_optional(ledger["committed_at"]),
    )


def _optional(time: datetime | None) -> int:
    return 0 if time is None else _microseconds(time)


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)

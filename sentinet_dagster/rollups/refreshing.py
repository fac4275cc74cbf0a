"""Bringing rollups up to date: exactly the buckets whose facts changed or were set aside since the last time.

What lives here: the order of models, and who does the work: the function rollup.refresh, or TimescaleDB where
it keeps the rollup itself. What never does: deciding which buckets are stale (SQL does, from the batch
ledger and the quarantine), statements (they are in `queries.sql`), dbt.

Late facts need no window: the ledger names the times that a batch touched, however long ago they are.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from sentinet_dagster.queries import queries

__all__ = ["Refreshed", "rebuild", "refresh", "rollups"]

Connection = psycopg.Connection[Any]

_PAUSE_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What one refresh did. `rows` is None where TimescaleDB does not say."""

    name: str
    rows: int | None
    seconds: float


def rollups(connection: Connection) -> list[str]:
    """The continuous aggregates that are deployed; each after those that it is made of."""
    found = {row["name"]: row["reads"] for row in _fetch(connection, "rollups")}
    return [name for name in TopologicalSorter(found).static_order() if name in found]


def refresh(connection: Connection, names: Collection[str] | None = None) -> list[Refreshed]:
    """Bring rollups up to date, each in a transaction of its own.

    Args:
        connection: in autocommit mode: TimescaleDB refreshes outside of transactions only.
        names: which; None: all.

    Raises:
        psycopg.Error: the database is away, or a rollup cannot be made. Those before it are up to date.
    """
    return [_refresh(connection, name) for name in rollups(connection) if names is None or name in names]


def rebuild(connection: Connection, name: str) -> Refreshed:
    """Make all rows anew, of the facts that are there; buckets before that of the first of them stay.

    Readers see the old rows until the new ones are there, but on TimescaleDB's community edition.
    """
    began = time.perf_counter()
    (state,) = _fetch(connection, "rebuild_rollup", name=name)
    if not state["is_native"]:
        return _refresh(connection, name)
    (facts,) = _fetch(connection, "facts_of_rollup", name=name)
    if facts["first_bucket"] is not None:
        _call(connection, "rebuild_native_rollup", name=name, start=facts["first_bucket"], end=None)
    _fetch(connection, "rollup_refreshed", name=name, horizon=state["horizon"])
    return Refreshed(name, None, time.perf_counter() - began)


def _refresh(connection: Connection, name: str) -> Refreshed:
    began = time.perf_counter()
    (state,) = _fetch(connection, "stale_buckets", name=name)
    if not state["is_native"]:
        (done,) = _fetch(connection, "refresh_rollup", name=name)
        return Refreshed(name, done["rows"], time.perf_counter() - began)
    for span in state["stale"]:
        _call(connection, "refresh_native_rollup", name=name, start=span.lower, end=span.upper)
    for span in state["set_aside"]:  # which changes no row that TimescaleDB watches
        _call(connection, "rebuild_native_rollup", name=name, start=span.lower, end=span.upper)
    _fetch(connection, "rollup_refreshed", name=name, horizon=state["horizon"])
    return Refreshed(name, None, time.perf_counter() - began)


def _fetch(connection: Connection, query: str, **parameters: object) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(queries()[query].sql, parameters).fetchall()


def _call(connection: Connection, query: str, **parameters: object) -> None:
    """In our turn: buckets that its own policy is at TimescaleDB refuses, it does not wait as for a lock."""
    while True:
        try:
            connection.execute(queries()[query].sql, parameters)
        except psycopg.errors.LockNotAvailable:
            time.sleep(_PAUSE_S)
        else:
            return

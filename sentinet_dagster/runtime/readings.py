"""What the database tells about a running Sentinet: a function a question, statements in `queries.sql`.

What lives here: reading. What never does: writing, judging, drawing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from sentinet_dagster.queries import parse_queries, queries
from sentinet_dagster.storage import Edition, edition_of

Connection = psycopg.Connection[Any]
_MB = 2**20


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts are wanted; None: any. `instrument` is a symbol or `venue/symbol`, in any case."""

    detector: str | None = None
    instrument: str | None = None
    severity: str | None = None
    since: datetime | None = None
    limit: int = 50
    state: str | None = None
    id_prefix: str | None = None
    incident: str | None = None  # the beginning of an incident's id


@dataclass(frozen=True, slots=True)
class Feed:
    """What came in from one venue. `silent_s`: seconds since its last commit; None: there was none."""

    venue: str
    rows: int
    rows_per_s: float
    silent_s: float | None
    gaps: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the judgement has come: windows judged, the newest, the first that a model judges."""

    windows: int
    newest: datetime | None
    model_from: datetime | None


@dataclass(frozen=True, slots=True)
class Server:
    """The database: `PostgreSQL 18.4 with TimescaleDB 2.29 (timescale)`, what that can do, and its size."""

    name: str
    edition: Edition
    size_mb: float


@dataclass(frozen=True, slots=True)
class StoredSize:
    """How much a relation takes, for how long it is kept (None: for ever), and what removes the rest.

    `rowstore_mb` and `columnstore_mb`: what is in the columnstore, before and after; None: nothing is.
    """

    mb: float
    keep: timedelta | None
    removed_by: str  # policy, chunks, rows
    rowstore_mb: float | None
    columnstore_mb: float | None


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a stage of live judging took, in seconds, over so many samples."""

    samples: int
    p50_s: float
    p95_s: float
    max_s: float


def alerts(connection: Connection, wanted: AlertFilter) -> list[dict[str, Any]]:
    """The alerts that fit, newest first, in the words of `sentinet alerts --json`."""
    return _rows(
        connection,
        "alerts",
        detector=wanted.detector,
        instrument=wanted.instrument,
        severity=wanted.severity,
        since=wanted.since,
        limit=wanted.limit,
        state=wanted.state,
        id_prefix=wanted.id_prefix,
        incident=wanted.incident,
    )


def alert_life(connection: Connection, alert_id: str) -> list[dict[str, Any]]:
    """What happened to an alert, and to those that it took the place of, oldest first."""
    return _rows(connection, "alert_life", alert_id=alert_id)


def alert_chart(
    connection: Connection, instrument_id: int, start: datetime, end: datetime
) -> list[dict[str, Any]]:
    """Price, spread and imbalance of the windows of [start, end), oldest first."""
    return _rows(connection, "alert_chart", instrument_id=instrument_id, start=start, end=end)


def events_around(
    connection: Connection, instrument_id: int, start: datetime, end: datetime, limit: int
) -> list[dict[str, Any]]:
    """The trades and quotes of [start, end), in their order; facts are kept for a while only."""
    return _rows(connection, "events_around", instrument_id=instrument_id, start=start, end=end, limit=limit)


def firings(connection: Connection, since: datetime) -> list[dict[str, Any]]:
    """The windows since `since` in which detectors fired; an alert may be of many, minutes apart."""
    return _rows(connection, "firings", since=since)


def feeds(connection: Connection, span: timedelta) -> list[Feed]:
    """What came in from each venue, with the rate over the last `span`."""
    return [
        Feed(
            row["venue"],
            row["rows"],
            row["rows_of_span"] / span.total_seconds(),
            row["silent_s"],
            row["gaps"],
        )
        for row in _rows(connection, "feeds", span=span)
    ]


def instrument_numbers(connection: Connection, name: str) -> list[int]:
    """The instruments of a name: a symbol, which several venues may have, or venue/symbol; in any case."""
    return [row["instrument_id"] for row in _rows(connection, "instrument_numbers", instrument=name)]


def failed_ranges(connection: Connection) -> list[dict[str, Any]]:
    """The ranges whose judging keeps failing, oldest first."""
    return _rows(connection, "failed_ranges")


def late_hours(connection: Connection) -> list[dict[str, Any]]:
    """The hours that wait for a backfill because facts came too late, oldest first."""
    return _rows(connection, "late_hours")


def behind_s(connection: Connection) -> float | None:
    """Seconds of received data that are not judged yet; None: nothing is judged."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(queries()["keeping_up"].sql.encode()).fetchone()
    return None if row is None else row["behind_s"]


def latency(connection: Connection, span: timedelta) -> dict[str, Latency]:
    """Stage (tick_to_row, row_to_window, window_to_alert, row_to_alert) → its delays of the last `span`.

    Nothing of a stage without samples, and of a database that is not migrated so far.
    """
    if not _rows(connection, "has_latency")[0]["has_latency"]:
        return {}
    return {
        row["stage"]: Latency(row["samples"], row["p50_s"], row["p95_s"], row["max_s"])
        for row in _rows(connection, "latency", span=span)
    }


def dagster_sizes(connection: Connection) -> dict[str, float]:
    """MB of Dagster's own database, that `connection` leads to: in all, of events, of runs, of ticks."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(queries()["dagster_sizes"].sql.encode()).fetchone()
    assert row is not None
    return {name: size / _MB for name, size in row.items()}


def server(connection: Connection) -> Server:
    """Which database this is."""
    row = _rows(connection, "edition")[0]
    name = f"PostgreSQL {row['postgresql'].split()[0]}"
    if row["timescaledb"]:
        name += f" with TimescaleDB {row['timescaledb']} ({row['timescaledb_license'] or 'apache'})"
    edition = edition_of(row["timescaledb"], row["timescaledb_license"])
    return Server(name, edition, row["bytes"] / _MB)


def storage(connection: Connection) -> dict[str, StoredSize]:
    """The relations that grow with time; nothing of a database that is not migrated so far."""
    if not _rows(connection, "has_storage")[0]["has_storage"]:
        return {}
    return {
        row["relation"]: StoredSize(
            row["bytes"] / _MB,
            row["keep"],
            row["removed_by"],
            None if row["rowstore_bytes"] is None else row["rowstore_bytes"] / _MB,
            None if row["columnstore_bytes"] is None else row["columnstore_bytes"] / _MB,
        )
        for row in _rows(connection, "storage")
    }


@dataclass(frozen=True, slots=True)
class ShortLived:
    """Facts that came in too old to stay: the first, for how long facts are kept, what removes the rest."""

    first_fact: datetime
    keep: timedelta
    removed_by: str  # policy, chunks, rows


def last_batch(connection: Connection) -> int:
    """The number of the newest batch."""
    return int(_rows(connection, "last_batch")[0]["batch_id"])


def short_lived(connection: Connection, batch: int) -> ShortLived | None:
    """What of the batches after `batch` retention will remove; None: nothing."""
    row = _rows(connection, "short_lived", batch=batch)[0]
    return None if row["first_fact"] is None else ShortLived(**row)


def market_state(connection: Connection, since: datetime) -> Sequence[Mapping[str, Any]]:
    """A row an instrument: its last judged window (null: none since `since`), and prices, oldest first."""
    return _rows(connection, "market_state", since=since)


def progress(connection: Connection, since: datetime) -> Progress:
    """How far the judgement has come."""
    row = _rows(connection, "progress", since=since)[0]
    return Progress(row["windows"], row["newest"], row["model_from"])


def row_to_alert_seconds(connection: Connection, since: datetime) -> list[float]:
    """Per alert of a window from `since` on: seconds from the commit of its last fact to its own."""
    return [row["seconds"] for row in _rows(connection, "row_to_alert", since=since)]


def _rows(connection: Connection, name: str, **parameters: object) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_statements()[name], parameters).fetchall()


@cache
def _statements() -> Mapping[str, bytes]:
    text = Path(__file__).with_name("queries.sql").read_text(encoding="utf-8")
    return {name: query.sql.encode() for name, query in parse_queries(text).items()}

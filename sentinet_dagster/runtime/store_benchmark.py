"""How fast facts are written: what `sentinet benchmark store` prints.

What lives here: the rounds and the clock. What never does: judging a number; the store is the real one.

The store's rows a second, beside those of raw binary COPY: the same rows, as the server itself gives them
out, into the same tables, in one COPY a table and one transaction, by a client that does nothing but send.
Rounds alternate, so that both have the same machine, and each begins with empty tables.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import psycopg
from psycopg import sql

from ingest_daemon.replay import replay_files
from ingest_daemon.store import Store, WriteReport
from ingest_daemon.venues.simulated import SimulatedMarket
from sentinet_dagster.runtime import database
from sentinet_dagster.runtime.database_url import connect
from sentinet_dagster.runtime.demo_config import SOURCE
from sentinet_dagster.runtime.history import venues_by_protocol
from sentinet_dagster.runtime.instruments import read_instruments
from sentinet_dagster.runtime.pace import spread
from sentinet_dagster.runtime.scratch import scratch_database
from sentinet_dagster.runtime.venue_history import write_history

__all__ = ["measure_store"]

_MINUTE_US: Final = 60_000_000
_ANCHOR_US: Final = 1_769_860_800_000_000  # any whole second
_SENT_AT_ONCE: Final = 256 * 2**10

_Connection = psycopg.Connection[tuple[Any, ...]]


def measure_store(url: str, minutes: int, rounds: int) -> dict[str, Any]:
    """Write `minutes` of a simulated market into a new database on the server of `url`, in `rounds` each way.

    `rows_per_s` and `raw_copy_rows_per_s` are the best rounds: whatever else runs only takes away.

    Raises:
        UserError: the database cannot be made there.
    """
    with scratch_database(url) as scratch:
        database.migrate(scratch)
        database.watch(scratch, read_instruments(SOURCE))
        batches = _render(scratch, minutes)
        with Store(scratch) as store, connect(scratch, autocommit=True) as connection:
            rows, _ = _write(store, batches)
            tables = _tables(connection)
            raw = {table: _copied_out(connection, table) for table in tables}
            ours, theirs = [], []
            for _ in range(rounds):
                _empty(connection, tables)
                theirs.append(rows / _copy_in(connection, raw))
                _empty(connection, tables)
                ours.append(rows / _write(store, batches)[1])
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return {
        "rows": rows,
        "batches": len(batches),
        "rows_per_s": round(max(ours)),
        "raw_copy_rows_per_s": round(max(theirs)),
        "ratio": round(max(ours) / max(theirs), 3),
        "rounds": {
            "rows_per_s": spread(ours),
            "raw_copy_rows_per_s": spread(theirs),
            "ratio": spread(ratios),
        },
    }


class _Collecting(Store):
    """Keeps the batches instead of writing them."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.batches: list[Any] = []

    def write(self, batch: Any, received_until: int | None = None) -> WriteReport:  # noqa: ARG002
        """Nothing is written."""
        self.batches.append(batch)
        return WriteReport({}, {})


def _render(url: str, minutes: int) -> Sequence[Any]:
    """Batches as `sentinet replay` would write them."""
    market = SimulatedMarket(seed=0, anchor_us=_ANCHOR_US)
    with TemporaryDirectory(prefix="sentinet-benchmark-") as folder, _Collecting(url) as kept:
        files = write_history(market, _ANCHOR_US, _ANCHOR_US + minutes * _MINUTE_US, Path(folder))
        replay_files([file.path for file in files], kept, venues_by_protocol(SOURCE))
        return kept.batches


def _write(store: Store, batches: Sequence[Any]) -> tuple[int, float]:
    """Rows, and the seconds in the store."""
    began = time.perf_counter()
    rows = sum(sum(store.write(batch).rows.values()) for batch in batches)
    return rows, time.perf_counter() - began


def _tables(connection: _Connection) -> Sequence[str]:
    """Of facts, that have rows."""
    found = connection.execute(
        "select relation from ops.ingest_batches group by relation order by relation"
    ).fetchall()
    return [name for (name,) in found]


def _copied_out(connection: _Connection, table: str) -> bytes:
    """All rows of a table, as binary COPY has them."""
    statement = sql.SQL("copy (select * from {}) to stdout (format binary)")
    with connection.cursor() as cursor, cursor.copy(statement.format(_name(table))) as copy:
        return b"".join(copy)


def _copy_in(connection: _Connection, raw: Mapping[str, bytes]) -> float:
    """The seconds it takes."""
    began = time.perf_counter()
    with connection.transaction(), connection.cursor() as cursor:
        for table, content in raw.items():
            with cursor.copy(sql.SQL("copy {} from stdin (format binary)").format(_name(table))) as copy:
                for start in range(0, len(content), _SENT_AT_ONCE):
                    copy.write(content[start : start + _SENT_AT_ONCE])
    return time.perf_counter() - began


def _empty(connection: _Connection, tables: Sequence[str]) -> None:
    names = [*map(_name, tables), sql.Identifier("ops", "ingest_batches")]
    connection.execute(sql.SQL("truncate {}").format(sql.SQL(", ").join(names)))


def _name(table: str) -> sql.Identifier:
    return sql.Identifier("market", table)

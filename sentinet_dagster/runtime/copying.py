"""Moving a Sentinet to another server: every row of one database into another, in one transaction.

What lives here: which tables, in which order, and COPY from one to the other. What never does: making their
schema (`migrations.py`).

What is not copied: schema rollup, which dbt builds anew from facts; what a server says of itself (migrations,
storage); the plan of what is to be judged, which counts the old server's transactions. Of the batch ledger
only the last hour: its transactions are numbered anew, and what it names is judged once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from graphlib import TopologicalSorter
from typing import Any, Final, NamedTuple

import psycopg
import structlog
from psycopg import sql

from sentinet_dagster.runtime.database_url import connect, without_password
from sentinet_dagster.runtime.embedded_postgres import EmbeddedPostgres
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.home import Home

log = structlog.get_logger(__name__)

_Connection = psycopg.Connection[Any]

_NOT_COPIED: Final = ("ops.migrations", "ops.storage", "ops.plans")
_LEDGER: Final = "ops.ingest_batches"
_FACTS: Final = ("market.instruments", "market.trades", "surveillance.windows")

_TABLES: Final = """
select
    format('%I.%I', nspname, relname) as name,
    array(
        select attname
        from pg_attribute
        where
            attrelid = pg_class.oid and attnum > 0 and not attisdropped and attgenerated = ''
        order by attnum
    )::text[] as columns,
    array(
        select confrelid::regclass::text
        from pg_constraint
        where conrelid = pg_class.oid and contype = 'f' and confrelid <> conrelid
    ) as needs
from pg_class
inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
where nspname in ('market', 'surveillance', 'model', 'ops') and relkind = 'r'
order by 1
"""

# The next number of every identity column follows the largest that was copied.
_IDENTITIES: Final = """
select
    format('%I.%I', nspname, relname) as name,
    attname,
    pg_get_serial_sequence(format('%I.%I', nspname, relname), attname) as sequence
from pg_attribute
inner join pg_class on attrelid = pg_class.oid
inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
where nspname in ('market', 'surveillance', 'model', 'ops') and relkind = 'r' and attidentity <> ''
"""

# And the newest batch of each venue: it says how far the venue was received.
_LAST_HOUR: Final = """
 as batches where
    committed_at > (select max(last.committed_at) - interval '1 hour' from ops.ingest_batches as last)
    or max_received_at = (
        select max(newest.max_received_at)
        from ops.ingest_batches as newest
        where newest.venue = batches.venue
    )
"""


class _Table(NamedTuple):
    name: str
    columns: list[str]
    needs: list[str]


def copy_from_home(home: Home, target_url: str) -> dict[str, int]:
    """Copy the embedded database of `home` into the migrated database at `target_url`; table → rows.

    Raises:
        UserError: there is none, somebody runs there, or as `copy_database`.
    """
    if home.kind is None:
        raise UserError(f"{home.path} is no home of Sentinet's: name the folder that SENTINET_HOME named")
    with home.claim():
        server = EmbeddedPostgres(home.postgres, home.log_file("postgres"))
        found = server.start()
        try:
            return copy_database(found.url(), target_url)
        finally:
            if not found.adopted:
                server.stop()


def copy_database(source_url: str, target_url: str) -> dict[str, int]:
    """Every row of the database at `source_url` into the one at `target_url`, or nothing; table → rows.

    Raises:
        UserError: they are not at the same migration, or the target has facts or judgement already.
    """
    with _snapshot(source_url) as source, _connect(target_url) as target:
        target.execute("set time zone 'UTC'")
        _check(source, target, target_url)
        tables = {table.name: table for table in _tables(source)}
        order = TopologicalSorter({name: set(table.needs) & set(tables) for name, table in tables.items()})
        copied = {}
        for name in order.static_order():
            copied[name] = _copy(source, target, tables[name])
            log.info("table copied", table=name, rows=copied[name])
        for name, column, sequence in target.execute(_IDENTITIES).fetchall():
            _continue_numbering(target, name, column, sequence)
    return copied


def _connect(url: str) -> _Connection:
    return connect(url)


@contextmanager
def _snapshot(url: str) -> Iterator[_Connection]:
    """One moment of the source, however long the copy takes."""
    with _connect(url) as connection:
        connection.execute("set transaction isolation level repeatable read read only")
        connection.execute("set local search_path = pg_catalog")  # names come qualified
        yield connection


def _check(source: _Connection, target: _Connection, target_url: str) -> None:
    versions = [
        connection.execute("select max(version) from ops.migrations").fetchall()[0][0]
        for connection in (source, target)
    ]
    if versions[0] != versions[1]:
        raise UserError(
            f"the databases are at migrations {versions[0]} and {versions[1]}: "
            "run `sentinet migrate` of the same version on the one that is behind"
        )
    for table in _FACTS:
        row = target.execute(sql.SQL("select exists (select from {})").format(_named(table))).fetchone()
        if row is not None and row[0]:
            raise UserError(f"{without_password(target_url)} has rows in {table}: copy into a new database")


def _tables(source: _Connection) -> list[_Table]:
    found = [_Table(*row) for row in source.execute(_TABLES)]
    return [table for table in found if table.name not in _NOT_COPIED]


def _copy(source: _Connection, target: _Connection, table: _Table) -> int:
    columns = [name for name in table.columns if (table.name, name) != (_LEDGER, "xid")]
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    # A query: COPY of a hypertable's own name would copy nothing.
    query = sql.SQL("select {} from {}").format(listed, _named(table.name))
    if table.name == _LEDGER:
        query += sql.SQL(_LAST_HOUR)
    out = sql.SQL("copy ({}) to stdout (format binary)").format(query)
    into = sql.SQL("copy {} ({}) from stdin (format binary)").format(_named(table.name), listed)
    with source.cursor() as reader, target.cursor() as writer:
        with reader.copy(out) as rows, writer.copy(into) as sink:
            for part in rows:
                sink.write(part)
        return writer.rowcount


def _continue_numbering(target: _Connection, table: str, column: str, sequence: str) -> None:
    target.execute(
        sql.SQL("select setval({}::regclass, max({})) from {} having max({}) is not null").format(
            sql.Literal(sequence), sql.Identifier(column), _named(table), sql.Identifier(column)
        )
    )


def _named(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))

"""Bringing a database to what this version of Sentinet expects: migrations, storage, roles, instruments.

What lives here: the order of the steps, each of which may be repeated, interrupted and run twice at once.
What never does: their content (`migrations.py`, `roles.py`, sql/, `storage.py`, `instruments.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import structlog
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from sentinet_dagster.runtime.database_url import connect
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.instruments import (
    Instrument,
    Loaded,
    load_instruments,
    read_instruments,
    read_mapping,
)
from sentinet_dagster.runtime.migrations import (
    Migration,
    apply_migrations,
    migrating,
    read_migrations,
)
from sentinet_dagster.runtime.roles import Passwords, apply_roles, are_applied
from sentinet_dagster.storage import (
    STORED,
    Edition,
    StorageError,
    StorageSettings,
    edition_of,
    load_storage,
)

ROOT = Path(__file__).resolve().parents[2]
SQL = ROOT / "sql"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Migrated:
    """What `migrate` did."""

    applied: tuple[str, ...]  # versions applied now
    version: str  # where the database is
    edition: Edition
    timescale: str | None  # the extension's version, None on plain PostgreSQL
    to_move: tuple[str, ...] = ()  # tables with rows that could be hypertables
    roles: bool = False  # whether the roles of sql/roles.sql are in force here


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `prepare` did."""

    migrated: Migrated
    instruments: Loaded


def prepare(url: str, config_directory: Path) -> Prepared:
    """All of it, as `sentinet migrate`. The configuration is read first: if it is wrong, nothing happens.

    Raises:
        UserError: as `read_instruments`, `read_storage` and `migrate`.
    """
    instruments = read_instruments(config_directory)
    storage = read_storage(config_directory)
    return Prepared(migrate(url, storage), watch(url, instruments))


def read_storage(config_directory: Path) -> StorageSettings:
    """config/storage.yaml; a folder without the file means the defaults.

    Raises:
        UserError: names the file, the key and the accepted form.
    """
    path = config_directory / "storage.yaml"
    if not path.exists():
        return StorageSettings()
    try:
        return load_storage(read_mapping(path))
    except StorageError as error:
        raise UserError(f"{path}: {error}") from None


def migrate(
    url: str,
    storage: StorageSettings | None = None,
    sql_directory: Path = SQL,
    *,
    to_hypertables: bool = False,
    roles: Passwords | None = None,
) -> Migrated:
    """Bring the schema of the database at `url` up to date, and how it is stored.

    Args:
        storage: how rows are kept; None for the defaults.
        to_hypertables: make hypertables of tables that have rows, too: locks and copies each of them.
        roles: make the roles, with these passwords; None: only where they are in force already.

    Raises:
        UserError: it cannot be reached, is newer than the code, or an applied migration was edited; roles
            cannot be made there.
        psycopg.Error: the database refuses a statement, or went away.
    """
    migrations = read_migrations(sql_directory / "migrations")
    storage = storage or StorageSettings()
    try:
        return _migrate(url, storage, migrations, sql_directory, roles, to_hypertables=to_hypertables)
    except DBAPIError as error:  # the driver's own, in SQLAlchemy's wrapping
        raise (error.orig or error) from error


def _migrate(
    url: str,
    storage: StorageSettings,
    migrations: tuple[Migration, ...],
    sql_directory: Path,
    roles: Passwords | None,
    *,
    to_hypertables: bool,
) -> Migrated:
    # psycopg does the connecting, so that a refusal reads the same everywhere.
    engine = create_engine("postgresql+psycopg://", creator=lambda: connect(url), poolclass=NullPool)
    with engine.connect() as session, migrating(session):
        applied = apply_migrations(session, migrations)
        with connect(url) as connection:
            _store(connection, storage)
            _set(connection, "sentinet.to_hypertables", "on" if to_hypertables else "off")
            for file in ("timescale.sql", "storage.sql"):
                connection.execute((sql_directory / file).read_bytes())
        with connect(url) as connection:
            if roles is not None or are_applied(connection):
                apply_roles(connection, sql_directory / "roles.sql", roles or Passwords())
            version = extension_version(connection)
            return Migrated(
                applied=tuple(migration.version for migration in applied),
                version=migrations[-1].version,
                edition=find_edition(connection),
                timescale=version,
                to_move=_tables_to_move(connection) if version else (),
                roles=are_applied(connection),
            )


def watch(url: str, instruments: tuple[Instrument, ...]) -> Loaded:
    """Make `instruments` those that are watched in the database at `url`."""
    with connect(url) as connection:
        loaded = load_instruments(connection, instruments)
    log.info("instruments loaded", active=loaded.active, added=loaded.added, deactivated=loaded.deactivated)
    return loaded


def find_edition(connection: psycopg.Connection[Any]) -> Edition:
    """What the database can do, now: the extension may come or go, its licence may be changed."""
    row = connection.execute("select current_setting('timescaledb.license', true)").fetchone()
    assert row is not None, "a select without from has a row"
    return edition_of(extension_version(connection), row[0])


def extension_version(connection: psycopg.Connection[Any]) -> str | None:
    """TimescaleDB's version in this database; None where it is not."""
    row = connection.execute("select extversion from pg_extension where extname = 'timescaledb'").fetchone()
    return str(row[0]) if row else None


# A row that says the same is left alone, so that applied_at tells when something changed.
_STORE = """
insert into ops.storage as stored (
    relation, time_column, keep, chunk, columnstore_after, segment_by, order_by
)
values (
    %(relation)s, %(time_column)s, %(keep)s, %(chunk)s, %(columnstore_after)s, %(segment_by)s, %(order_by)s
)
on conflict (relation) do update set
    time_column = excluded.time_column,
    keep = excluded.keep,
    chunk = excluded.chunk,
    columnstore_after = excluded.columnstore_after,
    segment_by = excluded.segment_by,
    order_by = excluded.order_by,
    applied_at = default
where
    (
        stored.time_column, stored.keep, stored.chunk,
        stored.columnstore_after, stored.segment_by, stored.order_by
    ) is distinct from (
        excluded.time_column, excluded.keep, excluded.chunk,
        excluded.columnstore_after, excluded.segment_by, excluded.order_by
    )
"""

_TO_MOVE = """
select storage.relation
from ops.storage as storage
where
    storage.chunk is not null
    and to_regclass(storage.relation) is not null
    and to_regclass(storage.relation) not in (select relation from ops.hypertables())
order by storage.relation
"""


def _store(connection: psycopg.Connection[Any], settings: StorageSettings) -> None:
    rows = [stored.row(settings) for stored in STORED]
    connection.execute(
        "delete from ops.storage where relation <> all (%s)", [[row["relation"] for row in rows]]
    )
    with connection.cursor() as cursor:
        cursor.executemany(_STORE, rows)


def _set(connection: psycopg.Connection[Any], name: str, value: str) -> None:
    """A setting of this transaction, as the files of sql/ read it."""
    connection.execute("select set_config(%s, %s, true)", [name, value])


def _tables_to_move(connection: psycopg.Connection[Any]) -> tuple[str, ...]:
    return tuple(row[0] for row in connection.execute(_TO_MOVE))

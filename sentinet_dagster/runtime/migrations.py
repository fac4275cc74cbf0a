"""The migrations of sql/migrations, applied by Alembic. Why Alembic, and why so: docs/adr/0001-migrations.md.

What lives here: reading `NNNN_<verb>_<relation>.sql`, comparing with a database, applying what is missing.
What never does: the SQL itself; hypertables and instruments (`database.py`).

A migration, its row in `ops.migrations` and Alembic's version are written in one transaction: a kill at any
moment leaves the database at the version before or after. An advisory lock lets one migrate at a time; it is
the session's, so it never outlives who held it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import psycopg
import structlog
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import Script
from alembic.script.revision import RevisionMap
from sqlalchemy import Connection, text

from sentinet_dagster.runtime.errors import UserError

log = structlog.get_logger(__name__)

# Any number would do, as long as every Sentinet uses the same.
LOCK_KEY = 0x53_45_4E_54_49_4E_45_54
_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of sql/migrations."""

    version: str  # "0001"
    name: str  # "create_schemas"
    statements: str = field(repr=False)
    sha256: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Applied:
    """One row of ops.migrations."""

    version: str
    name: str
    sha256: str


def read_migrations(directory: Path) -> tuple[Migration, ...]:
    """The migrations in order.

    Raises:
        UserError: there are none, a file is misnamed, or a number is missing or used twice.
    """
    migrations: list[Migration] = []
    for path in sorted(directory.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise UserError(f"{path} is not a migration: name it like 0007_create_things.sql")
        if int(match[1]) != len(migrations) + 1:
            raise UserError(f"{path} does not follow: migration {len(migrations) + 1:04} is expected next")
        content = path.read_bytes()
        migrations.append(
            Migration(match[1], match[2], content.decode(), hashlib.sha256(content).hexdigest())
        )
    if not migrations:
        raise UserError(
            f"{directory} holds no migrations: Sentinet runs from a checkout with its folder sql/"
        )
    return tuple(migrations)


def pending(migrations: Sequence[Migration], applied: Sequence[Applied]) -> tuple[Migration, ...]:
    """What is still to be applied.

    Raises:
        UserError: the database has a migration that we do not know, or one was edited after it was applied.
    """
    ours = {migration.version: migration for migration in migrations}
    for row in applied:
        migration = ours.get(row.version)
        if migration is None:
            raise UserError(
                f"the database is newer than this Sentinet: it has migration {row.version}_{row.name}, "
                f"and we end with {migrations[-1].version}_{migrations[-1].name}; update Sentinet"
            )
        if migration.sha256 != row.sha256:
            raise UserError(
                f"migration {migration.version}_{migration.name} was edited after it was applied: "
                "put the file back as it was and write the change as a new migration"
            )
    return tuple(migrations[len(applied) :])


@contextmanager
def migrating(connection: Connection) -> Iterator[None]:
    """Be the only one who migrates this database; wait for whoever does now.

    Nothing may be under way on `connection`. After an error it is to be closed, which lets the next one in.
    """
    connection.execute(text("select pg_advisory_lock(:key)"), {"key": LOCK_KEY})
    connection.commit()
    yield
    connection.execute(text("select pg_advisory_unlock(:key)"), {"key": LOCK_KEY})
    connection.commit()


def apply_migrations(connection: Connection, migrations: Sequence[Migration]) -> tuple[Migration, ...]:
    """Bring the database to the last of `migrations`, within `migrating`. Returns what was applied now.

    Raises:
        UserError: as `pending`.
    """
    missing = pending(migrations, applied_migrations(connection))
    connection.commit()
    revisions = RevisionMap(lambda: _scripts(connection, migrations))

    def steps(_heads: object, _context: MigrationContext) -> Iterable[RevisionStep]:
        for migration in missing:
            revision = cast("Script", revisions.get_revision(migration.version))
            yield RevisionStep(revisions, revision, is_upgrade=True)

    options = {"fn": steps, "transaction_per_migration": True}
    MigrationContext.configure(connection=connection, opts=options).run_migrations()
    return missing


def applied_migrations(connection: Connection) -> tuple[Applied, ...]:
    """What the database has, in order; empty for a new one."""
    if connection.scalar(text("select to_regclass('ops.migrations')")) is None:
        return ()
    rows = connection.execute(text("select version, name, sha256 from ops.migrations order by version"))
    return tuple(Applied(row.version, row.name, row.sha256) for row in rows)


def _scripts(connection: Connection, migrations: Sequence[Migration]) -> list[Script]:
    """The migrations in Alembic's terms: a chain of revisions whose upgrade runs the file."""
    scripts = []
    previous = None
    for migration in migrations:
        module = ModuleType(f"migration_{migration.version}")
        vars(module).update(
            revision=migration.version,
            down_revision=previous,
            upgrade=lambda migration=migration: _run(connection, migration),
        )
        scripts.append(Script(module, migration.version, f"{migration.version}_{migration.name}.sql"))
        previous = migration.version
    return scripts


def _run(connection: Connection, migration: Migration) -> None:
    # Straight to the driver and without parameters: the server gets the file as it is, whatever it contains,
    # instead of a client's idea of where statements end.
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    try:
        driver.execute(migration.statements.encode())
    except psycopg.Error as error:
        error.add_note(f"in migration {migration.version}_{migration.name}")
        raise
    connection.execute(
        text("insert into ops.migrations (version, name, sha256) values (:version, :name, :sha256)"),
        {"version": migration.version, "name": migration.name, "sha256": migration.sha256},
    )
    log.info("migration runs", version=migration.version, name=migration.name)

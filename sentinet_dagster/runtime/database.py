"""Bringing a database to what this version of Sentinet expects: migrations, hypertables, instruments.

What lives here: the order of the steps. What never does: their content (`migrations.py`, sql/, `instruments.py`).
Everything may be repeated, interrupted and run twice at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import Connection, NullPool, create_engine, text

from sentinet_dagster.runtime.database_url import connect, without_password
from sentinet_dagster.runtime.migrations import apply_migrations, read_migrations, release

ROOT = Path(__file__).resolve().parents[2]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Migrated:
    """What `migrate` did."""

    applied: tuple[str, ...]  # versions applied now
    version: str  # where the database is


def migrate(url: str, *, sql_directory: Path = ROOT / "sql") -> Migrated:
    """Bring the database at `url` up to date.

    Raises:
        UserError: it cannot be reached, is newer than the code, or an applied migration was edited.
    """
    migrations = read_migrations(sql_directory / "migrations")
    # psycopg does the connecting, so that a refusal reads the same everywhere.
    engine = create_engine("postgresql+psycopg://", creator=lambda: connect(url), poolclass=NullPool)
    with engine.connect() as connection:
        applied = apply_migrations(connection, migrations)
        release(connection)
    for migration in applied:
        log.info("migration applied", version=migration.version, name=migration.name)
    return Migrated(tuple(m.version for m in applied), migrations[-1].version)

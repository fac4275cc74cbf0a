"""Bringing a database to what this version of Sentinet expects: migrations, hypertables, instruments.

What lives here: the order of the steps, each of which may be repeated, interrupted and run twice at once.
What never does: their content (`migrations.py`, sql/, `instruments.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg
import structlog
from sqlalchemy import NullPool, create_engine

from sentinet_dagster.runtime.database_url import connect
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.instruments import Instrument, Loaded, load_instruments, read_instruments
from sentinet_dagster.runtime.migrations import apply_migrations, migrating, read_migrations

ROOT = Path(__file__).resolve().parents[2]
SQL = ROOT / "sql"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chunks:
    """How much time a chunk of a hypertable spans. Of no effect on plain PostgreSQL."""

    facts: timedelta = timedelta(hours=1)
    judgement: timedelta = timedelta(days=1)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Chunks:
        """From SENTINET_FACT_CHUNK_HOURS and SENTINET_JUDGEMENT_CHUNK_HOURS.

        Raises:
            UserError: not a whole number of hours above 0.
        """
        return cls(
            facts=_hours(environ, "SENTINET_FACT_CHUNK_HOURS", cls().facts),
            judgement=_hours(environ, "SENTINET_JUDGEMENT_CHUNK_HOURS", cls().judgement),
        )


@dataclass(frozen=True, slots=True)
class Migrated:
    """What `migrate` did."""

    applied: tuple[str, ...]  # versions applied now
    version: str  # where the database is
    timescale: str | None  # the extension's version, None on plain PostgreSQL


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `prepare` did."""

    migrated: Migrated
    instruments: Loaded


def prepare(url: str, config_directory: Path, chunks: Chunks | None = None) -> Prepared:
    """All of it, as `sentinet migrate`. The configuration is read first: if it is wrong, nothing happens.

    Raises:
        UserError: as `read_instruments` and `migrate`.
    """
    instruments = read_instruments(config_directory)
    return Prepared(migrate(url, chunks), watch(url, instruments))


def migrate(url: str, chunks: Chunks | None = None, sql_directory: Path = SQL) -> Migrated:
    """Bring the schema of the database at `url` up to date.

    Raises:
        UserError: it cannot be reached, is newer than the code, or an applied migration was edited.
    """
    migrations = read_migrations(sql_directory / "migrations")
    # psycopg does the connecting, so that a refusal reads the same everywhere.
    engine = create_engine("postgresql+psycopg://", creator=lambda: connect(url), poolclass=NullPool)
    with engine.connect() as connection, migrating(connection):
        applied = apply_migrations(connection, migrations)
        timescale = _make_hypertables(url, chunks or Chunks(), sql_directory)
    return Migrated(tuple(migration.version for migration in applied), migrations[-1].version, timescale)


def watch(url: str, instruments: tuple[Instrument, ...]) -> Loaded:
    """Make `instruments` those that are watched in the database at `url`."""
    with connect(url) as connection:
        loaded = load_instruments(connection, instruments)
    log.info("instruments loaded", active=loaded.active, added=loaded.added, deactivated=loaded.deactivated)
    return loaded


def _make_hypertables(url: str, chunks: Chunks, sql_directory: Path) -> str | None:
    with connect(url) as connection:
        for name, chunk in (("fact", chunks.facts), ("judgement", chunks.judgement)):
            connection.execute(
                "select set_config(%s, %s, true)",
                [f"sentinet.{name}_chunk", f"{chunk.total_seconds():.0f} seconds"],
            )
        connection.execute((sql_directory / "timescale.sql").read_bytes())
        return _timescale_version(connection)


def _timescale_version(connection: psycopg.Connection[tuple[object, ...]]) -> str | None:
    row = connection.execute("select extversion from pg_extension where extname = 'timescaledb'").fetchone()
    return str(row[0]) if row else None


def _hours(environ: Mapping[str, str], variable: str, default: timedelta) -> timedelta:
    text = environ.get(variable, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UserError(f"{variable}={text!r} is not a span: write whole hours, such as 1")
    return timedelta(hours=int(text))

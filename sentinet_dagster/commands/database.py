"""The database a command works on: SENTINET_DATABASE_URL, else the server of the home, started for it.

What lives here: finding it, and leaving things as they were found. What never does: what is asked of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentinet_dagster.runtime.database_url import check_url, connect, outages_told, without_password
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.home import Home
from sentinet_dagster.runtime.parts import Database, embedded_server

if TYPE_CHECKING:
    import psycopg

    from sentinet_dagster.runtime.embedded_postgres import Server
    from sentinet_dagster.runtime.instruments import Instrument

CONFIG = Path(__file__).resolve().parents[2] / "config"


@contextmanager
def open_databases(*, make: bool = False, environ: Mapping[str, str] = os.environ) -> Iterator[Database]:
    """The database, and Dagster's. A server started for it is stopped afterwards; one that ran is left alone.

    Args:
        make: make a home with an empty database if there is none.

    Raises:
        UserError: there is no database, it cannot be reached, or the setting is wrong.
    """
    given = environ.get("SENTINET_DATABASE_URL", "").strip()
    if given:
        with outages_told(check_url(given)):
            yield Database(given, environ.get("SENTINET_DAGSTER_DATABASE_URL", "").strip())
        return
    home = Home.from_environment(environ)
    if home.kind is None:
        if not make:
            raise UserError(
                f"no database: {home.path} holds none; run `sentinet demo` or `sentinet up`, "
                "name another home with SENTINET_HOME, or set SENTINET_DATABASE_URL"
            )
        home.prepare("service")
    with _embedded_server(home, environ) as found, outages_told(found.url()):
        yield Database(found.url(), found.url("sentinet_dagster"), found.pid)


@contextmanager
def open_database(*, make: bool = False, environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """The URL of the database alone; else as `open_databases`."""
    with open_databases(make=make, environ=environ) as opened:
        yield opened.url


@contextmanager
def open_connection(environ: Mapping[str, str] = os.environ) -> Iterator[psycopg.Connection[Any]]:
    """A connection that commits each statement, to a database that has been migrated.

    Raises:
        UserError: as `open_database`, or nothing was migrated there.
    """
    with open_database(environ=environ) as url, connect(url, autocommit=True) as connection:
        if is_empty(connection):
            raise UserError(f"{without_password(url)} is empty: run `sentinet migrate`")
        yield connection


def is_empty(connection: psycopg.Connection[Any]) -> bool:
    """Whether no migration has been applied."""
    row = connection.execute("select to_regclass('ops.migrations') is null").fetchone()
    return bool(row and row[0])


def config_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where instruments.yaml and venues.yaml are: SENTINET_CONFIG_DIR, else the repository's config/."""
    named = environ.get("SENTINET_CONFIG_DIR", "").strip()
    return Path(named).expanduser().absolute() if named else CONFIG


def config_directories(environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Where it says what is watched: in a demo's home, the simulated market's too."""
    home = Home.from_environment(environ)
    simulated = home.path / "config"
    given = environ.get("SENTINET_DATABASE_URL", "").strip()
    if not given and home.kind == "demo" and simulated.is_dir():
        return simulated, config_directory(environ)
    return (config_directory(environ),)


def configured_instruments(environ: Mapping[str, str] = os.environ) -> tuple[Instrument, ...]:
    """What is watched.

    Raises:
        UserError: names the file, the entry, the key and the accepted form.
    """
    from sentinet_dagster.runtime.instruments import read_instruments

    return tuple(
        instrument for directory in config_directories(environ) for instrument in read_instruments(directory)
    )


@contextmanager
def _embedded_server(home: Home, environ: Mapping[str, str]) -> Iterator[Server]:
    server = embedded_server(home, environ)
    found = server.start()
    try:
        home.record_port("postgres", found.port)
        yield found
    finally:
        # Somebody may have come to run here meanwhile: then the server is theirs.
        if not found.adopted and home.owner() is None:
            server.stop()

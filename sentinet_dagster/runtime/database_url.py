"""Where the database is: checking a URL, showing it without its password, connecting.

What never lives here: what is in the database.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg

from sentinet_dagster.runtime.disk import is_full
from sentinet_dagster.runtime.errors import UserError

ACCEPTED = "postgresql://user:password@host:5432/database"
CONNECT_TIMEOUT_S = 30  # a busy machine answers late


def without_password(url: str) -> str:
    """The URL as it may be shown and logged.

    >>> without_password("postgresql://ana:s%40crt@db.example:5432/sentinet?sslmode=require")
    'postgresql://ana@db.example:5432/sentinet'
    """
    parts = urlsplit(url)
    _, _, place = parts.netloc.rpartition("@")
    user = f"{parts.username}@" if parts.username else ""
    # The query may carry `password=` too, so it is not shown at all.
    return f"{parts.scheme}://{user}{place}{parts.path}"


def check_url(url: str, variable: str = "SENTINET_DATABASE_URL") -> str:
    """The URL, if it has the accepted form. Connects to nothing.

    Raises:
        UserError: it has not; the message names `variable` and the form, and keeps the password to itself.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UserError(f"{variable} is not a URL: write {ACCEPTED}") from None
    if parts.scheme not in ("postgresql", "postgres"):
        named = f"starts with {parts.scheme}://" if parts.scheme and parts.netloc else "is not a URL"
        raise UserError(f"{variable} {named}: write {ACCEPTED}")
    if not parts.path.strip("/"):
        raise UserError(f"{variable}={without_password(url)} names no database: write {ACCEPTED}")
    if port == 0:
        raise UserError(f"{variable}={without_password(url)} names port 0: write {ACCEPTED}")
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise UserError(
            f"{variable}={without_password(url)}: {_first_line(error)}: write {ACCEPTED}"
        ) from None
    return url


def connect(url: str, *, autocommit: bool = False) -> psycopg.Connection[tuple[object, ...]]:
    """A connection to the database at `url`.

    Raises:
        UserError: nobody answers, or the server lets us not in; one line, without the password.
    """
    try:
        return psycopg.connect(
            url, autocommit=autocommit, connect_timeout=CONNECT_TIMEOUT_S, application_name="sentinet"
        )
    except psycopg.OperationalError as error:
        raise UserError(f"cannot connect to {without_password(url)}: {_reason(error)}") from None


@contextmanager
def outages_told(url: str) -> Iterator[None]:
    """For the block: what the server at `url` cannot do now is one line for the user.

    Raises:
        UserError: its disk is full, it went away, or is otherwise in no state to do what it is asked for.
    """
    try:
        yield
    except psycopg.OperationalError as error:
        if is_full(error):
            raise UserError(
                f"the disk of {without_password(url)} is full ({_reason(error)}): make room and run it again"
            ) from error
        raise UserError(f"{without_password(url)} gave up: {_reason(error)}") from error


def _reason(error: psycopg.Error) -> str:
    """What the server or the system said, without libpq's preamble that repeats the address."""
    line = _first_line(error)
    for marker in ("FATAL:", "failed:"):
        _, found, rest = line.rpartition(marker)
        if found:
            return rest.strip()
    return line


def _first_line(error: psycopg.Error) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)

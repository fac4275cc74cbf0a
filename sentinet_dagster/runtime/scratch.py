"""A database of a benchmark's own. What lives here: making it, dropping it. What never does: its content."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from sentinet_dagster.runtime.database_url import connect
from sentinet_dagster.runtime.errors import UserError

__all__ = ["scratch_database"]


@contextmanager
def scratch_database(url: str) -> Iterator[str]:
    """The URL of a new, empty database on the server of `url`, dropped afterwards.

    Raises:
        UserError: it cannot be made there.
    """
    name = f"sentinet_benchmark_{uuid4().hex[:12]}"
    with connect(url, autocommit=True) as connection:
        try:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        except psycopg.Error as error:
            raise UserError(f"no database can be made for the benchmark: {error}") from None
        try:
            yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

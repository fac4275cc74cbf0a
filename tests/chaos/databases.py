"""The database of the chaos: one that can go away and come back at the same address."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg import sql

from sentinet_dagster.runtime.embedded_postgres import EmbeddedPostgres, Server

_GONE_S = 20.0


class Database(Protocol):
    url: str

    def go_away(self, *, crash: bool) -> None: ...

    def come_back(self) -> None: ...


class OwnServer:
    """A server of its own, which is stopped, or killed in the middle of everything, and started again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server = self._embedded(None).start()
        self.url = self._server.url()

    @property
    def pid(self) -> int:
        return self._server.pid

    def go_away(self, *, crash: bool) -> None:
        embedded = self._embedded(self._server.port)
        if crash:
            os.kill(self._server.pid, signal.SIGQUIT)
            deadline = time.monotonic() + _GONE_S
            while embedded.running() is not None:
                assert time.monotonic() < deadline, "the server does not go"
                time.sleep(0.02)
        else:
            embedded.stop()

    def come_back(self) -> None:
        self._server: Server = self._embedded(self._server.port).start()

    def destroy(self) -> None:
        self._embedded(None).destroy()

    def _embedded(self, port: int | None) -> EmbeddedPostgres:
        return EmbeddedPostgres(self._directory / "postgres", self._directory / "postgres.log", port=port)


class SharedServer:
    """A database on a server that others use too: everybody is thrown out of it, and nobody let in."""

    def __init__(self, url: str, admin_url: str) -> None:
        self.url = url
        self._admin_url = admin_url
        self._name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]

    def go_away(self, *, crash: bool) -> None:
        self._let_in(False)
        self._execute(
            sql.SQL("select pg_terminate_backend(pid) from pg_stat_activity where datname = {}").format(
                sql.Literal(self._name)
            )
        )

    def come_back(self) -> None:
        self._let_in(True)

    def _let_in(self, is_open: bool) -> None:
        self._execute(
            sql.SQL("alter database {} with allow_connections {}").format(
                sql.Identifier(str(self._name)), sql.Literal(is_open)
            )
        )

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._admin_url, autocommit=True) as connection:
            connection.execute(statement)

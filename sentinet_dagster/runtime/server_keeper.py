"""Keeping the home's own database server up while a service runs: started again when it has ended.

What lives here: when to look, when to try again, and why it is not up. What never does: starting and stopping
it (`embedded_postgres.py`), the other processes (`processes.py`).

A server ends by itself when its disk has no room for the log that it writes ahead. What the ingest daemon
receives meanwhile waits in its spool.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg
import structlog

from sentinet_dagster.runtime.embedded_postgres import EmbeddedPostgres, Server
from sentinet_dagster.runtime.errors import ProcessFailed, UserError
from sentinet_dagster.runtime.processes import Restart
from sentinet_dagster.runtime.state import ProcessState

log = structlog.get_logger(__name__)


class ServerKeeper:
    """One server that is up when this is made. The owner calls `poll` a few times a second."""

    def __init__(
        self,
        server: EmbeddedPostgres,
        pid: int,
        *,
        restart: Restart | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._restart = restart or Restart()
        self._now = now
        self._pid: int | None = pid
        self._up_since = now()
        self._restarts = self._failures = 0
        self._failure: str | None = None
        self._again_at = 0.0

    def poll(self) -> None:
        """Look whether it is up; start it if it is not and the pause since the last attempt is over."""
        if self._pid is not None and self._is_up():
            return
        if self._pid is not None:
            if self._now() - self._up_since >= self._restart.healthy_after_s:
                self._failures = 0
            self._wait_again("it has ended; its log says why")
            self._pid = None
        elif self._now() >= self._again_at:
            self._start()

    def state(self) -> ProcessState:
        """The server as it was when `poll` looked last."""
        word = "waiting" if self._pid is None else "running"
        return ProcessState(word, self._pid, self._restarts, self._failure)

    def _is_up(self) -> bool:
        found = self._server.running()
        if found is not None and found.pid != self._pid:
            self._note(found)  # somebody else was quicker
        return found is not None

    def _start(self) -> None:
        try:
            found = self._server.start()
        except (UserError, ProcessFailed, psycopg.Error) as error:
            self._wait_again(str(error).partition("\n")[0])
        else:
            self._note(found)
            log.info("database server runs again", pid=found.pid)

    def _note(self, found: Server) -> None:
        self._pid, self._up_since, self._failure = found.pid, self._now(), None
        self._restarts += 1

    def _wait_again(self, reason: str) -> None:
        self._failures += 1
        self._failure = reason
        pause_s = self._restart.delay_s(self._failures)
        self._again_at = self._now() + pause_s
        log.error("database server is down", reason=reason, next_attempt_in_s=pause_s)

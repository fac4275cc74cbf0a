"""A PostgreSQL server of our own on this machine: made, started, adopted, stopped.

What lives here: one server's life. What never does: its files (`postgres_cluster.py`), which port or folder
(`home.py`), schemas and rows (`database.py`).

The server listens on 127.0.0.1 only, has no Unix socket and wants a generated password: other users of the
machine stay out. It is deliberately not tied to the process that started it: whoever starts it next finds it
by its data directory, takes it over if it runs and starts it again if it does not.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
import structlog
from psycopg import sql

from sentinet_dagster.runtime.disk import says_full
from sentinet_dagster.runtime.errors import ProcessFailed
from sentinet_dagster.runtime.logs import log_tail, rotate
from sentinet_dagster.runtime.pids import survivors
from sentinet_dagster.runtime.ports import LOOPBACK, free_port, is_free, refuse_port
from sentinet_dagster.runtime.postgres_binaries import Account, programs, service_account
from sentinet_dagster.runtime.postgres_cluster import SUPERUSER, PostgresCluster

DATABASES = ("sentinet", "sentinet_dagster")
START_TIMEOUT_S = 120.0  # recovery after a crash replays up to max_wal_size
FAST_STOP_S = 3.0  # what was committed is in the log: the next start reads it from there
IMMEDIATE_STOP_S = 2.0
ORPHANS_S = 3.0  # backends that lost their postmaster leave by themselves within moments
_POLL_S = 0.02
_PORT_ATTEMPTS = 5
# The servers that this process is the parent of: they may outlive the objects that started them, and are
# collected when they are stopped.
_STARTED: dict[int, subprocess.Popen[bytes]] = {}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that accepts connections."""

    port: int
    pid: int
    adopted: bool  # it ran already
    password: str = field(repr=False)

    def url(self, database: str = DATABASES[0]) -> str:
        """How to connect to `database`, password included."""
        return f"postgresql://{SUPERUSER}:{quote(self.password, safe='')}@{LOOPBACK}:{self.port}/{database}"


@dataclass(frozen=True, slots=True)
class _PidFile:
    """What `postmaster.pid` claims. It outlives a killed server, and its pid may by now be anybody's."""

    pid: int
    port: int
    status: str  # "starting", "ready", "stopping" …

    @classmethod
    def read(cls, data: Path) -> _PidFile | None:
        try:
            lines = (data / "postmaster.pid").read_text().splitlines()
            return cls(int(lines[0]), int(lines[3]), lines[7].strip() if len(lines) > 7 else "starting")
        except (FileNotFoundError, NotADirectoryError, IndexError, ValueError):
            return None


class EmbeddedPostgres:
    """The server below `directory`, writing its log to `log_file`.

    Args:
        port: the port it must have (set by the user), or None for any free one.
        preferred_port: what to take if free, so that a server keeps its address over restarts.
        settings: server settings that hold for this start only.
    """

    def __init__(
        self,
        directory: Path,
        log_file: Path,
        *,
        port: int | None = None,
        preferred_port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._cluster = PostgresCluster(directory)
        self._log_file = log_file
        self._port = port
        self._preferred_port = preferred_port
        self._settings = dict(settings or {})

    def start(self) -> Server:
        """The running server: the one found, or a new one. Its databases exist. Again is no change.

        Raises:
            UserError: no place or no room for the data, the port is taken, the programs are missing.
            ProcessFailed: the server did not come up; the message ends with its log.
        """
        self._cluster.exists()  # says so where it is another user's
        with self._cluster.exclusive():
            server = self._adopt() or self._launch()
            _create_databases(server)
        return server

    def running(self) -> Server | None:
        """The server if it runs and accepts connections now; starts nothing."""
        if not self._cluster.exists():
            return None
        found = self._postmaster()
        claim = _PidFile.read(self._cluster.data)
        if found is None or claim is None or claim.status != "ready":
            return None
        return Server(claim.port, found.pid, adopted=True, password=self._cluster.password())

    def stop(self) -> bool:
        """Shut the server down, whoever started it: fast, after 3 s at once. False: it did not run."""
        if not self._cluster.exists():
            return False
        with self._cluster.exclusive():
            return self._shut_down()

    def destroy(self) -> None:
        """Stop the server and delete it with all its data."""
        self.stop()
        self._cluster.delete()

    def _postmaster(self) -> psutil.Process | None:
        """The live process that serves our data, or None: a pid file alone proves nothing."""
        claim = _PidFile.read(self._cluster.data)
        if claim is None:
            return None
        try:
            process = psutil.Process(claim.pid)
            # Not the working directory: in a container root may not look at another user's.
            command = process.cmdline()
        except psutil.Error:
            return None
        ours = (
            len(command) > 2
            and Path(command[0]).name == "postgres"
            and command[1:3] == ["-D", str(self._cluster.data)]
        )
        return process if ours else None

    def _remains(self) -> list[psutil.Process]:
        """Our server's processes that are there without a postmaster."""
        title = f"postgres: {self._cluster.title}: "
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if process.info["cmdline"] and process.info["cmdline"][0].startswith(title)
        ]

    def _adopt(self) -> Server | None:
        """The server that runs already, once it is ready; None if there is none or it is going away."""
        process = self._postmaster()
        if process is None:
            return None
        deadline = time.monotonic() + START_TIMEOUT_S
        while process.is_running() and (claim := _PidFile.read(self._cluster.data)) is not None:
            if claim.status == "ready":
                if self._port not in (None, claim.port):
                    self._shut_down()
                    return None
                log.info("database server adopted", pid=process.pid, port=claim.port)
                return Server(claim.port, process.pid, adopted=True, password=self._cluster.password())
            if time.monotonic() > deadline:
                raise ProcessFailed("postgres", f"has been {claim.status} for {START_TIMEOUT_S:.0f} s")
            time.sleep(_POLL_S)
        return None

    def _launch(self) -> Server:
        account = service_account(self._cluster.data)
        binaries = programs(account)
        if not self._cluster.exists():
            self._cluster.create(binaries, account, sync=self._settings.get("fsync") != "off")
        self._clear_remains()
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            port = self._choose_port()
            server = self._launch_on(binaries, account, port)
            if server is not None:
                log.info("database server started", pid=server.pid, port=port)
                return server
            log.warning("port was taken meanwhile", port=port, attempt=attempt)
        raise ProcessFailed("postgres", f"found no free port in {_PORT_ATTEMPTS} attempts")

    def _choose_port(self) -> int:
        if self._port is not None:
            if not is_free(self._port):
                raise refuse_port("postgres", self._port)
            return self._port
        if self._preferred_port is not None and is_free(self._preferred_port):
            return self._preferred_port
        return free_port()

    def _launch_on(self, binaries: Path, account: Account, port: int) -> Server | None:
        """Start on `port` and wait until it is ready; None if somebody else took the port meanwhile."""
        overrides = self._settings | {
            "port": str(port),
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",
            "cluster_name": self._cluster.title,
        }
        argv = [str(binaries / "postgres"), "-D", str(self._cluster.data)]
        argv += [f"--{name}={value}" for name, value in overrides.items()]
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        rotate(self._log_file)
        with self._log_file.open("ab") as output:
            written = output.tell()
            child = account.spawn(argv, output.fileno())
        deadline = time.monotonic() + START_TIMEOUT_S
        while child.poll() is None:
            claim = _PidFile.read(self._cluster.data)
            if claim is not None and claim.pid == child.pid and claim.status == "ready":
                _collect_ended()
                _STARTED[child.pid] = child
                return Server(port, child.pid, adopted=False, password=self._cluster.password())
            if time.monotonic() > deadline:
                child.kill()
                child.wait()
                raise ProcessFailed(
                    "postgres",
                    f"was not ready after {START_TIMEOUT_S:.0f} s",
                    log_tail(self._log_file, written),
                )
            time.sleep(_POLL_S)
        tail = log_tail(self._log_file, written)
        if "could not bind" in tail and self._port is None:
            return None
        if says_full(tail):
            raise self._cluster.refuse_full_disk()
        raise ProcessFailed("postgres", f"ended with {child.returncode} while starting", tail)

    def _clear_remains(self, patience_s: float = ORPHANS_S) -> None:
        """After a killed postmaster: end what is left of it, then take its pid file away.

        PostgreSQL itself refuses to start while the pid in that file is anybody's of the same user.
        """
        left = self._remains()
        for process in survivors(left, patience_s):
            _send(process, signal.SIGKILL)
        survivors(left, ORPHANS_S)
        (self._cluster.data / "postmaster.pid").unlink(missing_ok=True)

    def _shut_down(self) -> bool:
        process = self._postmaster()
        if process is None:
            return False
        for number, patience in (
            (signal.SIGINT, FAST_STOP_S),
            (signal.SIGQUIT, IMMEDIATE_STOP_S),
            (signal.SIGKILL, 1),
        ):
            _send(process, number)
            if not survivors([process], patience):
                log.info("database server stopped", pid=process.pid, signal=number.name)
                break
        _collect_ended()
        self._clear_remains(patience_s=0.0)
        return True


def _collect_ended() -> None:
    """Take note of servers that have ended, by us or by someone else's hand."""
    for pid, child in list(_STARTED.items()):
        if child.poll() is not None:
            del _STARTED[pid]


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _create_databases(server: Server) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True, connect_timeout=10) as connection:
        present = {row[0] for row in connection.execute("select datname from pg_catalog.pg_database")}
        for name in DATABASES:
            if name not in present:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))

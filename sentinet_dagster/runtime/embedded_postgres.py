"""A PostgreSQL server of our own on this machine: made, started, adopted, stopped.

What lives here: one server's life. What never does: schemas and rows (`database.py`), which port or folder (`home.py`).

The server listens on 127.0.0.1 only, has no Unix socket, and wants a generated password, kept in a file that only the
owner reads: other users of the machine stay out. It is deliberately not tied to the process that started it: whoever
starts it next finds it by its data directory, takes it over if it runs and starts it again if it does not.
The files, below `directory`:

    password   the superuser's, mode 600
    lock       held while somebody starts or stops the server
    cluster/   the account's own folder, or a link to one, with `data/` in it
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
import structlog
from psycopg import sql

from sentinet_dagster.runtime.errors import ProcessFailed, UserError
from sentinet_dagster.runtime.logs import log_tail
from sentinet_dagster.runtime.ports import LOOPBACK, free_port, is_free, refuse_port
from sentinet_dagster.runtime.postgres_binaries import SHARED_STATE, Account, programs, service_account

USER = "sentinet"
DATABASES = ("sentinet", "sentinet_dagster")
START_TIMEOUT_S = 120.0  # recovery after a crash replays up to max_wal_size
FAST_STOP_S = 5.0
IMMEDIATE_STOP_S = 3.0
_POLL_S = 0.02
_PORT_ATTEMPTS = 5

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
        return f"postgresql://{USER}:{quote(self.password, safe='')}@{LOOPBACK}:{self.port}/{database}"


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


def initial_settings(memory_bytes: int) -> dict[str, str]:
    """What a new server is made with: appends of ticks, re-reads of the last minutes, two cores.

    They land in `data/postgresql.conf`, which is the operator's from then on.

    >>> initial_settings(24 * 2**30)["shared_buffers"]
    '1536MB'
    """
    megabytes = memory_bytes // 2**20
    return {
        "shared_buffers": f"{min(max(megabytes // 16, 64), 2048)}MB",
        "effective_cache_size": f"{max(megabytes // 2, 256)}MB",
        "work_mem": "16MB",
        "maintenance_work_mem": f"{min(max(megabytes // 64, 32), 512)}MB",
        "max_connections": "100",
        # A batch that the daemon was told is written must survive a power cut.
        "synchronous_commit": "on",
        # Ticks are written once and in bulk: checkpoints by time rather than by volume.
        "checkpoint_timeout": "15min",
        "max_wal_size": "2GB",
        "random_page_cost": "1.1",
        # Compiling costs more than the short queries of a micro-batch.
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "log_checkpoints": "off",
    }


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
        self._directory = directory
        self._log_file = log_file
        self._port = port
        self._preferred_port = preferred_port
        self._settings = dict(settings or {})
        self._account = service_account(self._data)
        self._child: subprocess.Popen[bytes] | None = None

    # -- what others call --------------------------------------------------------------------------------------------

    def start(self) -> Server:
        """The running server: the one found, or a new one. Its databases exist. Calling it again changes nothing.

        Raises:
            UserError: no place for the data, the port is taken, the programs are missing.
            ProcessFailed: the server did not come up; the message ends with its log.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        with self._exclusive():
            server = self._adopt() or self._launch()
            self._create_databases(server)
        return server

    def running(self) -> Server | None:
        """The server if it runs and accepts connections now; starts nothing."""
        found = self._postmaster()
        claim = _PidFile.read(self._data)
        if found is None or claim is None or claim.status != "ready":
            return None
        return Server(claim.port, found.pid, adopted=True, password=self._password())

    def stop(self) -> bool:
        """Shut the server down, whoever started it: fast, after 5 s at once. False: it did not run."""
        if not self._directory.is_dir():
            return False
        with self._exclusive():
            return self._shut_down()

    def destroy(self) -> None:
        """Stop the server and delete it with all data, also where the data lies outside `directory`."""
        self.stop()
        shutil.rmtree(self._cluster.resolve(), ignore_errors=True)
        shutil.rmtree(self._directory, ignore_errors=True)

    # -- finding -----------------------------------------------------------------------------------------------------

    @property
    def _cluster(self) -> Path:
        return self._directory / "cluster"

    @property
    def _data(self) -> Path:
        return self._cluster.resolve() / "data"

    @property
    def _cluster_name(self) -> str:
        """Names the server in the titles of its processes, so that those left behind by a crash are found."""
        return "sentinet_" + hashlib.sha256(os.fsencode(self._data)).hexdigest()[:12]

    def _postmaster(self) -> psutil.Process | None:
        """The live process that serves our data, or None: a pid file alone proves nothing."""
        claim = _PidFile.read(self._data)
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
            and command[1:3] == ["-D", str(self._data)]
        )
        return process if ours else None

    def _remains(self) -> list[psutil.Process]:
        """Our server's processes that are there without a postmaster."""
        title = f"postgres: {self._cluster_name}: "
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
        while process.is_running() and (claim := _PidFile.read(self._data)) is not None:
            if claim.status == "ready":
                if self._port not in (None, claim.port):
                    self._shut_down()
                    return None
                log.info("database server adopted", pid=process.pid, port=claim.port)
                return Server(claim.port, process.pid, adopted=True, password=self._password())
            if time.monotonic() > deadline:
                raise ProcessFailed("postgres", f"has been {claim.status} for {START_TIMEOUT_S:.0f} s")
            time.sleep(_POLL_S)
        return None

    # -- starting ----------------------------------------------------------------------------------------------------

    def _launch(self) -> Server:
        binaries = programs(self._account)
        if not (self._cluster.is_dir() and self._data.is_dir()):
            self._initialise(binaries)
        self._clear_remains()
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            port = self._choose_port()
            server = self._launch_on(binaries, port)
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

    def _launch_on(self, binaries: Path, port: int) -> Server | None:
        """Start on `port` and wait until it is ready; None if somebody else took the port meanwhile."""
        overrides = self._settings | {
            "port": str(port),
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",
            "cluster_name": self._cluster_name,
        }
        argv = [str(binaries / "postgres"), "-D", str(self._data)]
        argv += [f"--{name}={value}" for name, value in overrides.items()]
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as output:
            written = output.tell()
            child = self._account.spawn(argv, output.fileno())
        deadline = time.monotonic() + START_TIMEOUT_S
        while child.poll() is None:
            claim = _PidFile.read(self._data)
            if claim is not None and claim.pid == child.pid and claim.status == "ready":
                self._child = child
                return Server(port, child.pid, adopted=False, password=self._password())
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
        raise ProcessFailed("postgres", f"ended with {child.returncode} while starting", tail)

    def _clear_remains(self) -> None:
        """After a killed postmaster: end what is left of it, then take its pid file away.

        PostgreSQL itself refuses to start while the pid in that file is anybody's of the same user.
        """
        left = self._remains()
        if left:
            # They leave by themselves within moments of losing their postmaster.
            _, left = psutil.wait_procs(left, timeout=IMMEDIATE_STOP_S)
            for process in left:
                _send(process, signal.SIGKILL)
            psutil.wait_procs(left, timeout=IMMEDIATE_STOP_S)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _create_databases(self, server: Server) -> None:
        with psycopg.connect(server.url("postgres"), autocommit=True, connect_timeout=10) as connection:
            present = {row[0] for row in connection.execute("select datname from pg_catalog.pg_database")}
            for name in DATABASES:
                if name not in present:
                    connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))

    # -- making ------------------------------------------------------------------------------------------------------

    def _initialise(self, binaries: Path) -> None:
        """Make the data directory. It appears whole: an interrupted start leaves nothing to stumble over."""
        cluster = self._make_cluster()
        partial = cluster / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        password_file = cluster / "password.once"
        password_file.unlink(missing_ok=True)
        # Exclusive: below a folder of another user, a name may have been laid out as a link.
        descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as once:
            if self._account.switch:
                os.fchown(descriptor, self._account.uid, self._account.gid)
            once.write(self._make_password() + "\n")
        argv = [
            str(binaries / "initdb"),
            f"--pgdata={partial}",
            f"--username={USER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # Text sorts by code point, on every machine and whatever its libc.
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
        ]
        for name, value in initial_settings(psutil.virtual_memory().total).items():
            argv += ["--set", f"{name}={value}"]
        try:
            made = self._account.run(argv)
        finally:
            password_file.unlink(missing_ok=True)
        if made.returncode != 0:
            raise ProcessFailed("initdb", f"ended with {made.returncode}", made.stderr.strip())
        partial.rename(cluster / "data")
        log.info("database made", directory=str(cluster))

    def _make_cluster(self) -> Path:
        """The account's own folder: below `directory` where the account can reach it, else outside with a link to it."""
        here = self._cluster
        if here.is_symlink() and not here.exists():
            raise UserError(f"the database of {self._directory} is gone: {here} points to {here.readlink()}")
        if not here.exists():
            here.mkdir(mode=0o700)
            self._hand_over(here)
        if self._account.can_write(here):
            return here.resolve()
        here.rmdir()
        # As long-lived as the home itself: what is below /tmp stays there.
        parent = Path(tempfile.gettempdir())
        if not self._directory.resolve().is_relative_to(parent.resolve()):
            parent = SHARED_STATE
        try:
            parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            outside = Path(tempfile.mkdtemp(prefix="sentinet-postgres-", dir=parent))
        except OSError as error:
            raise UserError(
                f"PostgreSQL's user cannot reach {self._directory}, and {parent} is not writable: {error.strerror}"
            ) from error
        self._hand_over(outside)
        here.symlink_to(outside)
        return outside

    def _hand_over(self, folder: Path) -> None:
        if self._account.switch:
            os.chown(folder, self._account.uid, self._account.gid)

    @property
    def _password_file(self) -> Path:
        return self._directory / "password"

    def _make_password(self) -> str:
        """A new password, kept before the server knows it; one that is kept already is used again."""
        if not self._password_file.exists():
            scratch = self._password_file.with_suffix(".new")
            scratch.unlink(missing_ok=True)
            with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(24) + "\n")
            scratch.rename(self._password_file)
        return self._password()

    def _password(self) -> str:
        try:
            return self._password_file.read_text().strip()
        except FileNotFoundError:
            raise UserError(
                f"{self._password_file} is gone, and without it the database beside it opens to nobody: "
                f"put it back, or move {self._directory} away to begin anew"
            ) from None

    # -- stopping ----------------------------------------------------------------------------------------------------

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
            if _is_gone(process, patience):
                log.info("database server stopped", pid=process.pid, signal=number.name)
                break
        if self._child is not None:
            self._child.poll()
        self._clear_remains()
        return True

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold off others who start or stop the same server. The kernel lets go if we die."""
        with (self._directory / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _is_gone(process: psutil.Process, timeout_s: float) -> bool:
    try:
        process.wait(timeout_s)
    except psutil.TimeoutExpired:
        return False
    return True

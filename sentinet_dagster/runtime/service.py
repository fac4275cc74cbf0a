"""`sentinet up` and `down`: a service home's processes, in the foreground or detached.

What lives here: the order of starting and stopping, and the record of it. What never does: printing, command
lines.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil
import structlog

from sentinet_dagster.runtime import dashboards, database, rollups
from sentinet_dagster.runtime.database_url import outages_told, without_password
from sentinet_dagster.runtime.disk import is_full
from sentinet_dagster.runtime.embedded_postgres import EmbeddedPostgres
from sentinet_dagster.runtime.errors import ProcessFailed, UserError
from sentinet_dagster.runtime.home import Home
from sentinet_dagster.runtime.instruments import Instrument
from sentinet_dagster.runtime.logs import log_tail, rotate
from sentinet_dagster.runtime.parts import Database, Parts, Ports, lay_out_dagster_home, opened_database
from sentinet_dagster.runtime.processes import Supervisor
from sentinet_dagster.runtime.server_keeper import ServerKeeper
from sentinet_dagster.runtime.signals import interrupted_once
from sentinet_dagster.runtime.state import ProcessState, RunState, read_state, write_state
from sentinet_dagster.runtime.superset_server import READY_S as SUPERSET_READY_S
from sentinet_dagster.runtime.superset_server import SupersetServer
from sentinet_dagster.storage import StorageSettings

STOP_PROCESSES_S = 7.0  # PostgreSQL comes after them, and all together have 10 s
STOP_S = 20.0  # for who stops within 10 s where the machine has time for it
DETACHED_START_S = 300.0  # a process that ends is noticed at once; a busy machine needs minutes
_POLL_S = 0.2

log = structlog.get_logger(__name__)


class Recorder:
    """Keeps the home's `state.json` equal to what the supervisor says."""

    def __init__(
        self,
        home: Home,
        supervisor: Supervisor,
        addresses: Mapping[str, str],
        database_url: str,
        keeper: ServerKeeper | None,
    ) -> None:
        self._home = home
        self._supervisor = supervisor
        self._addresses = dict(addresses)
        self._database = without_password(database_url)
        self._keeper = keeper
        self._written: RunState | None = None

    def record(self, running: bool) -> None:
        """Write the state if it is another than the last. On a full disk the last one stays."""
        processes = {
            status.name: ProcessState(status.state.value, status.pid, status.restarts)
            for status in self._supervisor.status()
        }
        if self._keeper is not None:
            processes = {"postgres": self._keeper.state()} | processes
        state = RunState(
            owner=os.getpid(),
            phase="running" if running else "starting",
            database=self._database,
            addresses=self._addresses,
            processes=processes,
        )
        if state == self._written:
            return
        try:
            write_state(self._home, state)
        except OSError as error:
            if not is_full(error):
                raise
        else:
            self._written = state


def keeper_of(opened: Database) -> ServerKeeper | None:
    """Who keeps the home's own server up; None: the server is not ours."""
    if opened.server is None or opened.pid is None:
        return None
    return ServerKeeper(opened.server, opened.pid)


def start_dagster(supervisor: Supervisor, parts: Parts) -> None:
    """Start Dagster's processes; the web server and the daemon as soon as the code server can answer them."""
    has_push = parts.has_push
    lay_out_dagster_home(parts.home)
    supervisor.start(parts.warm_worker())
    supervisor.start(parts.code_server())
    supervisor.wait_until_ready()
    supervisor.start(parts.dagster_daemon())
    supervisor.start(parts.webserver())
    if has_push:
        supervisor.start(parts.push())


def serve(
    home: Home,
    environ: Mapping[str, str],
    config_directory: Path,
    instruments: tuple[Instrument, ...],
    on_ready: Callable[[RunState], None],
    *,
    with_superset: bool = False,
) -> None:
    """Run a service in `home` until SIGINT or SIGTERM; everything is stopped when this returns.

    Raises:
        UserError: something in the settings, or another Sentinet runs here.
        ProcessFailed: a process did not come up.
    """
    storage = database.read_storage(config_directory)
    home.prepare("service")
    with home.claim(), interrupted_once():
        try:
            _serve(home, environ, config_directory, instruments, storage, on_ready, with_superset)
        except (UserError, ProcessFailed) as error:
            write_state(home, RunState(owner=os.getpid(), phase="failed", failure=str(error)))
            raise
        except KeyboardInterrupt:
            log.info("service stopped")


def _serve(
    home: Home,
    environ: Mapping[str, str],
    config_directory: Path,
    instruments: tuple[Instrument, ...],
    storage: StorageSettings,
    on_ready: Callable[[RunState], None],
    with_superset: bool,
) -> None:
    ports = Ports.choose(home, environ)
    with opened_database(home, environ) as opened, Supervisor() as supervisor:
        try:
            superset = SupersetServer.lay_out(home, opened, environ) if with_superset else None
            settings = superset.publishing(ports.dagster_url) if superset else {}
            parts = Parts(home, opened, ports, config_directory, settings=settings)
            addresses = {"dagster": ports.dagster_url, "ingest": ports.ingest_url}
            addresses |= {"superset": superset.url} if superset else {}
            keeper = keeper_of(opened)
            recorder = Recorder(home, supervisor, addresses, opened.url, keeper)
            recorder.record(running=False)
            with outages_told(opened.url):
                database.migrate(opened.url, storage, roles=superset.roles if superset else None)
                database.watch(opened.url, instruments)
                rollups.deploy(opened.url, home.path)
            start_dagster(supervisor, parts)
            supervisor.start(parts.ingest())
            supervisor.wait_until_ready()
            if superset is not None:
                supervisor.start(superset.spec())
                supervisor.wait_until_ready()
                dashboards.publish(superset.target(ports.dagster_url), opened.url, home.path)
            recorder.record(running=True)
            state = read_state(home)
            assert state is not None
            on_ready(state)
            while True:
                time.sleep(_POLL_S)
                supervisor.poll()
                if keeper is not None:
                    keeper.poll()
                recorder.record(running=True)
        finally:
            supervisor.stop_all(STOP_PROCESSES_S)


def check_free(home: Home) -> None:
    """Make the home if there is none, and see that nobody runs in it.

    Raises:
        UserError: it cannot be made, is a demo's, or somebody runs in it.
    """
    home.prepare("service")
    with home.claim():
        pass


def start_detached(home: Home, command: Sequence[str], *, with_superset: bool = False) -> RunState:
    """Start `command`, which serves `home` in the foreground, as a process of its own; wait until it is up.

    Raises:
        UserError: what the process said when it gave up.
        ProcessFailed: it ended without saying why, or was not up in time; then it has been stopped.
    """
    log_file = home.log_file("supervisor")
    rotate(log_file)
    with log_file.open("ab") as output:
        start = output.tell()
        child = subprocess.Popen(  # noqa: S603 - our own program, no shell
            list(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        patience_s = DETACHED_START_S + (SUPERSET_READY_S if with_superset else 0)
        return _wait_until_up(home, child, start, patience_s)
    except BaseException:
        child.terminate()
        child.wait(STOP_S + 2)
        raise


def _wait_until_up(home: Home, child: subprocess.Popen[bytes], log_start: int, patience_s: float) -> RunState:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        code = child.poll()
        state = read_state(home)
        ours = state is not None and state.owner == child.pid
        if state is not None and ours and state.phase == "running":
            return state
        if code is not None:
            if state is not None and ours and state.failure:
                raise UserError(state.failure) if code == 2 else ProcessFailed("sentinet", state.failure)
            tail = log_tail(home.log_file("supervisor"), log_start)
            raise ProcessFailed("sentinet", f"ended with {code} while starting", tail)
        time.sleep(_POLL_S)
    raise ProcessFailed("sentinet", f"was not up after {patience_s:g} s")


def stop(home: Home) -> bool:
    """Stop whoever runs in `home`, and its database server. False: nothing ran.

    Raises:
        ProcessFailed: it does not end.
    """
    owner = home.owner()
    if owner is not None:
        _end(owner)
    stray = EmbeddedPostgres(home.postgres, home.log_file("postgres")).stop() if home.kind else False
    return owner is not None or stray


def _end(pid: int) -> None:
    try:
        process = psutil.Process(pid)
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        # Its guard ends what it had started, its database is stopped by the caller.
        process.kill()
        try:
            process.wait(2)
        except psutil.TimeoutExpired:
            raise ProcessFailed("sentinet", f"(process {pid}) does not end") from None


def foreground_command(*, with_superset: bool = False) -> list[str]:
    """The command line of `sentinet up --foreground`, with our own interpreter."""
    command = [sys.executable, "-m", "sentinet_dagster", "up", "--foreground"]
    return [*command, "--with-superset"] if with_superset else command

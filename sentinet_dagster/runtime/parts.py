"""The processes of a Sentinet on one machine: how each is started, and how it is known to be ready.

What lives here: command lines, environments, ports. What never does: their order and their life
(`service.py`, `demo.py`, `processes.py`).
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sentinet_dagster.runtime.database_url import check_url, connect
from sentinet_dagster.runtime.embedded_postgres import EmbeddedPostgres
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.home import Home
from sentinet_dagster.runtime.ports import LOOPBACK, port_setting
from sentinet_dagster.runtime.processes import ProcessSpec, Restart, answers_http

ROOT = Path(__file__).resolve().parents[2]
CODE_LOCATION = "sentinet_dagster.definitions"


@dataclass(frozen=True, slots=True)
class Database:
    """Where facts, judgement and Dagster's own state are."""

    url: str = field(repr=False)
    dagster_url: str = field(repr=False)
    pid: int | None = None  # of the home's own server
    server: EmbeddedPostgres | None = None  # that server, bound to the port it has


@dataclass(frozen=True, slots=True)
class Ports:
    """What each part listens on, on the loopback interface."""

    dagster: int
    code_server: int
    ingest_health: int

    @classmethod
    def choose(cls, home: Home, environ: Mapping[str, str]) -> Ports:
        """Free ports, or those the user set.

        Raises:
            UserError: one that the user set is no port number, or in use.
        """
        return cls(
            dagster=home.choose_port("dagster", environ),
            code_server=home.choose_port("code_server", environ),
            ingest_health=home.choose_port("ingest_health", environ),
        )

    @property
    def dagster_url(self) -> str:
        """Dagster's web UI."""
        return f"http://{LOOPBACK}:{self.dagster}"

    @property
    def ingest_url(self) -> str:
        """The ingest daemon's /healthz, /livez and /metrics."""
        return f"http://{LOOPBACK}:{self.ingest_health}"


@contextmanager
def opened_database(home: Home, environ: Mapping[str, str]) -> Iterator[Database]:
    """The database that the environment names, or the home's own server, started and stopped at the end.

    Raises:
        UserError: the URL is wrong, nobody answers there, or Dagster's is missing.
        ProcessFailed: the home's server did not come up.
    """
    given = environ.get("SENTINET_DATABASE_URL", "").strip()
    if given:
        yield _given_database(given, environ)
        return
    server = embedded_server(home, environ)
    try:
        found = server.start()
        home.record_port("postgres", found.port)
        bound = EmbeddedPostgres(home.postgres, home.log_file("postgres"), port=found.port)
        yield Database(found.url(), found.url("sentinet_dagster"), found.pid, bound)
    finally:
        server.stop()


def embedded_server(home: Home, environ: Mapping[str, str]) -> EmbeddedPostgres:
    """The home's own server, not started.

    Raises:
        UserError: the port that the user set for it is none.
    """
    return EmbeddedPostgres(
        home.postgres,
        home.log_file("postgres"),
        port=port_setting("postgres", environ),
        preferred_port=home.ports().get("postgres"),
    )


def dagster_environment(home: Home, database: Database, config_directory: Path) -> dict[str, str]:
    """What whoever loads the code location or opens Dagster's instance is told."""
    return {
        "DAGSTER_HOME": str(home.dagster),
        "SENTINET_HOME": str(home.path),
        "SENTINET_DATABASE_URL": database.url,
        "SENTINET_DAGSTER_DATABASE_URL": database.dagster_url,
        "SENTINET_CONFIG_DIR": str(config_directory),
    }


def lay_out_dagster_home(home: Home) -> None:
    """Dagster reads its instance's settings from DAGSTER_HOME: put the repository's there."""
    home.dagster.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "dagster.yaml", home.dagster / "dagster.yaml")


def _given_database(url: str, environ: Mapping[str, str]) -> Database:
    dagster = environ.get("SENTINET_DAGSTER_DATABASE_URL", "").strip()
    if not dagster:
        raise UserError(
            "SENTINET_DAGSTER_DATABASE_URL is not set: beside SENTINET_DATABASE_URL Dagster needs a database "
            "of its own, such as postgresql://user:password@host:5432/sentinet_dagster"
        )
    for address, variable in ((url, "SENTINET_DATABASE_URL"), (dagster, "SENTINET_DAGSTER_DATABASE_URL")):
        connect(check_url(address, variable)).close()
    return Database(url, dagster)


@dataclass(frozen=True, slots=True)
class Parts:
    """The processes of `home`."""

    home: Home
    database: Database
    ports: Ports
    config_directory: Path
    code_location: str = CODE_LOCATION
    settings: Mapping[str, str] = field(default_factory=dict)  # variables besides those of the environment

    def environment(self) -> dict[str, str]:
        """What every process is told."""
        return dagster_environment(self.home, self.database, self.config_directory) | {
            "SENTINET_CODE_SERVER_HOST": LOOPBACK,
            "SENTINET_CODE_SERVER_PORT": str(self.ports.code_server),
            "SENTINET_INGEST_HEALTH_PORT": str(self.ports.ingest_health),
            "PYTHONUNBUFFERED": "1",
            **self.settings,
        }

    def ingest(self) -> ProcessSpec:
        """The ingest daemon."""
        # Not /healthz: a venue that is away is waited for, and nothing else waits for it.
        healthy = answers_http(f"{self.ports.ingest_url}/livez")
        return self._spec("ingest", [sys.executable, "-m", "ingest_daemon"], healthy, stop_s=8.0)

    def venue_server(self, port: int, seed: int, live_start_us: int) -> ProcessSpec:
        """The demo's venue: a simulated market, calm until it is told when the script begins."""
        argv = [sys.executable, "-m", "sentinet_dagster.runtime.venue_server"]
        argv += ["--port", str(port), "--seed", str(seed), "--live-start-us", str(live_start_us), "--calm"]
        return self._spec("venue", argv, listens(port))

    @property
    def has_push(self) -> bool:
        """Whether the operator wants the push listener.

        Raises:
            UserError: SENTINET_PUSH is neither 1 nor 0.
        """
        text = (os.environ | self.environment()).get("SENTINET_PUSH") or "0"
        if text not in ("0", "1"):
            raise UserError(f"SENTINET_PUSH={text}: write 1 for the push listener, or 0")
        return text == "1"

    def load(self, port: int, seed: int, live_start_us: int, instruments: int, rate: float) -> ProcessSpec:
        """The benchmark's venue: a simulated market of any size and pace."""
        argv = [sys.executable, "-m", "sentinet_dagster.runtime.load"]
        argv += ["--port", str(port), "--seed", str(seed), "--live-start-us", str(live_start_us)]
        argv += ["--instruments", str(instruments), "--rate", str(rate)]
        return self._spec("venue", argv, listens(port))

    def code_server(self) -> ProcessSpec:
        """Dagster's persistent code server: one managed by the daemon would be recycled every minute."""
        port = self.ports.code_server
        argv = [_tool("dagster"), "api", "grpc", "--module-name", self.code_location]
        argv += ["--host", LOOPBACK, "--port", str(port), "--location-name", "sentinet"]
        return self._spec("code_server", argv, listens(port))

    def dagster_daemon(self) -> ProcessSpec:
        """Sensors, schedules, backfills, run monitoring."""
        argv = [_tool("dagster-daemon"), "run", "--workspace", str(ROOT / "workspace.yaml")]
        return self._spec("dagster_daemon", argv, None)

    def webserver(self) -> ProcessSpec:
        """Dagster's web UI and GraphQL."""
        argv = [_tool("dagster-webserver"), "--workspace", str(ROOT / "workspace.yaml")]
        argv += ["--host", LOOPBACK, "--port", str(self.ports.dagster)]
        ready = answers_http(f"{self.ports.dagster_url}/server_info")
        return self._spec("webserver", argv, ready)

    def push(self) -> ProcessSpec:
        """The listener that launches runs when the ledger grows."""
        argv = [sys.executable, "-m", "sentinet_dagster.runtime.push"]
        return self._spec("push", [*argv, "--dagster-url", self.ports.dagster_url], None)

    def warm_worker(self) -> ProcessSpec:
        """The worker that runs are forked from."""
        return self._spec("warm_worker", [sys.executable, "-m", "sentinet_dagster.launcher"], None)

    def _spec(
        self, name: str, argv: list[str], ready: Callable[[], bool] | None, stop_s: float = 4.0
    ) -> ProcessSpec:
        return ProcessSpec(
            name=name,
            argv=argv,
            log_file=self.home.log_file(name),
            env=self.environment(),
            cwd=self.home.path,
            ready=ready,
            restart=Restart(),
            stop_s=stop_s,
        )


def listens(port: int) -> Callable[[], bool]:
    """A readiness probe: somebody accepts connections on `port` of the loopback interface."""

    def probe() -> bool:
        try:
            socket.create_connection((LOOPBACK, port), timeout=0.5).close()
        except OSError:
            return False
        return True

    return probe


def _tool(name: str) -> str:
    """A console script of our own environment."""
    return os.fspath(Path(sys.executable).with_name(name))

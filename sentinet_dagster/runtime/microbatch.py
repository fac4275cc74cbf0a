"""`sentinet benchmark microbatch`: a whole Sentinet under load, measured from the outside.

What lives here: the stage (database, venue, daemon, Dagster; all on this machine, in a home made for it),
and what is read at the start and at the end of a span. What never does: judging a number.

Three spans under the same load, each with a Sentinet of its own: with the sensor, for half of the time; with
the push listener; and with Dagster's own launcher, executor and storage (`default_setup.py`).

    runs, failed       of judge_windows, requested in the span and ended
    row_to_alert_s     from the commit of the last fact of an alert's window to the alert's own
    cpu_s_per_batch    CPU seconds a run, by process; `total` without the venue, the daemon and its backends
    cores              the same a second
    events_per_batch   that Dagster has stored of a run
    bytes_per_batch    by which Dagster's database and files grow, a run
    dagster_mb_per_day what of a day of such runs and their ticks is there when it is pruned; the default
                       set-up prunes nothing
    load_average       of the whole machine at the end, the last minute: above 2 on two cores, others ran
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import structlog
from psycopg.rows import dict_row

from sentinet_dagster.assets.dagster_runs import KEPT
from sentinet_dagster.runtime import database, readings, rollups
from sentinet_dagster.runtime.cpu_meter import own_cpu_s, use_of
from sentinet_dagster.runtime.disk import used_bytes
from sentinet_dagster.runtime.errors import ProcessFailed
from sentinet_dagster.runtime.history import take_in, venues_by_protocol
from sentinet_dagster.runtime.home import Home
from sentinet_dagster.runtime.instruments import read_instruments
from sentinet_dagster.runtime.load import (
    HISTORY_US,
    chosen_instruments,
    market_of,
    rate_for,
    write_load_config,
)
from sentinet_dagster.runtime.parts import (
    CODE_LOCATION,
    Database,
    Parts,
    Ports,
    lay_out_dagster_home,
    opened_database,
)
from sentinet_dagster.runtime.ports import LOOPBACK
from sentinet_dagster.runtime.processes import Supervisor
from sentinet_dagster.runtime.venue_control import begin_script
from sentinet_dagster.runtime.venue_history import write_history
from sentinet_dagster.surveillance.evaluation import percentile

READY_S = 300.0
_LIVE_WITHIN = timedelta(seconds=60)
_LEAD = timedelta(seconds=4)
_TAIL_S = 8.0  # for the alerts of the last windows
_POLL_S = 0.2
_JOB = "judge_windows"
_ORCHESTRATION = ("warm_worker", "code_server", "dagster_daemon", "webserver", "push")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure. `run_for` is the length of the three spans together."""

    run_for: timedelta
    instruments: int
    events_per_second: float
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Variant:
    """How Dagster is set up."""

    name: str
    code_location: str = CODE_LOCATION
    is_warm: bool = True
    has_push: bool = False


SENSOR = Variant("sensor")
PUSH = Variant("push", has_push=True)
DEFAULT = Variant("default", "sentinet_dagster.default_setup", is_warm=False)


def measure_microbatch(options: Options, environ: Mapping[str, str]) -> dict[str, Any]:
    """All three spans, one after the other.

    Raises:
        UserError: so few or so many instruments there are none.
        ProcessFailed: a process did not come up, or nothing was judged.
    """
    rate = rate_for(chosen_instruments(options.instruments), options.events_per_second)
    measured = {}
    for variant, share in ((SENSOR, 0.5), (PUSH, 0.25), (DEFAULT, 0.25)):
        with staged(options, variant, rate, environ) as stage:
            measured[variant.name] = stage.measure(options.run_for * share)
    return {**measured["sensor"], "push": measured["push"], "default_setup": measured["default"]}


@contextmanager
def staged(options: Options, variant: Variant, rate: float, environ: Mapping[str, str]) -> Iterator[Stage]:
    """A Sentinet that judges the load live, in a home that is deleted afterwards."""
    own = {name: value for name, value in environ.items() if not name.startswith("SENTINET_")}
    with TemporaryDirectory(prefix=f"sentinet-{variant.name}-") as made:
        home = Home(Path(made) / "home")
        home.prepare("demo")
        with home.claim(), opened_database(home, own) as opened, Supervisor() as supervisor:
            stage = Stage(home, options, variant, rate, opened, supervisor, own)
            stage.start()
            yield stage


class Stage:
    """One Sentinet under load."""

    def __init__(
        self,
        home: Home,
        options: Options,
        variant: Variant,
        rate: float,
        opened: Database,
        supervisor: Supervisor,
        environ: Mapping[str, str],
    ) -> None:
        self._home = home
        self._options = options
        self._variant = variant
        self._rate = rate
        self.database = opened
        self._supervisor = supervisor
        self._venue_port = home.choose_port("venue", environ)
        config = write_load_config(
            home.path / "config", self._venue_port, chosen_instruments(options.instruments)
        )
        settings = {"SENTINET_PUSH": "1" if variant.has_push else "0"}
        self._parts = Parts(
            home, opened, Ports.choose(home, environ), config, variant.code_location, settings
        )

    def start(self) -> None:
        """Everything up to live judging, and the script begun."""
        parts, supervisor, url = self._parts, self._supervisor, self.database.url
        database.migrate(url)
        database.watch(url, read_instruments(parts.config_directory))
        rollups.prepare(self._home.path)
        lay_out_dagster_home(self._home)
        if self._variant.is_warm:
            supervisor.start(parts.warm_worker())
        else:
            (self._home.dagster / "dagster.yaml").write_text(_DAGSTER_YAML)
        supervisor.start(parts.code_server())
        live_start_us = (int(time.time()) + 2) * 1_000_000
        options = self._options
        supervisor.start(
            parts.load(self._venue_port, options.seed, live_start_us, options.instruments, self._rate)
        )
        supervisor.wait_until_ready()
        supervisor.start(parts.ingest())
        self._take_in_history(live_start_us)
        rollups.deploy(url, self._home.path)
        supervisor.start(parts.dagster_daemon())
        supervisor.start(parts.webserver())
        if parts.has_push:
            supervisor.start(parts.push())
        supervisor.wait_until_ready()
        self._until(self._is_live, "windows are judged live")
        starts_at = datetime.now(UTC).replace(microsecond=0) + _LEAD
        begin_script(f"http://{LOOPBACK}:{self._venue_port}", starts_at)
        log.info("live", variant=self._variant.name)

    def measure(self, span: timedelta) -> dict[str, Any]:
        """One span from now on."""
        before = self._mark()
        self._stay(span.total_seconds())
        after = self._mark()
        self._stay(_TAIL_S)
        runs = self._runs(before.at, after.at)
        batches = max(runs["ended"], 1)
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            delays = readings.row_to_alert_seconds(connection, before.at)
        cpu = {name: (after.cpu_s[name] - before.cpu_s[name]) / batches for name in after.cpu_s}
        elapsed = (after.at - before.at).total_seconds()
        total = sum(value for name, value in cpu.items() if name in _COUNTED)
        return {
            "runs": runs["ended"],
            "failed": runs["failed"],
            "row_to_alert_s": _percentiles(delays),
            "cpu_s_per_batch": {name: round(value, 3) for name, value in cpu.items()}
            | {"total": round(total, 3)},
            "events_per_batch": round(runs["events"] / batches, 1),
            "bytes_per_batch": round((after.dagster_bytes - before.dagster_bytes) / batches),
            "dagster_mb_per_day": round(self._bytes_per_day(before, after, batches) / 2**20, 1),
            "cores": round(total * batches / elapsed, 3),
            "alerts": len(delays),
            "load_average": round(os.getloadavg()[0], 2),
        }

    def _bytes_per_day(self, before: _Mark, after: _Mark, batches: int) -> float:
        """Of a day: its ticks, and of its runs the last hour's and each hour's newest."""
        days = (after.at - before.at) / timedelta(days=1)
        grown, ticks = after.dagster_bytes - before.dagster_bytes, after.tick_bytes - before.tick_bytes
        if not self._variant.is_warm:
            return grown / days
        kept = KEPT[_JOB] / timedelta(days=1) * batches / days + 24
        return (grown - ticks) / batches * kept + ticks / days

    def _take_in_history(self, live_start_us: int) -> None:
        market = market_of(self._options.seed, live_start_us, self._options.instruments, 1.0)
        until_us = max(live_start_us, time.time_ns() // 1000) + 1_000_000
        folder = self._home.path / "history"
        files = write_history(market, live_start_us - HISTORY_US, until_us, folder)
        venues = venues_by_protocol(self._parts.config_directory)
        take_in(self.database.url, [file.path for file in files], venues)

    def _is_live(self) -> bool:
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            newest = readings.progress(connection, datetime.now(UTC) - timedelta(hours=1)).newest
        return newest is not None and newest > datetime.now(UTC) - _LIVE_WITHIN

    def _mark(self) -> _Mark:
        cpu_s = {}
        for status in self._supervisor.status():
            use = use_of(status.pid) if status.pid is not None else None
            cpu_s[status.name] = 0.0 if use is None else use.cpu_s
        assert self.database.pid is not None
        server = use_of(self.database.pid)
        writers = sum(own_cpu_s(pid) for pid in self._backends("sentinet-ingest"))
        cpu_s["postgres"] = (server.cpu_s if server else 0.0) - writers
        cpu_s["postgres_ingest"] = writers
        return _Mark(datetime.now(UTC), cpu_s, *self._dagster_bytes())

    def _backends(self, application: str) -> list[int]:
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            rows = connection.execute(
                "select pid from pg_stat_activity where application_name = %s", [application]
            )
            return [row[0] for row in rows]

    def _dagster_bytes(self) -> tuple[int, int]:
        """Of all that Dagster has written, and of its ticks."""
        with psycopg.connect(self.database.dagster_url, autocommit=True) as connection:
            sizes = readings.dagster_sizes(connection)
        taken = round(sizes["database"] * 2**20)
        return taken + used_bytes(self._home.dagster), round(sizes["ticks"] * 2**20)

    def _runs(self, since: datetime, until: datetime) -> dict[str, int]:
        with psycopg.connect(self.database.dagster_url, autocommit=True, row_factory=dict_row) as connection:
            row = connection.execute(_RUNS, {"job": _JOB, "since": since, "until": until}).fetchone()
        assert row is not None
        return row

    def _stay(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._supervisor.poll()
            time.sleep(_POLL_S)

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + READY_S
        while not condition():
            if time.monotonic() > deadline:
                raise ProcessFailed("benchmark", f"gives up: not after {READY_S:g} s: {what}")
            self._supervisor.poll()
            time.sleep(_POLL_S)


_DAGSTER_YAML = """\
storage:
  postgres:
    postgres_url:
      env: SENTINET_DAGSTER_DATABASE_URL
telemetry:
  enabled: false
"""
_COUNTED = (*_ORCHESTRATION, "postgres")
_RUNS = """
select
    count(*) filter (where status in ('SUCCESS', 'FAILURE', 'CANCELED')) as ended,
    count(*) filter (where status in ('FAILURE', 'CANCELED')) as failed,
    coalesce(sum((select count(*) from event_logs as logs where logs.run_id = runs.run_id)), 0)::bigint
    as events
from runs
where
    pipeline_name = %(job)s
    and create_timestamp at time zone 'UTC' >= %(since)s
    and create_timestamp at time zone 'UTC' < %(until)s
"""


@dataclass(frozen=True, slots=True)
class _Mark:
    at: datetime
    cpu_s: Mapping[str, float]
    dagster_bytes: int
    tick_bytes: int


def _percentiles(values: list[float]) -> dict[str, float | None]:
    found = {
        "p50": percentile(values, 0.5),
        "p95": percentile(values, 0.95),
        "max": max(values, default=None),
    }
    return {name: None if value is None else round(value, 3) for name, value in found.items()}

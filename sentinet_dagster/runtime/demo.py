"""`sentinet demo`: the simulated market from its last half hour to live, found out by Dagster.

What lives here: the order of the start, when the script begins, the end. What never does: drawing
(`view.py`), scoring (`scorecard.py`), the market, the summary's shape (`demo_summary.py`).

On two cores Dagster is slowest, so it starts first; meanwhile the database is migrated, the venue server and
the daemon go live, and the half hour before is taken in by the same way. Only when that half hour is judged
and a model has been learnt from it does the script begin: the venue server is told its first second just
before it comes. So the ground truth is known before anything of it happens, and the market's bytes depend on
the seed and on two times only.
"""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import structlog

from ingest_daemon.replay import ReplayReport
from ingest_daemon.venues.simulated import SimulatedMarket
from sentinet_dagster.runtime import database, readings, rollups
from sentinet_dagster.runtime.dagster_api import DagsterApi, DagsterError
from sentinet_dagster.runtime.demo_board import Board
from sentinet_dagster.runtime.demo_config import render_config
from sentinet_dagster.runtime.demo_summary import Summary, summarise
from sentinet_dagster.runtime.errors import ProcessFailed
from sentinet_dagster.runtime.history import take_in, venues_by_protocol
from sentinet_dagster.runtime.home import Home
from sentinet_dagster.runtime.instruments import read_instruments
from sentinet_dagster.runtime.logs import log_tail
from sentinet_dagster.runtime.parts import (
    Database,
    Parts,
    Ports,
    embedded_server,
    lay_out_dagster_home,
    opened_database,
)
from sentinet_dagster.runtime.ports import LOOPBACK
from sentinet_dagster.runtime.processes import State, Supervisor
from sentinet_dagster.runtime.scorecard import Scripted
from sentinet_dagster.runtime.screen import choose_screen
from sentinet_dagster.runtime.service import Recorder, keeper_of
from sentinet_dagster.runtime.signals import interrupted_once
from sentinet_dagster.runtime.venue_control import begin_script, scripted_until
from sentinet_dagster.runtime.venue_history import write_history
from sentinet_dagster.runtime.watch import Watch
from sentinet_dagster.spans import in_microseconds

HISTORY = timedelta(minutes=30)
WINDOW = timedelta(seconds=5)
READY_S = 240.0
STOP_PROCESSES_S = 5.0  # PostgreSQL and the summary come after them, and all together have 10 s
_LEAD = timedelta(seconds=4)  # the venue server makes its market up to two seconds ahead
_OVERLAP = timedelta(seconds=1)  # history goes on into live; what both wrote is there once
_JUDGED_WITHIN = timedelta(seconds=30)  # the newest judged window is at most this old: live is being judged
_EPISODES_AHEAD = timedelta(seconds=90)
_EPISODES_EVERY_S = 5.0
_POLL_S = 0.1
_MOST_RESTARTS = 3

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the user chose. `run_for` None: until Ctrl-C."""

    seed: int = 0
    run_for: timedelta | None = None
    view: bool = True


def run_demo(home: Home, environ: Mapping[str, str], options: DemoOptions) -> Summary:
    """Run until the time is over or a signal comes; everything is stopped when this returns.

    Whatever a former demo left in the home is deleted: a demo begins with an empty database of its own.

    Raises:
        UserError: the home is a service's, somebody runs in it, or a port is taken. Nothing was touched then.
        ProcessFailed: a process did not come up, or the history was not judged in time.
        KeyboardInterrupt: a signal came before the script had begun.
    """
    own = {name: value for name, value in environ.items() if not name.endswith("DATABASE_URL")}
    home.prepare("demo")
    with home.claim(), interrupted_once():
        ports = Ports.choose(home, own)
        venue_port = home.choose_port("venue", own)
        _wipe(home, own)
        config = render_config(home.path / "config", venue_port)
        board = Board(f"demo · simulated market, seed {options.seed}", options.run_for)
        with (
            choose_screen(board.snapshot, live=options.view),
            opened_database(home, own) as opened,
            Supervisor() as supervisor,
        ):
            demo = _Demo(
                home, options, board, opened, supervisor, Parts(home, opened, ports, config), venue_port
            )
            try:
                return demo.run()
            finally:
                board.note = "stopping"
                supervisor.stop_all(STOP_PROCESSES_S)


def _wipe(home: Home, environ: Mapping[str, str]) -> None:
    embedded_server(home, environ).destroy()
    for folder in (home.dagster, home.logs, home.path / "history"):
        shutil.rmtree(folder, ignore_errors=True)
    home.prepare("demo")


class _Demo:
    """One run, once everything it needs is there."""

    def __init__(
        self,
        home: Home,
        options: DemoOptions,
        board: Board,
        opened: Database,
        supervisor: Supervisor,
        parts: Parts,
        venue_port: int,
    ) -> None:
        self._home = home
        self._options = options
        self._board = board
        self._database = opened
        self._supervisor = supervisor
        self._parts = parts
        live_start = _whole_second(datetime.now(UTC))
        self._anchor = live_start - HISTORY
        self._venue = parts.venue_server(venue_port, options.seed, in_microseconds(live_start))
        self._venue_url = f"http://{LOOPBACK}:{venue_port}"
        addresses = {"dagster": parts.ports.dagster_url, "ingest": parts.ports.ingest_url}
        self._keeper = keeper_of(opened)
        self._recorder = Recorder(home, supervisor, addresses, opened.url, self._keeper)
        self._began = time.monotonic()
        self._instruments = read_instruments(parts.config_directory)
        self._symbols = {(i.venue, i.venue_symbol): i.symbol for i in self._instruments}

    def run(self) -> Summary:
        board, parts = self._board, self._parts
        with board.step("schema"):
            database.migrate(self._database.url)
            database.watch(self._database.url, self._instruments)
            rollups.prepare(self._home.path)
        ports = parts.ports
        with Watch(self._database.url, ports.ingest_url, ports.dagster_url, lambda: board.script_at) as watch:
            board.watch = watch
            history = self._start()
            self._begin_script()
            start_s = time.monotonic() - self._began
            with suppress(KeyboardInterrupt):
                self._stay()
            board.note = "stopping"
            assert board.script_at is not None
            now = datetime.now(UTC)
            episodes = self._scripted_until(now)
            runs, counts = watch.runs_now(), watch.counts_now()
        self._supervisor.stop_all(STOP_PROCESSES_S)  # first: what is summed up is what stays
        with psycopg.connect(self._database.url, autocommit=True) as connection:
            return summarise(connection, episodes, runs, board.script_at, now, history, counts, start_s)

    def _start(self) -> ReplayReport:
        """Everything up to the moment when the script may begin."""
        board, parts, supervisor = self._board, self._parts, self._supervisor
        lay_out_dagster_home(self._home)
        supervisor.start(parts.warm_worker())
        supervisor.start(parts.code_server())
        with board.step("live feed"):
            supervisor.start(self._venue)
            self._until(lambda: self._runs("venue"), "the venue server is up")
            supervisor.start(parts.ingest())
            self._until(lambda: self._runs("ingest"), "the feed is live")
        taking_in = _in_background(self._take_in_history)
        with board.step("Dagster"):
            self._until(lambda: self._runs("code_server"), "the code server is up")
            supervisor.start(parts.dagster_daemon())
            supervisor.start(parts.webserver())
            if parts.has_push:
                supervisor.start(parts.push())
            self._until(lambda: self._runs("webserver"), "Dagster is up")
            board.dagster_url = parts.ports.dagster_url
        self._until(taking_in.done, "the history is taken in")
        history = taking_in.result()
        with board.step("half an hour judged"):
            self._until(self._is_judged, "the history is judged")
        with board.step("model learnt, rollups made"):
            self._learn()
            rollups.deploy(self._database.url, self._home.path)
            self._until(self._is_learnt, "a model is learnt")
        return history

    def _take_in_history(self) -> ReplayReport:
        """The half hour before now, and a little more: then nothing is missing between it and live."""
        with self._board.step("half an hour of history"):
            market = SimulatedMarket(self._options.seed, in_microseconds(self._anchor))
            until = datetime.now(UTC) + _OVERLAP
            folder = self._home.path / "history"
            files = write_history(market, market.anchor_us, in_microseconds(until), folder)
            venues = venues_by_protocol(self._parts.config_directory)
            return take_in(self._database.url, [file.path for file in files], venues)

    def _is_judged(self) -> bool:
        progress = self._progress()
        expected = HISTORY // WINDOW - 1  # the first window may begin before the market does
        now = datetime.now(UTC)
        return (
            progress.windows >= expected
            and progress.newest is not None
            and progress.newest + WINDOW > now - _JUDGED_WITHIN
        )

    def _learn(self) -> None:
        """Ask for the training that a sensor would ask for within half a minute: who watches waits for it."""
        try:
            with DagsterApi(self._parts.ports.dagster_url) as dagster:
                dagster.launch("retrain_models_daily", dagster.location())
        except (httpx.HTTPError, DagsterError) as error:
            log.warning("training not asked for", error=str(error))  # the sensor will

    def _is_learnt(self) -> bool:
        model_from = self._progress().model_from
        return model_from is not None and model_from <= datetime.now(UTC)

    def _progress(self) -> readings.Progress:
        with psycopg.connect(self._database.url, autocommit=True) as connection:
            return readings.progress(connection, self._anchor)

    def _begin_script(self) -> None:
        starts_at = _whole_second(datetime.now(UTC) + _LEAD)
        begin_script(self._venue_url, starts_at)
        self._board.script_at = starts_at

    def _stay(self) -> None:
        """Until the time is over."""
        board = self._board
        assert board.script_at is not None
        looked = -math.inf
        while True:
            now = datetime.now(UTC)
            if self._options.run_for is not None and now >= board.script_at + self._options.run_for:
                return
            if time.monotonic() - looked > _EPISODES_EVERY_S:
                board.episodes = self._scripted_until(now + _EPISODES_AHEAD)
                looked = time.monotonic()
            self._supervisor.poll()
            if self._keeper is not None:
                self._keeper.poll()
            self._recorder.record(running=True)
            time.sleep(_POLL_S)

    def _scripted_until(self, until: datetime) -> Sequence[Scripted]:
        """What is scripted; what was known last where the venue server does not answer."""
        scripted = scripted_until(self._venue_url, until, self._symbols)
        if scripted is not None:
            return scripted
        return [episode for episode in self._board.episodes if episode.starts_at < until]

    def _runs(self, name: str) -> bool:
        return any(s.name == name and s.state is State.RUNNING for s in self._supervisor.status())

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait, with an eye on the processes.

        Raises:
            ProcessFailed: a process keeps ending, or it takes too long.
        """
        while not condition():
            self._supervisor.poll()
            self._recorder.record(running=False)
            for status in self._supervisor.status():
                if status.restarts >= _MOST_RESTARTS:
                    tail = log_tail(self._home.log_file(status.name))
                    raise ProcessFailed(status.name, f"keeps ending with {status.exit_code}", tail)
            if time.monotonic() - self._began > READY_S:
                raise ProcessFailed("demo", f"gives up: not yet after {READY_S:g} s: {what}")
            time.sleep(_POLL_S)


def _in_background(work: Callable[[], ReplayReport]) -> Future[ReplayReport]:
    """Begin taking in a history, in a thread that dies with the process; an executor would wait for it."""
    future: Future[ReplayReport] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - it is raised again where somebody asks for the result
            future.set_exception(error)

    threading.Thread(target=run, name="history", daemon=True).start()
    return future


def _whole_second(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)

"""A whole Sentinet, as `sentinet up --with-superset` makes it, over the last hour of a simulated market
that goes on.

Superset's environment is kept in the tests' cache (`SENTINET_TEST_CACHE`, default ~/.cache/sentinet).
All else is new and goes. Where no package registry answers, or there is no Chromium and no way to get it,
tests are skipped with that reason. A registry that answers and a Superset that cannot be made of it is a
failure.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser

from ingest_daemon.venues.simulated import SimulatedMarket
from sentinet_dagster.runtime.dagster_api import DagsterApi
from sentinet_dagster.runtime.demo_config import render_config
from sentinet_dagster.runtime.embedded_postgres import EmbeddedPostgres
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.home import Home
from sentinet_dagster.runtime.ports import free_port
from sentinet_dagster.runtime.superset_server import ENVIRONMENT, WORKERS, Secrets, database_url, install
from sentinet_dagster.runtime.venue_history import write_history
from sentinet_dagster.superset.screen import open_browser
from tests.e2e.command import SENTINET, ask, environment_of, processes_of, started
from tests.superset.chromium import CannotRunError, find_chromium
from tests.superset.pages import Analyst

SEED = 3
HISTORY_US = 50 * 60_000_000
PATIENCE_S = 600.0
# What uv says of a registry that is not there, is not to be asked, or has none of it.
NO_REGISTRY = ("Failed to fetch", "network was disabled", "was not found in the package registry")
_CACHE = Path(os.environ.get("SENTINET_TEST_CACHE", Path("~/.cache/sentinet").expanduser()))


@dataclass(frozen=True)
class Sentinet:
    """A home in which everything runs."""

    environment: dict[str, str]
    addresses: dict[str, str]

    @property
    def home(self) -> Home:
        return Home.from_environment(self.environment)

    @property
    def secrets(self) -> Secrets:
        return Secrets.of(self.home)

    def ask(self, *arguments: str) -> dict[str, Any]:
        return ask(self.environment, *arguments)

    @property
    def database_url(self) -> str:
        server = EmbeddedPostgres(self.home.postgres, self.home.log_file("postgres")).running()
        assert server is not None
        return server.url()

    @property
    def reading_url(self) -> str:
        """The same database as Superset reads it."""
        return database_url(self.database_url, self.secrets, {}, own=True)

    @property
    def superset_environment(self) -> dict[str, str]:
        """Of its process, which has all that its settings read."""
        server = next(each for each in processes_of(self.home.path) if "gunicorn" in each.cmdline())
        return server.environ()

    def until(self, query: str, what: str, *parameters: object) -> None:
        """Wait until a query has a row."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            self.until_so(lambda: connection.execute(query.encode(), parameters).fetchone() is not None, what)

    def until_so(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, f"after {PATIENCE_S:g} s it is not so that {what}"
            time.sleep(0.5)

    def run(self, job: str) -> None:
        """Have Dagster run a job; it must succeed."""
        with DagsterApi(self.addresses["dagster"]) as dagster:
            run = dagster.launch(job, dagster.location())
            deadline = time.monotonic() + PATIENCE_S
            while (status := dagster.run_status(run)) not in ("SUCCESS", "FAILURE", "CANCELED"):
                assert time.monotonic() < deadline, f"{job} is {status} after {PATIENCE_S:g} s"
                time.sleep(0.5)
        assert status == "SUCCESS", job

    def take_decisions(self) -> None:
        """What makes a precision: an alert that was one, and one that was none. Those that newer judgement
        retracts, before or meanwhile, are passed over."""
        wanted = ["true", "false"]
        for alert in self.ask("alerts")["alerts"]:
            if not wanted:
                break
            close = [SENTINET, "alerts", "close", alert["alert_id"], "--as", wanted[0]]
            done = subprocess.run(close, env=self.environment, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                wanted.pop(0)
            else:
                assert "is retracted" in done.stderr, done.stderr
        assert wanted == [], "there are too few alerts"


@pytest.fixture(scope="session")
def superset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which Superset is installed."""
    folder = _CACHE / "superset-venv"
    nowhere = Home.from_environment({"SENTINET_HOME": str(tmp_path_factory.mktemp("nowhere"))})
    try:
        install(nowhere, os.environ | {ENVIRONMENT: str(folder)})
    except UserError as reason:
        if not any(words in str(reason) for words in NO_REGISTRY):
            raise
        pytest.skip("Superset is not installed, and no package registry answers that has it")
    return folder


@pytest.fixture(scope="session")
def sentinet(superset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinet]:
    """A simulated market with its abuses, fifty minutes of it and live to the end, judged, on dashboards."""
    folder = tmp_path_factory.mktemp("superset")
    port = free_port()
    config = render_config(folder / "config", port)
    settings = {ENVIRONMENT: str(superset_folder), WORKERS: "1", "SENTINET_CONFIG_DIR": str(config)}
    environment = environment_of(folder / "home", **settings)
    end_us = int(time.time()) * 1_000_000
    begin_us = end_us - HISTORY_US
    market = SimulatedMarket(seed=SEED, anchor_us=begin_us)
    history = write_history(market, begin_us, end_us, folder / "history")
    ask(environment, "replay", *(str(file.path) for file in history))
    live = ["--port", str(port), "--seed", str(SEED), "--live-start-us", str(begin_us)]
    try:
        with started("sentinet_dagster.runtime.venue_server", *live):
            up = ask(environment, "up", "--with-superset")
            running = Sentinet(environment, up["addresses"])
            running.until("select from surveillance.scores where score is not null", "a model judges")
            running.until("select from ops.latency_1m where stage = 'tick_to_row'", "a minute is measured")
            running.take_decisions()
            running.run("check_judgement_hourly")
            running.run("prune_runs")
            running.ask("rollups", "refresh")
            yield running
    finally:
        ask(environment, "down")
    assert [process.cmdline() for process in processes_of(folder)] == []


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    try:
        program = find_chromium()
    except CannotRunError as reason:
        pytest.skip(f"no browser: {reason}")
    with open_browser(program) as opened:
        yield opened


@pytest.fixture(scope="session")
def analyst(browser: Browser, sentinet: Sentinet) -> Analyst:
    """The analyst whose password `up` prints."""
    return Analyst(browser, sentinet.addresses["superset"], "analyst", sentinet.secrets.analyst_password)

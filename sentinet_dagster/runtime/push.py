"""The push listener: launches a window's run when the batch that closes it is committed. Opt-in.

What lives here: waiting for the ledger's notifications, taking turns on the plan, launching what a turn
claimed, over Dagster's public interface. What never does: deciding what is due (`planning.py`), when another
turn is worth it (`pacing.py`).

    python -m sentinet_dagster.runtime.push --dagster-url http://127.0.0.1:3000

The sensor `on_new_batches` goes on as before and is the safety net: both take turns on one memory
(`claims.py`), so a range is claimed by one of them. Whatever happens to the listener, nothing is lost:

    dies before its turn commits        nothing is claimed
    dies between the turn and a launch  the sensor launches it, under its run key, once it is 4 s old
    web server away                     the same; the listener goes on
    database away                       it connects again; notifications it missed are in the ledger
    notification lost                   the next one, or the sensor's tick, finds the ledger's rows
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import FrameType
from typing import NoReturn

import httpx
import psycopg
import structlog
from dagster import DagsterInstance
from psycopg.rows import DictRow, dict_row

from ingest_daemon.store import NOTIFY_CHANNEL
from sentinet_dagster.claims import LAUNCHED_WITHIN_S, Turn, take_turn
from sentinet_dagster.notifier import Notifier
from sentinet_dagster.outcomes import run_failures, run_outcomes
from sentinet_dagster.pacing import next_turn_at
from sentinet_dagster.partitions import RULES
from sentinet_dagster.planning import Request
from sentinet_dagster.runtime.dagster_api import DagsterApi, DagsterError
from sentinet_dagster.sensors import run_tags, verdicts
from sentinet_dagster.settings import SETTINGS

JOB = "judge_windows"
_IDLE_S = 1.0  # between turns while nothing tells when the next is worth it
_LEAST_S = 0.05  # between turns while a window is about to close, or a run about to end
_LATEST_S = 0.5  # after the moment a window should have closed, a turn is taken without a notification
_CONNECT_AGAIN_S = 1.0
_LAUNCH_WITHIN_S = LAUNCHED_WITHIN_S - 1.0  # later, the sensor may be launching it

log = structlog.get_logger(__name__)


class Listener:
    """Takes turns when the ledger grows.

    Args:
        database_url: the database with the ledger.
        instance: Dagster's, asked what became of runs.
        api: Dagster's web server, asked to launch.
        notifier: told what an operator must know.
    """

    def __init__(
        self, database_url: str, instance: DagsterInstance, api: DagsterApi, notifier: Notifier
    ) -> None:
        self._database_url = database_url
        self._instance = instance
        self._api = api
        self._notifier = notifier
        self._location: str | None = None

    def run(self) -> NoReturn:
        """Listen for ever."""
        while True:
            try:
                with self._connect() as listening, self._connect() as connection:
                    listening.execute(f"listen {NOTIFY_CHANNEL}")
                    log.info("listening", channel=NOTIFY_CHANNEL)
                    self._listen(listening, connection)
            except psycopg.OperationalError as error:
                log.warning("database away", error=" ".join(str(error).split()))
                time.sleep(_CONNECT_AGAIN_S)

    def _connect(self) -> AbstractContextManager[psycopg.Connection[DictRow]]:
        return psycopg.connect(
            self._database_url,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=5,
            application_name="sentinet-push",
        )

    def _listen(
        self, listening: psycopg.Connection[DictRow], connection: psycopg.Connection[DictRow]
    ) -> NoReturn:
        """A turn when a notification comes and the next turn is due, or when it is overdue without one."""
        due = time.monotonic()
        while True:
            heard = False
            for _ in listening.notifies(timeout=max(due + _LATEST_S - time.monotonic(), 0.0), stop_after=1):
                heard = True
            if heard and (early := due - time.monotonic()) > 0:
                # Batches come ten times a second, windows close every five: sleep through the rest.
                time.sleep(early)
                continue
            due = time.monotonic() + self.take_turn(connection)

    def take_turn(self, connection: psycopg.Connection[DictRow]) -> float:
        """One turn, and its launches; for how many seconds no other is worth it."""
        began = time.monotonic()
        outcomes, explain = partial(run_outcomes, self._instance), partial(run_failures, self._instance)
        turn = take_turn(connection, outcomes, RULES, explain=explain)
        if turn is None:  # the sensor has not begun the plan
            return _IDLE_S
        for request in turn.requests:
            self._launch(request, began)
        self._tell(turn)
        at = next_turn_at(turn.state, turn.now, RULES)
        return _IDLE_S if at is None else max((at - turn.now) / 1e6, _LEAST_S)

    def _launch(self, request: Request, claimed_at: float) -> None:
        """Launch a run that was claimed; what cannot be launched now is left to the sensor."""
        try:
            if time.monotonic() - claimed_at < _LAUNCH_WITHIN_S:
                self._location = self._location or self._api.location()
                self._api.launch(JOB, self._location, run_tags(request))
                return
            reason = "it was claimed too long ago"
        except (httpx.HTTPError, DagsterError) as error:
            self._location = None
            reason = str(error)
        log.warning("launch left to the sensor", run_key=request.run_key, reason=reason)

    def _tell(self, turn: Turn) -> None:
        self._notifier.announce(turn, RULES.patience)
        for verdict in verdicts(turn):
            self._instance.report_runless_asset_event(verdict)


def main(arguments: Sequence[str] | None = None) -> None:
    """Listen until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m sentinet_dagster.runtime.push", description=__doc__)
    parser.add_argument("--dagster-url", required=True, help="where Dagster's web server listens")
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    with (
        DagsterInstance.get() as instance,
        DagsterApi(options.dagster_url, timeout_s=LAUNCHED_WITHIN_S) as api,
    ):
        url = os.environ["SENTINET_DATABASE_URL"]
        Listener(url, instance, api, Notifier(url=SETTINGS.notify_url)).run()


def _end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    sys.exit(0)


if __name__ == "__main__":
    main()

"""Dagster around a test's database: a real instance in memory, the real sensor, runs in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import psycopg
import pytest
from dagster import DagsterInstance, ExecuteInProcessResult, RunRequest, build_sensor_context
from psycopg.rows import dict_row

from sentinet_dagster import sensors
from sentinet_dagster.assets import surveillance
from sentinet_dagster.definitions import defs
from sentinet_dagster.notifier import Notifier
from sentinet_dagster.outcomes import RUN_KEY_TAG
from sentinet_dagster.partitions import RULES
from sentinet_dagster.planning import Failure, State, decode_state, encode_state
from sentinet_dagster.resources import Timescale
from sentinet_dagster.runtime import push
from sentinet_dagster.sensors import on_new_batches
from sentinet_dagster.spans import HOUR

RELATIONS: Mapping[str, str] = {
    "windows": "window_start, instrument_id",
    "features": "window_start, instrument_id",
    "correlations": "window_start",
    "scores": "window_start, instrument_id, model",
    "findings": "window_start, instrument_id, detector",
}

UNHURRIED = msgspec.structs.replace(RULES, quiet_after=HOUR, lost_after=HOUR, pause=HOUR, longest_pause=HOUR)
"""The plan's rules for a machine of any speed: data closes windows, the clock only after an hour of silence;
nothing is lost, or has rested enough, because a test took long."""


@dataclass
class Desk:
    """One database under judgement by the rules `UNHURRIED`: its sensor's cursor, its runs."""

    url: str
    instance: DagsterInstance
    cursor: str | None = None
    notify_url: str = ""
    events: list[object] = field(default_factory=list)  # of assets, that ticks have reported

    def tick(self) -> list[RunRequest]:
        """Evaluate `on_new_batches` once; the requests it makes. Nothing is run."""
        with build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            definitions=defs,
            resources={"timescale": Timescale(url=self.url), "notifier": Notifier(url=self.notify_url)},
        ) as context:
            result = on_new_batches.evaluate_tick(context)
        self.cursor = result.cursor
        self.events += result.asset_events
        return list(result.run_requests or [])

    def run(self, request: RunRequest) -> ExecuteInProcessResult:
        """What the daemon would launch."""
        assert request.partition_key is not None
        return self.judge(request.partition_key, {**request.tags, RUN_KEY_TAG: request.run_key or ""})

    def judge(self, partition_key: str, tags: Mapping[str, str] | None = None) -> ExecuteInProcessResult:
        """A run of judge_windows of one hour; without tags, of all its closed windows."""
        return self.execute("judge_windows", partition_key=partition_key, tags=dict(tags or {}))

    def execute(self, job: str, **options: Any) -> ExecuteInProcessResult:
        with environment(SENTINET_DATABASE_URL=self.url):
            return defs.resolve_job_def(job).execute_in_process(
                instance=self.instance, raise_on_error=False, **options
            )

    def catch_up(self) -> list[ExecuteInProcessResult]:
        """Tick and run until nothing is requested."""
        results: list[ExecuteInProcessResult] = []
        while requests := self.tick():
            results += [self.run(request) for request in requests]
        return results

    def be_silent(self) -> None:
        """Let the last batch have come long ago: the clock closes what data has not."""
        self.fetch("update ops.ingest_batches set committed_at = committed_at - interval '2 hours'")

    def end_pauses(self) -> None:
        """Let the pauses after failures be over, instead of sleeping through them."""
        state = self.plan()
        due = {hour: Failure(failure.attempts, 0, failure.since) for hour, failure in state.failures.items()}
        changed = encode_state(msgspec.structs.replace(state, failures=due))
        self.fetch("update ops.plans set state = %s::jsonb", changed)

    def plan(self) -> State:
        """What the plan remembers."""
        (row,) = self.fetch("select state::text as state from ops.plans")
        return decode_state(row["state"])

    def fetch(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        with psycopg.connect(self.url, row_factory=dict_row, autocommit=True) as connection:
            cursor = connection.execute(statement, parameters)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def rows(self, relation: str, until: str) -> list[dict[str, Any]]:
        """The judged rows before `until`, without the columns that say when they were written."""
        found = self.fetch(
            f"select * from surveillance.{relation} where window_start < %s order by {RELATIONS[relation]}",
            until,
        )
        return [{key: value for key, value in row.items() if key != "computed_at"} for row in found]


@contextmanager
def open_desk(url: str, instruments: Sequence[str] | None = ("BTC", "ETH", "SOL")) -> Iterator[Desk]:
    """A desk over a migrated database.

    Its instruments are those given, spot against USDT at venue `binance`, numbered from 1; None: those that
    are there.
    """
    with DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
        for judging in (sensors, surveillance, push):
            patch.setattr(judging, "RULES", UNHURRIED)
        desk = Desk(url, instance)
        if instruments is not None:
            desk.fetch("truncate market.instruments restart identity")
        for base in instruments or ():
            desk.fetch(
                "insert into market.instruments (venue, symbol, venue_symbol, kind, base, quote)"
                " values ('binance', %s, %s, 'spot', %s, 'USDT')",
                f"{base}-USDT",
                f"{base}USDT",
                base,
            )
        yield desk


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """What a run reads of its process, for as long as it is at it."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

"""The sensors on a real database: what they read of the ledger, and what they make of a database that is
away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from dagster import DagsterInstance, build_sensor_context

from ingest_daemon.store import Store
from sentinet_dagster.definitions import defs
from sentinet_dagster.notifier import Notifier
from sentinet_dagster.partitions import RANGE_END_TAG, RANGE_START_TAG, in_microseconds
from sentinet_dagster.resources import SurveillanceConfig, Timescale
from sentinet_dagster.sensors import on_missing_model, on_new_batches
from sentinet_dagster.settings import SETTINGS
from tests.integration.judging import Desk, open_desk
from tests.integration.market_facts import SECOND, batch, events

pytestmark = pytest.mark.integration

START = in_microseconds(datetime(2024, 8, 9, 10, tzinfo=UTC))
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    with open_desk(database_url) as opened:
        yield opened


def commit(url: str, seconds: int, start: int = START) -> None:
    with Store(url) as store:
        store.write(batch(list(events((1, 2, 3), start, seconds))))


def test_an_empty_ledger_asks_for_nothing_and_moves_the_horizon(desk: Desk) -> None:
    assert desk.tick() == []
    assert desk.plan().horizon > 0


def test_new_batches_become_one_request_an_hour(desk: Desk) -> None:
    commit(desk.url, 63)
    (request,) = desk.tick()
    assert request.partition_key == "2024-08-09-10:00"
    assert request.tags[RANGE_START_TAG] == "2024-08-09T10:00:00+00:00"
    assert request.tags[RANGE_END_TAG] == "2024-08-09T10:01:00+00:00"
    assert desk.tick() == []  # it has not run: nothing of its hour is asked for


def test_a_batch_behind_an_open_transaction_is_not_missed(desk: Desk) -> None:
    """Its number is lower than what has been seen since; only the oldest running transaction bounds the
    horizon."""
    with psycopg.connect(desk.url) as slow:
        slow.execute("select pg_current_xact_id()")
        commit(desk.url, 30, START + 60 * SECOND)
        assert desk.tick() == []
        slow.execute(
            "insert into ops.ingest_batches"
            " (venue, relation, rows, duplicates, bytes, touched, max_received_at)"
            " select venue, relation, rows, duplicates, bytes,"
            " '{[2024-08-09T10:00Z,2024-08-09T10:00:01Z)}', max_received_at from ops.ingest_batches limit 1"
        )
        slow.commit()
    (request,) = desk.tick()
    assert request.tags[RANGE_START_TAG] == "2024-08-09T10:00:00+00:00"


def test_a_run_that_failed_is_asked_for_again(desk: Desk) -> None:
    commit(desk.url, 63)
    (request,) = desk.tick()
    desk.fetch("alter table market.books rename to away")
    assert not desk.run(request).success
    desk.fetch("alter table market.away rename to books")
    assert desk.tick() == []  # the pause after the failure
    desk.end_pauses()
    (again,) = desk.tick()
    assert again.tags["sentinet/attempt"] == "2"
    assert (again.run_key, again.tags[RANGE_START_TAG]) != (request.run_key, "")
    assert desk.run(again).success
    assert desk.fetch("select count(*) as n from surveillance.windows") == [{"n": 36}]


@pytest.mark.parametrize("name", ["on_new_batches", "on_missing_model"])
def test_a_database_that_is_away_is_a_skipped_tick(name: str) -> None:
    resources = {
        "timescale": Timescale(url=NOWHERE),
        "notifier": Notifier(),
        "surveillance_config": SurveillanceConfig(directory=str(SETTINGS.config_dir)),
    }
    sensor = {"on_new_batches": on_new_batches, "on_missing_model": on_missing_model}[name]
    with (
        DagsterInstance.ephemeral() as instance,
        build_sensor_context(
            instance=instance, cursor=None, definitions=defs, resources=resources
        ) as context,
    ):
        tick = sensor.evaluate_tick(context)
    assert tick.skip_message is not None
    assert tick.skip_message.startswith("The database is away")
    assert tick.cursor is None


def test_a_first_model_is_asked_for_once_there_is_enough_to_learn_from(desk: Desk) -> None:
    def ask(cursor: str | None) -> tuple[int, str | None]:
        resources = {
            "timescale": Timescale(url=desk.url),
            "surveillance_config": SurveillanceConfig(directory=str(SETTINGS.config_dir)),
        }
        with build_sensor_context(
            instance=desk.instance, cursor=cursor, definitions=defs, resources=resources
        ) as context:
            tick = on_missing_model.evaluate_tick(context)
        return len(tick.run_requests or []), tick.cursor

    assert ask(None) == (0, None)
    commit(desk.url, 40 * 60)
    assert desk.judge("2024-08-09-10:00").success
    asked, cursor = ask(None)
    assert asked == 1
    assert ask(cursor) == (0, cursor)  # while it runs, and if it fails until there is twice as much
    assert desk.execute("retrain_models_daily").success
    assert ask(None) == (0, None)

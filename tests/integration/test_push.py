"""The push listener's turns on a real database: what it claims and cannot launch, the sensor launches."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg.rows import dict_row

from ingest_daemon.store import Store
from sentinet_dagster import claims
from sentinet_dagster.notifier import Notifier
from sentinet_dagster.partitions import in_microseconds
from sentinet_dagster.runtime.dagster_api import DagsterApi
from sentinet_dagster.runtime.push import Listener
from tests.integration.judging import Desk, open_desk
from tests.integration.market_facts import batch, events

pytestmark = pytest.mark.integration

START = in_microseconds(datetime(2024, 8, 9, 10, tzinfo=UTC))
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    with open_desk(database_url) as opened:
        yield opened


def push(desk: Desk) -> float:
    """A turn of a listener that reaches no web server; for how long no other is worth it."""
    with (
        DagsterApi(NOBODY, timeout_s=0.5) as api,
        psycopg.connect(desk.url, autocommit=True, row_factory=dict_row) as connection,
    ):
        return Listener(desk.url, desk.instance, api, Notifier()).take_turn(connection)


def commit(desk: Desk, seconds: int = 63) -> None:
    with Store(desk.url) as store:
        store.write(batch(list(events((1, 2, 3), START, seconds))))


def test_before_the_sensor_has_begun_the_plan_it_claims_nothing(desk: Desk) -> None:
    commit(desk)
    assert push(desk) == 1.0
    assert desk.fetch("select * from ops.plans") == []


def test_what_it_claims_and_cannot_launch_is_launched_by_the_sensor_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LAUNCHED_WITHIN_S", 3600.0)
    assert desk.tick() == []
    commit(desk)
    push(desk)
    (flight,) = desk.plan().flights.values()
    assert desk.tick() == []  # claimed, and perhaps about to be launched
    monkeypatch.setattr(claims, "LAUNCHED_WITHIN_S", 0.0)
    (request,) = desk.tick()
    assert request.run_key == flight.run_key
    assert desk.run(request).success
    assert desk.tick() == []
    push(desk)
    assert desk.plan().flights == {}
    assert desk.fetch("select count(*) as n from surveillance.windows") == [{"n": 36}]

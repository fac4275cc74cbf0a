"""A clock moved back and forth while windows are judged: the judgement is that of a backfill."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from ingest_daemon.store import Store
from sentinet_dagster.partitions import in_microseconds, moment, range_tags
from tests.integration.judging import RELATIONS, Desk, open_desk
from tests.integration.market_facts import SECOND, batch, events

pytestmark = pytest.mark.integration

START = in_microseconds(datetime(2024, 8, 9, 9, 54, tzinfo=UTC))
MINUTES = 12  # over the turn of the hour
HOUR_S = 3600
MOVED = {3: -HOUR_S, 4: -HOUR_S, 7: 2 * HOUR_S, 8: 2 * HOUR_S, 10: -30}  # minute → seconds
UNTIL = "2024-08-09T10:05:55Z"  # only the clock closes the last window, and `past` is judged at once


@pytest.fixture
def live(database_url: str) -> Iterator[Desk]:
    with open_desk(database_url) as desk:
        desk.fetch("create schema moved")
        desk.fetch("create table moved.clock (ahead interval)")
        desk.fetch("insert into moved.clock values ('0')")
        desk.fetch(
            "create function moved.clock_timestamp() returns timestamptz language sql volatile as"
            " $$ select pg_catalog.clock_timestamp() + ahead from moved.clock $$"
        )
        # Who asks for the time finds this clock before the server's own.
        name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
        desk.fetch(f"alter database {name} set search_path = moved, pg_catalog, public")
        desk.fetch(
            "alter table ops.ingest_batches alter column committed_at set default moved.clock_timestamp()"
        )
        yield desk


@pytest.fixture
def past(second_database_url: str) -> Iterator[Desk]:
    with open_desk(second_database_url) as desk:
        yield desk


def set_clock(desk: Desk, now: int) -> None:
    desk.fetch("update moved.clock set ahead = %s - pg_catalog.clock_timestamp()", moment(now))


def test_a_moved_clock_loses_nothing_and_changes_no_verdict(live: Desk, past: Desk) -> None:
    facts = list(events((1, 2, 3), START, MINUTES * 60))
    judged_in = []
    with Store(live.url) as store:
        for minute in range(MINUTES):
            low, high = (START + edge * 60 * SECOND for edge in (minute, minute + 1))
            set_clock(live, high + MOVED.get(minute, 0) * SECOND)
            store.write(batch([fact for fact in facts if low <= fact.received_at - 30_000 < high]))  # type: ignore[union-attr]
            results = [live.run(request) for request in live.tick()]
            assert all(result.success for result in results)
            judged_in += [minute] * len(results)
        # Nothing comes any more: the clock closes the rest.
        set_clock(live, START + (MINUTES * 60 + 2 * HOUR_S) * SECOND)
        assert all(result.success for result in live.catch_up())
    assert {2, 5, 9, 11} <= set(judged_in)  # right before and right after the clock was wrong
    assert not {3, 4} & set(judged_in)  # an hour ago nothing was closed

    with Store(past.url) as store:
        store.write(batch(facts))
    assert past.execute("judge_windows", tags=range_tags("2024-08-09-09:00", "2024-08-09-10:00")).success
    for relation in RELATIONS:
        rows = live.rows(relation, UNTIL)
        assert rows == past.rows(relation, UNTIL), relation
        assert len(rows) >= (1 if relation == "findings" else MINUTES * 12 - 1)
    alerts = (
        "select alert_id, evidence, score from surveillance.alerts"
        " where state <> 'retracted' and window_start < %s order by 1"
    )
    assert live.fetch(alerts, UNTIL) == past.fetch(alerts, UNTIL)
    assert live.fetch(alerts, UNTIL)

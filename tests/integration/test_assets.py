"""Runs of judge_windows on a real database: what they write, take back, leave alone, and wait for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import psycopg
import pytest
from dagster import AssetKey

from ingest_daemon.store import Store
from sentinet_dagster.partitions import RANGE_END_TAG, RANGE_START_TAG, in_microseconds
from sentinet_dagster.resources import ModelStore, Timescale
from sentinet_dagster.surveillance import schema
from tests.integration.judging import Desk, open_desk
from tests.integration.market_facts import batch, events

pytestmark = pytest.mark.integration

HOUR = datetime(2024, 8, 9, 10, tzinfo=UTC)
START = in_microseconds(HOUR)
KEY = "2024-08-09-10:00"
MINUTES = 20


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    with open_desk(database_url) as opened, Store(database_url) as store:
        store.write(batch(list(events((1, 2, 3), START, MINUTES * 60))))
        yield opened


@pytest.fixture
def timescale(database_url: str) -> Iterator[Timescale]:
    opened = Timescale(url=database_url)
    yield opened
    opened.close()


def tags(start: datetime, end: datetime) -> dict[str, str]:
    return {RANGE_START_TAG: start.isoformat(), RANGE_END_TAG: end.isoformat()}


def test_an_hour_is_judged_as_far_as_it_is_closed(desk: Desk) -> None:
    run = desk.judge(KEY)
    assert run.success
    (newest,) = desk.fetch("select max(window_start) as start, count(*) as rows from surveillance.windows")
    received = HOUR + timedelta(minutes=MINUTES)
    assert newest["start"] == received - timedelta(seconds=10)  # the last window is open: 2 s are allowed
    assert newest["rows"] == 3 * (MINUTES * 12 - 1)
    (materialised,) = run.asset_materializations_for_node("surveillance__windows")
    assert materialised.asset_key == AssetKey(["surveillance", "windows"])
    assert materialised.metadata["dagster/partition_row_count"].value == newest["rows"]
    assert materialised.metadata["completeness_min"].value == 1.0


def test_judging_twice_changes_nothing(desk: Desk) -> None:
    assert desk.judge(KEY).success
    before = {relation: desk.rows(relation, "infinity") for relation in ("windows", "features", "scores")}
    events_before = desk.fetch("select * from surveillance.alert_events order by 1")
    assert desk.judge(KEY).success
    assert {relation: desk.rows(relation, "infinity") for relation in before} == before
    assert desk.fetch("select * from surveillance.alert_events order by 1") == events_before
    assert events_before


def test_a_range_is_judged_alone(desk: Desk) -> None:
    low, high = HOUR + timedelta(minutes=10), HOUR + timedelta(minutes=11)
    assert desk.judge(KEY, tags(low, high)).success
    assert desk.fetch("select min(window_start), max(window_start) from surveillance.windows") == [
        {"min": low, "max": high - timedelta(seconds=5)}
    ]


def test_a_range_outside_the_hour_is_refused(desk: Desk) -> None:
    assert not desk.judge(KEY, tags(HOUR - timedelta(seconds=5), HOUR)).success
    assert desk.fetch("select 1 from surveillance.windows") == []


def test_an_alert_is_retracted_and_reopened_never_deleted(desk: Desk) -> None:
    assert desk.judge(KEY).success
    ids = "select alert_id from surveillance.alerts where detector = 'volatility_spike' and instrument_id = 1"
    first = desk.fetch(ids)
    assert first
    desk.fetch("update surveillance.alerts set state = 'acknowledged' where instrument_id = 1")
    for table in ("trades", "quotes"):
        desk.fetch(
            f"create table market.{table}_away as select * from market.{table} where instrument_id = 1"
        )
        desk.fetch(f"delete from market.{table} where instrument_id = 1")
    assert desk.judge(KEY).success
    assert desk.fetch(ids) == first
    life = (
        "select distinct state, (select array_agg(event order by alert_event_id)"
        " from surveillance.alert_events as life where life.alert_id = alerts.alert_id) as life"
        " from surveillance.alerts as alerts where detector = 'volatility_spike' and instrument_id = 1"
    )
    assert desk.fetch(life) == [{"state": "retracted", "life": ["opened", "retracted"]}]
    for table in ("trades", "quotes"):
        desk.fetch(f"insert into market.{table} select * from market.{table}_away")
    assert desk.judge(KEY).success
    assert desk.fetch(life) == [{"state": "open", "life": ["opened", "retracted", "reopened"]}]


def test_an_alert_keeps_what_a_human_made_of_it(desk: Desk) -> None:
    assert desk.judge(KEY).success
    desk.fetch("update surveillance.alerts set state = 'escalated', summary = 'old words'")
    assert desk.judge(KEY).success
    found = desk.fetch("select distinct state, summary = 'old words' as is_old from surveillance.alerts")
    assert found == [{"state": "escalated", "is_old": False}]


def test_alerts_are_made_of_findings_and_incidents_of_alerts(desk: Desk) -> None:
    assert desk.judge(KEY).success
    fired = desk.fetch(
        "select count(*) as n, min(window_start) as first, max(window_start) as last, max(score) as peak"
        " from surveillance.findings where detector = 'volatility_spike' and instrument_id = 1"
    )
    (alert,) = desk.fetch(
        "select * from surveillance.alerts where detector = 'volatility_spike' and instrument_id = 1"
    )
    assert (
        alert["windows_fired"],
        alert["window_start"],
        alert["last_window_start"],
        alert["peak_score"],
    ) == (*(fired[0][name] for name in ("n", "first", "last", "peak")),)
    assert alert["closes_at"] == fired[0]["last"] + timedelta(seconds=305)
    assert alert["evidence"]["peak"]["score"] == fired[0]["peak"]
    grouped = "select incident_id, alert_ids from surveillance.incidents order by 1"
    incidents = desk.fetch(grouped)
    members = desk.fetch("select alert_id, incident_id from surveillance.alerts where state <> 'retracted'")
    assert {row["alert_id"]: row["incident_id"] for row in members} == {
        member: row["incident_id"] for row in incidents for member in row["alert_ids"]
    }
    # Judged again in pieces, the last first: the same, and nothing is written that was there.
    before = desk.fetch("select alert_id, changed_at from surveillance.alerts order by 1")
    for minute in (15, 10, 5, 0):
        low = HOUR + timedelta(minutes=minute)
        # Not the last window: when the hour was judged, nothing had said yet that it was over.
        high = min(low + timedelta(minutes=5), HOUR + timedelta(seconds=1195))
        assert desk.judge(KEY, tags(low, high)).success
    assert desk.fetch("select alert_id, changed_at from surveillance.alerts order by 1") == before
    assert desk.fetch(grouped) == incidents


def test_an_alert_that_opens_earlier_supersedes(desk: Desk) -> None:
    assert desk.judge(KEY).success
    (old,) = desk.fetch(
        "select alert_id, window_start from surveillance.alerts where detector = 'volatility_spike'"
        " and instrument_id = 1"
    )
    desk.fetch("update surveillance.alerts set state = 'acknowledged'")
    # As if its first windows had not fired, and then do.
    later = old["window_start"] + timedelta(seconds=5)
    desk.fetch("truncate surveillance.alerts, surveillance.alert_events, surveillance.incidents")
    desk.fetch("delete from surveillance.findings where window_start < %s", later)
    assert desk.judge(KEY, tags(later, HOUR + timedelta(minutes=MINUTES - 1))).success
    (moved,) = desk.fetch(
        "select alert_id, window_start from surveillance.alerts where detector = 'volatility_spike'"
        " and instrument_id = 1"
    )
    assert moved["window_start"] > old["window_start"]
    assert desk.judge(KEY, tags(HOUR, later)).success
    life = (
        "select state, superseded_by, incident_id, (select array_agg(event || ': '"
        " || split_part(note, ', ', 1) order by alert_event_id) from surveillance.alert_events as life"
        " where life.alert_id = alerts.alert_id and event <> 'opened') as life"
        " from surveillance.alerts as alerts where alert_id = %s"
    )
    assert desk.fetch(life, moved["alert_id"]) == [
        {
            "state": "retracted",
            "superseded_by": old["alert_id"],
            "incident_id": None,
            "life": [f"retracted: superseded by {old['alert_id']}"],
        }
    ]
    (standing,) = desk.fetch(life, old["alert_id"])
    assert (standing["state"], standing["superseded_by"]) == ("open", None)
    assert standing["incident_id"] is not None


def test_an_hour_waits_for_whoever_judges_it(desk: Desk, timescale: Timescale) -> None:
    results: list[bool] = []
    with timescale.hour_lock(schema.WINDOWS, HOUR):
        run = threading.Thread(target=lambda: results.append(desk.judge(KEY).success))
        run.start()
        waiting = "select 1 from pg_locks where locktype = 'advisory' and not granted"
        while not desk.fetch(waiting):
            assert run.is_alive()
        assert desk.fetch("select 1 from surveillance.windows") == []
    run.join()
    assert results == [True]


def test_a_replaced_range_is_exactly_the_frame(desk: Desk, timescale: Timescale) -> None:
    assert desk.judge(KEY).success
    low, high = HOUR + timedelta(minutes=5), HOUR + timedelta(minutes=6)
    frame = timescale.read(schema.WINDOWS, "windows", start=low, end=high)
    assert frame.schema == schema.WINDOWS.schema
    assert frame.n_chunks() == 1
    kept = frame.head(7)
    timescale.replace(schema.WINDOWS, kept, low, high)
    assert timescale.read(schema.WINDOWS, "windows", start=low, end=high).equals(kept)


def test_a_failed_replacement_leaves_the_old_rows(desk: Desk, timescale: Timescale) -> None:
    assert desk.judge(KEY).success
    low, high = HOUR, HOUR + timedelta(minutes=1)
    frame = timescale.read(schema.WINDOWS, "windows", start=low, end=high)
    with pytest.raises(psycopg.errors.CheckViolation):
        timescale.replace(schema.WINDOWS, frame.with_columns(completeness=pl.lit(2.0)), low, high)
    assert timescale.read(schema.WINDOWS, "windows", start=low, end=high).equals(frame)


def test_a_model_judges_later_windows_only_whatever_the_servers_zone(
    desk: Desk, timescale: Timescale
) -> None:
    (name,) = desk.fetch("select current_database() as name")
    desk.fetch(f"alter database {name['name']} set timezone = 'Asia/Kolkata'")
    low, high = HOUR + timedelta(minutes=15), HOUR + timedelta(minutes=17)
    assert desk.judge(KEY, tags(HOUR, low)).success
    # 15 minutes of three instruments are too little to learn from: have them three times.
    for hours in (1, 2):
        desk.fetch(
            "insert into surveillance.features select (jsonb_populate_record(features, jsonb_build_object("
            "'window_start', window_start - make_interval(hours => %s)))).*"
            " from surveillance.features where window_start >= %s",
            hours,
            HOUR,
        )
    assert desk.execute("retrain_models_daily").success
    (model,) = ModelStore(timescale).in_force("isolation_forest", low, high)
    assert model.effective_from == low
    assert ModelStore(timescale).in_force("isolation_forest", HOUR, low) == []
    assert desk.judge(KEY, tags(HOUR, high)).success
    by_model = (
        "select window_start >= %s as later, count(*) filter (where model_id is null) as without,"
        " count(*) filter (where model_id is not null) as judged"
        " from surveillance.scores group by 1 order by 1"
    )
    before, after = desk.fetch(by_model, low)
    assert (before["judged"], after["without"]) == (0, 0)
    assert desk.fetch("select 1 from surveillance.scores where score is not null limit 1")


def test_checks_pass_on_whole_data_and_fail_on_holes(desk: Desk) -> None:
    assert desk.judge(KEY).success
    span = tags(HOUR, HOUR + timedelta(hours=1))

    def failing() -> set[str]:
        run = desk.execute("check_judgement_hourly", tags=span)
        assert run.success
        return {check.check_name for check in run.get_asset_check_evaluations() if not check.passed}

    assert failing() == {"trades_are_sound"}  # the generated market numbers quotes and trades together
    desk.fetch("truncate market.trades")
    assert failing() == set()
    desk.fetch(
        "delete from surveillance.windows where instrument_id = 1 and window_start between %s and %s",
        HOUR + timedelta(minutes=5),
        HOUR + timedelta(minutes=6),
    )
    desk.fetch("update surveillance.alerts set evidence = '{}'")
    assert failing() == {"windows_are_sound", "alerts_are_sound"}


def test_a_known_gap_explains_a_hole(desk: Desk) -> None:
    desk.fetch("delete from market.trades where instrument_id <> 2")
    desk.fetch(
        "update market.trades set trade_id = n from (select trade_id as old, row_number() over (order by"
        " trade_id) as n from market.trades) as numbered where trade_id = old"
    )
    desk.fetch("delete from market.trades where trade_id between 300 and 310")
    span = tags(HOUR, HOUR + timedelta(hours=1))

    def explained() -> bool:
        run = desk.execute("check_judgement_hourly", tags=span)
        return next(
            check.passed
            for check in run.get_asset_check_evaluations()
            if check.check_name == "trades_are_sound"
        )

    assert not explained()
    (hole,) = desk.fetch(
        "select max(time) filter (where trade_id < 300) as low, min(time) filter (where"
        " trade_id > 310) as high from market.trades"
    )
    desk.fetch(
        "insert into market.feed_gaps (venue, started_at, ended_at, cause) values"
        " ('binance', %s, %s, 'disconnected')",
        hole["low"],
        hole["high"],
    )
    assert explained()

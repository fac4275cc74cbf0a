"""The sensor's judgement of facts that come late, out of order and through failing runs is that of a
backfill."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ingest_daemon.events import Event
from ingest_daemon.store import Store
from sentinet_dagster.partitions import in_microseconds
from tests.integration.judging import RELATIONS, Desk, open_desk
from tests.integration.market_facts import SECOND, batch, events, gap, refused

pytestmark = pytest.mark.integration

START = in_microseconds(datetime(2024, 8, 8, 23, 35, tzinfo=UTC))
MINUTES = 50  # over the hour's boundary at minute 25
UNTIL = "2024-08-09T00:27:00Z"  # facts end at 00:25; the heartbeat at 00:40 closes everything before
INSTRUMENTS = (1, 2, 3)
HOLE = (START + 2400 * SECOND, START + 2640 * SECOND)  # nobody says why; its first fact comes very late


@pytest.fixture
def live(database_url: str) -> Iterator[Desk]:
    with open_desk(database_url) as desk:
        yield desk


@pytest.fixture
def past(second_database_url: str) -> Iterator[Desk]:
    with open_desk(second_database_url) as desk:
        yield desk


def commits() -> list[list[Event]]:
    """The market in commits of 100 s: facts late by up to 10 minutes, a commit twice, a hole, a gap."""
    rng = random.Random(11)
    count = MINUTES * 60 // 100
    parts: list[list[Event]] = [[] for _ in range(count)]
    first_late = None
    for event in events(INSTRUMENTS, START, MINUTES * 60):
        if HOLE[0] <= event.received_at < HOLE[1]:  # type: ignore[union-attr]
            first_late = first_late or event
            continue
        due = (event.received_at - START) // (100 * SECOND)  # type: ignore[union-attr]
        late = rng.choice((1, 2, 6)) if rng.random() < 0.02 else 0
        parts[min(due + late, count - 1)].append(event)
    assert first_late is not None
    parts[-1].append(first_late)
    parts[9].append(gap(START + 700 * SECOND, START + 733 * SECOND))
    parts[20].append(refused(START + 1234 * SECOND))
    parts.insert(15, parts[14])  # after a reconnect: every row a duplicate
    heartbeat = list(events(INSTRUMENTS, START + 65 * 60 * SECOND, 2))
    return [*parts, heartbeat]


def test_live_equals_backfill(live: Desk, past: Desk) -> None:
    failures = 0
    with Store(live.url) as store:
        for number, commit in enumerate(commits()):
            store.write(batch(commit))
            requests = live.tick()
            assert len({request.partition_key for request in requests}) == len(requests)
            broken = number in (12, 17)
            if broken:  # a real failure, in the middle of the run
                live.fetch("alter table surveillance.correlations rename to away")
            results = [live.run(request) for request in requests]
            if broken:
                live.fetch("alter table surveillance.away rename to correlations")
                failures += sum(not result.success for result in results)
                live.tick()  # learns of the failure
                live.end_pauses()
            if number == 27:  # a model takes force while windows are being judged
                assert live.execute("retrain_models_daily").success
    assert failures >= 2
    assert all(result.success for result in live.catch_up())

    with Store(past.url) as store:
        for commit in commits():
            store.write(batch(commit))
    copy_models(live, past)
    for hour in ("2024-08-08-23:00", "2024-08-09-00:00"):
        assert past.judge(hour).success

    windows = {row["window_start"] for row in live.rows("windows", UNTIL)}
    assert 600 - 48 < len(windows) < 600  # where nothing was heard for a minute there are no windows
    for relation in RELATIONS:
        judged = live.rows(relation, UNTIL)
        assert judged == past.rows(relation, UNTIL), relation
        assert len(judged) > (0 if relation == "findings" else 500)
    alerts = (
        "select alert_id, state, evidence, score, summary, severity, windows_fired, last_window_start,"
        " closes_at, peak_score, peak_window_start, incident_id"
        " from surveillance.alerts where window_start < %s and state "
    )
    standing = live.fetch(alerts + "<> 'retracted' order by alert_id", UNTIL)
    assert standing == past.fetch(alerts + "<> 'retracted' order by alert_id", UNTIL)
    assert standing
    assert live.fetch("select 1 from surveillance.scores where score is not null limit 1")


def copy_models(source: Desk, target: Desk) -> None:
    """A backfill judges with the models that were in force: give it them."""
    for row in source.fetch(
        "select to_jsonb(models) - 'artefact' as stored, artefact from model.models as models"
    ):
        target.fetch(
            "insert into model.models select (jsonb_populate_record("
            "null::model.models, %s::jsonb || jsonb_build_object('artefact', %s::bytea))).*",
            json.dumps(row["stored"]),
            row["artefact"],
        )

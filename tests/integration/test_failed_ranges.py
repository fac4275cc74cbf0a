"""A range that keeps failing, on a real database: who is told what, and that the rest goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from dagster import AssetCheckEvaluation
from structlog.testing import capture_logs

from ingest_daemon.store import Store
from sentinet_dagster.partitions import RULES, in_microseconds
from tests.integration.judging import Desk, open_desk
from tests.integration.market_facts import SECOND, batch, events

pytestmark = pytest.mark.integration

HOUR = datetime(2024, 8, 9, 10, tzinfo=UTC)
START = in_microseconds(HOUR)
AN_HOUR = 3600 * SECOND


@pytest.fixture
def posted() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A web address, and what was posted there."""
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", bodies
        server.shutdown()
        thread.join()


@pytest.fixture
def desk(database_url: str, posted: tuple[str, list[dict[str, Any]]]) -> Iterator[Desk]:
    with open_desk(database_url) as opened:
        opened.notify_url = posted[0]
        yield opened


def commit(desk: Desk, start: int, seconds: int) -> None:
    with Store(desk.url) as store:
        store.write(batch(list(events((1, 2), start, seconds))))


@contextmanager
def broken(desk: Desk, hour: datetime) -> Iterator[None]:
    """Rows of this hour cannot be written: a real failure of its runs alone."""
    desk.fetch(
        "create function refuse() returns trigger language plpgsql as"
        " $$ begin raise exception 'this hour is cursed'; end $$"
    )
    desk.fetch(
        "create trigger curse before insert on surveillance.features for each row when"
        f" (date_trunc('hour', new.window_start, 'UTC') = '{hour.isoformat()}') execute function refuse()"
    )
    yield
    desk.fetch("drop trigger curse on surveillance.features")


def fail_once(desk: Desk) -> None:
    desk.end_pauses()
    (request,) = desk.tick()
    assert not desk.run(request).success
    assert desk.tick() == []  # learns of the failure


def test_a_range_that_keeps_failing_is_reported_and_the_rest_goes_on(
    desk: Desk, posted: tuple[str, list[dict[str, Any]]]
) -> None:
    commit(desk, START, 120)
    with broken(desk, HOUR), capture_logs() as logs:
        (request,) = desk.tick()
        assert not desk.run(request).success
        assert desk.tick() == []
        for _ in range(RULES.patience - 2):
            fail_once(desk)
        assert desk.fetch("select 1 from surveillance.failed_ranges") == []
        fail_once(desk)
        (row,) = desk.fetch("select * from surveillance.failed_ranges")
        assert (row["hour"], row["range_start"], row["state"], row["attempts"]) == (HOUR, HOUR, "open", 3)
        assert "this hour is cursed" in row["error"]
        assert row["first_failed_at"] < row["last_failed_at"]
        assert desk.instance.get_run_by_id(row["run_id"]) is not None

        commit(desk, START + AN_HOUR, 120)
        (request,) = desk.tick()  # the failing hour rests
        assert request.partition_key == "2024-08-09-11:00"
        assert desk.run(request).success
        fail_once(desk)
        assert desk.fetch("select attempts, state from surveillance.failed_ranges") == [
            {"attempts": 4, "state": "open"}
        ]
    desk.end_pauses()
    assert all(result.success for result in desk.catch_up())
    assert desk.fetch("select state, resolved_at is null as none from surveillance.failed_ranges") == [
        {"state": "resolved", "none": False}
    ]
    told = [(body["event"], body["hour"]) for body in posted[1]]
    assert told == [(event, HOUR.isoformat()) for event in ("range_keeps_failing", "range_judged_after_all")]
    assert "this hour is cursed" in posted[1][0]["text"]
    errors = [log for log in logs if log["event"] == "range keeps failing"]
    assert [(log["log_level"], log["attempts"]) for log in errors] == [("error", 3), ("error", 4)]
    checks = [event for event in desk.events if isinstance(event, AssetCheckEvaluation)]
    assert [(check.check_name, check.passed) for check in checks] == [
        ("no_range_keeps_failing", False),
        ("no_range_keeps_failing", False),
        ("no_range_keeps_failing", True),
    ]


def test_the_hourly_check_fails_while_a_report_is_open(desk: Desk) -> None:
    def passes() -> bool:
        run = desk.execute("check_judgement_hourly")
        return next(
            check.passed
            for check in run.get_asset_check_evaluations()
            if check.check_name == "no_range_keeps_failing"
        )

    assert passes()
    desk.fetch(
        "insert into surveillance.failed_ranges"
        " (hour, range_start, range_end, attempts, first_failed_at, error)"
        " values (%s, %s, %s, 3, now(), 'x')",
        HOUR,
        HOUR,
        HOUR,
    )
    assert not passes()


def test_an_address_that_does_not_answer_stops_nothing(desk: Desk) -> None:
    desk.notify_url = "http://127.0.0.1:1/secret"
    commit(desk, START, 30)
    with broken(desk, HOUR), capture_logs() as logs:
        (request,) = desk.tick()
        assert not desk.run(request).success
        assert desk.tick() == []
        for _ in range(RULES.patience - 1):
            fail_once(desk)
    assert desk.fetch("select state from surveillance.failed_ranges") == [{"state": "open"}]
    (warning,) = [log for log in logs if log["event"] == "notification not delivered"]
    assert "secret" not in str(warning)

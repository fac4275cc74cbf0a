"""The health page over a real socket, and its numbers as Prometheus reads them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingest_daemon.drift import Change
from ingest_daemon.health import Health, serve
from ingest_daemon.hours import MarketHours

NEW_YORK = {"b": MarketHours.parse("Mon-Fri 09:30-16:00 America/New_York")}
SUNDAY = datetime(2024, 6, 2, 15, tzinfo=UTC)
MONDAY = datetime(2024, 6, 3, 15, tzinfo=UTC)


def counts(state: str = "live", frames: int = 0) -> SimpleNamespace:
    return SimpleNamespace(
        state=state,
        frames=frames,
        bytes=10 * frames,
        events=frames,
        rejected=9,
        not_kept=4,
        refused=2,
        reconnects=3,
        drift={Change("trade", "data.p", "missing_field"): 5},
    )


def recorder(trouble: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        written_bytes=11, waiting_bytes=12, lost_lines=13, failures=14, cpu_s=1.5, trouble=trouble
    )


def samples_of(page: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


@asynccontextmanager
async def client_of(health: Health) -> AsyncIterator[httpx.AsyncClient]:
    server = await serve(health, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("database_up", "states", "status"),
    [
        (True, {"a": "live", "b": "live"}, 200),
        (True, {"a": "live", "b": "lost"}, 503),
        (True, {"a": "live", "b": "starting"}, 503),
        (False, {"a": "live"}, 503),
        (True, {}, 503),
    ],
)
async def test_it_is_ready_when_every_feed_is_live(
    database_up: bool, states: dict[str, str], status: int
) -> None:
    health = Health()
    health.is_database_up = database_up
    health.watch({venue: counts(state) for venue, state in states.items()})

    async with client_of(health) as client:
        response = await client.get("/healthz")

    assert response.status_code == status
    assert response.json() == {
        "status": "ok" if status == 200 else "unready",
        "database": "up" if database_up else "away",
        "feeds": states,
    }


@pytest.mark.parametrize("state", ["lost", "starting"])
def test_a_feed_outside_its_market_hours_is_closed_and_nothing_waits_for_it(state: str) -> None:
    health = Health()
    health.is_database_up = True
    health.watch({"a": counts(), "b": counts(state)}, NEW_YORK)

    assert health.report(SUNDAY) == (
        True,
        {"status": "ok", "database": "up", "feeds": {"a": "live", "b": "closed"}},
    )
    assert health.report(MONDAY)[0] is False


async def test_it_is_alive_once_everything_was_tried_and_stays_so() -> None:
    health, feed = Health(), counts("starting")
    health.watch({"here": feed})
    async with client_of(health) as client:
        health.is_database_up = True
        assert (await client.get("/livez")).status_code == 503
        feed.state = "lost"
        assert (await client.get("/livez")).status_code == 200
        health.is_database_up = False
        assert (await client.get("/livez")).status_code == 200


def test_a_recording_that_fails_is_told_and_stops_nothing() -> None:
    health = Health()
    health.is_database_up = True
    health.watch({"here": counts()})
    health.watch_recorder(recorder("No space left on device"))

    is_ready, page = health.report(MONDAY)

    assert is_ready
    assert page["recording"] == "failing: No space left on device"
    samples = samples_of(health.metrics())
    assert samples[("sentinet_ingest_recording_up",)] == 0
    assert samples[("sentinet_ingest_recording_written_bytes_total",)] == 11
    assert samples[("sentinet_ingest_recording_buffer_bytes",)] == 12
    assert samples[("sentinet_ingest_recording_lost_lines_total",)] == 13
    assert samples[("sentinet_ingest_recording_failures_total",)] == 14
    assert samples[("sentinet_ingest_recording_cpu_seconds_total",)] == 1.5
    health.watch_recorder(recorder())
    assert health.report(MONDAY)[1]["recording"] == "ok"


async def test_the_numbers_are_there_as_they_are_now() -> None:
    health, feed = Health(), counts(frames=5)
    health.watch({"here": feed})
    health.rows.labels("here", "trades").inc(4)
    health.watch_queue(SimpleNamespace(bytes=77, limit=100, events=5))
    health.lag_seconds.set_function(lambda: 0.25)
    health.commit_seconds.observe(0.02)
    feed.frames = 6

    async with client_of(health) as client:
        page = (await client.get("/metrics")).content

    samples = samples_of(page)
    assert samples["sentinet_ingest_frames_total", "here"] == 6
    assert samples["sentinet_ingest_received_bytes_total", "here"] == 50
    assert samples["sentinet_ingest_rejected_frames_total", "here"] == 9
    assert samples["sentinet_ingest_rejected_frames_not_kept_total", "here"] == 4
    assert samples["sentinet_ingest_refused_requests_total", "here"] == 2
    assert samples["sentinet_ingest_reconnects_total", "here"] == 3
    changed = ("missing_field", "trade", "data.p", "here")
    assert samples["sentinet_ingest_drifted_fields_total", *changed] == 5
    assert samples["sentinet_ingest_feed_live", "here"] == 1
    assert samples["sentinet_ingest_rows_total", "trades", "here"] == 4
    assert samples[("sentinet_ingest_queue_bytes",)] == 77
    assert samples[("sentinet_ingest_queue_limit_bytes",)] == 100
    assert samples[("sentinet_ingest_queue_events",)] == 5
    assert samples[("sentinet_ingest_lag_seconds",)] == 0.25
    assert samples["sentinet_ingest_commit_seconds_bucket", "0.01"] == 0
    assert samples["sentinet_ingest_commit_seconds_bucket", "0.025"] == 1


async def test_other_requests_are_told_what_there_is() -> None:
    async with client_of(Health()) as client:
        assert (await client.get("/")).status_code == 404
        assert (await client.post("/metrics")).status_code == 405
        head = await client.head("/metrics?x=1")
        assert (head.status_code, head.content) == (200, b"")


def test_the_spool_is_told() -> None:
    health = Health()
    received_at = int((time.time() - 30) * 1e6)
    health.watch_spool(
        SimpleNamespace(bytes=7, limit=9, segments=2, oldest_at=received_at, lost={("here", "books"): 3})
    )
    samples = samples_of(health.metrics())
    assert samples[("sentinet_ingest_spool_bytes",)] == 7
    assert samples[("sentinet_ingest_spool_limit_bytes",)] == 9
    assert samples[("sentinet_ingest_spool_segments",)] == 2
    assert 30 <= samples[("sentinet_ingest_spool_oldest_age_seconds",)] < 60
    # prometheus_client sorts labels: relation, venue.
    assert samples["sentinet_ingest_shed_events_total", "books", "here"] == 3


def test_an_empty_spool_has_no_age() -> None:
    health = Health()
    health.watch_spool(SimpleNamespace(bytes=0, limit=9, segments=0, oldest_at=None, lost={}))
    assert samples_of(health.metrics())[("sentinet_ingest_spool_oldest_age_seconds",)] == 0

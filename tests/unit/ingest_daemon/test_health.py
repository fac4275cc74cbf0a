"""The health page over a real socket, and its numbers as Prometheus reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingest_daemon.health import Health, serve


def counts(state: str = "live", frames: int = 0) -> SimpleNamespace:
    return SimpleNamespace(
        state=state, frames=frames, bytes=10 * frames, events=frames, rejected=1, refused=2, reconnects=3
    )


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
        (True, {"a": "live", "b": "lost"}, 200),
        (True, {"a": "live", "b": "starting"}, 503),
        (False, {"a": "live"}, 503),
        (True, {}, 503),
    ],
)
async def test_it_is_healthy_when_every_state_is_known(
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


async def test_the_numbers_are_there_as_they_are_now() -> None:
    health, feed = Health(), counts(frames=5)
    health.watch({"here": feed})
    health.rows.labels("here", "trades").inc(4)
    health.queue_bytes.set_function(lambda: 77)
    health.commit_seconds.observe(0.02)
    feed.frames = 6

    async with client_of(health) as client:
        page = (await client.get("/metrics")).text

    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert samples["sentinet_ingest_frames_total", "here"] == 6
    assert samples["sentinet_ingest_received_bytes_total", "here"] == 50
    assert samples["sentinet_ingest_rejected_frames_total", "here"] == 1
    assert samples["sentinet_ingest_refused_requests_total", "here"] == 2
    assert samples["sentinet_ingest_reconnects_total", "here"] == 3
    assert samples["sentinet_ingest_feed_live", "here"] == 1
    assert samples["sentinet_ingest_rows_total", "trades", "here"] == 4
    assert samples[("sentinet_ingest_queue_bytes",)] == 77
    assert samples["sentinet_ingest_commit_seconds_bucket", "0.01"] == 0
    assert samples["sentinet_ingest_commit_seconds_bucket", "0.025"] == 1


async def test_other_requests_are_told_what_there_is() -> None:
    async with client_of(Health()) as client:
        assert (await client.get("/")).status_code == 404
        assert (await client.post("/metrics")).status_code == 405
        head = await client.head("/metrics?x=1")
        assert (head.status_code, head.content) == (200, b"")


async def test_the_spool_is_told() -> None:
    health = Health()
    health.watch_spool(SimpleNamespace(bytes=7, lost={("here", "books"): 3}))
    samples = {
        sample.name: (sample.labels, sample.value)
        for family in text_string_to_metric_families(health.metrics().decode())
        for sample in family.samples
    }
    assert samples["sentinet_ingest_spool_bytes"] == ({}, 7)
    assert samples["sentinet_ingest_shed_events_total"] == ({"venue": "here", "relation": "books"}, 3)

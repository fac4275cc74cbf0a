"""Beginning the script and asking for the ground truth, over HTTP at a real venue server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from ingest_daemon.venues.simulated import DEFAULT_INSTRUMENTS, SimulatedMarket, demo_script
from sentinet_dagster.runtime.errors import ProcessFailed
from sentinet_dagster.runtime.venue_control import begin_script, scripted_until
from sentinet_dagster.runtime.venue_server import VenueServer
from sentinet_dagster.runtime.venue_sources import SimulatedSource

pytestmark = pytest.mark.integration

SECOND = timedelta(seconds=1)
SYMBOLS = {(i.venue, i.venue_symbol): i.symbol for i in DEFAULT_INSTRUMENTS}


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A calm market that is told its script, on the wall clock."""
    now_us = time.time_ns() // 1_000_000_000 * 1_000_000
    source = SimulatedSource(SimulatedMarket(1, now_us), now_us, script_from=demo_script)
    async with VenueServer(source) as server:
        yield f"http://127.0.0.1:{server.port}"


def next_second(ahead: timedelta) -> datetime:
    return (datetime.now(UTC) + ahead).replace(microsecond=0)


async def test_the_script_begins_when_it_is_told(url: str) -> None:
    assert await asyncio.to_thread(scripted_until, url, datetime.now(UTC) + 600 * SECOND, SYMBOLS) == []
    starts_at = next_second(20 * SECOND)
    await asyncio.to_thread(begin_script, url, starts_at)
    scripted = await asyncio.to_thread(scripted_until, url, starts_at + 100 * SECOND, SYMBOLS)
    assert scripted is not None
    assert [episode.kind for episode in scripted[:2]] == ["volatility_spike", "decoupling"]
    assert scripted[0].starts_at == starts_at + 12 * SECOND
    assert scripted[0].instruments == (("simulated", "ETH-USDT"), ("simulated_usdm", "ETH-USDT-PERP"))


async def test_what_is_made_already_cannot_be_scripted(url: str) -> None:
    with pytest.raises(ProcessFailed, match="is made up to"):
        await asyncio.to_thread(begin_script, url, next_second(-60 * SECOND))


async def test_a_script_begins_by_post_only(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        assert (await client.get("/script?starts_at_us=1")).status_code == 405
        assert (await client.post("/script?starts_at_us=soon")).status_code == 400


def test_nobody_there_is_said() -> None:
    nobody = "http://127.0.0.1:9"
    assert scripted_until(nobody, datetime.now(UTC), SYMBOLS) is None
    with pytest.raises(ProcessFailed, match="does not answer"):
        begin_script(nobody, datetime.now(UTC))

"""From a socket that was cut to the judgement: what was missing lowers a window, what was fetched raises it.

The daemon as a process, the venue server, the sensor and its runs, all real. The daemon first runs without
repair, so that the windows are judged with their gaps; then with it, so that they are judged again.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest_daemon.venues.simulated import SimulatedMarket
from sentinet_dagster.runtime.venue_server import VenueServer
from sentinet_dagster.runtime.venue_sources import SimulatedSource
from tests.integration.daemon_process import PATIENCE_S, running_daemon
from tests.integration.daemons import write_venues
from tests.integration.judging import Desk, open_desk

pytestmark = pytest.mark.integration

VENUE = "binance_spot"
SETTLED_S = 8.0  # trades that are surely older than the gap, however clocks differ: what repair goes by
REPAIRS = "sentinet_ingest_repairs_total"
HOLED = """
    select distinct windows.window_start
    from surveillance.windows
    inner join market.feed_gaps as gaps
        on
            gaps.relation = 'trades'
            and tstzrange(gaps.started_at, gaps.ended_at)
            && tstzrange(windows.window_start, windows.window_start + interval '5 seconds')
"""


async def until(condition: Any) -> None:
    """Wait until something is true that another process brings about."""
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def seconds_received(database_url: str) -> float:
    """Between the first trade and the last."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "select coalesce(extract(epoch from max(received_at) - min(received_at)), 0) from market.trades"
        ).fetchone()
    assert row is not None
    return float(row[0])


def unrepaired(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "select count(*) from market.feed_gaps where relation = 'trades' and repaired_at is null"
        ).fetchone()
    assert row is not None
    return int(row[0])


def completeness(desk: Desk) -> dict[datetime, float]:
    """The trade completeness of every judged window."""
    rows = desk.fetch("select window_start, trade_completeness from surveillance.windows")
    return {row["window_start"]: row["trade_completeness"] for row in rows}


async def test_trade_completeness_is_one_again_once_a_gap_is_repaired(
    database_url: str, tmp_path: Path
) -> None:
    now_us = time.time_ns() // 1_000_000_000 * 1_000_000
    source = SimulatedSource(SimulatedMarket(7, now_us, rate=3.0), now_us)
    with open_desk(database_url, instruments=None) as desk:
        desk.fetch(
            "insert into market.instruments (venue, symbol, venue_symbol, kind, base, quote)"
            " values (%s, 'BTC-USDT', 'BTCUSDT', 'spot', 'BTC', 'USDT')",
            VENUE,
        )
        async with VenueServer(source) as server:
            wanted = {**server.markets["spot"], "channels": ["trade"]}
            write_venues(tmp_path, {VENUE: {**wanted, "repair": False}})
            async with running_daemon(database_url, tmp_path, {}) as daemon:
                await until(lambda: seconds_received(database_url) > SETTLED_S)
                server.hub.cut()
                await until(lambda: unrepaired(database_url) > 0)
                reached = seconds_received(database_url)
                await until(lambda: seconds_received(database_url) > reached + 7)
                assert await daemon.stop() == 0
            assert all(result.success for result in await asyncio.to_thread(desk.catch_up))
            holed = [row["window_start"] for row in desk.fetch(HOLED)]
            before = completeness(desk)
            assert holed
            assert all(before[window] < 1 for window in holed)

            write_venues(tmp_path, {VENUE: wanted})
            async with running_daemon(database_url, tmp_path, {}) as daemon:
                await daemon.until(REPAIRS, bool, 'outcome="repaired"')
                await until(lambda: unrepaired(database_url) == 0)
                assert await daemon.stop() == 0
            assert all(result.success for result in await asyncio.to_thread(desk.catch_up))
        after = completeness(desk)
        assert {window: after[window] for window in holed} == dict.fromkeys(holed, 1.0)

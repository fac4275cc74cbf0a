"""Daemons that stream trades from a venue under the test's control, and what they should have written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import yaml

from tests.fake_venue import FakeVenue
from tests.integration.daemon_process import Daemon, running_daemon


def fake(venue: FakeVenue, *channels: str) -> dict[str, Any]:
    """The settings of a venue under the test's control."""
    return {
        "protocol": "binance_spot",
        "websocket_url": venue.websocket_url,
        "rest_url": venue.rest_url,
        "channels": list(channels),
    }


@asynccontextmanager
async def daemon_of(
    venue: FakeVenue, database_url: str, directory: Path, largest_file: int | None = None, **tuning: str
) -> AsyncIterator[Daemon]:
    """A daemon of one venue, `here`, that streams trades."""
    write_venues(directory, {"here": fake(venue, "trade")})
    settings = {f"SENTINET_INGEST_{name.upper()}": value for name, value in tuning.items()}
    async with running_daemon(database_url, directory, settings, largest_file=largest_file) as daemon:
        yield daemon


def write_venues(directory: Path, venues: Mapping[str, Mapping[str, Any]]) -> None:
    (directory / "venues.yaml").write_text(yaml.safe_dump({"venues": dict(venues)}), encoding="utf-8")


def watch_bitcoin(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """
            insert into market.instruments (venue, symbol, venue_symbol, kind, base, quote)
            values ('here', 'BTC-USDT', 'BTCUSDT', 'spot', 'BTC', 'USDT')
            """
        )


def trade_ids(database_url: str) -> list[int]:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select trade_id from market.trades order by trade_id").fetchall()
    return [trade_id for (trade_id,) in rows]


def trades(first: int, last: int) -> list[str]:
    return [
        '{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT",'
        f'"t":{trade_id},"p":"61837.63","q":"0.02","T":1723161255342,"m":true,"M":true}}}}'
        for trade_id in range(first, last)
    ]

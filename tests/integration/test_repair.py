"""The daemon as a process against the venue server: sockets are cut, the market goes on, trades come back.

Every dialect at once, on the wall clock: those whose venue has a history are whole again, and their gaps are
marked. The venue without one keeps its gap, and so does the one whose history does not reach back far enough.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest_daemon.venues import VENUES, Credentials, HistoryProtocol, KeyedVenueProtocol
from ingest_daemon.venues.simulated import SimulatedMarket
from sentinet_dagster.runtime.history import take_in
from sentinet_dagster.runtime.venue_dialects import Fill
from sentinet_dagster.runtime.venue_dialects.products import Product
from sentinet_dagster.runtime.venue_hub import Hub
from sentinet_dagster.runtime.venue_server import VenueServer
from sentinet_dagster.runtime.venue_sources import Demand, SimulatedSource, SourceFrame
from tests.integration.daemon_process import PATIENCE_S, running_daemon
from tests.integration.daemons import write_venues

pytestmark = pytest.mark.integration

ACCOUNT = Credentials("accountKEYofTHEtest", "accountSECRETofTHEtest")
WITHOUT = "alpaca_crypto"
TOO_SHORT, SHORT_HISTORY = "bybit_spot", 60  # trades, which are told in a few seconds
REMEMBERING = {name: venue for name, venue in VENUES.items() if isinstance(venue, HistoryProtocol)}
TRADES = {name: venue.history.channels[0] for name, venue in REMEMBERING.items()} | {WITHOUT: "trades"}
WHOLE_AGAIN = set(TRADES) - {WITHOUT, TOO_SHORT}
MARKET = {"binance_spot": "spot", "binance_usdm": "usdm", "binance_coinm": "coinm"}
PREFIX = "sentinet_ingest"
SETTLED_S = 7.0  # that a trade is surely older than what comes: longer than clocks may differ

Row = tuple[int, float, float]


def watched(server: VenueServer) -> dict[str, Product]:
    """Of each venue the busiest instrument."""
    return {
        dialect.protocol: next(product for product in dialect.products if product.base == "BTC")
        for dialect in server.dialects.values()
        if dialect.protocol in TRADES
    }


def settings(server: VenueServer) -> tuple[dict[str, Any], dict[str, str]]:
    """The venues, and the environment."""
    venues = {
        market["protocol"]: {**market, "channels": [TRADES[market["protocol"]]]}
        for market in server.markets.values()
        if market["protocol"] in TRADES
    }
    environment = {
        f"SENTINET_VENUE_{name.upper()}_{need.upper()}": getattr(ACCOUNT, need)
        for name, venue in VENUES.items()
        if name in TRADES and isinstance(venue, KeyedVenueProtocol)
        for need in venue.needs
    }
    return venues, environment


def watch(database_url: str, products: dict[str, Product]) -> None:
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            """
            insert into market.instruments
                (venue, symbol, venue_symbol, kind, base, quote, contract_size, contract_currency)
            values (%s, %s, %s, %s, %s, %s, %s, %s)
            """,
            [
                (venue, p.symbol, p.symbol, p.kind, p.base, p.quote, p.contract_size, p.contract_currency)
                for venue, p in products.items()
            ],
        )


def fills_of(server: VenueServer, protocol: str, product: Product) -> list[Row]:
    """What happened, whether anybody heard of it, as the venue tells it."""
    unit_us = getattr(server.dialects[MARKET.get(protocol, protocol)], "unit_us", 1_000)
    rows = []
    for fill in server.hub.past.numbered_from(product.source, 0, 100_000):
        told = product.in_base_units(product.as_told(fill, unit_us))
        assert isinstance(told, Fill)
        rows.append((told.at_us, told.price, round(told.size, 9)))
    return rows


def stored(database_url: str) -> dict[str, list[Row]]:
    """When, price and size of every trade, by venue."""
    found: dict[str, list[Row]] = {}
    with psycopg.connect(database_url) as connection:
        for venue, at, price, size in connection.execute(
            """
            select instruments.venue, (extract(epoch from time) * 1e6)::bigint, price, size
            from market.trades inner join market.instruments using (instrument_id)
            order by trades.time, trades.trade_id
            """
        ):
            found.setdefault(venue, []).append((at, price, round(size, 9)))
    return found


def gaps(database_url: str) -> dict[str, list[bool]]:
    """Whether each gap of trades is repaired, by venue."""
    found: dict[str, list[bool]] = {}
    with psycopg.connect(database_url) as connection:
        for venue, is_repaired in connection.execute(
            """
            select venue, repaired_at is not null from market.feed_gaps
            where relation = 'trades' and cause = 'disconnected'
            """
        ):
            found.setdefault(venue, []).append(is_repaired)
    return found


def touched_by_repairs(database_url: str) -> bool:
    """Whether every repaired gap lies in a span of the ledger that came with the repair or after."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            """
            select bool_and(exists (
                select from ops.ingest_batches as batches
                where
                    batches.venue = gaps.venue and batches.relation = 'feed_gaps'
                    and batches.committed_at >= gaps.repaired_at
                    and batches.touched @> tstzrange(gaps.started_at, gaps.ended_at)
            ))
            from market.feed_gaps as gaps
            where gaps.repaired_at is not null
            """
        ).fetchone()
    return row is not None and row[0] is True


async def until(condition: Any) -> None:
    """Wait until something is true that another process brings about."""
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


class CutSource(SimulatedSource):
    """A market that can go on unheard: whoever is connected when something happens loses the socket first."""

    is_cut = False

    async def batches(self, demand: Demand) -> AsyncIterator[Sequence[SourceFrame]]:
        assert isinstance(demand, Hub)
        async for batch in super().batches(demand):
            if self.is_cut:
                demand.cut()
            yield batch

    async def go_unheard(self, happens: Callable[[], int]) -> None:
        """Until so much has happened that the short history does not tell all of it."""
        before = happens()
        self.is_cut = True
        await until(lambda: happens() > before + 2 * SHORT_HISTORY)
        self.is_cut = False


async def test_trades_that_were_missed_are_fetched_once_and_their_gaps_are_repaired(
    database_url: str, tmp_path: Path
) -> None:
    now_us = time.time_ns() // 1_000_000_000 * 1_000_000
    source = CutSource(SimulatedMarket(5, now_us, rate=12.0), now_us)
    async with VenueServer(source, account=ACCOUNT) as server:
        products = watched(server)
        assert set(products) == set(TRADES)
        venues, environment = settings(server)
        write_venues(tmp_path, venues)
        watch(database_url, products)
        environment["SENTINET_INGEST_RECORD"] = str(tmp_path / "recording")
        async with running_daemon(database_url, tmp_path, environment) as daemon:
            await until(lambda: set(stored(database_url)) == set(TRADES))
            await asyncio.sleep(SETTLED_S)
            await source.go_unheard(lambda: len(fills_of(server, TOO_SHORT, products[TOO_SHORT])))
            await until(lambda: are_repaired(gaps(database_url)))
            await daemon.until(f"{PREFIX}_repairs_total", bool, f'outcome="partial",venue="{TOO_SHORT}"')
            fetched = {v: await daemon.value(f"{PREFIX}_repaired_trades_total", f'"{v}"') for v in TRADES}
            assert await daemon.stop() == 0

        found = stored(database_url)
        for venue, product in products.items():
            first, last = found[venue][0][0], found[venue][-1][0]
            happened = [row for row in fills_of(server, venue, product) if first < row[0] < last]
            inside = [row for row in found[venue] if first < row[0] < last]
            if venue in WHOLE_AGAIN:
                assert fetched[venue] > 0
                assert sorted(inside) == sorted(happened), venue
            elif venue == TOO_SHORT:
                assert not Counter(inside) - Counter(happened), venue
            else:
                assert 0 < len(inside) < len(happened), venue
    told = gaps(database_url)
    assert not any(told[WITHOUT])
    assert fetched[WITHOUT] == 0
    assert not all(told[TOO_SHORT])
    assert touched_by_repairs(database_url)

    as_received = everything(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("truncate market.trades, market.feed_gaps, ops.ingest_batches")
    await asyncio.to_thread(take_in, database_url, [tmp_path / "recording"], {})
    assert everything(database_url) == as_received
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select bool_and(is_replay) from ops.ingest_batches").fetchone() == (True,)


def everything(database_url: str) -> list[tuple[object, ...]]:
    """All trades, and all gaps with whether they are repaired."""
    with psycopg.connect(database_url) as connection:
        trades = connection.execute(
            """
            select instrument_id, trade_id, occurred_at, received_at, price, size, aggressor, fills
            from market.trades order by instrument_id, trade_id
            """
        ).fetchall()
        told = connection.execute(
            """
            select
                venue, channel, relation, instrument_id, started_at, ended_at, cause, detail,
                repaired_at is not null
            from market.feed_gaps order by venue, channel, relation, instrument_id, started_at, ended_at
            """
        ).fetchall()
    return [*trades, *told]


def are_repaired(found: dict[str, list[bool]]) -> bool:
    return set(found) == set(TRADES) and all(all(found[venue]) for venue in WHOLE_AGAIN)

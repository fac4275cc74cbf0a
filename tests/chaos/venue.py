"""The venue of the chaos: the venue server on a simulated market, and an account of all that it did."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import yaml

from ingest_daemon.venues.simulated import SimulatedInstrument, SimulatedMarket
from sentinet_dagster.runtime.load import chosen_instruments, rate_for
from sentinet_dagster.runtime.venue_dialects import Message
from sentinet_dagster.runtime.venue_faults import Faults
from sentinet_dagster.runtime.venue_server import VenueServer
from sentinet_dagster.runtime.venue_sources import MARKET_OF_VENUE, Demand, SimulatedSource, SourceFrame
from tests.chaos.verdict import Told

CHANNELS: Mapping[str, Sequence[str]] = {
    "spot": ("trade", "bookTicker", "depth20"),
    "usdm": ("aggTrade", "bookTicker", "depth20", "markPrice"),
}
STALE_AFTER_S = 3.0
_INSTRUMENTS = 12
_NUMBER = re.compile(rb'"[ta]":(\d+)')
_TIME = re.compile(rb'"T":(\d+)')


class RecordedMarket(SimulatedSource):
    """A simulated market on the wall clock that writes down its trades, until it is told to end."""

    def __init__(self, market: SimulatedMarket, start_us: int, told: Told) -> None:
        super().__init__(market, start_us)
        self.may_end = False
        self._told = told

    async def batches(self, demand: Demand) -> AsyncIterator[Sequence[SourceFrame]]:
        async for batch in super().batches(demand):
            if self.may_end:
                return
            for frame in batch:
                if frame.stream.endswith("@trade"):
                    key = (f"binance_{frame.market}", frame.stream.partition("@")[0].upper())
                    number, at_us = trade_in(frame.text)
                    self._told.happened[key][number] = at_us
            yield batch


def trade_in(text: bytes) -> tuple[int, int]:
    """Number and time, microseconds."""
    number, time = _NUMBER.search(text), _TIME.search(text)
    assert number is not None
    assert time is not None
    return int(number[1]), int(time[1]) * 1_000


class Venue:
    """The running server."""

    def __init__(
        self, server: VenueServer, source: RecordedMarket, instruments: Sequence[SimulatedInstrument]
    ) -> None:
        self.server = server
        self._source = source
        self._instruments = instruments

    async def end(self) -> None:
        """Send nothing more; return when all is sent."""
        self._source.may_end = True
        await self.server.has_ended.wait()

    def write_config(self, directory: Path) -> None:
        venues: dict[str, dict[str, Any]] = {}
        for market, channels in CHANNELS.items():
            venues[f"binance_{market}"] = {
                **self.server.markets[market],
                "channels": list(channels),
                "stale_after_s": STALE_AFTER_S,
            }
        (directory / "venues.yaml").write_text(yaml.safe_dump({"venues": venues}), encoding="utf-8")

    def watch(self, database_url: str) -> None:
        """Its instruments are those of the database."""
        rows = [
            (
                f"binance_{MARKET_OF_VENUE[each.venue]}",
                each.symbol,
                each.venue_symbol,
                each.kind,
                each.base,
                each.quote,
            )
            for each in self._instruments
        ]
        with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "insert into market.instruments (venue, symbol, venue_symbol, kind, base, quote)"
                " values (%s, %s, %s, %s, %s, %s)",
                rows,
            )


@asynccontextmanager
async def running_venue(
    start_us: int, frames_per_s: float, faults: Faults, seed: int, told: Told
) -> AsyncIterator[Venue]:
    instruments = chosen_instruments(_INSTRUMENTS)
    rate = rate_for(instruments, frames_per_s)
    anchor_us = start_us - start_us % 1_000_000 - 60_000_000
    market = SimulatedMarket(seed, anchor_us, rate=rate, instruments=instruments)
    source = RecordedMarket(market, start_us, told)

    def observe(market: str, message: Message, _clients: int) -> None:
        venue = f"binance_{market}"
        told.frames += 1
        if message.is_damaged:
            told.damaged[venue].append(message.received_ns // 1_000)
        elif message.stream.endswith(("@trade", "@aggTrade")):
            number, at_us = trade_in(message.text)
            told.sent[venue, message.stream.partition("@")[0].upper()].add(number)
            told.first_at.setdefault(venue, at_us)

    async with VenueServer(source, faults=faults, seed=seed, observe=observe) as server:
        yield Venue(server, source, instruments)

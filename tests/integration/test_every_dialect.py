"""The daemon as a process against the venue server in every dialect at once: the ledger is in the database.

The server tells one simulated market in each dialect and keeps what it said. Each fact of it must be a row,
once; nothing else may be there.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from ingest_daemon.venues import VENUES, Credentials, KeyedVenueProtocol, Listing, PolledVenueProtocol
from ingest_daemon.venues.simulated import SimulatedMarket
from sentinet_dagster.runtime.venue_dialects import Best, Caller, Dialect, Fact, Fill, Mark, Top
from sentinet_dagster.runtime.venue_server import VenueServer
from sentinet_dagster.runtime.venue_sources import MARKET_OF_VENUE, Demand, SimulatedSource, SourceFrame
from tests.integration.daemon_process import PATIENCE_S, running_daemon

pytestmark = pytest.mark.integration

ANCHOR = 1_700_000_000_000_000
SECOND = 1_000_000
ACCOUNT = Credentials("accountKEYofTHEtest", "accountSECRETofTHEtest")
POLLED = {name for name, venue in VENUES.items() if isinstance(venue, PolledVenueProtocol)}
REFUSED = {"alpaca_iex", "polygon_stocks", "finage", "fmp"}  # by a wrong account
WRONG = Credentials("wr0ngKEYofTHEtest", "wr0ngSECRETofTHEtest")

# Of each venue what tells no row twice: a book and its top have the same number.
CHANNELS: Mapping[str, Sequence[str]] = {
    "binance_spot": ("trade", "bookTicker", "depth20"),
    "binance_usdm": ("aggTrade", "bookTicker", "depth20", "markPrice"),
    "binance_coinm": ("trade", "bookTicker", "depth", "markPrice"),
    "okx": ("trades", "bbo-tbt", "books", "mark-price", "index-tickers", "funding-rate"),
    "bybit_spot": ("publicTrade", "orderbook.1", "orderbook.50"),
    "bybit_linear": ("publicTrade", "tickers", "orderbook.1", "orderbook.200"),
    "bybit_inverse": ("publicTrade", "tickers", "orderbook.1", "orderbook.500"),
}

Row = tuple[object, ...]


class PacedMarket(SimulatedSource):
    """So many seconds of the market, ten times as fast as they took, from when the test says on."""

    waits_for_clients = True

    def __init__(self, seconds: int) -> None:
        self.may_begin = asyncio.Event()
        self._simulated = SimulatedMarket(5, ANCHOR)
        self._until = ANCHOR + seconds * SECOND
        self._now = ANCHOR
        super().__init__(self._simulated, ANCHOR, lambda: self._now)

    async def batches(self, demand: Demand) -> AsyncIterator[Sequence[SourceFrame]]:
        await self.may_begin.wait()
        clock = asyncio.get_running_loop().time
        began = clock()
        for frame in self._simulated.frames(ANCHOR, self._until):
            due = began + (frame.received_at - ANCHOR) / SECOND / 10
            await asyncio.sleep(max(due - clock(), 0.0))
            self._now = frame.received_at
            market = MARKET_OF_VENUE[frame.venue]
            yield [SourceFrame(frame.received_at * 1_000, market, frame.stream, frame.text)]


def channels_of(protocol: str) -> Sequence[str]:
    return CHANNELS.get(protocol, VENUES[protocol].channels)


def streams_wanted(dialect: Dialect) -> int:
    """How many streams the daemon subscribes to."""
    symbols = {product.symbol: Listing(1) for product in dialect.products}
    session = VENUES[dialect.protocol].open_session("x", symbols, channels_of(dialect.protocol))
    caller = Caller(is_logged_in=True)
    for text in session.subscribe():
        dialect.hear(caller, text)
    return len(caller.wanted)


def write_venues(directory: Path, server: VenueServer, most_channels: int | None = None) -> None:
    """A venue for each dialect, by the name of the protocol."""
    venues: dict[str, dict[str, Any]] = {}
    for market in server.markets.values():
        protocol = market["protocol"]
        channels = list(channels_of(protocol))[:most_channels]
        venues[protocol] = {**market, "channels": channels, "stale_after_s": 60}
        if protocol in POLLED:
            venues[protocol] |= {"calls_per_minute": 6_000, "calls_per_day": 10_000_000}
    (directory / "venues.yaml").write_text(yaml.safe_dump({"venues": venues}))


def watch(database_url: str, server: VenueServer, unknown: Mapping[str, str] | None = None) -> None:
    """The server's products are the instruments; `unknown`: protocol → a symbol that it does not have."""
    listed = [(dialect.protocol, p) for dialect in server.dialects.values() for p in dialect.products]
    rows = [
        (venue, p.symbol, p.symbol, p.kind, p.base, p.quote, p.contract_size, p.contract_currency)
        for venue, p in listed
    ]
    for venue, symbol in (unknown or {}).items():
        rows.append((venue, symbol, symbol, "spot", "ZZZ", "USD", 1.0, "base"))
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            """
            insert into market.instruments
                (venue, symbol, venue_symbol, kind, base, quote, contract_size, contract_currency)
            values (%s, %s, %s, %s, %s, %s, %s, %s)
            """,
            rows,
        )


def account_settings(wrong: Set[str] = frozenset()) -> dict[str, str]:
    """What the environment says of accounts; `wrong`: the venues whose keys are not theirs."""
    settings = {}
    for name, venue in VENUES.items():
        if isinstance(venue, KeyedVenueProtocol):
            own = WRONG if name in wrong else ACCOUNT
            for need in venue.needs:
                settings[f"SENTINET_VENUE_{name.upper()}_{need.upper()}"] = getattr(own, need)
    return settings


def said(server: VenueServer) -> dict[str, Counter[Row]]:
    """What the ledger says should stand in the database, by venue; books aside."""
    expected: dict[str, Counter[Row]] = {d.protocol: Counter() for d in server.dialects.values()}
    for protocol, symbol, fact in facts_of(server):
        row = row_of_fact(protocol, symbol, fact)
        if row is not None:
            expected[protocol][row] += 1
    return expected


def facts_of(server: VenueServer) -> list[tuple[str, str, Fact]]:
    found = []
    for (market, _), entry in server.hub.ledger.items():
        dialect = server.dialects[market]
        symbols = {product.source: product.symbol for product in dialect.products}
        assert entry.facts is not None
        found += [(dialect.protocol, symbols[fact.instrument], fact) for fact in entry.facts]
    return found


def row_of_fact(protocol: str, symbol: str, fact: Fact) -> Row | None:
    match fact:
        case Fill():
            taker = 0 if fact.is_buy is None else 1 if fact.is_buy else -1
            return ("trade", symbol, fact.at_us, fact.price, digits(fact.size), taker)
        case Best():
            # Spot says no time; that of the futures is in milliseconds.
            at = {"binance_spot": None, "binance_usdm": fact.at_us // 1_000 * 1_000}.get(protocol, fact.at_us)
            (bid, bid_size), (ask, ask_size) = fact.bid, fact.ask
            return ("quote", symbol, at, bid, digits(bid_size), ask, digits(ask_size))
        case Mark():
            prices = (fact.mark_price, fact.index_price, fact.funding_rate)
            return ("reference", symbol, fact.at_us, *map(digits, prices), fact.due_us)
        case Top():
            return None


def digits(value: float | None) -> str | None:
    """To nine digits: a size in contracts is divided and multiplied. A price of the market has no more."""
    return None if value is None else f"{value:.7e}"


_ROWS = """
    with trades as (
        select
            instruments.venue, 'trade', instruments.venue_symbol,
            (extract(epoch from trades.occurred_at) * 1e6)::bigint,
            array[trades.price, trades.size, trades.aggressor]
        from market.trades
        inner join market.instruments using (instrument_id)
    ),
    quotes as (
        select
            instruments.venue, 'quote', instruments.venue_symbol,
            (extract(epoch from quotes.occurred_at) * 1e6)::bigint,
            array[quotes.bid_price, quotes.bid_size, quotes.ask_price, quotes.ask_size]
        from market.quotes
        inner join market.instruments using (instrument_id)
    ),
    reference as (
        select
            instruments.venue, 'reference', instruments.venue_symbol,
            (extract(epoch from reference.occurred_at) * 1e6)::bigint,
            array[
                reference.mark_price, reference.index_price, reference.funding_rate,
                extract(epoch from reference.next_funding_at) * 1e6
            ]
        from market.reference_prices as reference
        inner join market.instruments using (instrument_id)
    )
    select * from trades union all select * from quotes union all select * from reference
"""


def stored(database_url: str) -> dict[str, Counter[Row]]:
    """What stands in the database, in the words of `said`."""
    found: dict[str, Counter[Row]] = {name: Counter() for name in VENUES}
    with psycopg.connect(database_url) as connection:
        for venue, kind, symbol, at, values in connection.execute(_ROWS):
            found[venue][kind, symbol, at, *_told(kind, values)] += 1
    return found


def _told(kind: str, values: Sequence[float]) -> Row:
    match kind:
        case "trade":
            price, size, taker = values
            return price, digits(size), taker
        case "quote":
            bid, bid_size, ask, ask_size = values
            return bid, digits(bid_size), ask, digits(ask_size)
        case _:
            *prices, due = values
            return *map(digits, prices), due


def books(database_url: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            """
            select instruments.venue, instruments.venue_symbol, bid_prices, bid_sizes, ask_prices, ask_sizes
            from market.books
            inner join market.instruments using (instrument_id)
            """
        )
        for venue, symbol, bid_prices, bid_sizes, ask_prices, ask_sizes in rows:
            sizes = (*map(digits, bid_sizes), *map(digits, ask_sizes))
            found.setdefault(venue, []).append((symbol, *bid_prices, *ask_prices, *sizes))
    return found


def books_said(server: VenueServer) -> dict[str, set[Row]]:
    found: dict[str, set[Row]] = {}
    for protocol, symbol, fact in facts_of(server):
        if isinstance(fact, Top):
            prices = [price for side in (fact.bids, fact.asks) for price, _ in side]
            sizes = [digits(size) for side in (fact.bids, fact.asks) for _, size in side]
            found.setdefault(protocol, set()).add((symbol, *prices, *sizes))
    return found


async def test_what_was_said_in_every_dialect_is_a_row_once(database_url: str, tmp_path: Path) -> None:
    source = PacedMarket(seconds=15)
    async with VenueServer(source, account=ACCOUNT, keeps_facts=True) as server:
        assert {dialect.protocol for dialect in server.dialects.values()} == set(VENUES)
        write_venues(tmp_path, server)
        watch(database_url, server)
        async with running_daemon(database_url, tmp_path, account_settings()) as daemon:
            wanted = {market: streams_wanted(dialect) for market, dialect in server.dialects.items()}
            async with asyncio.timeout(PATIENCE_S):
                await server.hub.until_subscribed(wanted)
                source.may_begin.set()
                await server.has_ended.wait()
                while stored(database_url) != said(server):  # noqa: ASYNC110 (it is another process)
                    await asyncio.sleep(0.1)
            assert await daemon.value("sentinet_ingest_duplicates_total") == 0
            assert await daemon.stop() == 0

        expected = said(server)
        assert stored(database_url) == expected
        assert all(expected.values()), "a dialect said nothing"
        told = books_said(server)
        for venue, found in books(database_url).items():
            assert len(found) >= 5, venue
            assert set(found) <= told[venue], venue
        deep = {name for name, venue in VENUES.items() if venue.capabilities.book_depth}
        assert set(books(database_url)) == deep
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select * from market.feed_gaps").fetchall() == []
        assert connection.execute("select * from market.rejected_frames").fetchall() == []


async def test_what_a_venue_refuses_is_told_once_by_name_the_others_go_on_and_no_key_is_told(
    database_url: str, tmp_path: Path
) -> None:
    source = PacedMarket(seconds=15)
    async with AsyncExitStack() as processes:
        async with VenueServer(source, account=ACCOUNT, keeps_facts=True) as server:
            write_venues(tmp_path, server, most_channels=1)
            unknown = {d.protocol: "ZZZ" + d.products[0].symbol[3:] for d in server.dialects.values()}
            watch(database_url, server, unknown)
            settings = account_settings(REFUSED) | {"SENTINET_INGEST_LOG_LEVEL": "debug"}
            daemon = await processes.enter_async_context(
                running_daemon(database_url, tmp_path, settings, asyncio.subprocess.PIPE)
            )
            assert daemon.process.stderr is not None
            reading = asyncio.create_task(daemon.process.stderr.read())
            await daemon.until("sentinet_ingest_refused_requests_total", lambda n: n >= len(VENUES))
            source.may_begin.set()
            async with asyncio.timeout(PATIENCE_S):
                await server.has_ended.wait()
                while stored(database_url) != said(server):  # noqa: ASYNC110 (it is another process)
                    await asyncio.sleep(0.1)
            assert {name for name, rows in said(server).items() if rows} == set(VENUES) - REFUSED
            pages = [f"{await daemon.healthz()}", await daemon.metrics()]
        # The server is gone: what is said of that has no key either.
        await daemon.until("sentinet_ingest_reconnects_total", lambda n: n >= len(VENUES))
        command = await asyncio.to_thread(Path(f"/proc/{daemon.process.pid}/cmdline").read_text)
        assert await daemon.stop() == 0
        log = (await reading).decode()

    errors = [line for line in map(json.loads, log.splitlines()) if line["level"] == "error"]
    for name, symbol in unknown.items():
        mine = [line for line in errors if line["venue"] == name]
        if name in REFUSED:
            (refusal,) = mine
            assert refusal["event"] == "venue refused the login"
        else:
            (refusal,) = [line for line in mine if symbol.lower() in line["error"].lower()]
            assert refusal["event"] == "venue refused a request"
            assert mine == [refusal] or name in POLLED  # which had no price to tell at first
    with psycopg.connect(database_url) as connection:
        gaps = connection.execute("select detail from market.feed_gaps").fetchall()
        rejected = connection.execute("select * from market.rejected_frames").fetchall()
    assert gaps
    assert not rejected
    for page in (log, command, *pages, str(gaps)):
        assert page
        for secret in (ACCOUNT.key, ACCOUNT.secret, WRONG.key, WRONG.secret):
            assert secret not in page

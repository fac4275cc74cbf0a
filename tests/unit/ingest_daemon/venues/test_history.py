"""Fetching a gap's trades again, in every dialect that can: requests against the venue server's answers.

The server's answers know nothing of the daemon's parsers; what they tell is what happened in the simulated
market. Beside that, what a venue may say that the server never does, field by field.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from functools import cache
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_daemon.errors import ParseError, VenueRefused
from ingest_daemon.events import Trade
from ingest_daemon.venues import (
    VENUES,
    HistoryProtocol,
    KnownTrade,
    Listing,
    MissingTrades,
    TradeRepair,
    VenueProtocol,
)
from ingest_daemon.venues.simulated import SimulatedMarket
from sentinet_dagster.runtime.venue_dialects import Answer, Dialect, Fill, dialects_of
from sentinet_dagster.runtime.venue_dialects.past import PastTrades, RemembersTrades
from sentinet_dagster.runtime.venue_dialects.products import Product
from sentinet_dagster.runtime.venue_sources import MARKET_OF_VENUE, SimulatedSource, SourceFrame

ANCHOR = 1_700_000_000_000_000
SEEN = ANCHOR + 600_000_000
SECONDS = 60
MARKET = SimulatedMarket(5, ANCHOR)
FRAMES = [
    SourceFrame(frame.received_at * 1_000, MARKET_OF_VENUE[frame.venue], frame.stream, frame.text)
    for frame in MARKET.frames(ANCHOR, ANCHOR + SECONDS * 1_000_000)
]
REMEMBERING = {name: venue for name, venue in VENUES.items() if isinstance(venue, HistoryProtocol)}
PAGED = sorted(name for name, venue in REMEMBERING.items() if not venue.history.is_short)
SHORT = sorted(set(REMEMBERING) - set(PAGED))


def dialects() -> dict[str, Dialect]:
    past = PastTrades()
    past.keep(FRAMES)
    found = {}
    for dialect in dialects_of(SimulatedSource(MARKET, ANCHOR)).values():
        if isinstance(dialect, RemembersTrades):
            dialect.past = past
            found[dialect.protocol] = dialect
    return found


DIALECTS = dialects()


def product_of(name: str) -> Product:
    return next(product for product in DIALECTS[name].products if product.base == "BTC")


def fetched(name: str, missing: MissingTrades, page: int | None = None) -> tuple[list[Trade], bool]:
    """All that a walk finds, and whether it is whole; `page`: trades of a page, as if the venue had few."""
    venue = REMEMBERING[name]
    walk, found = venue.open_repair(missing), list[Trade]()
    if page is not None:
        walk._page = page  # type: ignore[attr-defined]
    for _ in range(100_000):
        request = walk.request()
        if request is None:
            return found, walk.is_whole
        url = urlsplit(request.path)
        query = dict(parse_qsl(url.query))
        if page is not None:
            query["limit" if "limit" in query else "count"] = str(page)
        answer = at_once(DIALECTS[name].answer(url.path, query))
        found += walk.take(answer.body, SEEN)
    raise AssertionError("it never ends")


def at_once(answer: Coroutine[Any, Any, Answer]) -> Answer:
    """Of a coroutine that waits for nothing."""
    try:
        answer.send(None)
    except StopIteration as result:
        return cast(Answer, result.value)
    raise AssertionError("it waits")


@cache
def everything(name: str) -> list[Trade]:
    """All trades of the instrument, as the history tells them, oldest first."""
    nothing_known = KnownTrade(-1, ANCHOR - 1_000_000)
    found, is_whole = fetched(name, missing(name, nothing_known, None, []))
    assert is_whole or name not in {"binance_spot", "binance_usdm", "binance_coinm", "kraken"}
    return sorted(found, key=lambda trade: (trade.occurred_at, trade.trade_id))


def missing(
    name: str, before: KnownTrade, after: KnownTrade | None, known: Sequence[tuple[int, int]]
) -> MissingTrades:
    product, channel = product_of(name), REMEMBERING[name].history.channels[0]
    listing = Listing(7, product.contract_size, product.contract_currency)
    return MissingTrades(product.symbol, listing, channel, SEEN, before, after, known)


def known_of(trade: Trade) -> KnownTrade:
    return KnownTrade(trade.trade_id, trade.occurred_at)


def runs_of(trades: Sequence[Trade]) -> list[tuple[int, int]]:
    return [(number, number) for number in sorted(trade.trade_id for trade in trades)]


def test_who_is_said_to_have_a_history_has_one() -> None:
    assert {name for name, venue in VENUES.items() if venue.capabilities.trade_history} == set(REMEMBERING)
    assert set(DIALECTS) == set(REMEMBERING)


@pytest.mark.parametrize("name", sorted(REMEMBERING))
def test_the_history_is_of_channels_that_tell_trades(name: str) -> None:
    venue = REMEMBERING[name]
    assert set(venue.history.channels) <= set(venue.channels)
    for channel in venue.history.channels:
        assert (channel, "trades") in venue.tells([channel])


@pytest.mark.parametrize("name", sorted(REMEMBERING))
def test_what_is_told_again_is_what_happened(name: str) -> None:
    product = product_of(name)
    unit_us = getattr(DIALECTS[name], "unit_us", 1_000)
    happened = []
    for fill in DIALECTS[name].past.numbered_from(product.source, 0, 100_000):  # type: ignore[attr-defined]
        told = product.in_base_units(product.as_told(fill, unit_us))
        assert isinstance(told, Fill)
        side = 1 if told.is_buy else -1
        happened.append((told.at_us, told.price, f"{told.size:.6e}", side))
    trades = everything(name)
    again = [(trade.occurred_at, trade.price, f"{trade.size:.6e}", trade.aggressor) for trade in trades]
    assert len(again) >= 60
    assert sorted(again) == sorted(happened[-len(again) :])
    assert {(trade.instrument_id, trade.received_at) for trade in trades} == {(7, SEEN)}


@pytest.mark.parametrize("name", PAGED)
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_what_is_missing_is_found_once_and_nothing_else(name: str, data: st.DataObject) -> None:
    """Whatever is known in between, and however few a page has."""
    trades = everything(name)
    first = data.draw(st.integers(0, len(trades) - 3))
    last = data.draw(st.integers(first + 1, min(first + 60, len(trades) - 1)))
    lost = data.draw(st.sets(st.integers(first + 1, last - 1))) if last - first > 1 else set()
    has_after = data.draw(st.booleans())
    if not has_after:
        last = len(trades) - 1
        first = max(first, last - 60)
        lost = {place for place in lost if first < place <= last}
    inside = range(first, last + 1)
    wanted = missing(
        name,
        known_of(trades[first]),
        known_of(trades[last]) if has_after else None,
        runs_of([trades[place] for place in inside if place not in lost]),
    )
    page = data.draw(st.integers(3, 30))

    found, is_whole = fetched(name, wanted, page)

    assert is_whole
    assert sorted(trade.trade_id for trade in found) == sorted(trades[place].trade_id for place in lost)


@pytest.mark.parametrize("name", SHORT)
def test_a_history_without_pages_is_whole_where_it_reaches_back_far_enough(name: str) -> None:
    trades = everything(name)
    kept = [trade for trade in trades if trade not in trades[-5:-2]]
    wanted = missing(name, known_of(trades[-6]), known_of(trades[-2]), runs_of(kept))
    assert fetched(name, wanted) == (list(reversed(trades[-5:-2])), True)
    before = KnownTrade(1, trades[0].occurred_at - 10_000_000)
    found, is_whole = fetched(name, missing(name, before, None, runs_of(kept)))
    assert (sorted(t.trade_id for t in found), is_whole) == (sorted(t.trade_id for t in trades[-5:-2]), False)


@pytest.mark.parametrize("name", ["okx", "coinbase"])
def test_a_venue_that_forgot_gives_what_it_has(name: str) -> None:
    trades = everything(name)
    before = KnownTrade(trades[0].trade_id - 10, trades[0].occurred_at - 60_000_000)
    wanted = missing(name, before, known_of(trades[5]), runs_of(trades[5:]))
    found, is_whole = fetched(name, wanted)
    assert [trade.trade_id for trade in reversed(found)] == [trade.trade_id for trade in trades[:5]]
    assert not is_whole


@pytest.mark.parametrize("name", ["binance_spot", "kraken"])
def test_a_venue_that_ends_before_the_trade_after_the_gap_is_not_whole(name: str) -> None:
    after = KnownTrade(10**9, SEEN)
    walk = open_walk(REMEMBERING[name], missing(name, KnownTrade(1, ANCHOR), after, [(1, 1)]))
    body = {"binance_spot": b"[]", "kraken": b'{"error":[],"result":{"XBTUSD":[],"last":"1"}}'}[name]
    assert walk.take(body, SEEN) == []
    assert (walk.request(), walk.is_whole) == (None, False)


REFUSALS = {
    "binance_spot": b'{"code":-1121,"msg":"Invalid symbol."}',
    "binance_usdm": b'{"code":-1121,"msg":"Invalid symbol."}',
    "binance_coinm": b'{"code":-1121,"msg":"Invalid symbol."}',
    "okx": b'{"code":"51001","msg":"Instrument ID does not exist","data":[]}',
    "coinbase": b'{"message":"NotFound"}',
    "kraken": b'{"error":["EQuery:Unknown asset pair"]}',
    "bybit_spot": b'{"retCode":10001,"retMsg":"Not supported symbols","result":{}}',
    "bybit_linear": b'{"retCode":10001,"retMsg":"Not supported symbols","result":{}}',
    "bybit_inverse": b'{"retCode":10001,"retMsg":"Not supported symbols","result":{}}',
}


def open_walk(venue: VenueProtocol, wanted: MissingTrades) -> TradeRepair:
    assert isinstance(venue, HistoryProtocol)
    return venue.open_repair(wanted)


@pytest.mark.parametrize("name", sorted(REMEMBERING))
def test_a_refusal_and_nonsense_are_told_apart(name: str) -> None:
    wanted = missing(name, KnownTrade(1, ANCHOR), None, [(1, 1)])
    with pytest.raises(VenueRefused, match=r"(?i)symbol|exist|NotFound|pair"):
        open_walk(REMEMBERING[name], wanted).take(REFUSALS[name], SEEN)
    for nonsense in (b"", b"<html>", b"[1]", b'{"a":', b"null"):
        with pytest.raises(ParseError, match="answer to /"):
            open_walk(REMEMBERING[name], wanted).take(nonsense, SEEN)


def test_executions_that_are_summed_are_known_by_the_last_ones_number() -> None:
    """OKX: a trade of three with the number 7 is 5 to 7; its history tells each by itself."""
    wanted = missing("okx", KnownTrade(3, ANCHOR), KnownTrade(9, ANCHOR + 9_000), [(2, 3), (5, 7), (9, 9)])
    assert (wanted.first_number, wanted.end_number) == (4, 9)
    rows = ",".join(
        f'{{"instId":"X","tradeId":"{n}","px":"1","sz":"1","side":"buy","ts":"{ANCHOR // 1000 + n}"}}'
        for n in (8, 7, 6, 5, 4, 3)
    )
    walk = open_walk(REMEMBERING["okx"], wanted)
    found = walk.take(b'{"code":"0","msg":"","data":[%s]}' % rows.encode(), SEEN)
    assert [trade.trade_id for trade in found] == [8, 4]
    assert walk.is_whole


def test_aggregates_of_binance_say_how_many_they_are() -> None:
    wanted = missing("binance_usdm", KnownTrade(1, ANCHOR), None, [(1, 1)])
    walk = open_walk(REMEMBERING["binance_usdm"], wanted)
    request = walk.request()
    assert request is not None
    assert request.path == "/fapi/v1/aggTrades?symbol=BTCUSDT&limit=1000&fromId=2"
    row = b'{"a":2,"p":"10.5","q":"3","f":5,"l":7,"T":%d,"m":true}' % (ANCHOR // 1_000)
    (trade,) = walk.take(b"[%s]" % row, SEEN)
    assert (trade.trade_id, trade.fills, trade.price, trade.size, trade.aggressor) == (2, 3, 10.5, 3.0, -1)

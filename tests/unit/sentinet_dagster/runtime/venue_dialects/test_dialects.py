"""Every dialect of the venue server against the session that the daemon has for it, without a socket.

The two were written apart: what the one says the other must understand, and the facts in the events must be
those of the market.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_daemon.errors import LoginRefused, ParseError, VenueRefused
from ingest_daemon.events import Book, BookFlow, Event, FeedGap, GapCause, Quote, ReferencePrice, Trade
from ingest_daemon.venues import (
    VENUES,
    Credentials,
    KeyedVenueProtocol,
    Listing,
    PolledVenueProtocol,
    Session,
)
from ingest_daemon.venues.simulated import DEFAULT_CHANNELS, SimulatedMarket
from sentinet_dagster.runtime.venue_dialects import (
    Best,
    Caller,
    Dialect,
    Fact,
    Fill,
    Mark,
    Message,
    Product,
    Top,
    dialects_of,
)
from sentinet_dagster.runtime.venue_sources import MARKET_OF_VENUE, SimulatedSource, SourceFrame

ANCHOR = 1_700_000_000_000_000
SECOND = 1_000_000
ACCOUNT = Credentials("k3yOfTheAccount", "s3cretOfTheAccount")

MARKET = SimulatedMarket(3, ANCHOR)
DIALECTS = {d.protocol: d for d in dialects_of(SimulatedSource(MARKET, ANCHOR), ACCOUNT).values()}
SOCKETS = sorted(name for name, venue in VENUES.items() if not isinstance(venue, PolledVenueProtocol))
POLLED = sorted(set(VENUES) - set(SOCKETS))
KEYED = [name for name in SOCKETS if isinstance(VENUES[name], KeyedVenueProtocol)]


def frames(seconds: float, begin: float = 0.0) -> list[SourceFrame]:
    span = (ANCHOR + int(begin * SECOND), ANCHOR + int((begin + seconds) * SECOND))
    return [
        SourceFrame(f.received_at * 1_000, MARKET_OF_VENUE[f.venue], f.stream, f.text)
        for f in MARKET.frames(*span, (*DEFAULT_CHANNELS, "depth"))
    ]


class Clock:
    """What time it is in the market."""

    def __init__(self) -> None:
        self.now_us = ANCHOR

    def __call__(self) -> int:
        return self.now_us


def new_dialect(name: str, clock: Clock | None = None) -> Dialect:
    """One that has told nothing yet."""
    fresh = dialects_of(SimulatedSource(MARKET, ANCHOR, clock or Clock()), ACCOUNT)
    return next(dialect for dialect in fresh.values() if dialect.protocol == name)


def listings(products: Sequence[Product]) -> dict[str, Listing]:
    return {
        product.symbol: Listing(number, product.contract_size, product.contract_currency)
        for number, product in enumerate(products, start=1)
    }


@dataclass
class Line:
    """A session of the daemon and a dialect, on the ends of a wire."""

    dialect: Dialect
    session: Session
    caller: Caller
    clock: Clock
    events: list[Event] = field(default_factory=list)
    told: list[Message] = field(default_factory=list)
    at: int = ANCHOR

    def hear(self, texts: Sequence[str]) -> None:
        """The session takes what the dialect says, and the dialect what the session says to that."""
        for text in texts:
            self.at += 1_000
            self.events += self.session.parse(text.encode(), self.at)
            self.say(self.session.pending_messages())

    def say(self, texts: Sequence[str]) -> None:
        for text in texts:
            self.hear(self.dialect.hear(self.caller, text).texts)

    async def play(self, frames: Sequence[SourceFrame]) -> None:
        for frame in frames:
            self.clock.now_us = frame.received_ns // 1_000
            await self.take(self.dialect.messages([frame], self.wanted))

    async def take(self, messages: Sequence[Message]) -> None:
        for message in messages:
            is_new = message.stream in self.caller.new
            self.caller.new.discard(message.stream)
            opens = is_new and message.opening is not None
            text = message.opening if opens else message.text
            assert text is not None
            if not opens or message.opening_has_fact:
                self.told.append(message)
            self.at += 120_000  # no two books of one tenth of a second
            self.hear([text.decode()])
            for request in self.session.pending_requests():
                url = urlsplit(request.path)
                query = {key: values[-1] for key, values in parse_qs(url.query).items()}
                answer = await self.dialect.answer(url.path, query)
                self.events += self.session.answer(request, answer.body, self.at)

    @property
    def wanted(self) -> Set[str]:
        return set(self.caller.wanted)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def open_line(
    name: str,
    channels: Sequence[str] | None = None,
    symbols: dict[str, Listing] | None = None,
    account: Credentials = ACCOUNT,
) -> Line:
    """Greeted, logged in, subscribed."""
    venue, clock = VENUES[name], Clock()
    dialect = new_dialect(name, clock)
    known = listings(dialect.products) if symbols is None else symbols
    wanted = venue.channels if channels is None else channels
    if isinstance(venue, KeyedVenueProtocol):
        session: Session = venue.open_session("here", known, wanted, account)
    else:
        session = venue.open_session("here", known, wanted)
    url = urlsplit(session.path())
    query = {key: values[-1] for key, values in parse_qs(url.query).items()}
    path = url.path.rstrip("/")
    assert dialect.refuses(path, query) is None
    line = Line(dialect, session, Caller(path, query), clock)
    line.hear(dialect.greet(line.caller).texts)
    line.say(line.session.subscribe())
    return line


def converse(session: Session, dialect: Dialect, caller: Caller, texts: Sequence[str]) -> None:
    """What the session says, and what it is answered."""
    for text in texts:
        for answer in dialect.hear(caller, text).texts:
            session.parse(answer.encode(), ANCHOR)


def test_what_the_daemon_understands_the_server_speaks() -> None:
    assert set(DIALECTS) == set(VENUES)


@pytest.mark.parametrize(
    ("name", "channel"), [(name, channel) for name in SOCKETS for channel in VENUES[name].channels]
)
async def test_every_channel_is_understood_and_tells_what_happened(name: str, channel: str) -> None:
    line = open_line(name, [channel])
    assert line.wanted
    await line.play(frames(4.0))
    assert not line.of(FeedGap)
    numbers = {product.source: number for number, product in enumerate(line.dialect.products, start=1)}
    facts = [_numbers(m.fact, numbers[m.fact.instrument]) for m in line.told if m.fact is not None]
    events = [_numbers(event, event.instrument_id) for event in line.events if not isinstance(event, FeedGap)]
    assert events
    if not facts:
        assert name in ("binance_spot", "binance_usdm")  # they send the frames of the market as they are
    elif facts[0][1] == "book":
        books = [event for event in events if event[1] == "book"]
        assert len(books) > 5 or channel == "orderbook.1"
        told = {fact[:2] + fact[3:] for fact in facts}  # not each: one in a tenth of a second
        assert {book[:2] + book[3:] for book in books} <= told
        assert {book[2] for book in books} <= {None, *(fact[2] for fact in facts)}
    else:
        assert events == facts


def _numbers(event: Event | Fact, number: int) -> tuple[object, ...]:
    """What an event or a fact says, so that the two can be compared: sizes to nine digits."""
    match event:
        case Trade():
            return number, "trade", event.occurred_at, event.price, _rounded(event.size), event.aggressor
        case Fill():
            taker = 0 if event.is_buy is None else 1 if event.is_buy else -1
            return number, "trade", event.at_us, event.price, _rounded(event.size), taker
        case Quote():
            sides = (event.bid_price, _rounded(event.bid_size), event.ask_price, _rounded(event.ask_size))
            return number, "quote", event.occurred_at, *sides
        case Best():
            (bid, bid_size), (ask, ask_size) = event.bid, event.ask
            return number, "quote", event.at_us, bid, _rounded(bid_size), ask, _rounded(ask_size)
        case ReferencePrice():
            found = (event.mark_price, event.index_price, event.funding_rate)
            return number, "reference", event.occurred_at, *map(_rounded, found), event.next_funding_at
        case Mark():
            found = (event.mark_price, event.index_price, event.funding_rate)
            return number, "reference", event.at_us, *map(_rounded, found), event.due_us
        case Book():
            sizes = (tuple(map(_rounded, event.bid_sizes)), tuple(map(_rounded, event.ask_sizes)))
            return number, "book", event.occurred_at, event.bid_prices, event.ask_prices, *sizes
        case Top():
            bids, asks = zip(*event.bids, strict=True), zip(*event.asks, strict=True)
            (bid_prices, bid_sizes), (ask_prices, ask_sizes) = bids, asks
            sizes = (tuple(map(_rounded, bid_sizes)), tuple(map(_rounded, ask_sizes)))
            return number, "book", event.at_us, bid_prices, ask_prices, *sizes
        case _:
            raise AssertionError(event)


def _rounded(value: float | None) -> str | None:
    return None if value is None else f"{value:.7e}"


@pytest.mark.parametrize("name", [name for name in SOCKETS if VENUES[name].capabilities.book_depth])
async def test_a_book_that_missed_something_is_whole_again(name: str) -> None:
    """The dialect's rule finds the loss, and its way back is answered: a snapshot, then what follows."""
    channel = next(
        c
        for c in VENUES[name].channels
        if c in ("books", "orderbook.50", "level2_batch", "book", "orderbooks", "depth")
    )
    line = open_line(name, [channel])
    await line.play(frames(2.0))
    assert line.of(Book)
    if name in ("coinbase", "alpaca_crypto"):  # nothing is numbered: only what cannot be read shows
        broken = next(m.text for m in line.dialect.messages(frames(1.0, 2.0), line.wanted))
        with pytest.raises(Exception, match="found"):
            line.session.parse(_with_negative_price(broken), line.at)
    else:
        line.dialect.messages(frames(1.0, 2.0), line.wanted)  # told to nobody
    await line.play(frames(6.0, 3.0))
    gaps = [gap for gap in line.of(FeedGap) if isinstance(gap, FeedGap)]
    assert gaps
    assert {gap.channel for gap in gaps} == {channel}
    can = VENUES[name].capabilities
    causes = {gap.cause for gap in gaps}
    if name not in ("coinbase", "alpaca_crypto"):
        assert causes == {GapCause.SEQUENCE_BREAK if can.sequence_check else GapCause.CHECKSUM_MISMATCH}
        assert can.sequence_check or can.checksum
    ended = max(gap.ended_at for gap in gaps)
    assert [event for event in line.of(Book) if not isinstance(event, FeedGap) and event.received_at > ended]
    assert line.session.close(line.at) == []


def _with_negative_price(frame: bytes) -> bytes:
    message = json.loads(frame)
    if isinstance(message, list):
        message[0]["b"] = [{"p": -1, "s": 1}]
    else:
        message["changes"] = [["buy", "-1", "1"]]
    return json.dumps(message).encode()


@pytest.mark.parametrize("name", SOCKETS)
async def test_an_unknown_symbol_is_refused_by_name_and_the_others_go_on(name: str) -> None:
    known = listings(DIALECTS[name].products)
    real = next(iter(known))
    nosuch = real.replace(real[:3], "ZZZ").replace("btc", "zzz")
    channel = VENUES[name].channels[0]
    dialect = new_dialect(name)
    session = VENUES[name].open_session("here", {nosuch: Listing(99)}, [channel])
    caller = Caller(is_logged_in=True)
    with pytest.raises(VenueRefused) as refused:
        converse(session, dialect, caller, session.subscribe())
    assert not isinstance(refused.value, LoginRefused)
    assert nosuch.lower() in str(refused.value).lower()
    assert not caller.wanted


@pytest.mark.parametrize("name", [name for name in SOCKETS if name != "finage"])  # it has no channel to name
def test_an_unknown_channel_is_refused_by_name(name: str) -> None:
    """A venue may withdraw a channel that we know: what we ask for is then unknown to it."""
    channel = VENUES[name].channels[0]
    symbol = DIALECTS[name].products[0].symbol
    session = VENUES[name].open_session("here", {symbol: Listing(1)}, [channel])
    texts = [text.replace(channel, "withdrawn") for text in session.subscribe()]
    assert "withdrawn" in texts[0]
    with pytest.raises(VenueRefused) as refused:
        converse(session, new_dialect(name), Caller(is_logged_in=True), texts)
    assert ("withdrawn" if not name.startswith("alpaca") else symbol) in str(refused.value)


WRONG_KEY, WRONG_SECRET = (
    Credentials("wr0ngKey", ACCOUNT.secret),
    Credentials(ACCOUNT.key, "wr0ngSecret"),
)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [(name, WRONG_KEY) for name in KEYED]
    + [(name, WRONG_SECRET) for name in ("alpaca_crypto", "alpaca_iex")],
)
def test_a_wrong_account_is_refused_and_gets_nothing(name: str, wrong: Credentials) -> None:
    with pytest.raises(LoginRefused) as refused:
        open_line(name, account=wrong)
    assert wrong.key not in str(refused.value)
    assert wrong.secret not in str(refused.value)


@pytest.mark.parametrize("name", [name for name in KEYED if name != "finage"])  # which closes the socket
async def test_without_a_login_nothing_is_subscribed(name: str) -> None:
    dialect, caller = new_dialect(name), Caller()
    session = VENUES[name].open_session("here", listings(dialect.products), VENUES[name].channels)
    with pytest.raises(VenueRefused, match="authenticat"):
        converse(session, dialect, caller, session.subscribe())
    assert not caller.wanted


@pytest.mark.parametrize("name", SOCKETS)
def test_what_keeps_a_socket_alive_is_answered(name: str) -> None:
    line = open_line(name)
    text = line.session.keep_alive()
    assert (text is None) == (VENUES[name].keep_alive_s is None)
    if text is not None:
        before = dict(line.caller.wanted)
        answers = line.dialect.hear(line.caller, text).texts
        assert answers
        for answer in answers:
            assert line.session.parse(answer.encode(), line.at) == ()
        assert line.caller.wanted == before


@pytest.mark.parametrize("name", SOCKETS)
@pytest.mark.parametrize("garbage", ["", "{", "[]", "null", '{"op":5}', '{"method":"SUBSCRIBE"}', "\x00"])
def test_a_request_that_is_none_is_answered_in_the_venues_form(name: str, garbage: str) -> None:
    caller = Caller(is_logged_in=True)
    answers = new_dialect(name).hear(caller, garbage).texts
    assert answers
    session = VENUES[name].open_session("here", {}, VENUES[name].channels)
    for answer in answers:
        with pytest.raises(VenueRefused):
            session.parse(answer.encode(), ANCHOR)
    assert not caller.wanted


@functools.cache
def a_second_of(name: str) -> tuple[bytes, ...]:
    """What a venue says on all channels, beginning with its snapshots."""
    line, said = open_line(name), []
    for message in line.dialect.messages(frames(2.0), line.wanted):
        is_new = message.stream in line.caller.new
        line.caller.new.discard(message.stream)
        said.append(message.opening if is_new and message.opening else message.text)
    return tuple(said)


DAMAGE = st.tuples(st.integers(0, 60), st.floats(0, 1), st.integers(0, 12), st.binary(max_size=4))


@pytest.mark.parametrize("name", SOCKETS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damages=st.lists(DAMAGE, min_size=1, max_size=6))
def test_damaged_frames_among_whole_ones_are_events_or_refused_and_never_anything_else(
    name: str, damages: list[tuple[int, float, int, bytes]]
) -> None:
    session = open_line(name).session
    said = list(a_second_of(name)[:80])
    for number, place, cut, put in damages:
        frame = said[number % len(said)]
        at = int(place * len(frame))
        said[number % len(said)] = frame[:at] + put + frame[at + cut :]
    at = ANCHOR
    for frame in said:
        at += 120_000
        with contextlib.suppress(ParseError, VenueRefused):
            events = session.parse(frame, at)
            assert all(isinstance(event, Event) for event in events)
        session.stream_of(frame)
        session.pending_messages()
        session.pending_requests()
    assert all(isinstance(event, FeedGap | BookFlow) for event in session.close(at))


@pytest.mark.parametrize("name", POLLED)
async def test_a_poller_is_told_the_last_price_once(name: str) -> None:
    venue, dialect = VENUES[name], new_dialect(name)
    assert isinstance(venue, PolledVenueProtocol)
    known = listings(dialect.products)
    session = venue.open_session("here", known | {"NOSUCH": Listing(99)}, venue.channels, ACCOUNT)
    told, events, refused = [], [], []
    for begin in range(6):
        dialect.messages(frames(1.0, begin), set())
        for _ in range(2 * len(known) + 2):
            (request,) = session.pending_requests()
            url = urlsplit(request.path)
            query = {key: values[-1] for key, values in parse_qs(url.query).items()}
            answer = await dialect.answer(url.path, query | {request.key_parameter: ACCOUNT.key})
            told += [] if answer.message is None else [answer.message.fact]
            try:
                events += session.answer(request, answer.body, ANCHOR)
            except VenueRefused as error:
                refused.append(str(error))
    assert len(told) > len(known)
    assert [(e.mark_price, e.occurred_at) for e in events if isinstance(e, ReferencePrice)] == [
        (pytest.approx(fact.mark_price), fact.at_us) for fact in told if isinstance(fact, Mark)
    ]
    assert len([words for words in refused if "NOSUCH" in words]) == 1
    answer = await dialect.answer(url.path, query | {request.key_parameter: "wr0ngKey"})
    with pytest.raises(LoginRefused):
        session.answer(request, answer.body, ANCHOR)

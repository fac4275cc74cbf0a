"""Bybit's dialect, field by field on small frames, and on published examples of 2023."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_daemon.errors import ConfigError, ParseError, VenueRefused
from ingest_daemon.events import AggressorSide, Book, Event, FeedGap, GapCause, Quote, ReferencePrice, Trade
from ingest_daemon.venues import Listing
from ingest_daemon.venues.bybit import BYBIT_INVERSE, BYBIT_LINEAR, BYBIT_SPOT, BybitMarket, BybitSession
from ingest_daemon.venues.bybit_frames import trade_id
from tests.unit.ingest_daemon.venues.captures import read_capture, read_examples

SEEN = 1_700_000_000_500_000
MS = 1_700_000_000_001
US = MS * 1000
S = 1_000_000
UUID = "4c7b6bdc-b4a3-5716-9c7b-bbe01dc7072f"


def a_session(
    market: BybitMarket = BYBIT_LINEAR, channels: Sequence[str] = BYBIT_LINEAR.channels, **listing: Any
) -> BybitSession:
    return market.open_session("here", {"BTCUSDT": Listing(7, **listing)}, channels)


def frame_of(topic: str, data: Any, kind: str = "snapshot", **more: Any) -> bytes:
    message = {"topic": topic, "type": kind, "ts": MS, "data": data, **more}
    return json.dumps(message, separators=(",", ":")).encode()


def book_frame(u: int, kind: str = "delta", bids: Any = (), asks: Any = (), depth: int = 50) -> bytes:
    data = {"s": "BTCUSDT", "b": bids, "a": asks, "u": u, "seq": 1}
    return frame_of(f"orderbook.{depth}.BTCUSDT", data, kind)


WHOLE = {"bids": [["99", "1"], ["98", "2"]], "asks": [["101", "1"]]}


def test_trades_of_one_order_keep_their_order() -> None:
    one = {"T": MS, "s": "BTCUSDT", "S": "Buy", "v": "4", "p": "2.5", "i": UUID, "BT": False}
    frame = frame_of("publicTrade.BTCUSDT", [one, one | {"S": "Sell", "i": "77", "T": MS + 1}])
    assert a_session().parse(frame, SEEN) == [
        Trade(7, trade_id(UUID), US, SEEN, 2.5, 4.0, AggressorSide.BUY),
        Trade(7, 77, US + 1000, SEEN, 2.5, 4.0, AggressorSide.SELL),
    ]


def test_an_id_is_the_same_number_in_every_run() -> None:
    assert trade_id(UUID) == 6751491463693063179  # b2sum -l 64, shifted right by one
    assert trade_id("0") == 0
    assert trade_id(str(2**63 - 1)) == 2**63 - 1
    for text in (str(2**63), "1_0", "-1", " 1", "٣", UUID.upper()):
        assert 0 <= trade_id(text) < 2**63
        assert str(trade_id(text)) != text
    assert len({trade_id(f"{UUID[:-6]}{number:06}") for number in range(50_000)}) == 50_000


def test_inverse_contracts_become_base_units() -> None:
    session = BYBIT_INVERSE.open_session("here", {"BTCUSD": Listing(7, 1.0, "quote")}, ["publicTrade"])
    one = {"T": MS, "s": "BTCUSD", "S": "Buy", "v": "5000", "p": "20000", "i": UUID}
    (event,) = session.parse(frame_of("publicTrade.BTCUSD", [one]), SEEN)
    assert isinstance(event, Trade)
    assert event.size == 0.25


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"markPrice": "2.5"}, (2.5, None, None, None)),
        ({"indexPrice": "2.25", "lastPrice": "9"}, (None, 2.25, None, None)),
        ({"fundingRate": "-0.01", "nextFundingTime": str(MS)}, (None, None, -0.01, US)),
        ({"markPrice": "2.5", "fundingRate": "", "nextFundingTime": ""}, (2.5, None, None, None)),
        ({"fundingRate": "0"}, (None, None, 0.0, None)),
    ],
)
def test_reference_prices_with_what_was_sent(data: dict[str, str], expected: tuple[Any, ...]) -> None:
    (event,) = a_session().parse(frame_of("tickers.BTCUSDT", {"symbol": "BTCUSDT"} | data, "delta"), SEEN)
    assert event == ReferencePrice(7, US, SEEN, *expected)


def test_a_ticker_of_other_things_is_no_event() -> None:
    data = {"symbol": "BTCUSDT", "lastPrice": "2.5", "bid1Price": "2"}
    assert not a_session().parse(frame_of("tickers.BTCUSDT", data, "delta"), SEEN)


@pytest.mark.parametrize(
    ("field", "value"),
    [("markPrice", "0"), ("indexPrice", "nan"), ("fundingRate", "x"), ("nextFundingTime", "5")],
)
def test_a_wrong_number_of_a_ticker_is_named(field: str, value: str) -> None:
    with pytest.raises(ParseError, match=f"{field} is '{value}'"):
        a_session().parse(frame_of("tickers.BTCUSDT", {"symbol": "BTCUSDT", field: value}), SEEN)


def test_a_book_starts_with_its_snapshot_and_counts_up() -> None:
    session = a_session(channels=["orderbook.50"])
    quote, book = session.parse(book_frame(10, "snapshot", **WHOLE), SEEN)
    assert quote == Quote(7, 10, US, SEEN, 99.0, 1.0, 101.0, 1.0)
    assert book == Book(7, 10, US, SEEN, (99.0, 98.0), (1.0, 2.0), (101.0,), (1.0,))
    (book,) = session.parse(book_frame(11, bids=[["98", "0"], ["97", "5"]]), SEEN + S)
    assert book == Book(7, 11, US, SEEN + S, (99.0, 97.0), (1.0, 5.0), (101.0,), (1.0,))
    (book,) = session.parse(book_frame(1, "snapshot", **WHOLE), SEEN + 2 * S)  # the venue restarted
    assert isinstance(book, Book)
    assert session.parse(book_frame(2), SEEN + 3 * S)


def test_a_break_subscribes_that_book_anew() -> None:
    session = a_session(channels=["orderbook.50"])
    session.parse(book_frame(10, "snapshot", **WHOLE), SEEN)
    assert session.parse(book_frame(12), SEEN + S) == []
    texts = [json.loads(text) for text in session.pending_messages()]
    assert [(text["op"], text["args"]) for text in texts] == [
        ("unsubscribe", ["orderbook.50.BTCUSDT"]),
        ("subscribe", ["orderbook.50.BTCUSDT"]),
    ]
    gap, *_ = session.parse(book_frame(20, "snapshot", **WHOLE), SEEN + 2 * S)
    assert isinstance(gap, FeedGap)
    assert (gap.cause, gap.channel) == (GapCause.SEQUENCE_BREAK, "orderbook.50")


def test_the_best_level_has_quotes_and_no_books_and_spares_the_deeper_book_from_quoting() -> None:
    session = a_session(channels=["orderbook.1", "orderbook.50"])
    (quote,) = session.parse(book_frame(10, "snapshot", **WHOLE, depth=1), SEEN)
    assert isinstance(quote, Quote)
    assert not session.parse(book_frame(10, "snapshot", **WHOLE, depth=1), SEEN + 3 * S)  # said again
    (book,) = session.parse(book_frame(10, "snapshot", **WHOLE), SEEN)
    assert isinstance(book, Book)


def test_the_engines_time_goes_before_the_time_of_sending() -> None:
    data = {"s": "BTCUSDT", "b": [["99", "1"]], "a": [["101", "1"]], "u": 1, "seq": 1}
    (quote,) = a_session().parse(frame_of("orderbook.1.BTCUSDT", data, cts=MS - 7), SEEN)
    assert isinstance(quote, Quote)
    assert quote.occurred_at == US - 7000


def test_requests_and_addresses() -> None:
    session = BYBIT_LINEAR.open_session(
        "here", {"BTCUSDT": Listing(1), "ETHUSDT": Listing(2)}, ["publicTrade", "tickers"]
    )
    assert [json.loads(text) for text in session.subscribe()] == [
        {"op": "subscribe", "req_id": symbol, "args": [f"publicTrade.{symbol}", f"tickers.{symbol}"]}
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    assert json.loads(session.keep_alive() or "") == {"op": "ping"}
    assert (session.path(), a_session(BYBIT_INVERSE).path()) == ("/v5/public/linear", "/v5/public/inverse")


@pytest.mark.parametrize(
    ("symbol", "is_inverse"),
    [("BTCUSD", True), ("BTCUSDU23", True), ("BTCUSDT", False), ("BTCPERP", False), ("BTC-29DEC23", False)],
)
def test_markets_are_told_by_the_symbol(symbol: str, is_inverse: bool) -> None:
    for channel, data in (("publicTrade", [{"s": symbol, "L": "PlusTick"}]), ("tickers", {"symbol": symbol})):
        frame = frame_of(f"{channel}.{symbol}", data)
        assert BYBIT_INVERSE.recognises(frame) is is_inverse
        assert BYBIT_LINEAR.recognises(frame) is not is_inverse
        assert not BYBIT_SPOT.recognises(frame)


def test_spot_is_told_by_its_trades_alone() -> None:
    markets = (BYBIT_SPOT, BYBIT_LINEAR, BYBIT_INVERSE)
    trade = frame_of("publicTrade.BTCUSDT", [{"s": "BTCUSDT"}])
    assert [market.recognises(trade) for market in markets] == [True, False, False]
    for nobodys in (book_frame(10, "snapshot", **WHOLE), frame_of("publicTrade.BTCUSDT", [])):
        assert [market.recognises(nobodys) for market in markets] == [False, False, False]


def test_spot_has_no_contracts_and_no_tickers() -> None:
    with pytest.raises(ConfigError, match="bybit_spot has no channel 'tickers'"):
        a_session(BYBIT_SPOT, ["tickers"])
    session = a_session(BYBIT_SPOT, ["publicTrade", "orderbook.50"])
    assert session.path() == "/v5/public/spot"
    one = {"T": MS, "s": "BTCUSDT", "S": "Sell", "v": "4", "p": "2.5", "i": "2290000000036455162"}
    assert session.parse(frame_of("publicTrade.BTCUSDT", [one]), SEEN) == [
        Trade(7, 2290000000036455162, US, SEEN, 2.5, 4.0, AggressorSide.SELL)
    ]
    assert len(session.parse(book_frame(10, "snapshot", **WHOLE), SEEN)) == 2


def test_the_topic_may_stand_elsewhere() -> None:
    data = {"symbol": "BTCUSDT", "markPrice": "2.5"}
    loose = json.dumps({"data": data, "ts": MS, "type": "delta", "topic": "tickers.BTCUSDT"}).encode()
    session = a_session()
    assert len(session.parse(loose, SEEN)) == 1
    assert session.stream_of(loose) == "tickers.BTCUSDT"


def v5_examples(shared_data: Path) -> list[bytes]:
    lines = read_examples(shared_data / "message_examples" / "bybit.jsonl")
    spoken = (b'{"topic":"publicTrade.', b'{"topic":"orderbook.', b'{"topic":"tickers.')
    return [line for line in lines if line.startswith(spoken)]


def play(line: bytes) -> tuple[str, Sequence[Event]]:
    market = BYBIT_INVERSE if BYBIT_INVERSE.recognises(line) else BYBIT_LINEAR
    assert not BYBIT_SPOT.recognises(line)
    symbol = json.loads(line)["topic"].rpartition(".")[2]
    session = market.open_session("here", {symbol: Listing(1)}, market.channels)
    return json.loads(line)["topic"].rpartition(".")[0], session.parse(line, SEEN)


def test_published_examples_are_understood_whole(shared_data: Path) -> None:
    counted: Counter[tuple[str, type]] = Counter()
    for line in v5_examples(shared_data):
        channel, events = play(line)
        counted.update((channel, type(event)) for event in events)
    assert counted == {
        ("publicTrade", Trade): 4,
        ("orderbook.1", Quote): 1,
        ("orderbook.50", Book): 1,
        ("tickers", ReferencePrice): 4,
    }


def test_nothing_of_the_older_protocol_is_taken_for_this_one(shared_data: Path) -> None:
    for name in ("BYBIT.ws.25.0", "BYBIT.ws.26.0"):
        for _, frame in read_capture(shared_data / "venue_captures" / name):
            assert not BYBIT_LINEAR.recognises(frame)
            assert not BYBIT_INVERSE.recognises(frame)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    st.integers(0, 10_000),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.binary(max_size=3)), min_size=1, max_size=3),
)
def test_a_damaged_real_frame_gives_events_or_says_what_is_wrong(
    shared_data: Path, number: int, damages: list[tuple[float, int, bytes]]
) -> None:
    examples = v5_examples(shared_data)
    frame = examples[number % len(examples)]
    symbol = json.loads(frame)["topic"].rpartition(".")[2]
    for place, cut, put in damages:
        at = int(place * len(frame))
        frame = frame[:at] + put + frame[at + cut :]
    session = BYBIT_LINEAR.open_session("here", {symbol: Listing(1)}, BYBIT_LINEAR.channels)
    session.stream_of(frame)
    try:
        events = session.parse(frame, SEEN)
    except (ParseError, VenueRefused):
        return
    assert all(isinstance(event, Trade | Quote | Book | ReferencePrice) for event in events)

"""Binance's dialect, field by field, on small frames."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from ingest_daemon.errors import ParseError, VenueRefused
from ingest_daemon.events import AggressorSide, Book, FeedGap, GapCause, Quote, ReferencePrice, Trade
from ingest_daemon.venues import Listing, Session
from ingest_daemon.venues.binance import BINANCE_COINM, BINANCE_SPOT, BINANCE_USDM, BinanceMarket

SEEN = 1_700_000_000_500_000
MS = 1_700_000_000_001
US = MS * 1000
S = 1_000_000  # microseconds


def frame_of(stream: str, data: dict[str, Any]) -> bytes:
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()


def a_session(market: BinanceMarket = BINANCE_SPOT, channels: Sequence[str] | None = None) -> Session:
    return market.open_session(
        "here", {"BTCUSDT": Listing(7)}, market.channels if channels is None else channels
    )


def parse(market: BinanceMarket, stream: str, data: dict[str, Any]) -> Any:
    (event,) = a_session(market).parse(frame_of(stream, data), SEEN)
    return event


def trade(**fields: Any) -> bytes:
    data = {
        "e": "trade",
        "E": MS,
        "s": "BTCUSDT",
        "t": 5,
        "p": "2.5",
        "q": "4",
        "T": MS,
        "m": False,
        "M": True,
    }
    return frame_of("btcusdt@trade", data | fields)


def diff(first: int, last: int, bids: Any = (), asks: Any = (), **fields: Any) -> bytes:
    data = {"e": "depthUpdate", "E": MS, "s": "BTCUSDT", "U": first, "u": last, "b": bids, "a": asks}
    return frame_of("btcusdt@depth@100ms", data | fields)


SNAPSHOT = b'{"lastUpdateId":10,"bids":[["99","1"],["98","2"]],"asks":[["101","1"],["102","2"]]}'


# What frames mean.


@pytest.mark.parametrize(("maker_bought", "side"), [(True, AggressorSide.SELL), (False, AggressorSide.BUY)])
@pytest.mark.parametrize("market", [BINANCE_SPOT, BINANCE_USDM])
def test_the_taker_is_the_aggressor(market: BinanceMarket, maker_bought: bool, side: AggressorSide) -> None:
    assert a_session(market).parse(trade(m=maker_bought), SEEN) == (Trade(7, 5, US, SEEN, 2.5, 4.0, side),)


def test_an_aggregate_counts_its_fills() -> None:
    data = {"s": "BTCUSDT", "a": 9, "p": "2.5", "q": "4", "f": 75, "l": 77, "T": MS, "m": True}
    event = parse(BINANCE_USDM, "btcusdt@aggTrade", data)
    assert event == Trade(7, 9, US, SEEN, 2.5, 4.0, -1, fills=3)


def test_a_spot_quote_has_no_time_of_its_own() -> None:
    data = {"u": 400, "s": "BTCUSDT", "b": "99", "B": "1.5", "a": "101", "A": "2.5"}
    assert parse(BINANCE_SPOT, "btcusdt@bookTicker", data) == Quote(7, 400, None, SEEN, 99.0, 1.5, 101.0, 2.5)


def test_a_futures_quote_has_the_engines_time_not_the_time_of_sending() -> None:
    data = {"u": 400, "s": "BTCUSDT", "b": "99", "B": "1.5", "a": "101", "A": "2.5", "T": MS, "E": MS + 30}
    assert parse(BINANCE_USDM, "btcusdt@bookTicker", data) == Quote(7, 400, US, SEEN, 99.0, 1.5, 101.0, 2.5)


def test_whole_books() -> None:
    levels = {"bids": [["99", "1"], ["98", "2"]], "asks": [["101", "3"]]}
    expected = Book(7, 401, None, SEEN, (99.0, 98.0), (1.0, 2.0), (101.0,), (3.0,))
    assert parse(BINANCE_SPOT, "btcusdt@depth20@100ms", {"lastUpdateId": 401} | levels) == expected
    data = {"s": "BTCUSDT", "T": MS, "u": 402, "b": levels["bids"], "a": []}
    event = parse(BINANCE_USDM, "btcusdt@depth20", data)
    assert event == Book(7, 402, US, SEEN, (99.0, 98.0), (1.0, 2.0), (), ())


def test_reference_prices_with_what_was_sent() -> None:
    data = {"E": MS, "s": "BTCUSDT", "p": "100.5", "i": "100.25", "r": "-0.0001", "T": MS + 1}
    event = parse(BINANCE_USDM, "btcusdt@markPrice@1s", data)
    assert event == ReferencePrice(7, US, SEEN, 100.5, 100.25, -0.0001, US + 1000)
    old = parse(BINANCE_USDM, "btcusdt@markPrice", {"E": MS, "s": "BTCUSDT", "p": "100.5"})
    assert old == ReferencePrice(7, US, SEEN, 100.5)
    dated = parse(BINANCE_USDM, "btcusdt@markPrice", {"E": MS, "s": "BTCUSDT", "p": "1", "r": "0", "T": 0})
    assert (dated.funding_rate, dated.next_funding_at) == (None, None)


def test_a_frame_of_no_execution_is_no_trade_on_futures_and_refused_on_spot() -> None:
    nothing = trade(p="0", q="0", X="NA")
    assert a_session(BINANCE_USDM).parse(nothing, SEEN) == ()
    with pytest.raises(ParseError):
        a_session(BINANCE_SPOT).parse(nothing, SEEN)
    with pytest.raises(ParseError):
        a_session(BINANCE_USDM).parse(trade(p="0", q="1", X="NA"), SEEN)


def test_the_envelope_may_be_written_otherwise() -> None:
    loose = json.dumps({"data": json.loads(trade())["data"], "stream": "btcusdt@trade"}, indent=1).encode()
    session = a_session()
    assert len(session.parse(loose, SEEN)) == 1
    assert session.stream_of(loose) == "btcusdt@trade"


# What is refused, and in which words.


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"p": "0"}, ["$.data.p", "'0'"]),
        ({"p": "-2.5"}, ["$.data.p", "'-2.5'"]),
        ({"q": "0.0"}, ["$.data.q", "'0.0'"]),
        ({"p": "nan"}, ["$.data.p", "'nan'"]),
        ({"p": "inf"}, ["$.data.p", "'inf'"]),
        ({"p": "1e400"}, ["$.data.p", "'1e400'"]),
        ({"p": None}, ["$.data.p", "None"]),
        ({"p": ["1"]}, ["$.data.p", "['1']"]),
        ({"t": -1}, ["$.data.t", "-1"]),
        ({"t": 2**63}, ["$.data.t", str(2**63)]),
        ({"T": MS * 1000}, ["$.data.T", str(MS * 1000)]),  # microseconds
        ({"T": MS // 1000}, ["$.data.T", str(MS // 1000)]),  # seconds
        ({"m": "perhaps"}, ["$.data.m", "'perhaps'"]),
        ({"s": "ETHUSDT"}, ["ETHUSDT", "BTCUSDT"]),
    ],
)
def test_a_wrong_value_is_named_with_its_field(fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ParseError) as refused:
        a_session().parse(trade(**fields), SEEN)
    for word in words:
        assert word in str(refused.value)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ParseError, match="missing required field `t`"):
        a_session().parse(trade().replace(b'"t":5,', b""), SEEN)


@pytest.mark.parametrize(
    ("market", "stream", "data", "words"),
    [
        (BINANCE_SPOT, "btcusdt@depth20", {"bids": [["9", "1"], ["10", "1"]], "asks": []}, "10.0 .* 9.0"),
        (BINANCE_SPOT, "btcusdt@depth20", {"bids": [["9", "1"]], "asks": [["9", "1"]]}, "crossed"),
        (BINANCE_SPOT, "btcusdt@depth20", {"bids": [["9", "0"]], "asks": []}, r"bids\[0\]\[1\].*'0'"),
        (BINANCE_SPOT, "btcusdt@depth20", {"bids": [["9", "1"]] * 21, "asks": []}, "bids"),
        (
            BINANCE_SPOT,
            "btcusdt@depth",
            {"E": MS, "s": "BTCUSDT", "U": 5, "u": 4, "b": [], "a": []},
            "U is 5",
        ),
        (BINANCE_USDM, "btcusdt@depth", {"T": MS, "s": "BTCUSDT", "U": 4, "u": 5, "b": [], "a": []}, "`pu`"),
        (BINANCE_USDM, "btcusdt@markPrice", {"E": MS, "s": "BTCUSDT", "p": "1", "T": 5}, "T is 5"),
        (BINANCE_SPOT, "btcusdt@markPrice@1s", {}, "btcusdt@markPrice@1s"),
        (BINANCE_SPOT, "btcusdt@kline_1m", {}, "btcusdt@kline_1m"),
    ],
)
def test_other_things_refused(market: BinanceMarket, stream: str, data: dict[str, Any], words: str) -> None:
    with pytest.raises(ParseError, match=words):
        a_session(market).parse(frame_of(stream, {"lastUpdateId": 1} | data), SEEN)


def test_an_aggregate_of_no_trades_is_refused() -> None:
    data = {"s": "BTCUSDT", "a": 9, "p": "1", "q": "1", "f": 75, "l": 74, "T": MS, "m": True}
    with pytest.raises(ParseError, match="f is 75 and l is 74"):
        a_session().parse(frame_of("btcusdt@aggTrade", data), SEEN)


def test_a_channel_not_subscribed_is_refused() -> None:
    with pytest.raises(ParseError, match="btcusdt@trade"):
        a_session(channels=["bookTicker"]).parse(trade(), SEEN)


# Subscribing.


def test_streams_are_asked_for_in_chunks() -> None:
    symbols = {f"COIN{i}USDT": Listing(i) for i in range(150)}
    session = BINANCE_SPOT.open_session("here", symbols, ["trade", "depth", "trade"])
    requests = [json.loads(text) for text in session.subscribe()]
    assert [(r["method"], r["id"], len(r["params"])) for r in requests] == [
        ("SUBSCRIBE", 1, 200),
        ("SUBSCRIBE", 2, 100),
    ]
    streams = [stream for request in requests for stream in request["params"]]
    assert streams[:3] == ["coin0usdt@trade", "coin0usdt@depth@100ms", "coin1usdt@trade"]
    assert len(set(streams)) == 300
    assert session.path() == "/stream"
    assert session.keep_alive() is None


@pytest.mark.parametrize(
    "answer",
    [
        b'{"code":2,"msg":"Invalid request: bad stream","id":1}',
        b'{"error":{"code":2,"msg":"Invalid request: bad stream"},"id":1}',
    ],
)
def test_a_refusal_says_what_was_asked(answer: bytes) -> None:
    session = a_session()
    session.subscribe()
    with pytest.raises(VenueRefused) as refused:
        session.parse(answer, SEEN)
    for word in ("here", "btcusdt@trade", "4 more", "Invalid request: bad stream", "code 2"):
        assert word in str(refused.value)


def test_a_request_with_one_wrong_symbol_is_asked_again_in_parts() -> None:
    """The venue refuses a request whole: the wrong symbol must not take the others along."""
    symbols = {f"COIN{number}USDT": Listing(number) for number in range(1, 8)}
    session = BINANCE_SPOT.open_session("here", symbols, ["trade", "bookTicker"])
    waiting, subscribed, refusals = list(session.subscribe()), [], []
    while waiting:
        request = json.loads(waiting.pop(0))
        if any(stream.startswith("coin5usdt@") for stream in request["params"]):
            answer = {"error": {"code": 2, "msg": "Invalid request"}, "id": request["id"]}
        else:
            answer = {"result": None, "id": request["id"]}
            subscribed += request["params"]
        try:
            assert session.parse(json.dumps(answer).encode(), SEEN) == ()
        except VenueRefused as refused:
            refusals.append(str(refused))
        waiting += session.pending_messages()
    (refusal,) = refusals
    assert "to subscribe to coin5usdt@trade and 1 more" in refusal
    assert len(subscribed) == len(set(subscribed)) == 2 * 6


# Books of diffs.


def test_a_book_asks_for_its_snapshot_once_and_starts_with_it() -> None:
    session = a_session()
    assert session.pending_requests() == ()
    assert session.parse(diff(9, 11, [["99", "3"]]), SEEN) == []
    (request,) = session.pending_requests()
    assert (request.key, request.path) == ("BTCUSDT", "/api/v3/depth?symbol=BTCUSDT&limit=1000")
    session.parse(diff(12, 12), SEEN + 60 * S)
    assert session.pending_requests() == ()  # one at a time, however long it takes
    (book,) = session.answer(request, SNAPSHOT, SEEN + 61 * S)
    assert book == Book(7, 12, US, SEEN + 61 * S, (99.0, 98.0), (3.0, 2.0), (101.0, 102.0), (1.0, 2.0))


def test_futures_ask_elsewhere_and_take_the_engines_time() -> None:
    session = a_session(BINANCE_USDM)
    session.parse(diff(9, 11, pu=8, T=MS - 1), SEEN)
    (request,) = session.pending_requests()
    assert request.path == "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
    (book,) = session.answer(request, SNAPSHOT, SEEN)
    assert isinstance(book, Book)
    assert book.occurred_at == US - 1000


def test_a_break_asks_again_and_becomes_a_gap() -> None:
    session = a_session()
    session.parse(diff(10, 11), SEEN)
    session.answer(session.pending_requests()[0], SNAPSHOT, SEEN)
    assert session.parse(diff(13, 13), SEEN + 5 * S) == []
    open_gaps = [event for event in session.close(SEEN + 6 * S) if isinstance(event, FeedGap)]
    assert [(gap.relation, gap.started_at, gap.ended_at) for gap in open_gaps] == [
        (relation, SEEN, SEEN + 6 * S) for relation in ("books", "book_flows")
    ]
    (request,) = session.pending_requests()
    events = session.answer(request, SNAPSHOT.replace(b"10", b"12", 1), SEEN + 7 * S)
    assert [type(event) for event in events] == [FeedGap, FeedGap, Book]
    gap = events[0]
    assert isinstance(gap, FeedGap)
    assert (gap.venue, gap.channel, gap.cause) == ("here", "depth", GapCause.SEQUENCE_BREAK)
    assert session.close(SEEN + 8 * S) == []


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", ParseError),
        (b"<html>", ParseError),
        (b'{"lastUpdateId":10,"bids":[["0","1"]],"asks":[]}', ParseError),
        (b'{"code":-1003,"msg":"Too many requests"}', VenueRefused),
    ],
)
def test_a_bad_answer_is_asked_for_again_with_growing_pauses(body: bytes, error: type[Exception]) -> None:
    session = a_session()
    asked_after = []
    for tenth in range(3_000):
        now = SEEN + tenth * S // 10
        session.parse(diff(11 + tenth, 11 + tenth), now)
        for request in session.pending_requests():
            asked_after.append(tenth / 10)
            with pytest.raises(error, match="/api/v3/depth"):
                session.answer(request, body, now)
    assert asked_after == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]


def test_quotes_come_from_the_book_where_the_ticker_is_not_subscribed() -> None:
    session = a_session(channels=["depth"])
    session.parse(diff(10, 11), SEEN)
    events = session.answer(session.pending_requests()[0], SNAPSHOT, SEEN)
    assert events[0] == Quote(7, 11, US, SEEN, 99.0, 1.0, 101.0, 1.0)


def test_a_recorded_snapshot_line_is_the_answer() -> None:
    session = a_session()
    session.parse(diff(10, 11), SEEN)
    assert session.stream_of(SNAPSHOT) == "btcusdt@depthSnapshot"
    (book,) = session.parse(SNAPSHOT, SEEN)
    assert isinstance(book, Book)


@pytest.mark.parametrize(
    ("symbols", "channels"), [(["BTCUSDT", "ETHUSDT"], ["depth"]), (["BTCUSDT"], ["trade"])]
)
def test_a_snapshot_line_that_cannot_be_placed_is_refused(symbols: list[str], channels: list[str]) -> None:
    session = BINANCE_SPOT.open_session("here", dict.fromkeys(symbols, Listing(1)), channels)
    with pytest.raises(ParseError, match="lastUpdateId 10"):
        session.parse(SNAPSHOT, SEEN)


# Telling the markets apart.


@pytest.mark.parametrize(
    "frame",
    [
        frame_of("btcusd_perp@trade", {"e": "trade", "s": "BTCUSD_PERP", "X": "MARKET"}),
        frame_of("btcusd_240927@aggTrade", {"e": "aggTrade", "s": "BTCUSD_240927"}),
        frame_of("btcusd_perp@depth", {"e": "depthUpdate", "s": "BTCUSD_PERP", "ps": "BTCUSD", "pu": 1}),
        b'{"lastUpdateId":1,"E":1,"symbol":"BTCUSD_PERP","pair":"BTCUSD","bids":[],"asks":[]}',
    ],
)
def test_coin_margined_frames_are_told_by_their_symbol(frame: bytes) -> None:
    assert BINANCE_COINM.recognises(frame)
    assert not BINANCE_SPOT.recognises(frame)
    assert not BINANCE_USDM.recognises(frame)


@pytest.mark.parametrize(
    "frame",
    [
        b'{"result":null,"id":1}',
        frame_of("btcusd_perp@kline_1m", {"e": "kline", "s": "BTCUSD_PERP"}),
    ],
)
def test_answers_and_other_streams_are_nobodys(frame: bytes) -> None:
    assert not any(market.recognises(frame) for market in (BINANCE_SPOT, BINANCE_USDM, BINANCE_COINM))


def test_usdm_frames_may_name_their_pair() -> None:
    frame = frame_of("btcusdt@depth", {"e": "depthUpdate", "s": "BTCUSDT", "ps": "BTCUSDT", "pu": 1, "st": 1})
    assert BINANCE_USDM.recognises(frame)
    assert not BINANCE_COINM.recognises(frame)


def test_dated_futures_and_snapshots_are_recognised() -> None:
    dated = frame_of("btcbusd_210129@trade", {"e": "trade", "s": "BTCBUSD_210129", "X": "MARKET"})
    assert BINANCE_USDM.recognises(dated)
    assert BINANCE_SPOT.recognises(SNAPSHOT)
    assert BINANCE_USDM.recognises(SNAPSHOT[:-1] + b',"E":1,"T":1}')


# COIN-M: contracts.

COIN = {"BTCUSD_PERP": Listing(7, 100.0, "quote")}


def coin(data: dict[str, Any], stream: str, channels: Sequence[str] = BINANCE_COINM.channels) -> Any:
    session = BINANCE_COINM.open_session("here", COIN, channels)
    (event,) = session.parse(frame_of(f"btcusd_perp@{stream}", {"s": "BTCUSD_PERP"} | data), SEEN)
    return event


def test_contracts_become_base_units_at_the_price_of_the_trade() -> None:
    sold = {"t": 5, "p": "50000", "q": "4", "T": MS, "m": True, "X": "MARKET"}
    assert coin(sold, "trade") == Trade(7, 5, US, SEEN, 50_000.0, 0.008, AggressorSide.SELL)
    summed = {"a": 5, "p": "40000", "q": "8", "f": 1, "l": 3, "T": MS, "m": False}
    assert coin(summed, "aggTrade") == Trade(7, 5, US, SEEN, 40_000.0, 0.02, AggressorSide.BUY, 3)


def test_contracts_become_base_units_at_the_price_of_the_level() -> None:
    best = {"u": 400, "b": "40000", "B": "4", "a": "50000", "A": "5", "T": MS}
    assert coin(best, "bookTicker") == Quote(7, 400, US, SEEN, 40_000.0, 0.01, 50_000.0, 0.01)
    top = {"u": 401, "T": MS, "b": [["40000", "4"], ["20000", "4"]], "a": [["50000", "5"]]}
    book = Book(7, 401, US, SEEN, (40_000.0, 20_000.0), (0.01, 0.02), (50_000.0,), (0.01,))
    assert coin(top, "depth20@100ms") == book


def test_a_book_of_contracts_is_said_in_base_units_whichever_frame_completes_it() -> None:
    session = BINANCE_COINM.open_session("here", COIN, ["depth"])
    diffs = [
        frame_of(
            "btcusd_perp@depth@100ms",
            {"s": "BTCUSD_PERP", "U": u, "u": u, "pu": u - 1, "T": MS, "b": [["99", "3"]], "a": []},
        )
        for u in (11, 12)
    ]
    session.parse(diffs[0], SEEN)
    (request,) = session.pending_requests()
    assert request.path == "/dapi/v1/depth?symbol=BTCUSD_PERP&limit=1000"
    quote, book = session.answer(request, SNAPSHOT, SEEN)
    assert isinstance(quote, Quote)
    assert quote.bid_size == 300.0 / 99.0
    assert isinstance(book, Book)
    assert book.bid_sizes == (300.0 / 99.0, 200.0 / 98.0)
    (book,) = session.parse(diffs[1], SEEN + S)
    assert isinstance(book, Book)
    assert book.ask_sizes == (100.0 / 101.0, 200.0 / 102.0)


def test_prices_have_no_contracts() -> None:
    mark = {"E": MS, "p": "100.5", "P": "99", "r": "", "T": 0}
    assert coin(mark, "markPrice@1s") == ReferencePrice(7, US, SEEN, 100.5)
    with pytest.raises(ParseError, match="r is 'soon'"):
        coin(mark | {"r": "soon", "T": MS}, "markPrice@1s")

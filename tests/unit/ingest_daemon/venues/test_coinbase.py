"""Coinbase's dialect, field by field on small frames, and whole on a capture of 2021-04-17."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_daemon.errors import ParseError, VenueRefused
from ingest_daemon.events import AggressorSide, Book, BookFlow, Event, FeedGap, GapCause, Quote, Trade
from ingest_daemon.venues import Listing
from ingest_daemon.venues.coinbase import COINBASE, CoinbaseSession
from tests.unit.ingest_daemon.venues.captures import read_capture, read_examples

SEEN = 1_700_000_000_500_000
US = 1_699_999_999_123_456
TIME = "2023-11-14T22:13:19.123456Z"
S = 1_000_000
CAPTURE = ("venue_captures", "COINBASE.ws.28.0")
PRODUCTS = [
    "SKL-USD",
    "SKL-BTC",
    "BAND-GBP",
    "NMR-EUR",
    "BAND-BTC",
    "YFI-BTC",
    "DASH-BTC",
    "NU-GBP",
    "CRV-EUR",
]
CAPTURED = {product: Listing(number) for number, product in enumerate([*PRODUCTS, "SKL-GBP"])}


def a_session(channels: Sequence[str] = COINBASE.channels, symbols: Any = None) -> CoinbaseSession:
    return COINBASE.open_session("here", symbols or {"BTC-USD": Listing(7)}, channels)


def frame_of(kind: str, **fields: Any) -> bytes:
    message = {"type": kind, "product_id": "BTC-USD", "time": TIME} | fields
    return json.dumps(message, separators=(",", ":")).encode()


def match(trade_id: int, kind: str = "match", **fields: Any) -> bytes:
    data = {"trade_id": trade_id, "side": "buy", "size": "4", "price": "2.5", "sequence": 9}
    return frame_of(kind, **(data | fields))


SNAPSHOT = frame_of("snapshot", bids=[["99", "1"], ["98", "2"]], asks=[["101", "1"]], time=None)


def changed(*changes: tuple[str, str, str], **fields: Any) -> bytes:
    return frame_of("l2update", changes=changes, **fields)


def test_the_maker_bought_so_the_taker_sold() -> None:
    assert a_session().parse(match(5), SEEN) == (Trade(7, 5, US, SEEN, 2.5, 4.0, AggressorSide.SELL),)
    (bought,) = a_session().parse(match(5, side="sell"), SEEN)
    assert isinstance(bought, Trade)
    assert bought.aggressor == AggressorSide.BUY


def test_skipped_trades_are_a_gap_that_knows_how_many() -> None:
    session = a_session()
    assert session.parse(match(5, "last_match"), SEEN) == ()
    assert len(session.parse(match(6), SEEN + S)) == 1
    gap, trade = session.parse(match(10), SEEN + 3 * S)
    assert gap == FeedGap(
        "here",
        "matches",
        7,
        SEEN + S,
        SEEN + 3 * S,
        GapCause.SEQUENCE_BREAK,
        "trade 6 is followed by 10",
        3,
        "trades",
    )
    assert isinstance(trade, Trade)
    assert len(session.parse(match(8), SEEN + 4 * S)) == 1  # late, or told twice: the database knows
    assert len(session.parse(match(11), SEEN + 5 * S)) == 1


def test_a_session_that_begins_in_the_middle_has_no_gap() -> None:
    assert len(a_session().parse(match(1_000), SEEN)) == 1


def test_quotes() -> None:
    best = {"best_bid": "99", "best_bid_size": "1", "best_ask": "101", "best_ask_size": "2"}
    assert a_session().parse(frame_of("ticker", sequence=12, **best), SEEN) == (
        Quote(7, 12, US, SEEN, 99.0, 1.0, 101.0, 2.0),
    )
    with pytest.raises(ParseError, match="best_ask_size"):
        a_session().parse(frame_of("ticker", sequence=12, **(best | {"best_ask_size": "0"})), SEEN)


def test_a_book_starts_with_its_snapshot() -> None:
    session = a_session(["level2_batch"])
    quote, book = session.parse(SNAPSHOT, SEEN)
    assert quote == Quote(7, 1, None, SEEN, 99.0, 1.0, 101.0, 1.0)
    assert book == Book(7, 1, None, SEEN, (99.0, 98.0), (1.0, 2.0), (101.0,), (1.0,))
    quote, book = session.parse(
        changed(("buy", "99", "0.00000000"), ("sell", "102", "5"), ("buy", "98", "3")), SEEN + S
    )
    assert isinstance(quote, Quote)
    assert book == Book(7, US, US, SEEN + S, (98.0,), (3.0,), (101.0, 102.0), (1.0, 5.0))


def test_updates_of_one_time_have_ascending_ids_and_year_one_is_no_time() -> None:
    session = a_session(["level2_batch"])
    session.parse(SNAPSHOT, SEEN)
    books = []
    for second, time in enumerate((TIME, TIME, "0001-01-01T00:00:00.000000Z"), start=1):
        books += session.parse(changed(("buy", "97", str(second)), time=time), SEEN + second * S)
    found = [(book.update_id, book.occurred_at) for book in books if isinstance(book, Book)]
    assert found == [(US, US), (US + 1, US), (US + 2, None)]


def test_a_crossed_book_is_subscribed_anew() -> None:
    session = a_session(["level2_batch"])
    session.parse(SNAPSHOT, SEEN)
    assert session.parse(changed(("buy", "101", "1")), SEEN + S) == []
    assert [json.loads(text) for text in session.pending_messages()] == [
        {"type": kind, "product_ids": ["BTC-USD"], "channels": ["level2_batch"]}
        for kind in ("unsubscribe", "subscribe")
    ]
    gap, *_ = session.parse(SNAPSHOT, SEEN + 2 * S)
    assert isinstance(gap, FeedGap)
    assert gap.cause is GapCause.CROSSED_BOOK


def test_an_update_that_cannot_be_read_loses_the_book() -> None:
    session = a_session(["level2_batch"])
    session.parse(SNAPSHOT, SEEN)
    with pytest.raises(ParseError, match=r"found '0\.-10000'"):
        session.parse(changed(("buy", "99", "0.-10000")), SEEN + S)
    gap, _ = session.close(SEEN + 2 * S)
    assert (gap.started_at, gap.cause) == (SEEN, GapCause.SEQUENCE_BREAK)


def test_requests_are_one_a_product() -> None:
    session = a_session(["matches", "ticker"], {"BTC-USD": Listing(1), "ETH-USD": Listing(2)})
    assert [json.loads(text) for text in session.subscribe()] == [
        {"type": "subscribe", "product_ids": [product], "channels": ["matches", "ticker"]}
        for product in ("BTC-USD", "ETH-USD")
    ]
    assert (session.path(), session.keep_alive()) == ("", None)


def test_the_type_may_stand_elsewhere() -> None:
    loose = json.dumps(json.loads(match(5)), indent=1).replace('"type": "match",', "").encode()
    loose = loose[:-1].rstrip() + b', "type": "match"}'
    session = a_session()
    assert len(session.parse(loose, SEEN)) == 1
    assert session.stream_of(loose) == "matches:BTC-USD"


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (match(5, price="nan"), "'nan'"),
        (match(5, time="2023-11-14T22:13:19"), "timezone"),
        (match(5, time="0001-01-01T00:00:00Z"), "not of 2009 to 2099"),
        (match(5, "received"), "'received'"),
        (match(5, product_id="XX-USD"), "XX-USD"),
    ],
)
def test_other_things_refused(frame: bytes, words: str) -> None:
    with pytest.raises(ParseError, match=words):
        a_session().parse(frame, SEEN)


# The capture: ten products, 9,946 frames.


def test_the_capture_is_understood_but_for_tickers_without_sizes(shared_data: Path) -> None:
    session = a_session(symbols=CAPTURED)
    events: list[Event] = []
    refused = []
    counted: Counter[str] = Counter()
    spans = set()
    last_at = 0
    for at, frame in read_capture(shared_data.joinpath(*CAPTURE)):
        message = json.loads(frame)
        counted[message["type"]] += 1
        if message["type"] in ("snapshot", "l2update"):
            spans.add((message["product_id"], at // 100_000))
        last_at = at
        try:
            events += session.parse(frame, at)
        except ParseError as error:
            refused.append((message["type"], "missing required field `best_bid_size`" in str(error)))
    assert refused == [("ticker", True)] * 107
    open_flows = session.close(last_at)
    assert all(isinstance(event, BookFlow) for event in open_flows)  # no book ever crossed
    of_kind = Counter(type(event) for event in events if not isinstance(event, BookFlow))
    assert of_kind == {Trade: counted["match"], Book: len(spans)}
    assert (counted["match"], counted["l2update"], counted["snapshot"]) == (97, 9_719, 10)
    for earlier, later in pairwise([event for event in events if isinstance(event, Book)]):
        assert earlier.instrument_id != later.instrument_id or earlier.update_id < later.update_id


def test_books_of_the_capture_are_those_of_plain_dictionaries(shared_data: Path) -> None:
    session = a_session(["level2_batch"], CAPTURED)
    sides: dict[tuple[str, str], dict[float, float]] = {}
    compared = 0
    for at, frame in read_capture(shared_data.joinpath(*CAPTURE)):
        message = json.loads(frame)
        if message["type"] == "snapshot":
            for side, name in (("buy", "bids"), ("sell", "asks")):
                levels = {float(price): float(size) for price, size in message[name]}
                sides[message["product_id"], side] = levels
        elif message["type"] == "l2update":
            for side, price, size in message["changes"]:
                sides[message["product_id"], side][float(price)] = float(size)
        else:
            continue
        for event in session.parse(frame, at):
            if isinstance(event, Book):
                bids = sides[message["product_id"], "buy"]
                best = sorted((price for price, size in bids.items() if size), reverse=True)[:20]
                assert event.bid_prices == tuple(best)
                assert event.bid_sizes == tuple(bids[price] for price in best)
                asks = sides[message["product_id"], "sell"]
                assert event.ask_prices == tuple(sorted(p for p, size in asks.items() if size)[:20])
                compared += 1
    assert compared > 500


def test_a_dropped_match_of_the_capture_is_a_gap_of_one(shared_data: Path) -> None:
    matches = [
        (at, frame)
        for at, frame in read_capture(shared_data.joinpath(*CAPTURE))
        if b'"product_id":"SKL-USD"' in frame and b"match" in frame[:30]
    ]
    session = a_session(["matches"], CAPTURED)
    events = [event for at, frame in matches[:2] + matches[3:] for event in session.parse(frame, at)]
    (gap,) = [event for event in events if isinstance(event, FeedGap)]
    assert gap.lost_events == 1
    assert (gap.started_at, gap.ended_at) == (matches[1][0], matches[3][0])


def test_published_examples_parse_or_lack_what_is_documented_now(shared_data: Path) -> None:
    refused = []
    for line in read_examples(shared_data / "message_examples" / "coinbase.jsonl"):
        message = json.loads(line)
        session = a_session(symbols={message["product_id"]: Listing(1)})
        assert COINBASE.recognises(line)
        try:
            session.parse(line, SEEN)
        except ParseError as error:
            refused.append((message["type"], "best_bid_size" in str(error), "0.-10000" in str(error)))
    assert refused == [("snapshot", False, True), ("ticker", True, False), ("ticker", True, False)]


@pytest.fixture(scope="module")
def captured() -> list[bytes]:
    return []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    st.integers(0, 9_999),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.binary(max_size=3)), min_size=1, max_size=3),
)
def test_a_damaged_real_frame_gives_events_or_says_what_is_wrong(
    shared_data: Path, captured: list[bytes], number: int, damages: list[tuple[float, int, bytes]]
) -> None:
    if not captured:
        captured += [frame for _, frame in read_capture(shared_data.joinpath(*CAPTURE))]
    frame = captured[number % len(captured)]
    for place, cut, put in damages:
        at = int(place * len(frame))
        frame = frame[:at] + put + frame[at + cut :]
    session = a_session(symbols=CAPTURED)
    session.stream_of(frame)
    COINBASE.recognises(frame)
    try:
        events = session.parse(frame, SEEN)
    except (ParseError, VenueRefused):
        return
    assert all(isinstance(event, Trade | Quote | Book) for event in events)

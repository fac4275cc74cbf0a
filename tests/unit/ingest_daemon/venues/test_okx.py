"""OKX's dialect, field by field on small frames, and whole on a capture of 2022-05-13."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_daemon.errors import ParseError, VenueRefused
from ingest_daemon.events import (
    AggressorSide,
    Book,
    BookFlow,
    Event,
    FeedGap,
    GapCause,
    Quote,
    ReferencePrice,
    Trade,
)
from ingest_daemon.venues import Listing
from ingest_daemon.venues.okx import OKX, OkxSession
from ingest_daemon.venues.okx_frames import InterleavedCrc32
from tests.unit.ingest_daemon.venues.captures import read_capture, read_examples

SEEN = 1_700_000_000_500_000
MS = 1_700_000_000_001
US = MS * 1000
S = 1_000_000
SWAP, FUTURE, SPOT = "BTC-USDT-SWAP", "BTC-USD-220527", "BTC-USDT"
CAPTURED = {SPOT: Listing(1), FUTURE: Listing(2, 100.0, "quote"), "UNI-USD-SWAP": Listing(3, 10.0, "quote")}


def a_session(channels: Sequence[str] = OKX.channels, symbols: Any = None) -> OkxSession:
    return OKX.open_session("here", symbols or {SWAP: Listing(7, 0.01)}, channels)


def frame_of(channel: str, data: dict[str, Any], symbol: str = SWAP, **more: Any) -> bytes:
    return json.dumps(
        {"arg": {"channel": channel, "instId": symbol}, **more, "data": [data]}, separators=(",", ":")
    ).encode()


def parse(channel: str, data: dict[str, Any], **options: Any) -> list[Event]:
    return list(a_session(**options).parse(frame_of(channel, data), SEEN))


def levels(*pairs: tuple[str, str]) -> list[list[str]]:
    return [[price, size, "0", "1"] for price, size in pairs]


def crc(*words: str) -> int:
    value = zlib.crc32(":".join(words).encode())
    return value - 2**32 if value >= 2**31 else value


def snapshot(**fields: Any) -> bytes:
    data = {
        "asks": levels(("101.0", "1"), ("102.0", "2")),
        "bids": levels(("99.0", "10")),
        "ts": str(MS),
        "seqId": 10,
        "prevSeqId": -1,
        "checksum": crc("99.0", "10", "101.0", "1", "102.0", "2"),
    }
    return frame_of("books", data | fields, action="snapshot")


def update(seq: int, previous: int, bids: Any = (), asks: Any = (), **fields: Any) -> bytes:
    data = {"asks": asks, "bids": bids, "ts": str(MS), "seqId": seq, "prevSeqId": previous, "checksum": 0}
    return frame_of("books", data | fields, action="update")


# What frames mean.


def test_trades_are_in_base_units_and_side_is_the_takers() -> None:
    data = {"instId": SWAP, "tradeId": "5", "px": "2.5", "sz": "4", "side": "sell", "ts": str(MS)}
    assert parse("trades", data) == [Trade(7, 5, US, SEEN, 2.5, 0.04, AggressorSide.SELL)]
    assert parse("trades", data | {"side": "buy", "count": "3"}) == [
        Trade(7, 5, US, SEEN, 2.5, 0.04, AggressorSide.BUY, 3)
    ]


def test_quotes_have_the_engines_number_or_their_time() -> None:
    data = {"asks": levels(("101", "1")), "bids": levels(("99", "2")), "ts": str(MS)}
    assert parse("bbo-tbt", data) == [Quote(7, US, US, SEEN, 99.0, 0.02, 101.0, 0.01)]
    assert parse("bbo-tbt", data | {"seqId": 77}) == [Quote(7, 77, US, SEEN, 99.0, 0.02, 101.0, 0.01)]
    assert parse("bbo-tbt", data | {"bids": []}) == []


def test_a_ticker_without_one_side_is_no_quote() -> None:
    data = {"instId": SWAP, "bidPx": "99", "bidSz": "2", "askPx": "101", "askSz": "1", "ts": str(MS)}
    assert parse("tickers", data) == [Quote(7, US, US, SEEN, 99.0, 0.02, 101.0, 0.01)]
    assert parse("tickers", data | {"bidPx": "", "bidSz": "0"}) == []
    with pytest.raises(ParseError, match="askPx"):
        parse("tickers", data | {"askPx": "-1"})


def test_five_levels() -> None:
    data = {"asks": levels(("101", "1")), "bids": levels(("99", "2"), ("98", "3")), "ts": str(MS), "seqId": 3}
    assert parse("books5", data) == [Book(7, 3, US, SEEN, (99.0, 98.0), (0.02, 0.03), (101.0,), (0.01,))]
    with pytest.raises(ParseError, match="crossed"):
        parse("books5", data | {"asks": levels(("99", "1"))})


def test_reference_prices_with_what_was_sent() -> None:
    assert parse("mark-price", {"instId": SWAP, "markPx": "2.5", "ts": str(MS)}) == [
        ReferencePrice(7, US, SEEN, 2.5)
    ]
    funding = {"instId": SWAP, "fundingRate": "-0.0001", "fundingTime": str(MS + 1), "ts": str(MS)}
    assert parse("funding-rate", funding) == [ReferencePrice(7, US, SEEN, None, None, -0.0001, US + 1000)]


def test_an_index_is_of_every_derivative_of_it() -> None:
    symbols = {
        SWAP: Listing(7),
        "BTC-USDT-241227": Listing(8),
        SPOT: Listing(9),
        "ETH-USDT-SWAP": Listing(10),
    }
    session = a_session(["index-tickers"], symbols)
    frame = frame_of("index-tickers", {"instId": SPOT, "idxPx": "2.5", "ts": str(MS)}, SPOT)
    assert session.parse(frame, SEEN) == [
        ReferencePrice(7, US, SEEN, None, 2.5),
        ReferencePrice(8, US, SEEN, None, 2.5),
    ]
    assert OKX.symbol_of(session.stream_of(frame)) == ""


def test_the_argument_may_be_written_otherwise() -> None:
    data = {"instId": SWAP, "markPx": "2.5", "ts": str(MS)}
    loose = json.dumps({"data": [data], "arg": {"instId": SWAP, "channel": "mark-price"}}, indent=1).encode()
    session = a_session()
    assert len(session.parse(loose, SEEN)) == 1
    assert session.stream_of(loose) == f"mark-price:{SWAP}"


# Books.


def test_a_book_starts_with_its_snapshot_and_goes_on_by_number() -> None:
    session = a_session(["books"])
    quote, book = session.parse(snapshot(), SEEN)
    assert quote == Quote(7, 10, US, SEEN, 99.0, 0.1, 101.0, 0.01)
    assert book == Book(7, 10, US, SEEN, (99.0,), (0.1,), (101.0, 102.0), (0.01, 0.02))
    (book,) = session.parse(update(15, 10, asks=levels(("102.0", "0"), ("103.0", "4"))), SEEN + S)
    assert book == Book(7, 15, US, SEEN + S, (99.0,), (0.1,), (101.0, 103.0), (0.01, 0.04))
    assert not session.parse(update(15, 15), SEEN + 2 * S)  # nothing changed for a minute
    (book,) = session.parse(update(3, 15, levels(("98.0", "1"))), SEEN + 3 * S)  # after a maintenance
    assert isinstance(book, Book)
    assert session.pending_messages() == ()


def test_a_break_of_the_numbers_subscribes_that_book_anew() -> None:
    session = a_session(["books"])
    session.parse(snapshot(), SEEN)
    assert session.parse(update(20, 15), SEEN + S) == []
    texts = [json.loads(text) for text in session.pending_messages()]
    argument = [{"channel": "books", "instId": SWAP}]
    assert texts == [{"op": "unsubscribe", "args": argument}, {"op": "subscribe", "args": argument}]
    assert session.pending_messages() == ()
    open_gap, of_quotes = session.close(SEEN + 2 * S)
    assert open_gap.cause is GapCause.SEQUENCE_BREAK
    assert (open_gap.relation, of_quotes.relation) == ("books", "quotes")
    gap, *_ = session.parse(snapshot(seqId=30), SEEN + 3 * S)
    assert isinstance(gap, FeedGap)
    assert (gap.venue, gap.channel, gap.instrument_id) == ("here", "books", 7)
    assert (gap.started_at, gap.ended_at) == (SEEN, SEEN + 3 * S)
    assert session.close(SEEN + 4 * S) == []


def test_a_wrong_checksum_is_a_break() -> None:
    session = a_session(["books"])
    session.parse(snapshot(), SEEN)
    words = ("99.0", "10", "101.0", "1", "102.0", "7")
    assert session.parse(update(11, 10, asks=levels(("102.0", "7")), checksum=crc(*words)), SEEN + S)
    assert session.parse(update(12, 11, checksum=crc(*words) + 1), SEEN + 2 * S) == []
    gap, _ = session.close(SEEN + 3 * S)
    assert gap.cause is GapCause.CHECKSUM_MISMATCH
    assert len(session.pending_messages()) == 2


def test_digits_are_summed_as_they_were_sent() -> None:
    """99.0 and 99.00 are one price; the checksum is of the digits."""
    session = a_session(["books"])
    session.parse(snapshot(), SEEN)
    words = ("99.00", "1.50", "101.0", "1", "102.0", "2")
    assert session.parse(update(11, 10, levels(("99.00", "1.50")), checksum=crc(*words)), SEEN + S)


def test_after_a_frame_without_a_checksum_digits_are_no_longer_compared() -> None:
    session = a_session(["books"])
    session.parse(snapshot(), SEEN)
    session.parse(update(11, 10, levels(("98.0", "1"))), SEEN + S)
    assert session.parse(update(12, 11, levels(("97.0", "1")), checksum=5), SEEN + 2 * S)


def test_a_frame_that_cannot_be_read_loses_the_book_of_its_stream_alone() -> None:
    session = a_session(["books"], {SWAP: Listing(7), SPOT: Listing(8)})
    session.parse(snapshot(), SEEN)
    session.parse(snapshot().replace(SWAP.encode(), SPOT.encode()), SEEN)
    with pytest.raises(ParseError, match="found '-5'"):
        session.parse(update(11, 10, levels(("98.0", "-5"))), SEEN + S)
    session.parse(b"pong", SEEN + S)  # any next frame
    assert [SWAP in text for text in session.pending_messages()] == [True, True]
    gap, _ = session.close(SEEN + 2 * S)
    assert gap.instrument_id == 7


def test_a_book_that_stays_lost_is_asked_for_with_growing_pauses_whatever_the_frame() -> None:
    session = a_session(["books"])
    session.parse(update(5, 4), SEEN)
    asked_after = []
    for tenth in range(2_000):
        if session.pending_messages():
            asked_after.append(tenth / 10)
        session.parse(b"pong", SEEN + (tenth + 1) * S // 10)
    assert asked_after == [0, 1, 3, 7, 15, 31, 63, 123, 183]


def test_without_numbers_the_time_is_the_number_and_ascends() -> None:
    session = a_session(["books"])
    gone = {"seqId": None, "prevSeqId": None}
    session.parse(snapshot(**gone), SEEN)
    ids = []
    for second in (1, 2, 3):
        ts = str(MS + second // 3)
        (book,) = session.parse(update(0, 0, levels((f"98.{second}", "1")), ts=ts, **gone), SEEN + second * S)
        assert isinstance(book, Book)
        ids.append(book.update_id - US)
    assert ids == [1, 2, 1000]


@pytest.mark.parametrize(
    ("bids", "asks", "words"), [("ab", "c", "a:c:b"), ("a", "bcd", "a:b:c:d"), ("", "", "")]
)
def test_the_checksum_alternates_and_the_longer_side_goes_on(bids: str, asks: str, words: str) -> None:
    assert InterleavedCrc32().checksum(list(bids), list(asks)) == crc(words)


# Asking, and being refused.


def test_each_symbol_asks_for_what_it_has() -> None:
    symbols = {SPOT: Listing(1), FUTURE: Listing(2), SWAP: Listing(3)}
    session = a_session(["trades", "mark-price", "funding-rate", "index-tickers", "trades"], symbols)
    requests = [json.loads(text) for text in session.subscribe()]
    assert {request["op"] for request in requests} == {"subscribe"}
    assert [[f"{a['channel']}:{a['instId']}" for a in request["args"]] for request in requests] == [
        [f"trades:{SPOT}"],
        [f"trades:{FUTURE}", f"mark-price:{FUTURE}"],
        [f"trades:{SWAP}", f"mark-price:{SWAP}", f"funding-rate:{SWAP}"],
        ["index-tickers:BTC-USD"],
        ["index-tickers:BTC-USDT"],
    ]
    assert session.path() == "/ws/v5/public"
    assert session.keep_alive() == "ping"


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (frame_of("trades", {}, "XRP-USDT"), "trades:XRP-USDT"),
        (frame_of("mark-price", {"instId": SPOT, "markPx": "1", "ts": str(MS)}), SPOT),
        (frame_of("mark-price", {"instId": SWAP, "markPx": "1", "ts": str(MS * 1000)}), str(MS * 1000)),
        (frame_of("mark-price", {"instId": SWAP, "markPx": "nan", "ts": str(MS)}), "'nan'"),
        (frame_of("books", {"asks": [], "bids": [], "ts": str(MS)}, action="partial"), "partial"),
        (b'{"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[]}', "length >= 1"),
    ],
)
def test_other_things_refused(frame: bytes, words: str) -> None:
    with pytest.raises(ParseError, match=words):
        a_session().parse(frame, SEEN)


def test_a_channel_that_hit_its_limit_is_named() -> None:
    frame = b'{"event":"channel-conn-count-error","arg":{"channel":"books","instId":"X"},"msg":"30"}'
    with pytest.raises(VenueRefused, match=r"books:X.*channel-conn-count-error"):
        a_session().parse(frame, SEEN)


# The capture: 410 frames, three instruments, no seqId.


def test_the_capture_is_understood_whole_and_every_checksum_is_right(shared_data: Path) -> None:
    frames = list(read_capture(shared_data / "venue_captures" / "OKX.ws.1.0"))
    session = a_session(symbols=CAPTURED)
    events = [event for at, frame in frames for event in session.parse(frame, at)]
    assert all(isinstance(event, BookFlow) for event in session.close(frames[-1][0]))  # no gap
    assert session.pending_messages() == ()

    counted: Counter[str] = Counter()
    sums = 0
    for _, frame in frames:
        message = json.loads(frame)
        if "data" in message:
            counted[message["arg"]["channel"]] += len(message["data"])
            sums += "checksum" in message["data"][0]
    assert (counted["trades"], counted["tickers"], sums) == (74, 28, 290)
    of_kind = Counter(type(event) for event in events)
    assert (of_kind[Trade], of_kind[Quote], of_kind[FeedGap]) == (74, 28, 0)
    books = [event for event in events if isinstance(event, Book)]
    # A book in every tenth of a second in which an update of it came, and no other.
    spans = {
        (json.loads(frame)["arg"]["instId"], at // 100_000)
        for at, frame in frames
        if b'"channel":"books"' in frame and b'"data"' in frame
    }
    assert len(books) == len(spans)
    assert all(book.bid_prices[0] < book.ask_prices[0] for book in books)


def test_contracts_of_the_capture_are_base_units(shared_data: Path) -> None:
    session = a_session(["trades"], CAPTURED)
    volume: Counter[int] = Counter()
    expected: Counter[int] = Counter()
    for at, frame in read_capture(shared_data / "venue_captures" / "OKX.ws.1.0"):
        message = json.loads(frame)
        if message.get("arg", {}).get("channel") != "trades":
            continue
        for event in session.parse(frame, at):
            assert isinstance(event, Trade)
            volume[event.instrument_id] += event.size  # type: ignore[assignment]
        for data in message.get("data", []):
            listing = CAPTURED[data["instId"]]
            usd = float(data["sz"]) * listing.contract_size
            expected[listing.instrument_id] += (  # type: ignore[assignment]
                usd / float(data["px"]) if listing.contract_currency == "quote" else usd
            )
    assert volume == expected
    assert set(volume) == {1, 2, 3}


@pytest.mark.parametrize("dropped", [10, 150])
def test_a_lost_update_of_the_capture_shows_in_the_checksum(shared_data: Path, dropped: int) -> None:
    """Without seqId, nothing else shows it; only the book it was of is lost."""
    frames = [
        (at, frame)
        for at, frame in read_capture(shared_data / "venue_captures" / "OKX.ws.1.0")
        if b'"channel":"books"' in frame and b'"data"' in frame
    ]
    session = a_session(["books"], CAPTURED)
    lost = json.loads(frames[dropped][1])["arg"]["instId"]
    for number, (at, frame) in enumerate(frames):
        if number != dropped:
            session.parse(frame, at)
    gap, _ = session.close(frames[-1][0])
    assert gap.cause is GapCause.CHECKSUM_MISMATCH
    assert gap.instrument_id == CAPTURED[lost].instrument_id
    assert all(lost in text for text in session.pending_messages())


def test_published_examples_parse_or_are_of_another_protocol(shared_data: Path) -> None:
    """v3 has a "table"; what else is refused is of a channel not spoken, or has no time."""
    refused: Counter[str] = Counter()
    parsed: Counter[type] = Counter()
    for name in ("okx_spot", "okx_swap", "okx_futures"):
        for line in read_examples(shared_data / "message_examples" / f"{name}.jsonl"):
            message = json.loads(line)
            if "table" in message:
                assert not OKX.recognises(line)
                continue
            symbol = message["arg"].get("instId", "")
            derived = symbol if len(symbol.split("-")) > 2 else symbol + "-SWAP"
            try:
                events = a_session(symbols={symbol: Listing(1), derived: Listing(2)}).parse(line, SEEN)
            except ParseError:
                refused[message["arg"]["channel"]] += 1
            else:
                parsed.update(type(event) for event in events)
    assert set(refused) <= {
        "books-l2-tbt", "trades-all", "open-interest", "price-limit", "liquidations", "liquidation-orders",
        "funding-rate",
    }  # fmt: skip
    assert refused["funding-rate"] == 2
    assert parsed[Trade] >= 3
    assert parsed[Quote] >= 4
    assert parsed[ReferencePrice] >= 5


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    st.integers(0, 409),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.binary(max_size=3)), min_size=1, max_size=3),
)
def test_a_damaged_real_frame_gives_events_or_says_what_is_wrong(
    shared_data: Path, captured: list[bytes], number: int, damages: list[tuple[float, int, bytes]]
) -> None:
    if not captured:
        captured += [frame for _, frame in read_capture(shared_data / "venue_captures" / "OKX.ws.1.0")]
    frame = captured[number % len(captured)]
    for place, cut, put in damages:
        at = int(place * len(frame))
        frame = frame[:at] + put + frame[at + cut :]
    session = a_session(symbols=CAPTURED)
    session.stream_of(frame)
    OKX.recognises(frame)
    try:
        events = session.parse(frame, SEEN)
    except (ParseError, VenueRefused):
        return
    assert all(isinstance(event, Trade | Quote | Book) for event in events)


@pytest.fixture(scope="module")
def captured() -> list[bytes]:
    return []

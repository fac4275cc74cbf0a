"""Kraken's dialect, field by field on small frames; its checksums on a capture of the older protocol."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_daemon.books import BookBuilder, Snapshot, UnnumberedIds
from ingest_daemon.errors import ParseError, VenueRefused
from ingest_daemon.events import AggressorSide, Book, FeedGap, GapCause, Quote, Trade
from ingest_daemon.venues import Listing
from ingest_daemon.venues.kraken import KRAKEN, KrakenSession
from ingest_daemon.venues.kraken_frames import AsksThenBidsCrc32, update_reader
from tests.unit.ingest_daemon.venues.captures import read_capture, read_examples

SEEN = 1_700_000_000_500_000
US = 1_699_999_999_123_456
TIME = '"2023-11-14T22:13:19.123456Z"'
S = 1_000_000


def a_session(channels: Sequence[str] = KRAKEN.channels, symbols: Any = None) -> KrakenSession:
    return KRAKEN.open_session("here", symbols or {"BTC/USD": Listing(7)}, channels)


def frame_of(channel: str, *items: str, kind: str = "update", symbol: str = "BTC/USD") -> bytes:
    data = ",".join(f'{{"symbol":"{symbol}",{item}}}' for item in items)
    return f'{{"channel":"{channel}","type":"{kind}","data":[{data}]}}'.encode()


def trade(number: int, side: str = "buy", price: str = "2.50", time: str = TIME) -> str:
    return f'"side":"{side}","price":{price},"qty":4,"trade_id":{number},"timestamp":{time}'


def levels(text: str) -> str:
    """`"99.0 1, 98.0 2"` as a list of levels, digits untouched."""
    pairs = [pair.split() for pair in text.split(",") if pair]
    return "[" + ",".join(f'{{"price":{price},"qty":{size}}}' for price, size in pairs) + "]"


def book(bids: str, asks: str, checksum: int | None = None, kind: str = "update", time: str = TIME) -> bytes:
    summed = "" if checksum is None else f',"checksum":{checksum}'
    item = f'"bids":{levels(bids)},"asks":{levels(asks)}{summed},"timestamp":{time}'
    return frame_of("book", item, kind=kind)


def crc(words: str) -> int:
    return zlib.crc32(words.replace(" ", "").encode())


WHOLE = book("99.0 1.0, 0.980 2", "101.0 0.10", crc("1010 10 990 10 980 2"), "snapshot")


def test_trades() -> None:
    assert a_session().parse(frame_of("trade", trade(5), trade(6, "sell", "3")), SEEN) == [
        Trade(7, 5, US, SEEN, 2.5, 4.0, AggressorSide.BUY),
        Trade(7, 6, US, SEEN, 3.0, 4.0, AggressorSide.SELL),
    ]


def test_quotes_and_sides_that_are_empty() -> None:
    best = '"bid":99,"bid_qty":1,"ask":101,"ask_qty":2'
    timed = frame_of("ticker", f'{best},"timestamp":{TIME}')
    assert a_session().parse(timed, SEEN) == [Quote(7, US, US, SEEN, 99.0, 1.0, 101.0, 2.0)]
    assert a_session().parse(frame_of("ticker", best), SEEN) == [
        Quote(7, SEEN, None, SEEN, 99.0, 1.0, 101.0, 2.0)
    ]
    assert a_session().parse(frame_of("ticker", best.replace("101", "0")), SEEN) == []


def test_a_book_starts_with_its_snapshot_and_is_summed() -> None:
    session = a_session(["book"])
    quote, said = session.parse(WHOLE, SEEN)
    assert quote == Quote(7, US, US, SEEN, 99.0, 1.0, 101.0, 0.1)
    assert said == Book(7, US, US, SEEN, (99.0, 0.98), (1.0, 2.0), (101.0,), (0.1,))
    quote, said = session.parse(book("99.0 0", "101.0 0.20", crc("1010 20 980 2")), SEEN + S)
    assert isinstance(quote, Quote)
    assert said == Book(7, US + 1, US, SEEN + S, (0.98,), (2.0,), (101.0,), (0.2,))


def test_a_wrong_checksum_subscribes_that_book_anew() -> None:
    session = a_session(["book"])
    session.parse(WHOLE, SEEN)
    assert session.parse(book("99.0 0", "", 5), SEEN + S) == []
    params = {"channel": "book", "symbol": ["BTC/USD"], "depth": 100}
    assert [json.loads(text) for text in session.pending_messages()] == [
        {"method": method, "params": params} for method in ("unsubscribe", "subscribe")
    ]
    gap, *_ = session.parse(WHOLE, SEEN + 2 * S)
    assert isinstance(gap, FeedGap)
    assert gap.cause is GapCause.CHECKSUM_MISMATCH


def test_what_falls_out_of_the_depth_is_cut_off() -> None:
    session = a_session(["book"])
    asks = ",".join(f"{price}.0 1" for price in range(101, 201))
    session.parse(book("99.0 1", asks, kind="snapshot"), SEEN)
    session.parse(book("", "100.0 1"), SEEN + S)  # the 101st, 200.0, is out of the span now
    gone = ",".join(f"{price}.0 0" for price in range(100, 200))
    assert session.parse(book("", gone + ",201.0 3"), SEEN + 2 * S)
    (said,) = session.parse(book("", "202.0 1"), SEEN + 3 * S)
    assert isinstance(said, Book)
    assert said.ask_prices == (201.0, 202.0)


def test_requests_are_one_a_channel() -> None:
    session = a_session(symbols={"BTC/USD": Listing(1), "ETH/USD": Listing(2)})
    symbols = ["BTC/USD", "ETH/USD"]
    assert [json.loads(text)["params"] for text in session.subscribe()] == [
        {"channel": "trade", "symbol": symbols, "snapshot": False},
        {"channel": "ticker", "symbol": symbols, "event_trigger": "bbo"},
        {"channel": "book", "symbol": symbols, "depth": 100},
    ]
    assert (session.path(), session.keep_alive()) == ("/v2", '{"method":"ping"}')


def test_fields_may_stand_elsewhere() -> None:
    loose = json.dumps({"data": json.loads(frame_of("trade", trade(5)))["data"], "channel": "trade"}).encode()
    session = a_session()
    assert len(session.parse(loose, SEEN)) == 1
    assert session.stream_of(loose) == "trade:BTC/USD"


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (frame_of("trade", trade(5, price="0")), "found 0"),
        (frame_of("trade", trade(5, price="1e400")), "out of range"),
        (frame_of("trade", trade(5, time='"1970-01-01T00:00:00Z"')), "not of 2009 to 2099"),
        (frame_of("trade", trade(5), symbol="XX/USD"), "XX/USD"),
        (frame_of("ohlc", trade(5)), "'ohlc'"),
        (frame_of("trade"), "''"),
        (book("99 -1", ""), "found -1"),
        (book("99 1", "", 2**32), str(2**32)),
    ],
)
def test_other_things_refused(frame: bytes, words: str) -> None:
    with pytest.raises(ParseError, match=words):
        a_session().parse(frame, SEEN)


def test_published_examples(shared_data: Path) -> None:
    parsed = Counter()
    lost = []
    for line in read_examples(shared_data / "message_examples" / "kraken_v2.jsonl"):
        symbol = json.loads(line)["data"][0]["symbol"]
        session = a_session(symbols={symbol: Listing(1)})
        assert KRAKEN.recognises(line)
        events = session.parse(line, SEEN)
        parsed.update(type(event) for event in events)
        lost += [symbol] * len(session.pending_messages())
    assert parsed == {Trade: 2, Quote: 1}
    # The snapshot's checksum is made up (123456), and the update has no snapshot before it.
    assert lost == ["AAPLx/USD"] * 2 + ["BTC/USD"] * 2


# The capture is of v1, in which a book has the same levels and the same checksum, otherwise written.


def as_v2(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """Receive time, symbol and v2's frame of every frame about a book."""
    for at, frame in read_capture(path):
        message = json.loads(frame)
        if not isinstance(message, list):
            continue
        *_, symbol = message
        parts = {key: value for part in message[1:-2] for key, value in part.items()}
        is_snapshot = "as" in parts
        sides = {
            name: [{"price": price, "qty": size} for price, size, *_ in parts.get(key, [])]
            for name, key in (("bids", "bs" if is_snapshot else "b"), ("asks", "as" if is_snapshot else "a"))
        }
        data = {"symbol": symbol, **sides} | ({"checksum": parts["c"]} if "c" in parts else {})
        kind = "snapshot" if is_snapshot else "update"
        # Numbers without quotes, all digits kept.
        text = json.dumps({"channel": "book", "type": kind, "data": [data]})
        yield at, symbol, _unquoted(text)


def _unquoted(text: str) -> bytes:
    for name in ("price", "qty", "checksum"):
        parts = text.split(f'"{name}": "')
        text = parts[0] + "".join(f'"{name}": {part.replace(chr(34), "", 1)}' for part in parts[1:])
    return text.encode()


def test_every_checksum_of_the_capture_is_ours(shared_data: Path) -> None:
    builders: dict[str, BookBuilder] = {}
    readers = {}
    sums = 0
    for at, symbol, frame in as_v2(shared_data / "venue_captures" / "KRAKEN.ws.50.0"):
        if symbol not in builders:
            builders[symbol] = BookBuilder(
                "here", "book", 1, UnnumberedIds(), checksum_rule=AsksThenBidsCrc32(), kept_levels=1_000
            )
            readers[symbol] = update_reader(symbol)
        update = readers[symbol](frame)
        if isinstance(update, Snapshot):
            builders[symbol].start_over(update, at)
        else:
            assert update.texts is not None
            sums += update.texts.checksum is not None
            builders[symbol].apply(update, at)
        assert builders[symbol].in_sync
    assert len(builders) == 10
    assert sums > 4_000


def test_a_lost_update_of_the_capture_shows_in_the_checksum(shared_data: Path) -> None:
    frames = list(as_v2(shared_data / "venue_captures" / "KRAKEN.ws.50.0"))
    symbols = {
        symbol: Listing(number) for number, symbol in enumerate(dict.fromkeys(s for _, s, _ in frames))
    }
    session = a_session(["book"], symbols)
    for number, (at, _, frame) in enumerate(frames):
        if number % 100 != 50:
            session.parse(frame, at)
    causes = {gap.cause for gap in session.close(frames[-1][0])}
    assert causes == {GapCause.CHECKSUM_MISMATCH}
    assert session.pending_messages()


@pytest.fixture(scope="module")
def captured() -> list[tuple[str, bytes]]:
    return []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    st.integers(0, 9_999),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.binary(max_size=3)), min_size=1, max_size=3),
)
def test_a_damaged_frame_gives_events_or_says_what_is_wrong(
    shared_data: Path,
    captured: list[tuple[str, bytes]],
    number: int,
    damages: list[tuple[float, int, bytes]],
) -> None:
    """Published frames, and those of the capture as v2 would have sent them."""
    if not captured:
        for line in read_examples(shared_data / "message_examples" / "kraken_v2.jsonl"):
            captured += [(json.loads(line)["data"][0]["symbol"], line)] * 100
        frames = as_v2(shared_data / "venue_captures" / "KRAKEN.ws.50.0")
        captured += [(symbol, frame) for _, (_, symbol, frame) in zip(range(500), frames, strict=False)]
    symbol, frame = captured[number % len(captured)]
    for place, cut, put in damages:
        at = int(place * len(frame))
        frame = frame[:at] + put + frame[at + cut :]
    session = a_session(symbols={symbol: Listing(1)})
    session.stream_of(frame)
    KRAKEN.recognises(frame)
    try:
        events = session.parse(frame, SEEN)
    except (ParseError, VenueRefused):
        return
    assert all(isinstance(event, Trade | Quote | Book) for event in events)

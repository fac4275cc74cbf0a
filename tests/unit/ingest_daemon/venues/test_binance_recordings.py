"""Binance's dialect on real recordings: everything in them is understood, and books agree with the ticker."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_daemon.errors import ParseError, VenueRefused
from ingest_daemon.events import Book, BookFlow, Event, FeedGap, GapCause, Quote, Trade
from ingest_daemon.venues import VENUES, Listing
from tests.unit.ingest_daemon.venues.captures import read_capture

RECORDINGS = [
    ("binance_spot", "spot/btcusdt_20240808.gz"),
    ("binance_spot", "spot/ethusdt_20240808.gz"),
    ("binance_usdm", "usdm/btcusdt_20240718.gz"),
    ("binance_usdm", "usdm/ethusdt_20240718.gz"),
    ("binance_usdm", "usdm/btcusdt_20240808.gz"),
    ("binance_usdm", "usdm/ethusdt_20240808.gz"),
    ("binance_coinm", "coinm/btcusd_perp_20240808.gz"),
    ("binance_coinm", "coinm/ethusd_perp_20240808.gz"),
]
recordings = pytest.mark.parametrize(("name", "file"), RECORDINGS)


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with gzip.open(path) as lines:
        for line in lines:
            nanoseconds, _, frame = line.rstrip(b"\n").partition(b" ")
            yield int(nanoseconds) // 1000, frame


def symbol_of(path: Path) -> str:
    return path.name.rpartition("_")[0].upper()


def play(name: str, path: Path) -> tuple[list[Event], list[Event]]:
    """The events of a recording, and what is still open at its end."""
    venue = VENUES[name]
    session = venue.open_session("here", {symbol_of(path): Listing(1)}, venue.channels)
    events: list[Event] = []
    received_at = 0
    for received_at, frame in read_lines(path):
        events.extend(session.parse(frame, received_at))
    return events, list(session.close(received_at))


@recordings
def test_a_recording_is_understood_whole(shared_data: Path, name: str, file: str) -> None:
    path = shared_data / "binance_recordings" / file
    events, rest = play(name, path)
    flows = [event for event in events if isinstance(event, BookFlow)]
    open_gaps = [event for event in rest if isinstance(event, FeedGap)]

    trade_ids, ticker_frames = set(), 0
    for _, frame in read_lines(path):
        message = json.loads(frame)
        stream = message.get("stream", "")
        if stream.endswith("@trade"):
            trade_ids.add(message["data"]["t"])
        ticker_frames += stream.endswith("@bookTicker")
    trades = [event for event in events if isinstance(event, Trade)]
    quotes = [event for event in events if isinstance(event, Quote)]
    books = [event for event in events if isinstance(event, Book)]
    assert {trade.trade_id for trade in trades} == trade_ids
    assert len(trades) == len(trade_ids)
    assert len(quotes) == ticker_frames
    told = len(trades) + len(quotes) + len(books) + len(flows)
    assert told == len(events)  # no gap: the numbering never skips

    # Where book and ticker tell of the same update they tell the same, and no book is crossed.
    ticker = {quote.update_id: quote for quote in quotes}
    compared = 0
    for book in books:
        assert book.bid_prices[0] < book.ask_prices[0]
        quote = ticker.get(book.update_id)
        if quote is not None:
            compared += 1
            assert (quote.bid_price, quote.bid_size) == (book.bid_prices[0], book.bid_sizes[0])
            assert (quote.ask_price, quote.ask_size) == (book.ask_prices[0], book.ask_sizes[0])
    assert compared > 50

    # At most ten books a second; to the end, or until the price left the levels of the only snapshot.
    spans = [book.received_at // 100_000 for book in books]
    assert len(set(spans)) == len(spans)
    assert all(gap.cause is GapCause.BOOK_OUTRUN for gap in open_gaps)
    ended_at = open_gaps[0].started_at if open_gaps else events[-1].received_at  # type: ignore[union-attr]
    assert len(books) > 9 * (ended_at - books[0].received_at) / 1e6


@recordings
def test_frames_are_recognised_by_their_market_only(shared_data: Path, name: str, file: str) -> None:
    for _, frame in read_lines(shared_data / "binance_recordings" / file):
        assert [other for other, venue in VENUES.items() if venue.recognises(frame)] == [name]


@recordings
def test_a_lost_diff_is_one_gap_until_the_next_snapshot(shared_data: Path, name: str, file: str) -> None:
    """Drop one diff: the book falls silent and says so, and asks for a snapshot."""
    path = shared_data / "binance_recordings" / file
    symbol = symbol_of(path)
    session = VENUES[name].open_session("here", {symbol: Listing(1)}, ["depth"])
    diffs = [
        (at, frame) for at, frame in read_lines(path) if b"@depth" in frame[:40] or frame.startswith(b'{"la')
    ]
    said = [session.parse(frame, at) for at, frame in diffs[:500]]
    assert any(isinstance(event, Book) for events in said for event in events)
    session.pending_requests()
    silent = [session.parse(frame, at) for at, frame in diffs[501:600]]
    assert silent == [[]] * 99
    assert [request.key for request in session.pending_requests()] == [symbol]
    gap, of_quotes = session.close(diffs[599][0])
    assert (gap.relation, of_quotes.relation) == ("books", "quotes")
    assert gap.cause is GapCause.SEQUENCE_BREAK
    assert gap.started_at == diffs[499][0]


# A capture of COIN-M of 2021-07-21: ten symbols, aggregates, the REST snapshots in a file of their own.

DELIVERY = "BINANCE_DELIVERY"


def snapshots_of(path: Path) -> dict[str, bytes]:
    """The first REST snapshot of each symbol."""
    found: dict[str, bytes] = {}
    for line in path.read_bytes().splitlines():
        address, _, body = line.partition(b": {")
        symbol = address.partition(b"symbol=")[2].partition(b"&")[0].decode()
        if symbol:
            found.setdefault(symbol, b"{" + body)
    return found


def test_the_coin_margined_capture_is_understood_but_for_candles(shared_data: Path) -> None:
    captures = shared_data / "venue_captures"
    snapshots = snapshots_of(captures / f"{DELIVERY}.http.0.0")
    contracts = {symbol: 100.0 if symbol.startswith("BTC") else 10.0 for symbol in snapshots}
    listings = {
        symbol: Listing(number, contracts[symbol], "quote") for number, symbol in enumerate(contracts)
    }
    venue = VENUES["binance_coinm"]
    session = venue.open_session("here", listings, venue.channels)
    events: list[Event] = []
    counted: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    usd = 0.0
    for at, frame in read_capture(captures / f"{DELIVERY}.ws.1.0"):
        message = json.loads(frame)
        channel = message["stream"].split("@")[1]
        counted[channel] += 1
        if channel == "aggTrade":
            usd += float(message["data"]["q"]) * contracts[message["data"]["s"]]
        assert venue.recognises(frame) is (channel != "kline_1m")
        try:
            events += session.parse(frame, at)
        except ParseError:
            refused[channel] += 1
        for request in session.pending_requests():
            events += session.answer(request, snapshots[request.key], at)
    assert refused == {"kline_1m": counted["kline_1m"]}
    assert all(isinstance(event, BookFlow) for event in session.close(at))

    trades = [event for event in events if isinstance(event, Trade)]
    quotes = [event for event in events if isinstance(event, Quote)]
    books = [event for event in events if isinstance(event, Book)]
    assert (len(trades), len(quotes)) == (counted["aggTrade"], counted["bookTicker"]) == (51, 2_240)
    flows = [event for event in events if isinstance(event, BookFlow)]
    assert len(trades) + len(quotes) + len(books) + len(flows) == len(events)
    assert sum(trade.size * trade.price for trade in trades) == pytest.approx(usd, rel=1e-12)
    # Every book came in sync, and is the ticker's where both tell of one update, in base units as well.
    assert {book.instrument_id for book in books} == {listing.instrument_id for listing in listings.values()}
    ticker = {(quote.instrument_id, quote.update_id): quote for quote in quotes}
    compared = 0
    for book in books:
        quote = ticker.get((book.instrument_id, book.update_id))
        if quote is not None:
            compared += 1
            assert (quote.bid_price, quote.bid_size) == (book.bid_prices[0], book.bid_sizes[0])
            assert (quote.ask_price, quote.ask_size) == (book.ask_prices[0], book.ask_sizes[0])
    assert compared > 50


@pytest.fixture(scope="module")
def some_frames() -> dict[str, list[bytes]]:
    return {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    st.sampled_from([RECORDINGS[0], RECORDINGS[2], RECORDINGS[-1]]),
    st.integers(0, 399),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.binary(max_size=3)), min_size=1, max_size=3),
)
def test_a_damaged_real_frame_gives_events_or_says_what_is_wrong(
    shared_data: Path,
    some_frames: dict[str, list[bytes]],
    recording: tuple[str, str],
    number: int,
    damages: list[tuple[float, int, bytes]],
) -> None:
    name, file = recording
    if file not in some_frames:
        lines = read_lines(shared_data / "binance_recordings" / file)
        some_frames[file] = [frame for _, (_, frame) in zip(range(400), lines, strict=False)]
    frame = some_frames[file][number]
    for place, cut, put in damages:
        at = int(place * len(frame))
        frame = frame[:at] + put + frame[at + cut :]
    venue = VENUES[name]
    session = venue.open_session("here", {symbol_of(Path(file)): Listing(1)}, venue.channels)
    try:
        events = session.parse(frame, 1)
    except (ParseError, VenueRefused):
        return
    assert all(isinstance(event, Trade | Quote | Book) for event in events)


def test_public_message_examples_parse_or_belong_to_channels_not_spoken(shared_data: Path) -> None:
    """What does not parse is of another channel, or lacks what the venue always sends."""
    refused = []
    for name in ("binance_spot", "binance_usdm", "binance_coinm"):
        for line in (shared_data / "message_examples" / f"{name}.jsonl").read_bytes().splitlines():
            message = json.loads(line)
            symbol, _, channel = message.get("stream", "").partition("@")  # "": an acknowledgement
            venue = VENUES[name]
            try:
                venue.open_session("here", {symbol.upper(): Listing(1)}, venue.channels).parse(line, 1)
            except ParseError:
                refused.append(channel)
    # This aggTrade has lost its id.
    assert set(refused) == {
        "ticker", "depthSnapshot", "indexPrice@1s", "openInterest", "forceOrder", "aggTrade"
    }  # fmt: skip
    assert refused.count("aggTrade") == 1

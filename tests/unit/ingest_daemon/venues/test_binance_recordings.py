"""Binance's dialect on real recordings: everything in them is understood, and books agree with the ticker."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_daemon.errors import ParseError, VenueRefused
from ingest_daemon.events import Book, Event, FeedGap, GapCause, Quote, Trade
from ingest_daemon.venues import VENUES, Listing

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


def play(name: str, path: Path) -> tuple[list[Event], list[FeedGap]]:
    """The events of a recording, and the gaps still open at its end."""
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
    events, open_gaps = play(name, path)

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
    assert len(trades) + len(quotes) + len(books) == len(events)  # no gap: the numbering never skips

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
    (gap,) = session.close(diffs[599][0])
    assert gap.cause is GapCause.SEQUENCE_BREAK
    assert gap.started_at == diffs[499][0]


@pytest.fixture(scope="module")
def some_frames() -> dict[str, list[bytes]]:
    return {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    st.sampled_from(RECORDINGS[:3]),
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
    session = venue.open_session("here", {"BTCUSDT": Listing(1)}, venue.channels)
    try:
        events = session.parse(frame, 1)
    except (ParseError, VenueRefused):
        return
    assert all(isinstance(event, Trade | Quote | Book) for event in events)


def test_public_message_examples_parse_or_belong_to_channels_not_spoken(shared_data: Path) -> None:
    """What does not parse is of another channel, or lacks what the venue always sends."""
    refused = []
    for name, file in (("binance_spot", "binance_spot.jsonl"), ("binance_usdm", "binance_usdm.jsonl")):
        for line in (shared_data / "message_examples" / file).read_bytes().splitlines():
            message = json.loads(line)
            symbol, _, channel = message["stream"].partition("@")
            venue = VENUES[name]
            try:
                venue.open_session("here", {symbol.upper(): Listing(1)}, venue.channels).parse(line, 1)
            except ParseError:
                refused.append(channel)
    # This aggTrade has lost its id.
    assert set(refused) == {"ticker", "depthSnapshot", "openInterest", "forceOrder", "aggTrade"}
    assert refused.count("aggTrade") == 1

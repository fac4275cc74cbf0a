"""The frames of the benchmark's venue are what the venue's parser reads, numbered through."""

from __future__ import annotations

import multiprocessing
import time

import msgspec
import pytest
from websockets.sync.client import connect

from ingest_daemon.events import Quote, Trade
from ingest_daemon.venues import VENUES, Listing
from sentinet_dagster.runtime.firehose import (
    CHANNELS,
    FIRST_NUMBER,
    SYMBOLS,
    Frames,
    Order,
    serve_firehose,
)

NOW_MS = 1_723_161_255_343


def messages(wire: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(wire):
        assert wire[at] == 0x81
        start, length = at + 2, wire[at + 1]
        if length == 126:
            start, length = at + 4, int.from_bytes(wire[at + 2 : at + 4])
        found.append(wire[start : start + length])
        at = start + length
    return found


@pytest.mark.parametrize("first", [FIRST_NUMBER, FIRST_NUMBER + 1_000, 9_999_990_000])
def test_frames_are_trades_and_quotes_of_the_venue_numbered_through(first: int) -> None:
    symbols = {symbol: Listing(number) for number, symbol in enumerate(SYMBOLS, start=1)}
    session = VENUES["binance_spot"].open_session("v", symbols, CHANNELS)
    sent = messages(Frames().render(first, 2_000, NOW_MS))
    (events,) = zip(*(session.parse(message, 5) for message in sent), strict=True)
    numbers = [event.trade_id if isinstance(event, Trade) else event.update_id for event in events]
    assert numbers == list(range(first, first + 2_000))
    assert sum(isinstance(event, Quote) for event in events) == 1_000
    assert {event.instrument_id for event in events} == set(range(1, len(SYMBOLS) + 1))
    assert {event.occurred_at for event in events if isinstance(event, Trade)} == {NOW_MS * 1_000}


def test_an_order_is_sent_at_its_pace_and_written_down() -> None:
    context = multiprocessing.get_context("spawn")
    pipe, end = context.Pipe()
    process = context.Process(target=serve_firehose, args=(end,), daemon=True)
    process.start()
    try:
        streams = [f"{symbol.lower()}@{channel}" for symbol in SYMBOLS for channel in CHANNELS]
        with connect(f"ws://127.0.0.1:{pipe.recv()}/stream", proxy=None) as client:
            client.send(msgspec.json.encode({"method": "SUBSCRIBE", "params": streams, "id": 7}).decode())
            assert msgspec.json.decode(client.recv()) == {"result": None, "id": 7}
            assert pipe.recv() == "subscribed"
            before = time.time_ns()
            pipe.send(Order(2_000.0, 0.2))
            last = [client.recv() for _ in range(400)][-1]
            sent = pipe.recv()
        assert f'"u":{FIRST_NUMBER + 399}' in str(last)
        assert (sent[0, 0], sent[-1, 1]) == (FIRST_NUMBER, FIRST_NUMBER + 400)
        assert (sent[1:, 0] == sent[:-1, 1]).all()
        assert before < sent[0, 2] < sent[-1, 2]
        pipe.send(None)
        process.join(20)
        assert process.exitcode == 0
    finally:
        process.kill()

"""What an intake notices of a venue's format while it parses."""

from __future__ import annotations

import json
from typing import Any

from ingest_daemon.drift import LEARNT_FROM, Change
from ingest_daemon.events import Event, RejectedFrame
from ingest_daemon.intake import Intake
from ingest_daemon.venues import VENUES, Listing
from ingest_daemon.venues.base import Request

ONE_IN = 256
VENUE = VENUES["binance_spot"]
TRADE: dict[str, Any] = {
    "e": "trade", "E": 1700000000002, "s": "BTCUSDT", "p": "37000.10", "q": "0.25", "T": 1700000000001,
    "m": True, "M": True,
}  # fmt: skip


def frames(first: int, count: int, **changed: object) -> list[bytes]:
    return [
        json.dumps({"stream": "btcusdt@trade", "data": {**TRADE, "t": first + n, **changed}}).encode()
        for n in range(count)
    ]


def test_a_new_field_is_counted_by_channel_without_the_symbol() -> None:
    intake = Intake("here", None, lambda _seconds: None, symbol_of=VENUE.symbol_of)
    session = VENUE.open_session("here", {"BTCUSDT": Listing(1)}, ["trade"])
    events: list[Event] = []
    for n in range(LEARNT_FROM):
        intake.parse(session, frames(n * ONE_IN, ONE_IN), 0, events)
    assert intake.stats.drift == {}
    intake.parse(session, frames(90_000, 2 * ONE_IN, X="MARKET"), 0, events)
    assert intake.stats.drift == {Change("trade", "data.X", "new_field"): 1}
    assert len(events) == (LEARNT_FROM + 2) * ONE_IN


def test_every_answer_of_a_polled_venue_is_looked_at() -> None:
    venue = VENUES["fmp"]
    intake = Intake("here", None, lambda _seconds: None, symbol_of=venue.symbol_of)
    session = venue.open_session("here", {"AAPL": Listing(1), "MSFT": Listing(2)}, ["quote"])

    def answer(n: int, **changed: object) -> None:
        symbol = ("AAPL", "MSFT")[n % 2]
        quote = {"symbol": symbol, "price": 200 + n, "volume": n, "timestamp": 1_700_000_000 + n} | changed
        request = Request(symbol, f"/stable/quote?symbol={symbol}", "apikey")
        intake.answer(session, request, json.dumps([quote]).encode(), 0)

    for n in range(LEARNT_FROM):
        answer(n)
    answer(LEARNT_FROM, currency="USD")
    answer(LEARNT_FROM + 1, price=None)
    assert intake.stats.drift == {
        Change("/stable/quote", "[].currency", "new_field"): 1,
        Change("/stable/quote", "[].price", "changed_type"): 1,
    }


def test_a_refused_frame_names_the_field_at_once() -> None:
    intake = Intake("here", None, lambda _seconds: None, symbol_of=VENUE.symbol_of)
    session = VENUE.open_session("here", {"BTCUSDT": Listing(1)}, ["trade"])
    events: list[Event] = []
    intake.parse(session, frames(0, 1, p=None), 0, events)
    assert intake.stats.drift == {Change("trade", "data.p", "changed_type"): 1}
    assert isinstance(events[0], RejectedFrame)

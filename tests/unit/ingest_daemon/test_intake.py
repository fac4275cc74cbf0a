"""What an intake notices of a venue's format while it parses."""

from __future__ import annotations

import json
from typing import Any

from ingest_daemon.drift import LEARNT_FROM, Change
from ingest_daemon.events import Event, RejectedFrame
from ingest_daemon.intake import Intake
from ingest_daemon.venues import VENUES, Listing

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


def test_a_refused_frame_names_the_field_at_once() -> None:
    intake = Intake("here", None, lambda _seconds: None, symbol_of=VENUE.symbol_of)
    session = VENUE.open_session("here", {"BTCUSDT": Listing(1)}, ["trade"])
    events: list[Event] = []
    intake.parse(session, frames(0, 1, p=None), 0, events)
    assert intake.stats.drift == {Change("trade", "data.p", "changed_type"): 1}
    assert isinstance(events[0], RejectedFrame)

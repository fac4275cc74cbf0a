"""Finage's dialect, field by field, and the login by the address."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingest_daemon.errors import LoginRefused, ParseError, VenueRefused
from ingest_daemon.events import AggressorSide, Trade
from ingest_daemon.venues import Credentials, Listing
from ingest_daemon.venues.finage import FINAGE, FinageSession

SEEN = 1_635_511_460_000_000
MS = 1_635_511_459_951
SYMBOLS = {"BTCUSD": Listing(7), "AAPL": Listing(8)}


def a_session(credentials: Credentials | None = None) -> FinageSession:
    return FINAGE.open_session("here", SYMBOLS, FINAGE.channels, credentials)


def frame_of(symbol: str = "BTCUSD", **fields: Any) -> bytes:
    return json.dumps({"s": symbol, "p": "50.5", "t": MS} | fields, separators=(",", ":")).encode()


def answer(status: int, message: str) -> bytes:
    return json.dumps({"status_code": status, "message": message}).encode()


def trades_of(session: FinageSession, *frames: bytes) -> list[Trade]:
    events = [event for frame in frames for event in session.parse(frame, SEEN)]
    return [event for event in events if isinstance(event, Trade)]


def test_trades_of_crypto_and_of_stocks() -> None:
    coin, share = trades_of(a_session(), frame_of(q="0.25"), frame_of("AAPL", p=145.5, v=57, a="146"))
    unknown = AggressorSide.UNKNOWN
    assert coin == Trade(7, coin.trade_id, MS * 1_000, SEEN, 50.5, 0.25, unknown)
    assert share == Trade(8, share.trade_id, MS * 1_000, SEEN, 145.5, 57.0, unknown)


def test_equal_trades_in_a_row_are_as_many_and_the_same_when_read_again() -> None:
    frames = [frame_of(q="1"), frame_of(q="1"), frame_of(q="2"), frame_of("AAPL", v=1)]
    ids = [trade.trade_id for trade in trades_of(a_session(), *frames)]
    assert len(set(ids[:3])) == 3
    assert ids[3] == ids[0]  # of another instrument
    assert [trade.trade_id for trade in trades_of(a_session(), *frames)] == ids


def test_prices_without_sizes_say_nothing() -> None:
    assert a_session().parse(b'{"s":"AAPL","a":"146.1","b":"146","t":1635511459951}', SEEN) == ()


def test_the_symbol_may_stand_elsewhere() -> None:
    frame = b'{"t":1635511459951,"q":"1","p":"2","s":"BTCUSD"}'
    assert len(a_session().parse(frame, SEEN)) == 1
    assert a_session().stream_of(frame) == "trades:BTCUSD"


def test_the_address_logs_in_and_symbols_are_subscribed_when_the_venue_is_ready() -> None:
    session = a_session(Credentials("FINTESTKEY0001"))
    assert (session.path(), list(session.subscribe())) == ("/?token=FINTESTKEY0001", [])
    session.parse(answer(200, "authorizing"), SEEN)
    assert (session.is_logged_in, session.pending_messages()) == (False, ())
    session.parse(answer(200, "Connected to the adapter"), SEEN)
    assert session.is_logged_in
    assert [json.loads(text) for text in session.pending_messages()] == [
        {"action": "subscribe", "symbols": symbol} for symbol in SYMBOLS
    ]
    assert session.pending_messages() == ()


def test_without_an_account_the_subscriptions_go_at_once() -> None:
    assert (a_session().path(), len(a_session().subscribe())) == ("", 2)


@pytest.mark.parametrize(("status", "kind"), [(401, LoginRefused), (400, VenueRefused)])
def test_errors_are_told_with_their_code(status: int, kind: type[VenueRefused]) -> None:
    with pytest.raises(VenueRefused, match=rf"here refused: no \(code {status}\)") as refused:
        a_session().parse(answer(status, "no"), SEEN)
    assert type(refused.value) is kind


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (frame_of(), "BTCUSD: neither a trade"),
        (frame_of(p=None, q=1), "BTCUSD: neither a trade"),
        (frame_of(q="0"), "found '0'"),
        (frame_of(q="nan"), "found 'nan'"),
        (frame_of(q=1, t=MS // 1_000), f"found {MS // 1_000}"),
        (frame_of("DOGE", q=1), "'DOGE' is not subscribed"),
    ],
)
def test_what_is_wrong_is_named(frame: bytes, words: str) -> None:
    with pytest.raises(ParseError, match=words):
        a_session().parse(frame, SEEN)


def test_a_trade_of_another_venue_is_not_recognised() -> None:
    binance = (
        b'{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":1,"p":"1","q":"2","T":1723161255342,"m":true}'
    )
    assert not FINAGE.recognises(binance)

"""Alpaca's dialect, field by field: stocks of IEX, crypto, the login, books in lists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ingest_daemon.errors import ConfigError, LoginRefused, ParseError, VenueRefused
from ingest_daemon.events import AggressorSide, Book, FeedGap, GapCause, Quote, Trade
from ingest_daemon.venues import Credentials, Listing
from ingest_daemon.venues.alpaca import ALPACA_CRYPTO, ALPACA_IEX, AlpacaSession

SEEN = 1_710_239_268_900_000
AT = "2024-03-12T10:27:48.858228644Z"
US = 1_710_239_268_858_229  # rounded
S = 1_000_000
COINS = {"BTC/USD": Listing(7), "ETH/USD": Listing(8)}
LOGGED_IN = b'[{"T":"success","msg":"authenticated"}]'


def stocks(channels: Sequence[str] = ALPACA_IEX.channels) -> AlpacaSession:
    return ALPACA_IEX.open_session("here", {"AAPL": Listing(7)}, channels)


def crypto(channels: Sequence[str] = ALPACA_CRYPTO.channels) -> AlpacaSession:
    return ALPACA_CRYPTO.open_session("here", COINS, channels)


def of(kind: str, symbol: str = "BTC/USD", **fields: Any) -> dict[str, Any]:
    return {"T": kind, "S": symbol, "t": AT} | fields


def frame_of(*items: dict[str, Any]) -> bytes:
    return json.dumps(items, separators=(",", ":")).encode()


def trade(trade_id: int, symbol: str = "BTC/USD", **fields: Any) -> dict[str, Any]:
    return of("t", symbol, **({"i": trade_id, "p": 47.5, "s": 2, "tks": "S"} | fields))


def quote(symbol: str = "BTC/USD", **fields: Any) -> dict[str, Any]:
    return of("q", symbol, **({"bp": 99, "bs": 1.5, "ap": 101, "as": 2} | fields))


def book(bids: Sequence[tuple[float, float]], asks: Sequence[tuple[float, float]], **fields: Any) -> bytes:
    sides = {"b": [{"p": p, "s": s} for p, s in bids], "a": [{"p": p, "s": s} for p, s in asks]}
    return frame_of(of("o", **(sides | fields)))


def test_a_trade_of_crypto_says_who_took_and_one_of_stocks_does_not() -> None:
    sold, bought = crypto().parse(frame_of(trade(1), trade(2, tks="B")), SEEN)
    assert sold == Trade(7, 1, US, SEEN, 47.5, 2.0, AggressorSide.SELL)
    assert isinstance(bought, Trade)
    assert bought.aggressor == AggressorSide.BUY
    item = trade(6142, "AAPL", x="V", c=["@", "I"], z="C")
    del item["tks"]
    assert stocks().parse(frame_of(item), SEEN) == [
        Trade(7, 6142, US, SEEN, 47.5, 2.0, AggressorSide.UNKNOWN)
    ]


def test_a_list_may_mix_kinds_and_symbols() -> None:
    events = crypto().parse(frame_of(trade(1), quote("ETH/USD"), trade(2, "ETH/USD")), SEEN)
    assert [(type(event), event.instrument_id) for event in events if not isinstance(event, FeedGap)] == [
        (Trade, 7),
        (Quote, 8),
        (Trade, 8),
    ]


def test_a_quote_has_an_id_that_only_the_same_quote_has() -> None:
    first, again, other = crypto().parse(frame_of(quote(), quote(), quote(bs=1.6)), SEEN)
    assert isinstance(first, Quote)
    assert isinstance(other, Quote)
    assert first == again
    assert (first.occurred_at, first.bid_price, first.bid_size) == (US, 99.0, 1.5)
    assert (first.ask_price, first.ask_size) == (101.0, 2.0)
    assert first.update_id != other.update_id


@pytest.mark.parametrize("absent", ["bp", "bs", "ap", "as"])
def test_a_quote_without_a_side_says_nothing(absent: str) -> None:
    assert crypto().parse(frame_of(quote(**{absent: 0})), SEEN) == ()


def test_corrections_and_cancellations_come_along_in_silence() -> None:
    assert stocks().parse(frame_of(of("c", "AAPL", oi=1, ci=2), of("x", "AAPL", i=1, a="C")), SEEN) == ()


def test_a_book_starts_with_all_of_it_and_goes_on_with_changes() -> None:
    session = crypto(["orderbooks"])
    best, whole = session.parse(book([(99, 1), (98, 2)], [(101, 1)], r=True), SEEN)
    assert best == Quote(7, US, US, SEEN, 99.0, 1.0, 101.0, 1.0)
    assert whole == Book(7, US, US, SEEN, (99.0, 98.0), (1.0, 2.0), (101.0,), (1.0,))
    *_, changed = session.parse(book([(99, 0)], [(102, 5)]), SEEN + S)
    assert changed == Book(7, US + 1, US, SEEN + S, (98.0,), (2.0,), (101.0, 102.0), (1.0, 5.0))


def test_with_quotes_subscribed_the_book_says_none() -> None:
    events = crypto().parse(book([(99, 1)], [(101, 1)], r=True), SEEN)
    assert [type(event) for event in events] == [Book]


@pytest.mark.parametrize(
    ("breaking", "cause"),
    [
        (book([(101, 1)], []), GapCause.CROSSED_BOOK),
        (book([(-1, 1)], []), GapCause.SEQUENCE_BREAK),  # it cannot be read
    ],
)
def test_a_book_that_is_lost_is_subscribed_anew(breaking: bytes, cause: GapCause) -> None:
    session = crypto(["orderbooks"])
    session.parse(book([(99, 1)], [(101, 1)], r=True), SEEN)
    if cause is GapCause.SEQUENCE_BREAK:
        with pytest.raises(ParseError, match="found -1"):
            session.parse(breaking, SEEN + S)
        session.parse(LOGGED_IN, SEEN + S)  # any frame moves it on
    else:
        assert session.parse(breaking, SEEN + S) == ()
    assert [json.loads(text) for text in session.pending_messages()] == [
        {"action": action, "orderbooks": ["BTC/USD"]} for action in ("unsubscribe", "subscribe")
    ]
    gap, *_ = session.parse(book([(99, 1)], [(101, 1)], r=True), SEEN + 2 * S)
    assert isinstance(gap, FeedGap)
    assert (gap.cause, gap.channel, gap.started_at) == (cause, "orderbooks", SEEN)


def test_the_login_is_first_and_each_symbol_is_subscribed_once_it_succeeded() -> None:
    account = Credentials("PKTESTKEY0001", "s3cretS3CRET")
    session = ALPACA_CRYPTO.open_session("here", COINS, ["trades", "quotes"], account)
    assert [json.loads(text) for text in session.subscribe()] == [
        {"action": "auth", "key": account.key, "secret": account.secret}
    ]
    session.parse(b'[{"T":"success","msg":"connected"}]', SEEN)
    assert (session.is_logged_in, session.pending_messages(), session.keep_alive()) == (False, (), None)
    session.parse(LOGGED_IN, SEEN)
    wanted = [{"action": "subscribe", "trades": [coin], "quotes": [coin]} for coin in COINS]
    assert [json.loads(text) for text in session.pending_messages()] == wanted
    session.parse(LOGGED_IN, SEEN)
    assert (session.is_logged_in, session.pending_messages()) == (True, ())
    assert json.loads(session.keep_alive() or "") == wanted[0]


def test_without_an_account_the_subscriptions_go_at_once() -> None:
    session = stocks(["trades"])
    assert session.is_logged_in
    assert list(session.subscribe()) == ['{"action":"subscribe","trades":["AAPL"]}']
    assert (session.path(), crypto().path()) == ("/v2/iex", "/v1beta3/crypto/us")


@pytest.mark.parametrize(
    ("code", "kind"), [(402, LoginRefused), (406, LoginRefused), (409, LoginRefused), (405, VenueRefused)]
)
def test_errors_are_told_with_their_code(code: int, kind: type[VenueRefused]) -> None:
    with pytest.raises(VenueRefused, match=rf"here refused: no \(code {code}\)") as refused:
        stocks().parse(frame_of({"T": "error", "code": code, "msg": "no"}), SEEN)
    assert type(refused.value) is kind


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (trade(1, p=0), "p.*found 0"),
        (trade(1, tks="X"), "found 'X'"),
        (trade(-1), "found -1"),
        (trade(1, t="2024-03-12T10:27:48"), "timezone"),
        (trade(1, t="0001-01-01T00:00:00Z"), "not of 2009 to 2099"),
        (quote(bp=-1), "found -1"),
        (of("b"), "item 'b' of 'BTC/USD' is not subscribed"),
        ({"T": "what"}, "item 'what' of ''"),
        ({"T": "error", "code": "x"}, "code"),
        ({}, "missing required field `T`"),
    ],
)
def test_what_is_wrong_is_named_and_refuses_the_frame(item: dict[str, Any], words: str) -> None:
    with pytest.raises(ParseError, match=words):
        crypto().parse(frame_of(trade(9), item), SEEN)


def test_books_are_cryptos_alone() -> None:
    with pytest.raises(ConfigError, match="alpaca_iex has no channel 'orderbooks'; accepted: trades, quotes"):
        stocks(["orderbooks"])


def test_published_messages_parse(shared_data: Path) -> None:
    found = []
    for line in (shared_data / "message_examples" / "alpaca_polygon.jsonl").read_bytes().splitlines():
        message = json.loads(line)
        if message["provider"] == "alpaca":
            frame = json.dumps(message["msg"]).replace("<ts>", AT).encode()
            assert ALPACA_IEX.recognises(frame)
            found += stocks().parse(frame, SEEN)
    assert [type(event) for event in found] == [Trade, Quote]

"""Polygon's dialect, field by field: stocks, crypto, the login."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ingest_daemon.errors import LoginRefused, ParseError, VenueRefused
from ingest_daemon.events import AggressorSide, Quote, Trade
from ingest_daemon.venues import Credentials, Listing
from ingest_daemon.venues.polygon import POLYGON_CRYPTO, POLYGON_STOCKS, PolygonSession

SEEN = 1_651_684_193_000_000
MS = 1_651_684_192_536
ACCOUNT = Credentials("pTESTKEY0001")
STOCKS = {"AAPL": Listing(7), "MSFT": Listing(8)}


def stocks(
    channels: Sequence[str] = POLYGON_STOCKS.channels, credentials: Credentials | None = None
) -> PolygonSession:
    return POLYGON_STOCKS.open_session("here", STOCKS, channels, credentials)


def crypto() -> PolygonSession:
    return POLYGON_CRYPTO.open_session("here", {"BTC-USD": Listing(7)}, POLYGON_CRYPTO.channels)


def trade(**fields: Any) -> dict[str, Any]:
    return {"ev": "T", "sym": "AAPL", "i": "72815", "x": 12, "p": 161.87, "s": 2, "t": MS} | fields


def quote(**fields: Any) -> dict[str, Any]:
    return {"ev": "Q", "sym": "AAPL", "bp": 99, "bs": 1, "ap": 101, "as": 2, "t": MS} | fields


def coin_trade(**fields: Any) -> dict[str, Any]:
    return trade(ev="XT", pair="BTC-USD", **fields)


def frame_of(*items: dict[str, Any]) -> bytes:
    return json.dumps(items, separators=(",", ":")).encode()


def status(name: str, message: str = "so it is") -> bytes:
    return frame_of({"ev": "status", "status": name, "message": message})


def one_trade(session: PolygonSession, item: dict[str, Any]) -> Trade:
    (event,) = session.parse(frame_of(item), SEEN)
    assert isinstance(event, Trade)
    return event


def test_a_trade_of_stocks_does_not_say_who_took() -> None:
    found = one_trade(stocks(), trade())
    assert found == Trade(7, found.trade_id, MS * 1_000, SEEN, 161.87, 2.0, AggressorSide.UNKNOWN)


def test_an_id_is_of_its_exchange_and_the_same_whenever_it_is_sent() -> None:
    ids = [one_trade(stocks(), item).trade_id for item in (trade(), trade(x=4), trade(i="7-1"), trade(p=1))]
    assert len(set(ids)) == 3
    assert ids[0] == ids[3]


@pytest.mark.parametrize(
    ("conditions", "taker"),
    [([1], AggressorSide.SELL), ([2], AggressorSide.BUY), ([0], AggressorSide.UNKNOWN), ([], 0)],
)
def test_a_trade_of_crypto_says_who_took_in_its_conditions(conditions: list[int], taker: int) -> None:
    assert one_trade(crypto(), coin_trade(c=conditions)).aggressor == taker
    assert one_trade(crypto(), coin_trade()).aggressor == AggressorSide.UNKNOWN


def test_a_quote_has_an_id_that_only_the_same_quote_has() -> None:
    first, again, other = stocks().parse(frame_of(quote(), quote(z=3), quote(bs=3)), SEEN)
    assert isinstance(first, Quote)
    assert isinstance(other, Quote)
    assert first == again == Quote(7, first.update_id, MS * 1_000, SEEN, 99.0, 1.0, 101.0, 2.0)
    assert first.update_id != other.update_id


@pytest.mark.parametrize("absent", ["bp", "bs", "ap", "as"])
def test_a_quote_without_a_side_says_nothing(absent: str) -> None:
    item = quote()
    del item[absent]
    assert stocks().parse(frame_of(item, quote(**{absent: 0})), SEEN) == ()


def test_a_quote_of_crypto() -> None:
    (event,) = crypto().parse(frame_of(quote(ev="XQ", pair="BTC-USD", bs=0.48)), SEEN)
    assert isinstance(event, Quote)
    assert event.bid_size == 0.48


def test_the_login_is_first_and_each_symbol_is_subscribed_once_it_succeeded() -> None:
    session = stocks(credentials=ACCOUNT)
    assert [json.loads(text) for text in session.subscribe()] == [{"action": "auth", "params": ACCOUNT.key}]
    session.parse(status("connected"), SEEN)
    assert (session.is_logged_in, session.pending_messages(), session.keep_alive()) == (False, (), None)
    session.parse(status("auth_success"), SEEN)
    wanted = [{"action": "subscribe", "params": f"T.{symbol},Q.{symbol}"} for symbol in STOCKS]
    assert [json.loads(text) for text in session.pending_messages()] == wanted
    assert json.loads(session.keep_alive() or "") == wanted[0]
    assert (stocks().path(), crypto().path()) == ("/stocks", "/crypto")


def test_before_the_login_any_error_is_the_logins_and_after_it_not() -> None:
    session = stocks(credentials=ACCOUNT)
    with pytest.raises(LoginRefused, match="here refused: error: authentication failed"):
        session.parse(status("error", "authentication failed"), SEEN)
    session.parse(status("auth_success"), SEEN)
    with pytest.raises(VenueRefused, match=r"not_authorized: no Q\.AAPL") as refused:
        session.parse(status("not_authorized", "no Q.AAPL"), SEEN)
    assert not isinstance(refused.value, LoginRefused)
    with pytest.raises(LoginRefused, match="max_connections"):
        session.parse(status("max_connections"), SEEN)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (trade(p=0), "found 0"),
        (trade(t=MS * 1_000), f"found {MS * 1_000}"),
        (trade(t=MS // 1_000), f"found {MS // 1_000}"),
        (trade(i=5), "`i`|`\\$.i`"),
        (trade(i=""), "found ''"),
        (quote(ap=-1), "found -1"),
        ({"ev": "AM", "sym": "AAPL"}, "item 'AM' of 'AAPL' is not subscribed"),
        ({"ev": "T"}, "item 'T' of ''"),
    ],
)
def test_what_is_wrong_is_named_and_refuses_the_frame(item: dict[str, Any], words: str) -> None:
    with pytest.raises(ParseError, match=words):
        stocks().parse(frame_of(trade(), item), SEEN)


def test_published_messages_parse(shared_data: Path) -> None:
    found = []
    for line in (shared_data / "message_examples" / "alpaca_polygon.jsonl").read_bytes().splitlines():
        message = json.loads(line)
        if message["provider"] == "polygon":
            frame = json.dumps(message["msg"]).encode()
            assert POLYGON_STOCKS.recognises(frame)
            found += stocks().parse(frame, SEEN)
    assert [type(event) for event in found] == [Trade, Trade, Quote]

"""The two venues that are asked: what an answer says, when a price is new, and how they refuse."""

from __future__ import annotations

import doctest
import json
from typing import Any

import pytest

from ingest_daemon.errors import LoginRefused, ParseError, VenueRefused
from ingest_daemon.events import ReferencePrice
from ingest_daemon.venues import Listing, Request, polls
from ingest_daemon.venues.alpha_vantage import ALPHA_VANTAGE
from ingest_daemon.venues.fmp import FMP
from ingest_daemon.venues.polls import PollSession, quoted

SEEN = 1_762_549_300_000_000
SYMBOLS = {"BRK.B": Listing(7), "IBM": Listing(8)}
IBM = Request("IBM", "/")


def alpha_vantage() -> PollSession:
    return ALPHA_VANTAGE.open_session("here", SYMBOLS, ALPHA_VANTAGE.channels)


def fmp() -> PollSession:
    return FMP.open_session("here", SYMBOLS, FMP.channels)


def global_quote(**fields: Any) -> bytes:
    names = {
        "symbol": "01. symbol",
        "price": "05. price",
        "volume": "06. volume",
        "day": "07. latest trading day",
    }
    found = {"symbol": "IBM", "price": "181.58", "volume": "3037990", "day": "2024-04-19"} | fields
    return json.dumps({"Global Quote": {names[name]: value for name, value in found.items()}}).encode()


def quote(**fields: Any) -> bytes:
    return json.dumps([{"symbol": "IBM", "price": 268.47, "timestamp": 1_762_549_202} | fields]).encode()


def test_examples_hold() -> None:
    assert doctest.testmod(polls).failed == 0
    assert quoted("a/b é") == "a%2Fb%20%C3%A9"


def test_the_requests() -> None:
    (first,), (second,) = alpha_vantage().pending_requests(), fmp().pending_requests()
    assert first == Request("BRK.B", "/query?function=GLOBAL_QUOTE&symbol=BRK.B", "apikey")
    assert second == Request("BRK.B", "/stable/quote?symbol=BRK.B", "apikey")


def test_without_channels_nothing_is_asked() -> None:
    assert FMP.open_session("here", SYMBOLS, []).pending_requests() == ()
    assert ALPHA_VANTAGE.open_session("here", SYMBOLS, []).pending_requests() == ()


def test_alpha_vantage_says_the_day_which_is_no_time() -> None:
    assert alpha_vantage().parse(global_quote(), SEEN) == (ReferencePrice(8, None, SEEN, mark_price=181.58),)


@pytest.mark.parametrize("new", [{"price": "181.6"}, {"volume": "3037991"}, {"day": "2024-04-22"}])
def test_of_alpha_vantage_what_differs_is_new(new: dict[str, str]) -> None:
    session = alpha_vantage()
    assert len(session.parse(global_quote(), SEEN)) == 1
    assert session.parse(global_quote(), SEEN + 1) == ()
    assert session.parse(global_quote(symbol="BRK.B"), SEEN + 1) != ()
    assert len(session.parse(global_quote(**new), SEEN + 2)) == 1


def test_of_fmp_another_time_is_new() -> None:
    session = fmp()
    assert session.parse(quote(), SEEN) == (
        ReferencePrice(8, 1_762_549_202_000_000, SEEN, mark_price=268.47),
    )
    assert session.parse(quote(price=1), SEEN) == ()
    assert len(session.parse(quote(timestamp=1_762_549_203), SEEN)) == 1


@pytest.mark.parametrize(
    ("session", "body"),
    [(alpha_vantage(), b'{"Global Quote": {}}'), (alpha_vantage(), b'{"Global Quote":{ }}'), (fmp(), b"[]")],
)
def test_a_symbol_that_the_venue_does_not_know_is_named(session: PollSession, body: bytes) -> None:
    with pytest.raises(VenueRefused, match="here refused: it has no price of IBM"):
        session.answer(IBM, body, SEEN)
    with pytest.raises(ParseError, match="without a price"):
        session.parse(body, SEEN)
    assert session.stream_of(body) == ""


@pytest.mark.parametrize(
    ("session", "refusal", "kind"),
    [
        (alpha_vantage(), {"Note": "5 calls per minute"}, LoginRefused),
        (alpha_vantage(), {"Information": "25 requests per day"}, LoginRefused),
        (alpha_vantage(), {"Error Message": "the parameter apikey is invalid or missing."}, LoginRefused),
        (alpha_vantage(), {"Error Message": "Invalid API call."}, VenueRefused),
        (fmp(), {"Error Message": "Invalid API KEY."}, LoginRefused),
        (fmp(), {"Error Message": "Limit Reach."}, LoginRefused),
        (fmp(), {"Error Message": "Nothing like that."}, VenueRefused),
    ],
)
def test_refusals_of_the_account_and_of_a_call(
    session: PollSession, refusal: dict[str, str], kind: type[VenueRefused]
) -> None:
    (words,) = refusal.values()
    with pytest.raises(VenueRefused, match=f"here refused: {words}") as refused:
        session.answer(IBM, json.dumps(refusal).encode(), SEEN)
    assert type(refused.value) is kind


@pytest.mark.parametrize(
    ("session", "body", "words"),
    [
        (alpha_vantage(), global_quote(price="0"), "price"),
        (alpha_vantage(), global_quote(price="nan"), "price"),
        (alpha_vantage(), global_quote(symbol="DOGE"), "'DOGE' was not asked for"),
        (alpha_vantage(), b"{}", "neither a quote nor a refusal"),
        (alpha_vantage(), b'{"Global Quote":{"01. symbol":"IBM"}}', "05. price"),
        (fmp(), quote(price=0), "found 0"),
        (fmp(), quote(timestamp=1_762_549_202_000), "found 1762549202000"),
        (fmp(), quote(symbol="DOGE"), "'DOGE' was not asked for"),
        (fmp(), b"{}", "Error Message"),
        (fmp(), quote()[:-1] + b"," + quote()[1:], "length"),
    ],
)
def test_what_is_wrong_is_named(session: PollSession, body: bytes, words: str) -> None:
    with pytest.raises(ParseError, match=words):
        session.answer(IBM, body, SEEN)


def test_there_is_no_socket() -> None:
    session = fmp()
    assert (session.path(), session.subscribe(), session.keep_alive(), session.pending_messages()) == (
        "",
        (),
        None,
        (),
    )
    assert session.close(SEEN) == []

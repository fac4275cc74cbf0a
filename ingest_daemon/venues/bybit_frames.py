"""What the frames of Bybit v5's public topics say: shapes, bounds, and the readers that make events.

What lives here: pure functions of one frame. What never does: subscriptions (`bybit.py`), books (`books.py`),
contracts (`contracts.py`), sockets, clocks.

Evidence: published examples of 2023-04 of linear and inverse contracts (publicTrade, orderbook, tickers).
`cts`, the depths 200, 500 and 1000, refusals and spot, of which no frame was at hand, are as the venue
documents them. The only capture is of an older protocol (2021), of which nothing is spoken.

    topic        type      event           fields
    publicTrade  snapshot  Trade           i id, p price, v size, T time, S: the taker's side; BT: a block
                                           trade, told as any other
    orderbook.1  both      Quote           as below
    orderbook.N  snapshot  Book, FeedGap   b bids, a asks, u: the update's id; the whole book. Also sent after
                                           a restart of the venue, where u may start anew at 1
    orderbook.N  delta     Book, FeedGap   changed levels, 0 for one that is gone or leaves the depth;
                                           u = last u + 1. Time is cts, the engine's, or else ts. Spot has
                                           the depths 1, 50, 200 and 1000
    tickers      both      ReferencePrice  markPrice, indexPrice, fundingRate, nextFundingTime, at ts. A delta
                                           has what changed, the event has what the delta has; no event if
                                           that is nothing. A dated future sends the last two as "": None.
                                           Those of spot have none of these fields, and are not spoken

A trade's id is a UUID, and a number here: 63 bits of the BLAKE2b of its text (`trade_id`). The database takes
two trades for one where instrument, id and time agree, so that a collision would have to happen within a
millisecond. Ids that are numbers are taken as they are.

Times are milliseconds, prices and sizes decimal strings. A contract of a linear market is a unit of the base
currency, one of an inverse market a unit of the quote currency (`contract_currency: quote`).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated, Generic, Literal, TypeVar

import msgspec

from ingest_daemon.books import Diff, Snapshot
from ingest_daemon.errors import ParseError
from ingest_daemon.events import Event, ReferencePrice, Trade
from ingest_daemon.venues.fields import (
    AGGRESSORS,
    Id,
    Levels,
    Milliseconds,
    Price,
    Rate,
    Reader,
    Size,
)
from ingest_daemon.venues.stream_books import UpdateReader

__all__ = ["ticker_reader", "trade_id", "trade_reader", "update_reader"]

_Data = TypeVar("_Data")
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_ID_LIMIT = 2**63


class _Frame(msgspec.Struct, Generic[_Data], gc=False):
    type: Literal["snapshot", "delta"]
    data: _Data
    ts: Milliseconds
    cts: Milliseconds | None = None


class _Trade(msgspec.Struct, gc=False):
    s: str
    i: _Text
    p: Price
    v: Size
    T: Milliseconds
    S: Literal["Buy", "Sell"]


class _Update(msgspec.Struct, gc=False):
    s: str
    u: Id
    b: Levels
    a: Levels


class _Ticker(msgspec.Struct, gc=False, rename="camel"):
    symbol: str
    mark_price: str = ""
    index_price: str = ""
    funding_rate: str = ""
    next_funding_time: str = ""


_decode_trades = msgspec.json.Decoder(_Frame[list[_Trade]], strict=False).decode
_decode_update = msgspec.json.Decoder(_Frame[_Update], strict=False).decode
_decode_ticker = msgspec.json.Decoder(_Frame[_Ticker]).decode


def trade_id(text: str) -> int:
    """A number for the venue's id, the same in every run; below 2**63, as the database takes it."""
    if text.isascii() and text.isdigit() and int(text) < _ID_LIMIT:
        return int(text)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1


def trade_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `publicTrade`: one frame tells of all that one order took."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        events = []
        for data in _decode_trades(frame).data:
            if data.s != symbol:
                raise _foreign(symbol, data.s)
            aggressor = AGGRESSORS[data.S]
            number, at = trade_id(data.i), data.T * 1000
            events.append(Trade(instrument_id, number, at, received_at, data.p, data.v, aggressor))
        return events

    return read


def ticker_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `tickers`."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        whole = _decode_ticker(frame)
        data = whole.data
        if data.symbol != symbol:
            raise _foreign(symbol, data.symbol)
        mark = _number(data.mark_price, Price, "markPrice")
        index = _number(data.index_price, Price, "indexPrice")
        rate = _number(data.funding_rate, Rate, "fundingRate")
        due_ms = _number(data.next_funding_time, Milliseconds, "nextFundingTime")
        if mark is index is rate is due_ms is None:
            return ()
        due_at = None if due_ms is None else int(due_ms) * 1000
        return (ReferencePrice(instrument_id, whole.ts * 1000, received_at, mark, index, rate, due_at),)

    return read


def update_reader(symbol: str) -> UpdateReader:
    """Readers of `orderbook`."""

    def read(frame: bytes) -> Snapshot | Diff:
        whole = _decode_update(frame)
        data = whole.data
        if data.s != symbol:
            raise _foreign(symbol, data.s)
        occurred_at = (whole.cts or whole.ts) * 1000
        if whole.type == "snapshot":
            return Snapshot(data.u, data.b, data.a, False, False, occurred_at)
        return Diff(data.u, data.u, None, occurred_at, data.b, data.a)

    return read


def _number(text: str, kind: object, name: str) -> float | None:
    """A number that may be left out or empty."""
    if not text:
        return None
    try:
        number: float = msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ParseError(f"{name} is {text!r:.80}: {error}") from None
    return number


def _foreign(expected: str, found: str) -> ParseError:
    return ParseError(f"the symbol is {found!r:.80} in a topic of {expected}")

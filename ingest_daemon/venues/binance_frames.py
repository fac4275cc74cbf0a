"""What the frames of Binance spot, USD-M and COIN-M say: shapes, bounds, and the readers that make events.

What lives here: pure functions of one frame. What never does: the state of a session (`binance.py`), books
(`books.py`), sockets, clocks, contracts (`contracts.py`).

COIN-M (`BTCUSD_PERP`) speaks as USD-M does, of contracts of 10 or 100 USD, and names the pair in `ps`.

Evidence: live recordings of 2024-07-18 and 2024-08-08 (trade, bookTicker, diff depth, REST snapshot),
captures of 2021 (aggTrade, bookTicker, diff depth) and published examples of 2019 to 2021 (markPrice).
`depth20` and refusals are as the venue documents them.

    channel     market  event           fields
    trade       spot    Trade           t id, p price, q size, T time, m: the buyer is the maker, so the
                                        seller took liquidity; M is always true
    trade       usdm    Trade           the same without M; X is MARKET, INSURANCE_FUND or ADL. X "NA" with
                                        price and size 0 is no execution: no event (reported by users, 2025)
    aggTrade    both    Trade           a id, f and l the first and last trade summed
    bookTicker  spot    Quote           u id, b B bid, a A ask; no time, so occurred_at is None
    bookTicker  usdm    Quote           also T, the matching engine's time (taken), and E, when it was sent;
                                        E − T was 0 ms in the median, 112 ms at most
    depth20     spot    Book            lastUpdateId, bids, asks; neither symbol nor time
    depth20     usdm    Book            a depthUpdate with T and u; b and a are the whole top of the book
    depth       spot    Book, FeedGap   U to u, contiguous: U = last u + 1; time is E, there is no T
    depth       usdm    Book, FeedGap   U to u, pu = last u: ids of all symbols, so they skip; time is T
    markPrice   usdm    ReferencePrice  E time, p mark, i index (absent in 2019), r funding rate, T next
                                        funding; a dated future sends r as 0 or "" and T as 0: None here.
                                        COIN-M sent no i in 2020

Times are milliseconds, prices and sizes decimal strings. A recording has the REST snapshot of a book as a
line without an envelope: spot sends lastUpdateId, bids, asks, USD-M also E and T; neither says the symbol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, Literal, TypeVar

import msgspec

from ingest_daemon.books import Diff
from ingest_daemon.errors import ParseError
from ingest_daemon.events import AggressorSide, Book, Event, Quote, ReferencePrice, Trade
from ingest_daemon.venues.fields import (
    FIRST_MS,
    LAST_MS,
    VALUE_SHOWN,
    Id,
    Levels,
    Milliseconds,
    Price,
    Rate,
    Reader,
    Size,
    top_of_book,
)

__all__ = [
    "DiffReader",
    "ReaderMaker",
    "RestSnapshot",
    "aggregate_reader",
    "decode_snapshot",
    "foreign",
    "mark_price_reader",
    "read_spot_diff",
    "read_usdm_diff",
    "spot_quote_reader",
    "spot_top_reader",
    "trade_reader",
    "usdm_quote_reader",
    "usdm_top_reader",
    "usdm_trade_reader",
]

_BUY, _SELL = int(AggressorSide.BUY), int(AggressorSide.SELL)
Zero = Annotated[float, msgspec.Meta(ge=0, le=0)]
BestLevels = Annotated[list[tuple[Price, Size]], msgspec.Meta(max_length=20)]

ReaderMaker = Callable[[str, int], Reader]  # (symbol, instrument_id) → the reader of one stream
DiffReader = Callable[[bytes], tuple[str, Diff]]  # frame → (symbol, diff)
_Data = TypeVar("_Data")


class _Frame(msgspec.Struct, Generic[_Data], gc=False):
    data: _Data


class _Trade(msgspec.Struct, gc=False):
    s: str
    t: Id
    p: Price
    q: Size
    T: Milliseconds
    m: bool


class _NoExecution(msgspec.Struct, gc=False):
    s: str
    p: Zero
    q: Zero
    X: Literal["NA"]


class _AggregateTrade(msgspec.Struct, gc=False):
    s: str
    a: Id
    p: Price
    q: Size
    f: Id
    l: Id  # noqa: E741 - the venue's name
    T: Milliseconds
    m: bool


class _SpotTicker(msgspec.Struct, gc=False):
    s: str
    u: Id
    b: Price
    B: Size
    a: Price
    A: Size


class _UsdmTicker(_SpotTicker, gc=False):
    T: Milliseconds


class _SpotTop(msgspec.Struct, gc=False):
    lastUpdateId: Id  # noqa: N815 - the venue's name
    bids: BestLevels
    asks: BestLevels


class _UsdmTop(msgspec.Struct, gc=False):
    s: str
    u: Id
    T: Milliseconds
    b: BestLevels
    a: BestLevels


class _SpotDiff(msgspec.Struct, gc=False):
    s: str
    U: Id
    u: Id
    E: Milliseconds
    b: Levels
    a: Levels


class _UsdmDiff(msgspec.Struct, gc=False):
    s: str
    U: Id
    u: Id
    pu: Id
    T: Milliseconds
    b: Levels
    a: Levels


class _MarkPrice(msgspec.Struct, gc=False):
    s: str
    E: Milliseconds
    p: Price
    i: Price | None = None
    r: str | None = None
    T: Id | None = None


class RestSnapshot(msgspec.Struct, gc=False):
    """An answer of the REST interface: the best levels of a book, as of an update."""

    lastUpdateId: Id  # noqa: N815 - the venue's name
    bids: list[tuple[Price, Size]]
    asks: list[tuple[Price, Size]]


_decode_trade = msgspec.json.Decoder(_Frame[_Trade], strict=False).decode
_decode_no_execution = msgspec.json.Decoder(_Frame[_NoExecution], strict=False).decode
_decode_aggregate = msgspec.json.Decoder(_Frame[_AggregateTrade], strict=False).decode
_decode_spot_ticker = msgspec.json.Decoder(_Frame[_SpotTicker], strict=False).decode
_decode_usdm_ticker = msgspec.json.Decoder(_Frame[_UsdmTicker], strict=False).decode
_decode_spot_top = msgspec.json.Decoder(_Frame[_SpotTop], strict=False).decode
_decode_usdm_top = msgspec.json.Decoder(_Frame[_UsdmTop], strict=False).decode
_decode_spot_diff = msgspec.json.Decoder(_Frame[_SpotDiff], strict=False).decode
_decode_usdm_diff = msgspec.json.Decoder(_Frame[_UsdmDiff], strict=False).decode
_decode_mark_price = msgspec.json.Decoder(_Frame[_MarkPrice], strict=False).decode
decode_snapshot = msgspec.json.Decoder(RestSnapshot, strict=False).decode

# The readers: one a stream, made when the session opens, so that a frame costs one look-up and one decoding.


def trade_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `trade`."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        data = _decode_trade(frame).data
        if data.s != symbol:
            raise foreign(symbol, data.s)
        aggressor = _SELL if data.m else _BUY
        return (Trade(instrument_id, data.t, data.T * 1000, received_at, data.p, data.q, aggressor),)

    return read


def usdm_trade_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `trade` on USD-M, where some frames tell of no execution."""

    read_trade = trade_reader(symbol, instrument_id)

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        try:
            return read_trade(frame, received_at)
        except msgspec.ValidationError:
            if b'"NA"' not in frame:
                raise
            data = _decode_no_execution(frame).data
            if data.s != symbol:
                raise foreign(symbol, data.s) from None
            return ()

    return read


def aggregate_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `aggTrade`: one event for all that one order took at one price."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        data = _decode_aggregate(frame).data
        if data.s != symbol:
            raise foreign(symbol, data.s)
        fills = data.l - data.f + 1
        if not 1 <= fills < 2**31:
            raise ParseError(
                f"{symbol} aggTrade {data.a}: f is {data.f} and l is {data.l}, no span of trades"
            )
        aggressor = _SELL if data.m else _BUY
        return (Trade(instrument_id, data.a, data.T * 1000, received_at, data.p, data.q, aggressor, fills),)

    return read


def spot_quote_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `bookTicker` on spot, which says no time."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        data = _decode_spot_ticker(frame).data
        if data.s != symbol:
            raise foreign(symbol, data.s)
        return (Quote(instrument_id, data.u, None, received_at, data.b, data.B, data.a, data.A),)

    return read


def usdm_quote_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `bookTicker` on USD-M."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        data = _decode_usdm_ticker(frame).data
        if data.s != symbol:
            raise foreign(symbol, data.s)
        return (Quote(instrument_id, data.u, data.T * 1000, received_at, data.b, data.B, data.a, data.A),)

    return read


def spot_top_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `depth20` on spot, which says neither symbol nor time."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        data = _decode_spot_top(frame).data
        top = top_of_book(f"{symbol} depth20", data.bids, data.asks)
        return (Book(instrument_id, data.lastUpdateId, None, received_at, *top),)

    return read


def usdm_top_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `depth20` on USD-M."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        data = _decode_usdm_top(frame).data
        if data.s != symbol:
            raise foreign(symbol, data.s)
        top = top_of_book(f"{symbol} depth20", data.b, data.a)
        return (Book(instrument_id, data.u, data.T * 1000, received_at, *top),)

    return read


def mark_price_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `markPrice`."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        data = _decode_mark_price(frame).data
        if data.s != symbol:
            raise foreign(symbol, data.s)
        next_funding_at = None if not data.T else data.T * 1000
        if data.T and not FIRST_MS <= data.T <= LAST_MS:
            raise ParseError(f"{symbol} markPrice: T is {data.T}, not milliseconds of 2009 to 2099")
        rate = _rate(symbol, data.r) if data.r and data.T else None
        occurred_at = data.E * 1000
        return (
            ReferencePrice(instrument_id, occurred_at, received_at, data.p, data.i, rate, next_funding_at),
        )

    return read


def _rate(symbol: str, text: str) -> float:
    try:
        return msgspec.convert(text, Rate, strict=False)
    except msgspec.ValidationError:
        raise ParseError(f"{symbol} markPrice: r is {text!r:.{VALUE_SHOWN}}, not a rate") from None


def read_spot_diff(frame: bytes) -> tuple[str, Diff]:
    """Symbol and diff of `depth` on spot."""
    data = _decode_spot_diff(frame).data
    _check_span(data.s, data.U, data.u)
    return data.s, Diff(data.U, data.u, None, data.E * 1000, data.b, data.a)


def read_usdm_diff(frame: bytes) -> tuple[str, Diff]:
    """Symbol and diff of `depth` on USD-M."""
    data = _decode_usdm_diff(frame).data
    _check_span(data.s, data.U, data.u)
    return data.s, Diff(data.U, data.u, data.pu, data.T * 1000, data.b, data.a)


def _check_span(symbol: str, first_id: int, last_id: int) -> None:
    if first_id > last_id:
        raise ParseError(f"{symbol} depth: U is {first_id} and u is {last_id}, no span of updates")


def foreign(expected: str, found: str) -> ParseError:
    """The error of a frame whose symbol is not that of its stream."""
    return ParseError(f"s is {found!r:.80} in a stream of {expected}")

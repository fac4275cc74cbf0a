"""What the frames of Kraken's WebSocket v2 say: shapes, bounds, and the readers that make events.

What lives here: functions of one frame, and of the one before where a frame has no number. What never does:
subscriptions (`kraken.py`), books (`books.py`), sockets, clocks.

Evidence: published examples (trade, ticker, book). The checksum, which is that of v1, is also held against a
capture of v1 of 2021-04-17, rewritten as v2. Depths, cutting and refusals are as the venue documents them.

    channel  type      event          fields
    trade    both      Trade          trade_id, counted within the symbol; price, qty, timestamp, side: the
                                      taker's. A snapshot has the last 50 trades; none is asked for
    ticker   both      Quote          bid, bid_qty, ask, ask_qty, timestamp (optional); zeros where a side is
                                      empty, then with a time of 1970: no event
    book     snapshot  Book           bids, asks: the best levels to the depth asked for; checksum
    book     update    Book, FeedGap  changed levels, qty 0: gone; checksum. What falls out of the depth is
                                      not told, but cut off here. No number: a loss shows in the checksum

The checksum is the CRC32 of the best ten asks, then bids, each its price and its qty without point and
leading zeros. Times are RFC 3339. Prices and sizes are JSON numbers with all their digits, as the checksum
needs them. The time in microseconds is the id of an update, one more than the last where it would not ascend.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Annotated, Generic, Literal, TypeVar

import msgspec

from ingest_daemon.books import Diff, Snapshot, Texts
from ingest_daemon.errors import ParseError
from ingest_daemon.events import Event, Quote, Trade
from ingest_daemon.venues.fields import (
    AGGRESSORS,
    Id,
    Instant,
    Price,
    Reader,
    Size,
    SizeOrZero,
    microseconds,
)
from ingest_daemon.venues.stream_books import UpdateReader

__all__ = ["AsksThenBidsCrc32", "quote_reader", "trade_reader", "update_reader"]

_Data = TypeVar("_Data")
_Checksum = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class _Frame(msgspec.Struct, Generic[_Data], gc=False):
    data: Annotated[list[_Data], msgspec.Meta(min_length=1)]


class _Whole(msgspec.Struct, Generic[_Data], gc=False):
    """A frame of `book`: exactly one snapshot or update."""

    type: Literal["snapshot", "update"]
    data: Annotated[list[_Data], msgspec.Meta(min_length=1, max_length=1)]


class _Trade(msgspec.Struct, gc=False):
    symbol: str
    side: Literal["buy", "sell"]
    price: Price
    qty: Size
    trade_id: Id
    timestamp: Instant


class _Ticker(msgspec.Struct, gc=False):
    symbol: str
    bid: SizeOrZero
    bid_qty: SizeOrZero
    ask: SizeOrZero
    ask_qty: SizeOrZero
    timestamp: Instant | None = None


class _Level(msgspec.Struct, gc=False):
    price: Price
    qty: SizeOrZero


class _Book(msgspec.Struct, gc=False):
    symbol: str
    bids: list[_Level]
    asks: list[_Level]
    checksum: _Checksum | None = None
    timestamp: Instant | None = None


class _LevelText(msgspec.Struct, gc=False):
    price: msgspec.Raw
    qty: msgspec.Raw


class _BookText(msgspec.Struct, gc=False):
    bids: list[_LevelText]
    asks: list[_LevelText]


_decode_trades = msgspec.json.Decoder(_Frame[_Trade]).decode
_decode_tickers = msgspec.json.Decoder(_Frame[_Ticker]).decode
_decode_book = msgspec.json.Decoder(_Whole[_Book]).decode
_decode_book_text = msgspec.json.Decoder(_Whole[_BookText]).decode


def trade_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `trade`."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        events = []
        for data in _decode_trades(frame).data:
            if data.symbol != symbol:
                raise _foreign(symbol, data.symbol)
            at = microseconds(data.timestamp)
            if at is None:
                raise ParseError(
                    f"{symbol} trade {data.trade_id}: time is {data.timestamp}, not of 2009 to 2099"
                )
            aggressor = AGGRESSORS[data.side]
            events.append(
                Trade(instrument_id, data.trade_id, at, received_at, data.price, data.qty, aggressor)
            )
        return events

    return read


def quote_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `ticker`."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        events = []
        for data in _decode_tickers(frame).data:
            if data.symbol != symbol:
                raise _foreign(symbol, data.symbol)
            best = (data.bid, data.bid_qty, data.ask, data.ask_qty)
            if 0.0 in best:
                continue
            at = None if data.timestamp is None else microseconds(data.timestamp)
            events.append(Quote(instrument_id, received_at if at is None else at, at, received_at, *best))
        return events

    return read


def update_reader(symbol: str) -> UpdateReader:
    """Readers of `book`; one a book, since its updates are numbered here."""
    last_id = 0

    def read(frame: bytes) -> Snapshot | Diff:
        nonlocal last_id
        whole = _decode_book(frame)
        data = whole.data[0]
        if data.symbol != symbol:
            raise _foreign(symbol, data.symbol)
        text = _decode_book_text(frame).data[0]
        texts = Texts(_words(text.bids), _words(text.asks), data.checksum)
        occurred_at = None if data.timestamp is None else microseconds(data.timestamp)
        last_id = max(occurred_at or 0, last_id + 1)
        bids = [(level.price, level.qty) for level in data.bids]
        asks = [(level.price, level.qty) for level in data.asks]
        if whole.type == "snapshot":
            # Not truncated: the venue tells of every level that comes into the depth.
            return Snapshot(last_id, bids, asks, False, False, occurred_at, texts)
        return Diff(last_id, last_id, None, occurred_at, bids, asks, texts)

    return read


class AsksThenBidsCrc32:
    """The best ten asks, then the best ten bids, one after another."""

    depth = 10

    def checksum(self, bids: Sequence[str], asks: Sequence[str]) -> int:
        """CRC32 as an unsigned 32-bit integer."""
        return zlib.crc32("".join([*asks, *bids]).encode())


def _words(levels: Sequence[_LevelText]) -> list[str]:
    return [_digits(level.price) + _digits(level.qty) for level in levels]


def _digits(number: msgspec.Raw) -> str:
    return bytes(number).decode().replace(".", "").lstrip("0")


def _foreign(expected: str, found: str) -> ParseError:
    return ParseError(f"symbol is {found!r:.80} in a stream of {expected}")

"""What the frames of OKX v5's public channels say: shapes, bounds, and the readers that make events.

What lives here: functions of one frame, and of the one before where a frame has no number. What never does:
subscriptions (`okx.py`), books (`books.py`), contracts (`contracts.py`), sockets, clocks.

Evidence: a capture of 2022-05-13 (trades, tickers, books; spot, swap, future) and published examples of 2021
to 2023 (trades, bbo-tbt, mark-price, index-tickers, funding-rate). `count`, `seqId`, `books5`, the `ts` of
funding-rate and refusals are as the venue documents them.

    channel        event           fields
    trades         Trade           tradeId, px, sz, ts, side: the taker's; count: executions of one order at
                                   one price summed, 1 where absent. Ids were contiguous in the capture
    bbo-tbt        Quote           the best of asks and bids, each [price, size, 0, orders], ts, seqId; no
                                   event while a side is empty
    tickers        Quote           bidPx bidSz askPx askSz, "" where there is none (no event), ts; no number
    books5         Book            five levels a side, whole; ts, seqId
    books          Book, FeedGap   a snapshot of 400 levels, then updates; a level that leaves these 400 is
                                   deleted. prevSeqId is the seqId of the update before: -1 for a snapshot,
                                   the same as seqId where nothing changed. checksum: CRC32 of the top 25,
                                   signed; all 290 of the capture are ours. 0 since 2026-06: no longer summed
    mark-price     ReferencePrice  markPx, ts
    index-tickers  ReferencePrice  idxPx, ts; instId is the index (BTC-USDT), which many instruments share
    funding-rate   ReferencePrice  fundingRate, due at fundingTime; ts. Without ts, as in 2021, it is refused

Times are milliseconds, numbers are decimal strings. Where a frame has no seqId, `ts` in microseconds is the
update's id; in a book one more than the last where that would not ascend. Mark and index prices that say the
same millisecond have the same key in the database: the second is counted as a duplicate.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from ingest_daemon.books import Diff, LinkedIds, Snapshot, Texts
from ingest_daemon.errors import ParseError
from ingest_daemon.events import Book, Event, Quote, ReferencePrice, Trade
from ingest_daemon.venues.fields import (
    AGGRESSORS,
    Count,
    Id,
    Milliseconds,
    Price,
    Rate,
    Reader,
    Size,
    SizeOrZero,
    top_of_book,
)
from ingest_daemon.venues.stream_books import UpdateReader

__all__ = [
    "InterleavedCrc32",
    "PreviousIds",
    "best_reader",
    "funding_reader",
    "index_reader",
    "mark_reader",
    "ticker_reader",
    "top_reader",
    "trade_reader",
    "update_reader",
]

_Data = TypeVar("_Data")
_Level = tuple[Price, Size, Any, Any]
_Change = tuple[Price, SizeOrZero, Any, Any]
_PreviousId = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]


class _Frame(msgspec.Struct, Generic[_Data], gc=False):
    data: Annotated[list[_Data], msgspec.Meta(min_length=1)]


class _Whole(msgspec.Struct, Generic[_Data], gc=False):
    """A frame of `books`: exactly one snapshot or update."""

    action: Literal["snapshot", "update"]
    data: Annotated[list[_Data], msgspec.Meta(min_length=1, max_length=1)]


class _Trade(msgspec.Struct, gc=False, rename="camel"):
    inst_id: str
    trade_id: Id
    px: Price
    sz: Size
    side: Literal["buy", "sell"]
    ts: Milliseconds
    count: Count = 1


class _Ticker(msgspec.Struct, gc=False, rename="camel"):
    inst_id: str
    bid_px: Price
    bid_sz: Size
    ask_px: Price
    ask_sz: Size
    ts: Milliseconds


class _TickerTexts(msgspec.Struct, gc=False, rename="camel"):
    inst_id: str
    bid_px: str
    bid_sz: str
    ask_px: str
    ask_sz: str


class _Top(msgspec.Struct, gc=False, rename="camel"):
    asks: Annotated[list[_Level], msgspec.Meta(max_length=5)]
    bids: Annotated[list[_Level], msgspec.Meta(max_length=5)]
    ts: Milliseconds
    seq_id: Id | None = None


class _Update(msgspec.Struct, gc=False, rename="camel"):
    asks: list[_Change]
    bids: list[_Change]
    ts: Milliseconds
    checksum: int | None = None
    seq_id: Id | None = None
    prev_seq_id: _PreviousId | None = None


class _UpdateTexts(msgspec.Struct, gc=False):
    asks: list[tuple[str, str, Any, Any]]
    bids: list[tuple[str, str, Any, Any]]


class _Mark(msgspec.Struct, gc=False, rename="camel"):
    inst_id: str
    mark_px: Price
    ts: Milliseconds


class _Index(msgspec.Struct, gc=False, rename="camel"):
    inst_id: str
    idx_px: Price
    ts: Milliseconds


class _Funding(msgspec.Struct, gc=False, rename="camel"):
    inst_id: str
    funding_rate: Rate
    funding_time: Milliseconds
    ts: Milliseconds


_decode_trades = msgspec.json.Decoder(_Frame[_Trade], strict=False).decode
_decode_tickers = msgspec.json.Decoder(_Frame[_Ticker], strict=False).decode
_decode_ticker_texts = msgspec.json.Decoder(_Frame[_TickerTexts]).decode
_decode_tops = msgspec.json.Decoder(_Frame[_Top], strict=False).decode
_decode_update = msgspec.json.Decoder(_Whole[_Update], strict=False).decode
_decode_update_texts = msgspec.json.Decoder(_Whole[_UpdateTexts]).decode
_decode_marks = msgspec.json.Decoder(_Frame[_Mark], strict=False).decode
_decode_indices = msgspec.json.Decoder(_Frame[_Index], strict=False).decode
_decode_fundings = msgspec.json.Decoder(_Frame[_Funding], strict=False).decode


def trade_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `trades`."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        events = []
        for data in _decode_trades(frame).data:
            if data.inst_id != symbol:
                raise _foreign(symbol, data.inst_id)
            aggressor = AGGRESSORS[data.side]
            events.append(
                Trade(
                    instrument_id,
                    data.trade_id,
                    data.ts * 1000,
                    received_at,
                    data.px,
                    data.sz,
                    aggressor,
                    data.count,
                )
            )
        return events

    return read


def ticker_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `tickers`."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        try:
            tickers = _decode_tickers(frame).data
        except msgspec.ValidationError:
            texts = _decode_ticker_texts(frame).data
            if all(data.inst_id == symbol and _is_one_sided(data) for data in texts):
                return ()
            raise
        events = []
        for data in tickers:
            if data.inst_id != symbol:
                raise _foreign(symbol, data.inst_id)
            at = data.ts * 1000
            best = (data.bid_px, data.bid_sz, data.ask_px, data.ask_sz)
            events.append(Quote(instrument_id, at, at, received_at, *best))
        return events

    return read


def best_reader(_symbol: str, instrument_id: int) -> Reader:
    """Readers of `bbo-tbt`, whose data name no symbol."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        events = []
        for data in _decode_tops(frame).data:
            if data.bids and data.asks:
                at = data.ts * 1000
                update_id = at if data.seq_id is None else data.seq_id
                best = (*data.bids[0][:2], *data.asks[0][:2])
                events.append(Quote(instrument_id, update_id, at, received_at, *best))
        return events

    return read


def top_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `books5`, whose data name a symbol at times."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        events = []
        for data in _decode_tops(frame).data:
            at = data.ts * 1000
            update_id = at if data.seq_id is None else data.seq_id
            bids, asks = [level[:2] for level in data.bids], [level[:2] for level in data.asks]
            top = top_of_book(f"{symbol} books5", bids, asks)
            events.append(Book(instrument_id, update_id, at, received_at, *top))
        return events

    return read


def mark_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `mark-price`."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        events = []
        for data in _decode_marks(frame).data:
            if data.inst_id != symbol:
                raise _foreign(symbol, data.inst_id)
            events.append(ReferencePrice(instrument_id, data.ts * 1000, received_at, data.mark_px))
        return events

    return read


def index_reader(index: str, instrument_ids: Sequence[int]) -> Reader:
    """Readers of `index-tickers`: one event for each instrument of the index."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        events = []
        for data in _decode_indices(frame).data:
            if data.inst_id != index:
                raise _foreign(index, data.inst_id)
            at, price = data.ts * 1000, data.idx_px
            events.extend(
                [ReferencePrice(number, at, received_at, index_price=price) for number in instrument_ids]
            )
        return events

    return read


def funding_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `funding-rate`."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        events = []
        for data in _decode_fundings(frame).data:
            if data.inst_id != symbol:
                raise _foreign(symbol, data.inst_id)
            at, due_at = data.ts * 1000, data.funding_time * 1000
            events.append(
                ReferencePrice(instrument_id, at, received_at, None, None, data.funding_rate, due_at)
            )
        return events

    return read


def update_reader() -> UpdateReader:
    """Readers of `books`; one a book, since frames without a number are numbered here."""
    last_id = 0

    def read(frame: bytes) -> Snapshot | Diff | None:
        nonlocal last_id
        whole = _decode_update(frame)
        data = whole.data[0]
        occurred_at = data.ts * 1000
        bids, asks = [level[:2] for level in data.bids], [level[:2] for level in data.asks]
        texts = _texts(frame, data.checksum) if data.checksum else None
        previous_id = data.prev_seq_id
        if data.seq_id is None:
            last_id, previous_id = max(occurred_at, last_id + 1), None
        elif whole.action == "update" and data.seq_id == previous_id:
            return None
        else:
            last_id = data.seq_id
        if whole.action == "snapshot":
            return Snapshot(last_id, bids, asks, False, False, occurred_at, texts)
        return Diff(last_id, last_id, previous_id, occurred_at, bids, asks, texts)

    return read


class PreviousIds(LinkedIds):
    """An update names the one before; ids may start anew after a maintenance. Without names, as they come."""

    def follows(self, diff: Diff, last_id: int) -> bool:
        """`previous_id` is where the book is, whichever is greater."""
        return diff.first_id > last_id if diff.previous_id is None else diff.previous_id == last_id


class InterleavedCrc32:
    """The best bid, the best ask, the second bid … as "price:size", top 25; the longer side goes on."""

    depth = 25

    def checksum(self, bids: Sequence[str], asks: Sequence[str]) -> int:
        """CRC32 as a signed 32-bit integer."""
        words = [word for word in chain.from_iterable(zip_longest(bids, asks)) if word is not None]
        crc = zlib.crc32(":".join(words).encode())
        return crc - 2**32 if crc >= 2**31 else crc


def _texts(frame: bytes, checksum: int) -> Texts:
    data = _decode_update_texts(frame).data[0]
    bids, asks = ([f"{level[0]}:{level[1]}" for level in side] for side in (data.bids, data.asks))
    return Texts(bids, asks, checksum)


def _is_one_sided(data: _TickerTexts) -> bool:
    return "" in (data.bid_px, data.ask_px)


def _foreign(expected: str, found: str) -> ParseError:
    return ParseError(f"instId is {found!r:.80} in a stream of {expected}")

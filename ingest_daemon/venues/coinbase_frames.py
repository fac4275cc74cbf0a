"""What the frames of Coinbase Exchange say: shapes, bounds, and the readers that make events.

What lives here: functions of one frame, and of the one before where a frame has no number. What never does:
subscriptions (`coinbase.py`), books (`books.py`), sockets, clocks.

Evidence: a capture of 2021-04-17 (matches, ticker, level2 of ten products) and published examples of 2019 to
2022. level2_batch, which has the frames of level2 in batches, and refusals are as the venue documents them.

    channel       type        event           fields
    matches       match       Trade, FeedGap  trade_id, size, price, time, side: the maker's, so the taker did
                                              the opposite. The venue may drop messages; trade_id counts up by
                                              one within the product, so a number skipped is a gap
    matches       last_match  none            the last before the subscription: where counting starts
    ticker        ticker      Quote           best_bid, best_bid_size, best_ask, best_ask_size, time, sequence
                                              with every match. Without sizes, until 2022, it is refused
    level2_batch  snapshot    Book            bids, asks: the whole book; in 2021 without a time
    level2_batch  l2update    Book, FeedGap   changes: [side, price, size], 0: gone; time, at times year 1
                                              (None here). Neither number nor checksum: a loss shows only
                                              where the book crosses. A frame that cannot be read loses the
                                              book (one had a size of "0.-10000")

Times are RFC 3339, prices and sizes decimal strings. The time in microseconds is the id of a book's update,
one more than the last where that would not ascend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from ingest_daemon.books import Diff, Snapshot
from ingest_daemon.errors import ParseError
from ingest_daemon.events import AggressorSide, Event, FeedGap, GapCause, Quote, Trade
from ingest_daemon.venues.fields import Id, Instant, Levels, Price, Reader, Size, SizeOrZero, microseconds
from ingest_daemon.venues.stream_books import UpdateReader

__all__ = ["match_readers", "quote_reader", "update_reader"]

_BY_MAKER = {"buy": int(AggressorSide.SELL), "sell": int(AggressorSide.BUY)}


class _Match(msgspec.Struct, gc=False):
    product_id: str
    trade_id: Id
    side: Literal["buy", "sell"]
    size: Size
    price: Price
    time: Instant


class _Ticker(msgspec.Struct, gc=False):
    product_id: str
    sequence: Id
    best_bid: Price
    best_bid_size: Size
    best_ask: Price
    best_ask_size: Size
    time: Instant


class _Update(msgspec.Struct, gc=False, tag_field="type", tag="l2update"):
    product_id: str
    changes: list[tuple[Literal["buy", "sell"], Price, SizeOrZero]]
    time: Instant


class _Snapshot(msgspec.Struct, gc=False, tag_field="type", tag="snapshot"):
    product_id: str
    bids: Levels
    asks: Levels
    time: Instant | None = None


_decode_match = msgspec.json.Decoder(_Match, strict=False).decode
_decode_ticker = msgspec.json.Decoder(_Ticker, strict=False).decode
_decode_update = msgspec.json.Decoder(_Update | _Snapshot, strict=False).decode


def match_readers(venue: str, channel: str, symbol: str, instrument_id: int) -> tuple[Reader, Reader]:
    """The readers of `match` and of `last_match`, which share the count of trades."""
    last_id, last_at = -1, 0

    def decode(frame: bytes) -> _Match:
        data = _decode_match(frame)
        if data.product_id != symbol:
            raise _foreign(symbol, data.product_id)
        return data

    def read_last(frame: bytes, received_at: int) -> Sequence[Event]:
        nonlocal last_id, last_at
        last_id, last_at = decode(frame).trade_id, received_at
        return ()

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        nonlocal last_id, last_at
        data = decode(frame)
        occurred_at = microseconds(data.time)
        if occurred_at is None:
            raise ParseError(f"{symbol} match {data.trade_id}: time is {data.time}, not of 2009 to 2099")
        trade = Trade(
            instrument_id,
            data.trade_id,
            occurred_at,
            received_at,
            data.price,
            data.size,
            _BY_MAKER[data.side],
        )
        skipped = data.trade_id - last_id - 1 if last_id >= 0 else 0
        since, before = last_at, last_id
        last_id, last_at = max(last_id, data.trade_id), received_at
        if skipped <= 0:
            return (trade,)
        detail = f"trade {before} is followed by {data.trade_id}"
        cause = GapCause.SEQUENCE_BREAK
        ended_at = max(since, received_at)
        span = (since, ended_at, cause)
        return (FeedGap(venue, channel, instrument_id, *span, detail, skipped, "trades"), trade)

    return read, read_last


def quote_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `ticker`."""

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        data = _decode_ticker(frame)
        if data.product_id != symbol:
            raise _foreign(symbol, data.product_id)
        at = microseconds(data.time)
        best = (data.best_bid, data.best_bid_size, data.best_ask, data.best_ask_size)
        return (Quote(instrument_id, data.sequence, at, received_at, *best),)

    return read


def update_reader(symbol: str) -> UpdateReader:
    """Readers of `level2_batch`; one a book, since its updates are numbered here."""
    last_id = 0

    def read(frame: bytes) -> Snapshot | Diff:
        nonlocal last_id
        data = _decode_update(frame)
        if data.product_id != symbol:
            raise _foreign(symbol, data.product_id)
        occurred_at = None if data.time is None else microseconds(data.time)
        last_id = max(occurred_at or 0, last_id + 1)
        if isinstance(data, _Snapshot):
            return Snapshot(last_id, data.bids, data.asks, False, False, occurred_at)
        bids = [(price, size) for side, price, size in data.changes if side == "buy"]
        asks = [(price, size) for side, price, size in data.changes if side == "sell"]
        return Diff(last_id, last_id, None, occurred_at, bids, asks)

    return read


def _foreign(expected: str, found: str) -> ParseError:
    return ParseError(f"product_id is {found!r:.80} in a stream of {expected}")

"""What the items of Alpaca's market data say: shapes, bounds, and the readers that make events.

What lives here: functions of one item, and of the ones before where a book's updates have no number. What
never does: subscriptions and logins (`alpaca.py`), books (`books.py`), sockets, clocks.

Evidence: published messages of 2024 (one trade and one quote of stocks; the trade's time is not in it) and
the venue's documentation of 2024-03 for crypto. Books, answers and errors are as documented.

    channel     T   event            fields
    trades      t   Trade            i, p, s, t; crypto: tks, B or S, is the taker. Of stocks nobody says it
    trades      c   none             a correction of a trade, sent with trades: facts are never rewritten
    trades      x   none             a cancellation, likewise
    quotes      q   Quote or none    bp, bs, ap, as, t. A side without orders has price or size 0: there is no
                                     best bid and ask then, and no event
    orderbooks  o   Book, FeedGap    crypto: b, a of {p, s}; r true: the whole book; size 0: gone. No number
                                     and no checksum: a lost update shows only where the book crosses

Times are RFC 3339 with nanoseconds, rounded to microseconds here. Conditions (c), tape (z) and venue (x) of
a trade are not kept. Sizes of stocks' quotes are taken as shares, which the consolidated tapes report since
2025-11-03; older recordings have round lots. A quote has no number: its id is a hash of its time, prices and
sizes. The id of a book's update is its time in microseconds, one more than the last where that would not
ascend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from ingest_daemon.books import Diff, Snapshot
from ingest_daemon.errors import ParseError
from ingest_daemon.events import AggressorSide, Event, Quote, Trade
from ingest_daemon.venues.derived_ids import id_of_numbers
from ingest_daemon.venues.fields import Id, Instant, Price, Reader, Size, SizeOrZero, microseconds
from ingest_daemon.venues.stream_books import UpdateReader

__all__ = ["quote_reader", "trade_reader", "update_reader"]

_TAKER = {"B": int(AggressorSide.BUY), "S": int(AggressorSide.SELL)}
_MOST_LEVELS = 10_000


class _Trade(msgspec.Struct, gc=False):
    i: Id
    p: Price
    s: Size
    t: Instant
    tks: Literal["B", "S"] | None = None


class _Quote(msgspec.Struct, gc=False, rename={"asked": "as"}):
    bp: SizeOrZero
    bs: SizeOrZero
    ap: SizeOrZero
    asked: SizeOrZero
    t: Instant


class _Level(msgspec.Struct, gc=False):
    p: Price
    s: SizeOrZero


_Side = Annotated[list[_Level], msgspec.Meta(max_length=_MOST_LEVELS)]


class _Update(msgspec.Struct, gc=False):
    b: _Side
    a: _Side
    t: Instant
    r: bool = False


_decode_trade = msgspec.json.Decoder(_Trade).decode
_decode_quote = msgspec.json.Decoder(_Quote).decode
_decode_update = msgspec.json.Decoder(_Update).decode


def trade_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `t`."""

    def read(item: bytes, received_at: int) -> Sequence[Event]:
        data = _decode_trade(item)
        taker = int(AggressorSide.UNKNOWN) if data.tks is None else _TAKER[data.tks]
        at = _time_of(f"{symbol} trade {data.i}", data.t)
        return (Trade(instrument_id, data.i, at, received_at, data.p, data.s, taker),)

    return read


def quote_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of `q`."""

    def read(item: bytes, received_at: int) -> Sequence[Event]:
        data = _decode_quote(item)
        at = _time_of(f"{symbol} quote", data.t)
        best = (data.bp, data.bs, data.ap, data.asked)
        if not all(best):
            return ()
        return (Quote(instrument_id, id_of_numbers(at, *best), at, received_at, *best),)

    return read


def update_reader(symbol: str) -> UpdateReader:
    """Readers of `o`; one a book, since its updates are numbered here."""
    last_id = 0

    def read(item: bytes) -> Snapshot | Diff:
        nonlocal last_id
        data = _decode_update(item)
        at = _time_of(f"{symbol} order book", data.t)
        last_id = max(at, last_id + 1)
        bids, asks = [(level.p, level.s) for level in data.b], [(level.p, level.s) for level in data.a]
        if data.r:
            return Snapshot(last_id, bids, asks, False, False, at)
        return Diff(last_id, last_id, None, at, bids, asks)

    return read


def _time_of(what: str, instant: Instant) -> int:
    at = microseconds(instant)
    if at is None:
        raise ParseError(f"{what}: t is {instant}, not of 2009 to 2099")
    return at

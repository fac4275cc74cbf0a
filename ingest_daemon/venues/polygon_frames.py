"""What the items of Polygon's market data say: shapes, bounds, and the readers that make events.

What lives here: functions of one item. What never does: subscriptions and logins (`polygon.py`), sockets,
clocks.

Evidence: published messages of 2021 and 2022 (trades and a quote of stocks, some without c). Crypto and
answers are as the venue documents them in 2025.

    channel  event          fields
    T        Trade          sym, i, x, p, s, t; nobody says who took
    Q        Quote or none  sym, bp, bs, ap, as, t: the best of all exchanges
    XT       Trade          pair, i, x, p, s, t; c: [1] the taker sold, [2] bought
    XQ       Quote or none  pair, bp, bs, ap, as, t: of one exchange (x) or another, not the best of all

Times are milliseconds. An id (i) is a text, and unique for one exchange (x) only: the trade's id is a hash
of both. A quote has no number: its id is a hash of its time, prices and sizes. A side without orders has
price or size 0, or is not there: then there is no best bid and ask, and no event. Sizes of stocks' quotes are
taken as shares, which the consolidated tapes report since 2025-11-03; older recordings have round lots.
Conditions (c) of stocks, tape (z) and sequence (q) are not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from ingest_daemon.events import AggressorSide, Event, Quote, Trade
from ingest_daemon.venues.derived_ids import id_of_numbers, id_of_text
from ingest_daemon.venues.fields import Milliseconds, Price, Reader, Size, SizeOrZero

__all__ = ["crypto_trade_reader", "quote_reader", "stock_trade_reader"]

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_SELLS, _BUYS = 1, 2


class _Trade(msgspec.Struct, gc=False):
    i: _Text
    x: int
    p: Price
    s: Size
    t: Milliseconds


class _CryptoTrade(_Trade, gc=False):
    c: list[int] = []


class _Quote(msgspec.Struct, gc=False, rename={"asked": "as"}):
    t: Milliseconds
    bp: SizeOrZero = 0.0
    bs: SizeOrZero = 0.0
    ap: SizeOrZero = 0.0
    asked: SizeOrZero = 0.0


_decode_trade = msgspec.json.Decoder(_Trade).decode
_decode_crypto_trade = msgspec.json.Decoder(_CryptoTrade).decode
_decode_quote = msgspec.json.Decoder(_Quote).decode


def stock_trade_reader(instrument_id: int) -> Reader:
    """Readers of `T`."""

    def read(item: bytes, received_at: int) -> Sequence[Event]:
        return (_trade(instrument_id, _decode_trade(item), received_at, AggressorSide.UNKNOWN),)

    return read


def crypto_trade_reader(instrument_id: int) -> Reader:
    """Readers of `XT`."""

    def read(item: bytes, received_at: int) -> Sequence[Event]:
        data = _decode_crypto_trade(item)
        if _SELLS in data.c:
            taker = AggressorSide.SELL
        else:
            taker = AggressorSide.BUY if _BUYS in data.c else AggressorSide.UNKNOWN
        return (_trade(instrument_id, data, received_at, taker),)

    return read


def quote_reader(instrument_id: int) -> Reader:
    """Readers of `Q` and `XQ`."""

    def read(item: bytes, received_at: int) -> Sequence[Event]:
        data = _decode_quote(item)
        best = (data.bp, data.bs, data.ap, data.asked)
        if not all(best):
            return ()
        at = data.t * 1_000
        return (Quote(instrument_id, id_of_numbers(at, *best), at, received_at, *best),)

    return read


def _trade(instrument_id: int, data: _Trade, received_at: int, taker: AggressorSide) -> Trade:
    trade_id = id_of_text(f"{data.x}:{data.i}")
    return Trade(instrument_id, trade_id, data.t * 1_000, received_at, data.p, data.s, int(taker))

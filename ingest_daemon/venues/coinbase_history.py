"""Coinbase's trades again, over REST: the pages of `/products/<id>/trades`.

What lives here: the request, the answer. What never does: HTTP, how the pages are walked (`history.py`).

`after` tells the 1000 before a number, the newest first; `side` is the maker's, as in the stream. Documented
by the venue, 10 requests in 1 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from ingest_daemon.errors import ParseError, VenueRefused
from ingest_daemon.events import AggressorSide, Trade
from ingest_daemon.venues.base import CallLimit, History, MissingTrades, Request
from ingest_daemon.venues.contracts import trades_in_base_units
from ingest_daemon.venues.fields import DECODE_ERRORS, Id, Instant, Price, Size, microseconds
from ingest_daemon.venues.history import Walk, decoded

__all__ = ["HISTORY", "open_walk"]

HISTORY: Final = History(channels=("matches",), limits=(CallLimit(3, 1.0),))
_PAGE: Final = 1_000
_BY_MAKER: Final = {"buy": int(AggressorSide.SELL), "sell": int(AggressorSide.BUY)}


class _Trade(msgspec.Struct, gc=False):
    trade_id: Id
    price: Price
    size: Size
    side: Literal["buy", "sell"]
    time: Instant


class _Refusal(msgspec.Struct):
    message: str


_decode = msgspec.json.Decoder(list[_Trade], strict=False).decode
_decode_refusal = msgspec.json.Decoder(_Refusal).decode


def open_walk(missing: MissingTrades) -> Walk:
    """Downwards by number."""
    convert = trades_in_base_units(missing.listing)
    instrument_id = missing.listing.instrument_id
    path = f"/products/{missing.symbol}/trades?limit={_PAGE}"

    def ask(last: Trade | None) -> Request:
        number = missing.end_number if last is None else last.trade_id
        return Request(missing.symbol, path if number is None else f"{path}&after={number}")

    def read(body: bytes, received_at: int) -> Sequence[Trade]:
        try:
            rows = decoded(_decode, body, path)
        except ParseError as error:
            raise _refusal(body, path) or error from None
        trades = []
        for each in rows:
            at = microseconds(each.time)
            if at is None:
                raise ParseError(f"{path}: trade {each.trade_id}: time is {each.time}, not of 2009 to 2099")
            aggressor = _BY_MAKER[each.side]
            trades.append(
                Trade(instrument_id, each.trade_id, at, received_at, each.price, each.size, aggressor)
            )
        return convert(trades)

    return Walk(missing, ask, read, direction="down", page=_PAGE)


def _refusal(body: bytes, path: str) -> VenueRefused | None:
    try:
        return VenueRefused(f"{path}: {_decode_refusal(body).message}")
    except DECODE_ERRORS:
        return None

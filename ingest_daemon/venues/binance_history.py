"""Binance's trades again, over REST: `historicalTrades` on spot, `aggTrades` on every market.

What lives here: the requests, the answers. What never does: HTTP, how the pages are walked (`history.py`).

    channel   request           wants an account  fields
    trade     historicalTrades  no, on spot       id, price, qty, time (ms), isBuyerMaker
    aggTrade  aggTrades         no                a, p, q, f, l, T, m as in the stream

Both take `fromId` and tell at most 1000, the oldest first, under the numbers of the stream. The futures want
an account for `historicalTrades`; their single trades are not fetched again. Documented by the venue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ingest_daemon.errors import ParseError, VenueRefused
from ingest_daemon.events import AggressorSide, Trade
from ingest_daemon.venues.base import CallLimit, History, Listing, MissingTrades, Request
from ingest_daemon.venues.contracts import trades_in_base_units
from ingest_daemon.venues.fields import DECODE_ERRORS, Id, Milliseconds, Price, Size
from ingest_daemon.venues.history import Walk, decoded

__all__ = ["OF_FUTURES", "OF_SPOT", "open_walk"]

_ROOTS: Final = {"spot": "/api/v3", "usdm": "/fapi/v1", "coinm": "/dapi/v1"}
_PAGE: Final = 1_000

# A request weighs up to 25 of 6000 a minute on spot, 20 of 2400 on the futures: a half of all.
OF_SPOT: Final = History(channels=("trade", "aggTrade"), limits=(CallLimit(2, 1.0),))
OF_FUTURES: Final = History(channels=("aggTrade",), limits=(CallLimit(1, 1.0),))


class _Single(msgspec.Struct, gc=False, rename="camel"):
    id: Id
    price: Price
    qty: Size
    time: Milliseconds
    is_buyer_maker: bool

    def trade(self, instrument_id: int, received_at: int) -> Trade:
        return Trade(
            instrument_id, self.id, self.time * 1_000, received_at, self.price, self.qty,
            _aggressor(self.is_buyer_maker),
        )  # fmt: skip


class _Aggregate(msgspec.Struct, gc=False):
    a: Id
    p: Price
    q: Size
    f: Id
    l: Id  # noqa: E741 - the venue's name
    T: Milliseconds
    m: bool

    def trade(self, instrument_id: int, received_at: int) -> Trade:
        return Trade(
            instrument_id, self.a, self.T * 1_000, received_at, self.p, self.q,
            _aggressor(self.m), max(self.l - self.f + 1, 1),
        )  # fmt: skip


class _Refusal(msgspec.Struct):
    code: int
    msg: str


_decode_singles = msgspec.json.Decoder(list[_Single], strict=False).decode
_decode_aggregates = msgspec.json.Decoder(list[_Aggregate], strict=False).decode
_decode_refusal = msgspec.json.Decoder(_Refusal).decode


def open_walk(kind: str, missing: MissingTrades) -> Walk:
    """Upwards by number."""
    name = "aggTrades" if missing.channel == "aggTrade" else "historicalTrades"
    path = f"{_ROOTS[kind]}/{name}?symbol={missing.symbol}&limit={_PAGE}"

    def ask(last: Trade | None) -> Request:
        number = missing.first_number if last is None else last.trade_id + 1
        return Request(missing.symbol, f"{path}&fromId={number}")

    read = _reader(_decode_aggregates if name == "aggTrades" else _decode_singles, missing.listing, path)
    return Walk(missing, ask, read, direction="up", page=_PAGE)


def _reader(
    decode: Callable[[bytes], Sequence[_Single | _Aggregate]], listing: Listing, path: str
) -> Callable[[bytes, int], Sequence[Trade]]:
    convert = trades_in_base_units(listing)

    def read(body: bytes, received_at: int) -> Sequence[Trade]:
        try:
            rows = decoded(decode, body, path)
        except ParseError as error:
            raise _refusal(body, path) or error from None
        return convert([row.trade(listing.instrument_id, received_at) for row in rows])

    return read


def _refusal(body: bytes, path: str) -> VenueRefused | None:
    try:
        said = _decode_refusal(body)
    except DECODE_ERRORS:
        return None
    return VenueRefused(f"{path}: {said.msg} (code {said.code})")


def _aggressor(is_buyer_maker: bool) -> int:
    return int(AggressorSide.SELL if is_buyer_maker else AggressorSide.BUY)

"""Bybit's last trades again, over REST: `recent-trade`, 60 of them on spot, 1000 of contracts.

What lives here: the request, the answer. What never does: HTTP, how far back it must reach (`history.py`).

There are no pages: a gap is whole again if the answer reaches back behind it, so only a short one, asked for
soon. A trade's id is the stream's. Documented by the venue, 600 requests in 5 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec

from ingest_daemon.errors import VenueRefused
from ingest_daemon.events import Trade
from ingest_daemon.venues.base import CallLimit, History, MissingTrades, Request
from ingest_daemon.venues.bybit_frames import trade_id
from ingest_daemon.venues.contracts import trades_in_base_units
from ingest_daemon.venues.fields import AGGRESSORS, Milliseconds, Price, Size
from ingest_daemon.venues.history import BY_TIME, Walk, decoded

__all__ = ["HISTORY", "open_walk"]

HISTORY: Final = History(channels=("publicTrade",), limits=(CallLimit(5, 1.0),), is_short=True)
_MOST: Final = {"spot": 60}
_OTHERWISE: Final = 1_000


class _Trade(msgspec.Struct, gc=False, rename="camel"):
    exec_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    price: Price
    size: Size
    side: Literal["Buy", "Sell"]
    time: Milliseconds


class _Result(msgspec.Struct):
    trades: list[_Trade] = msgspec.field(name="list", default_factory=list)


class _Answer(msgspec.Struct, rename="camel"):
    ret_code: int
    ret_msg: str = ""
    result: _Result = msgspec.field(default_factory=_Result)


_decode = msgspec.json.Decoder(_Answer, strict=False).decode


def open_walk(kind: str, missing: MissingTrades) -> Walk:
    """One page, from the present back."""
    convert = trades_in_base_units(missing.listing)
    instrument_id = missing.listing.instrument_id
    limit = _MOST.get(kind, _OTHERWISE)
    path = f"/v5/market/recent-trade?category={kind}&symbol={missing.symbol}&limit={limit}"

    def read(body: bytes, received_at: int) -> Sequence[Trade]:
        answer = decoded(_decode, body, path)
        if answer.ret_code:
            raise VenueRefused(f"{path}: {answer.ret_msg} (code {answer.ret_code})")
        return convert(
            [
                Trade(
                    instrument_id, trade_id(each.exec_id), each.time * 1_000, received_at,
                    each.price, each.size, AGGRESSORS[each.side],
                )
                for each in answer.result.trades
            ]
        )  # fmt: skip

    return Walk(
        missing, lambda _: Request(missing.symbol, path), read, direction="down", page=None, place=BY_TIME
    )

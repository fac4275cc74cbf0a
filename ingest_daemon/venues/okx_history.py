"""OKX's trades again, over REST: `history-trades`, three months of them.

What lives here: the request, the answer. What never does: HTTP, how the pages are walked (`history.py`).

`type=1` walks by number: `after` tells the 100 before a number, the newest first. Each execution is told by
itself, where the stream sums those of one order and numbers the sum by its last. Documented by the venue, 20
requests in 2 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from ingest_daemon.errors import VenueRefused
from ingest_daemon.events import Trade
from ingest_daemon.venues.base import CallLimit, History, MissingTrades, Request
from ingest_daemon.venues.contracts import trades_in_base_units
from ingest_daemon.venues.fields import AGGRESSORS, Id, Milliseconds, Price, Size
from ingest_daemon.venues.history import Walk, decoded

__all__ = ["HISTORY", "open_walk"]

HISTORY: Final = History(channels=("trades",), limits=(CallLimit(5, 1.0),), sums_numbers=True)
_PATH: Final = "/api/v5/market/history-trades"
_PAGE: Final = 100


class _Trade(msgspec.Struct, gc=False, rename="camel"):
    trade_id: Id
    px: Price
    sz: Size
    side: Literal["buy", "sell"]
    ts: Milliseconds


class _Answer(msgspec.Struct):
    code: str
    msg: str = ""
    data: list[_Trade] = []


_decode = msgspec.json.Decoder(_Answer, strict=False).decode


def open_walk(missing: MissingTrades) -> Walk:
    """Downwards by number."""
    convert = trades_in_base_units(missing.listing)
    instrument_id = missing.listing.instrument_id
    path = f"{_PATH}?instId={missing.symbol}&type=1&limit={_PAGE}"

    def ask(last: Trade | None) -> Request:
        number = missing.end_number if last is None else last.trade_id
        return Request(missing.symbol, path if number is None else f"{path}&after={number}")

    def read(body: bytes, received_at: int) -> Sequence[Trade]:
        answer = decoded(_decode, body, path)
        if answer.code != "0":
            raise VenueRefused(f"{path}: {answer.msg} (code {answer.code})")
        return convert(
            [
                Trade(
                    instrument_id, each.trade_id, each.ts * 1_000, received_at, each.px, each.sz,
                    AGGRESSORS[each.side],
                )
                for each in answer.data
            ]
        )  # fmt: skip

    return Walk(missing, ask, read, direction="down", page=_PAGE)

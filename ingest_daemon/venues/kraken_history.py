"""Kraken's trades again, over REST: `/0/public/Trades`.

What lives here: the request, the answer. What never does: HTTP, how the pages are walked (`history.py`).

`since` tells the 1000 after a time, the oldest first: [price, volume, time, side, order type, "", trade_id].
The time is in seconds with a fraction, which is not always the stream's to the microsecond; the number is the
stream's. A pair is written without the slash, and answered under the venue's own name for it. Documented by
the venue, about one request in 1 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec

from ingest_daemon.errors import VenueRefused
from ingest_daemon.events import AggressorSide, Trade
from ingest_daemon.venues.base import CallLimit, History, MissingTrades, Request
from ingest_daemon.venues.contracts import trades_in_base_units
from ingest_daemon.venues.fields import FIRST_MS, LAST_MS, Id, Price, Size
from ingest_daemon.venues.history import Walk, decoded

__all__ = ["HISTORY", "open_walk"]

HISTORY: Final = History(channels=("trade",), limits=(CallLimit(1, 1.5),))
_PAGE: Final = 1_000
_AGGRESSORS: Final = {"b": int(AggressorSide.BUY), "s": int(AggressorSide.SELL)}

_Seconds = Annotated[float, msgspec.Meta(ge=FIRST_MS / 1e3, le=LAST_MS / 1e3)]
_Row = tuple[Price, Size, _Seconds, Literal["b", "s"], str, str, Id]


class _Answer(msgspec.Struct):
    error: list[str]
    result: dict[str, msgspec.Raw] = {}


_decode = msgspec.json.Decoder(_Answer).decode
_decode_rows = msgspec.json.Decoder(list[_Row], strict=False).decode


def open_walk(missing: MissingTrades) -> Walk:
    """Upwards by time."""
    convert = trades_in_base_units(missing.listing)
    instrument_id = missing.listing.instrument_id
    path = f"/0/public/Trades?pair={missing.symbol.replace('/', '')}&count={_PAGE}"

    def ask(last: Trade | None) -> Request:
        at = (missing.before if last is None else last).occurred_at
        return Request(missing.symbol, f"{path}&since={(at - 1) * 1_000}")

    def read(body: bytes, received_at: int) -> Sequence[Trade]:
        answer = decoded(_decode, body, path)
        if answer.error:
            raise VenueRefused(f"{path}: {', '.join(answer.error)}")
        rows = [
            row
            for pair, page in answer.result.items()
            if pair != "last"
            for row in decoded(_decode_rows, bytes(page), path)
        ]
        return convert(
            [
                Trade(
                    instrument_id, number, round(at * 1e6), received_at, price, size, _AGGRESSORS[side]
                )
                for price, size, at, side, _, _, number in rows
            ]
        )  # fmt: skip

    return Walk(missing, ask, read, direction="up", page=_PAGE)

"""Which of Binance's markets a recorded frame comes from.

What lives here: the fields that only one of them sends. What never does: the meaning of a frame
(`binance_frames.py`), sessions (`binance.py`).
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from ingest_daemon.venues.fields import DECODE_ERRORS

__all__ = ["Kind", "kind_of"]

Kind = Literal["spot", "usdm", "coinm"]


class _Marks(msgspec.Struct, gc=False):
    """The fields that tell the markets apart."""

    e: str = ""
    s: str = ""
    pu: int | None = None
    M: bool | None = None  # spot only
    E: int | None = None
    lastUpdateId: int | None = None  # noqa: N815 - the venue's name
    symbol: str = ""  # of a REST snapshot: COIN-M only
    B: str | None = None


class _Marked(_Marks, gc=False):
    data: _Marks | None = None  # the envelope's; without one the fields stand alone


_decode_marked = msgspec.json.Decoder(_Marked).decode
# BTCUSD_PERP, BTCUSD_240927; but not BTCBUSD_210129, which is a dated future of USD-M.
_FUTURES_EVENTS = ("depthUpdate", "trade", "aggTrade", "bookTicker", "markPriceUpdate")
_COIN_MARGINED = re.compile(r"(?<!B)USD_\w+\Z")


def kind_of(frame: bytes) -> Kind | None:
    """The market a recorded frame comes from, by the fields that only one of them sends."""
    try:
        marked = _decode_marked(frame)
    except DECODE_ERRORS:
        return None
    marks = marked if marked.data is None else marked.data
    if _COIN_MARGINED.search(marks.s or marks.symbol):
        return "coinm" if marks.e in _FUTURES_EVENTS or marks.lastUpdateId is not None else None
    match marks.e:
        case "depthUpdate":
            return "spot" if marks.pu is None else "usdm"
        case "trade" | "aggTrade":
            return "usdm" if marks.M is None else "spot"
        case "bookTicker" | "markPriceUpdate":
            return "usdm"
        case "" if marks.lastUpdateId is not None:
            return "spot" if marks.E is None else "usdm"
        case "" if marks.B is not None:
            return "spot"
        case _:
            return None

"""What the frames of Finage say: shapes, bounds, and the reader that makes events.

What lives here: functions of one frame, and of the ones before where nothing tells two trades apart. What
never does: subscriptions (`finage.py`), sockets, clocks.

Evidence: the venue's documentation of 2025 for the connection, and the fields that public clients of it read.
No recorded frame was at hand: the fields of a trade of stocks (v) are less certain than those of crypto (q).

    channel  market  event          fields
    trades   crypto  Trade          s, p, q: size, t: milliseconds; nobody says who took
    trades   stocks  Trade or none  s, p, v: size, t; with a and b, prices without sizes, instead of p: none

Numbers are decimal strings or numbers. A trade has no number: its id is a hash of its time, price and size,
and of how often these three came in a row: two equal trades in one millisecond are two.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ingest_daemon.errors import ParseError
from ingest_daemon.events import AggressorSide, Event, Trade
from ingest_daemon.venues.derived_ids import id_of_numbers
from ingest_daemon.venues.fields import Milliseconds, Price, Reader, Size

__all__ = ["trade_reader"]


class _Trade(msgspec.Struct, gc=False):
    t: Milliseconds
    p: Price | None = None
    q: Size | None = None
    v: Size | None = None
    a: Price | None = None
    b: Price | None = None


_decode_trade = msgspec.json.Decoder(_Trade, strict=False).decode


def trade_reader(symbol: str, instrument_id: int) -> Reader:
    """Readers of trades; one a symbol, since equal trades are counted here."""
    last = (0, 0.0, 0.0)
    repeats = 0

    def read(frame: bytes, received_at: int) -> Sequence[Event]:
        nonlocal last, repeats
        data = _decode_trade(frame)
        if data.p is None and (data.a is not None or data.b is not None):
            return ()
        size = data.v if data.q is None else data.q
        if data.p is None or size is None:
            raise ParseError(f"{symbol}: neither a trade, p with q or v, nor prices, a or b")
        at = data.t * 1_000
        found = (at, data.p, size)
        repeats = repeats + 1 if found == last else 0
        last = found
        trade_id = id_of_numbers(at, data.p, size, repeats, 0.0)
        return (Trade(instrument_id, trade_id, at, received_at, data.p, size, int(AggressorSide.UNKNOWN)),)

    return read

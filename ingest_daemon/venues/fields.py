"""What a field of a frame may hold, whatever the venue: bounds, words for what is wrong, whole tops of books.

What lives here: types and pure functions that several venues need. What never does: anything that one venue
alone does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Annotated, Final

import msgspec

from ingest_daemon.errors import ParseError
from ingest_daemon.events import AggressorSide, Event

__all__ = [
    "AGGRESSORS",
    "DECODE_ERRORS",
    "FIRST_MS",
    "LAST_MS",
    "VALUE_SHOWN",
    "Column",
    "Count",
    "Id",
    "Instant",
    "Levels",
    "Milliseconds",
    "Price",
    "Rate",
    "Reader",
    "Size",
    "SizeOrZero",
    "explanation",
    "microseconds",
    "top_of_book",
]

# Everything that decoding may raise: malformed JSON, wrong shape, bad UTF-8, absurd nesting.
DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)

_FLOAT_MAX = 1.7976931348623157e308  # as a bound: neither infinite nor NaN
Price = Annotated[float, msgspec.Meta(gt=0, le=_FLOAT_MAX)]
Size = Annotated[float, msgspec.Meta(gt=0, le=_FLOAT_MAX)]
SizeOrZero = Annotated[float, msgspec.Meta(ge=0, le=_FLOAT_MAX)]  # 0: the level is gone
Rate = Annotated[float, msgspec.Meta(ge=-_FLOAT_MAX, le=_FLOAT_MAX)]
Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
# Milliseconds in [2009, 2100): seconds, microseconds and nanoseconds of our days lie outside.
FIRST_MS, LAST_MS = 1_230_768_000_000, 4_102_444_799_999
Milliseconds = Annotated[int, msgspec.Meta(ge=FIRST_MS, le=LAST_MS)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]  # RFC 3339; bounded by `microseconds`
Levels = list[tuple[Price, SizeOrZero]]
Column = tuple[float, ...]

Reader = Callable[[bytes, int], Sequence[Event]]  # (frame, received_at) → events

# Who took, by the taker's side as venues write it.
AGGRESSORS: Final = {
    "buy": int(AggressorSide.BUY),
    "sell": int(AggressorSide.SELL),
    "Buy": int(AggressorSide.BUY),
    "Sell": int(AggressorSide.SELL),
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
VALUE_SHOWN = 80  # characters of an offending value in a message
_PATH = re.compile(r"`\$((?:\.\w+|\[\d+\])+)`")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


def microseconds(instant: datetime) -> int | None:
    """Microseconds since 1970 UTC; None for a time outside [2009, 2100), as venues send for "no time"."""
    since = instant - _EPOCH
    us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return us if FIRST_MS * 1_000 <= us <= LAST_MS * 1_000 + 999 else None


def explanation(frame: bytes, error: Exception) -> str:
    """The decoder's words, which name the field, and the value found there."""
    path = _PATH.search(str(error))
    if path is None or "missing required" in str(error):
        return str(error)
    try:
        value = msgspec.json.decode(frame)
        for key, index in _STEP.findall(path[1]):
            value = value[key] if key else value[int(index)]
    except (*DECODE_ERRORS, LookupError, TypeError):
        return str(error)
    return f"{error}, found {value!r:.{VALUE_SHOWN}}"


def top_of_book(
    what: str, bids: Sequence[tuple[float, float]], asks: Sequence[tuple[float, float]]
) -> tuple[Column, Column, Column, Column]:
    """Bid prices and sizes, ask prices and sizes, after looking that levels are in order and not crossed.

    Raises:
        ParseError: they are not; `what` says of which book.
    """
    bid_prices, ask_prices = tuple([price for price, _ in bids]), tuple([price for price, _ in asks])
    ladder = (*ask_prices[::-1], *bid_prices)  # from the highest price to the lowest
    for higher, lower in pairwise(ladder):
        if higher <= lower:
            raise ParseError(f"{what}: {lower} stands below {higher}; levels are crossed or out of order")
    bid_sizes, ask_sizes = tuple([size for _, size in bids]), tuple([size for _, size in asks])
    return bid_prices, bid_sizes, ask_prices, ask_sizes

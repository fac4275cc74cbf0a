"""Ids for what a venue does not number, or numbers with text: the same thing has the same id, always.

What lives here: pure functions. An id is 63 bits of BLAKE2b; two different things of one instrument and one
microsecond share one with a probability of 1e-19. It says nothing about order.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct

__all__ = ["id_of_numbers", "id_of_text"]

_NUMBERS = Struct("<qdddd")
_BIGINT_MAX = 2**63 - 1


def id_of_numbers(occurred_at: int, first: float, second: float, third: float, fourth: float) -> int:
    """The id of a quote: its time in microseconds, its prices and sizes. Sent again it is the same quote."""
    return _id_of(_NUMBERS.pack(occurred_at, first, second, third, fourth))


def id_of_text(text: str) -> int:
    """The number that a text is, or else its hash.

    >>> id_of_text("72815")
    72815
    >>> id_of_text("52983525029461") == id_of_text("52983525029461.0")
    False
    """
    if text.isascii() and text.isdigit() and len(text) <= 19 and (text == "0" or text[0] != "0"):
        number = int(text)
        if number <= _BIGINT_MAX:
            return number
    return _id_of(text.encode("utf-8", "surrogatepass"))


def _id_of(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little") & _BIGINT_MAX

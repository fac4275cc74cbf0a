"""Venues that are asked for the last price of one symbol after the other.

What lives here: whose turn it is, and whether a price is new. What never does: what an answer says, how often
to ask (`poll.py`), sockets, clocks.

A venue tells the same price until it has another: only what differs from the last told is an event. A session
that starts anew tells the price that there is once more. That a venue does not know a symbol is told once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple

from ingest_daemon.errors import ParseError, VenueRefused
from ingest_daemon.events import Event, FeedGap, ReferencePrice
from ingest_daemon.venues.base import Listing, Request
from ingest_daemon.venues.fields import DECODE_ERRORS, VALUE_SHOWN, explanation
from ingest_daemon.venues.roll import Roll

__all__ = ["LastPrice", "PollSession", "quoted"]

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class LastPrice(NamedTuple):
    """What an answer says."""

    symbol: str
    price: float
    occurred_at: int | None
    version: Hashable  # another one: another price, though it may be as high


AnswerReader = Callable[[bytes], LastPrice | None]  # None: the venue knows no such symbol


def quoted(symbol: str) -> str:
    """A symbol as it stands in a query.

    >>> quoted("BRK.B"), quoted("^GSPC")
    ('BRK.B', '%5EGSPC')
    """
    return "".join(c if c in _UNRESERVED else "".join(f"%{byte:02X}" for byte in c.encode()) for c in symbol)


class PollSession:
    """What one life of the daemon heard of a venue."""

    is_logged_in = True

    def __init__(
        self,
        venue: str,
        channel: str,
        symbols: Mapping[str, Listing],
        make_request: Callable[[str], Request],
        read_answer: AnswerReader,
    ) -> None:
        self._venue = venue
        self._channel = channel
        self._symbols = symbols
        self._turns = deque(map(make_request, symbols))
        self._read_answer = read_answer
        self._told: dict[str, Hashable] = {}
        self.roll = Roll()  # nobody speaks unasked
        self._unknown: set[str] = set()

    def path(self) -> str:
        """Nothing: there is no socket."""
        return ""

    def subscribe(self) -> Sequence[str]:
        """Nothing: there is no socket."""
        return ()

    def keep_alive(self) -> str | None:
        """None: there is no socket."""
        return None

    def stream_of(self, frame: bytes) -> str:
        """`channel:symbol`; "" for refusals and garbage."""
        try:
            found = self._read_answer(frame)
        except (ParseError, VenueRefused, *DECODE_ERRORS):
            return ""
        return "" if found is None else f"{self._channel}:{found.symbol}"

    def parse(self, frame: bytes, received_at: int) -> Sequence[Event]:
        """The event of an answer, if its price is new. Raises as any session."""
        found = self._read(frame)
        if found is None:
            raise ParseError("an answer without a price")
        return self._tell(found, received_at)

    def pending_requests(self) -> Sequence[Request]:
        """The request whose turn it is."""
        if not self._turns:
            return ()
        self._turns.rotate(-1)
        return (self._turns[-1],)

    def pending_messages(self) -> Sequence[str]:
        """Nothing: there is no socket."""
        return ()

    def answer(self, request: Request, body: bytes, received_at: int) -> Sequence[Event]:
        """As `parse`; VenueRefused names a symbol that the venue does not know, once."""
        found = self._read(body)
        if found is not None:
            self._unknown.discard(request.key)
            return self._tell(found, received_at)
        if request.key in self._unknown:
            return ()
        self._unknown.add(request.key)
        raise VenueRefused(f"{self._venue} refused: it has no price of {request.key}")

    def close(self, now: int) -> Sequence[FeedGap]:  # noqa: ARG002
        """None: a price that was not asked for is no gap of ours."""
        return []

    def _read(self, body: bytes) -> LastPrice | None:
        try:
            return self._read_answer(body)
        except DECODE_ERRORS as error:
            raise ParseError(explanation(body, error)) from error

    def _tell(self, found: LastPrice, received_at: int) -> Sequence[Event]:
        listing = self._symbols.get(found.symbol)
        if listing is None:
            raise ParseError(f"the symbol {found.symbol!r:.{VALUE_SHOWN}} was not asked for")
        if self._told.get(found.symbol) == found.version:
            return ()
        self._told[found.symbol] = found.version
        price = found.price
        return (ReferencePrice(listing.instrument_id, found.occurred_at, received_at, mark_price=price),)

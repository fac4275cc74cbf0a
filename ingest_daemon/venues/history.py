"""Fetching the trades of a gap page by page, whatever the venue: which way to go, what is new, when to stop.

What lives here: the walk. What never does: addresses and answers of a venue (`<venue>_history.py`), HTTP,
clocks, how often to ask.

    up      from the last trade before the gap to the first after it, or to the present where there is none
    down    from the first after the gap, or from the present, to the last before it

A walk is whole if it got to the other side. A venue that ends before has no more to give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final, Literal, TypeVar

from ingest_daemon.errors import ParseError
from ingest_daemon.events import Trade
from ingest_daemon.venues.base import KnownTrade, MissingTrades, Request
from ingest_daemon.venues.fields import DECODE_ERRORS, explanation

__all__ = ["BY_NUMBER", "BY_TIME", "Place", "Walk", "decoded"]

Place = Callable[[Any], int]  # of a Trade or a KnownTrade in the venue's order

BY_NUMBER: Final[Place] = attrgetter("trade_id")
BY_TIME: Final[Place] = attrgetter("occurred_at")

_T = TypeVar("_T")


class Walk:
    """A `TradeRepair`.

    Args:
        missing: what is wanted.
        ask: the request for the page that follows a trade, in the direction of the walk; None: the first one.
        read: the trades of a page, in base units; what they raise goes through.
        direction: of the walk.
        page: trades of a full page: one with fewer is the last. None: there is one page.
        place: the venue's order; by number unless its numbers have none.
    """

    def __init__(
        self,
        missing: MissingTrades,
        ask: Callable[[Trade | None], Request],
        read: Callable[[bytes, int], Sequence[Trade]],
        *,
        direction: Literal["up", "down"],
        page: int | None,
        place: Place = BY_NUMBER,
    ) -> None:
        self._missing = missing
        self._ask = ask
        self._read = read
        self._is_upward = direction == "up"
        self._page = page
        self._place = place
        self._last: Trade | None = None
        self._told: set[int] = set()  # of the last page: pages may overlap
        self._is_over = False
        self.is_whole = False

    def request(self) -> Request | None:
        """What to ask now; None: there is nothing more to ask."""
        return None if self._is_over else self._ask(self._last)

    def take(self, body: bytes, received_at: int) -> Sequence[Trade]:
        """The missing trades in the answer. Raises ParseError, VenueRefused."""
        trades = self._read(body, received_at)
        is_last_page = self._page is None or len(trades) < self._page
        self.is_whole = self._has_arrived(trades, is_last_page=is_last_page)
        self._is_over = self.is_whole or is_last_page or not self._move(trades)
        found = [trade for trade in trades if self._is_missing(trade)]
        self._told = {trade.trade_id for trade in trades}
        return found

    def _has_arrived(self, trades: Sequence[Trade], *, is_last_page: bool) -> bool:
        """Whether nothing between the page before and the other side of the gap can be missing now."""
        goal: KnownTrade | None = self._missing.after if self._is_upward else self._missing.before
        if goal is None:
            return is_last_page
        places = map(self._place, trades)
        if self._is_upward:
            return max(places, default=-1) >= self._place(goal)
        return bool(trades) and min(places) <= self._place(goal)

    def _move(self, trades: Sequence[Trade]) -> bool:
        """Go on behind a page; False: it leads nowhere."""
        before = self._last
        self._last = (max if self._is_upward else min)(trades, key=self._place)
        return before is None or self._place(before) != self._place(self._last)

    def _is_missing(self, trade: Trade) -> bool:
        missing, place = self._missing, self._place
        if missing.is_known(trade.trade_id) or trade.trade_id in self._told:
            return False
        if place(trade) < place(missing.before):
            return False
        if missing.after is None:  # what came after the gap, came
            return trade.occurred_at < missing.ended_at
        return place(trade) <= place(missing.after)


def decoded(decode: Callable[[bytes], _T], body: bytes, what: str) -> _T:
    """An answer.

    Raises:
        ParseError: it is not of this form; the message names the request, the field and its value.
    """
    try:
        return decode(body)
    except DECODE_ERRORS as error:
        raise ParseError(f"answer to {what}: {explanation(body, error)}") from error

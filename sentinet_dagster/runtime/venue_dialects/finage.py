"""Finage's socket of crypto: login by the address, greetings, subscriptions, last trades.

What lives here: the venue's words. The key stands in the query of the address. The venue greets twice: once
while it looks at the key, once when it is ready; a wrong key it says no to, and closes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ingest_daemon.venues import Credentials
from ingest_daemon.venues.simulated import SimulatedInstrument
from sentinet_dagster.runtime.venue_dialects.base import (
    Caller,
    Reply,
    Saying,
    StreamDialect,
    request_in,
    text_of,
)
from sentinet_dagster.runtime.venue_dialects.facts import Best, Fact, Fill, Mark, Top
from sentinet_dagster.runtime.venue_dialects.products import Product, coins

__all__ = ["FinageDialect", "finage"]

_OK, _BAD_REQUEST, _NOT_AUTHORISED = 200, 400, 401


class FinageDialect(StreamDialect):
    """A customer's address."""

    protocol = "finage"
    path = ""

    def greet(self, caller: Caller) -> Reply:
        """Yes or no to the key."""
        caller.is_logged_in = self.accepts(caller.query.get("token", ""))
        if not caller.is_logged_in:
            return Reply([_status(_NOT_AUTHORISED, "invalid socket key")], closes=True)
        return Reply([_status(_OK, "authorizing"), _status(_OK, "connected to the adapter")])

    def hear(self, caller: Caller, message: str | bytes) -> Reply:
        """Subscribe, unsubscribe."""
        request = request_in(message) or {}
        action, symbols = request.get("action"), request.get("symbols")
        if action not in ("subscribe", "unsubscribe") or not isinstance(symbols, str):
            return Reply([_status(_BAD_REQUEST, "invalid request")])
        return Reply([self._answer(caller, action, symbol) for symbol in symbols.split(",")])

    def tell(self, product: Product, fact: Fact) -> Iterator[Saying]:
        """See `StreamDialect`."""
        match fact:
            case Fill():
                told = fact._replace(is_buy=None)
                yield Saying(f"trades:{product.symbol}", _trade(product, told), told)
            case Best() | Top() | Mark():
                return

    def _answer(self, caller: Caller, action: str, symbol: str) -> str:
        if symbol not in self._by_symbol:
            return _status(_BAD_REQUEST, f"unknown symbol {symbol}")
        stream = f"trades:{symbol}"
        if action == "subscribe":
            caller.subscribe(stream)
        else:
            caller.unsubscribe(stream)
        return _status(_OK, f"{action}d {symbol}")


def _trade(product: Product, fill: Fill) -> bytes:
    numbers = {"p": product.price_text(fill.price), "q": product.size_text(fill.size)}
    return text_of({"s": product.symbol, **numbers, "dc": "0", "dd": "0", "t": fill.at_us // 1_000}).encode()


def _status(code: int, message: str) -> str:
    return text_of({"status_code": code, "message": message, "id": "e0fb1b68"})


def finage(instruments: Sequence[SimulatedInstrument], account: Credentials | None) -> FinageDialect:
    """Coins against the dollar."""
    return FinageDialect(coins(instruments, lambda base, quote: base + quote, "USD"), account)

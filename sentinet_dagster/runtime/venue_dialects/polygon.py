"""Polygon's clusters of stocks and of crypto: login, subscriptions, trades, quotes.

What lives here: the venue's words. Each stream of a request is answered by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ingest_daemon.venues import Credentials
from ingest_daemon.venues.simulated import SimulatedInstrument
from sentinet_dagster.runtime.venue_dialects.base import Caller, Reply, Saying
from sentinet_dagster.runtime.venue_dialects.facts import Best, Fact, Fill, Mark, Top
from sentinet_dagster.runtime.venue_dialects.item_lists import ItemListDialect, items
from sentinet_dagster.runtime.venue_dialects.products import Product, coins, stocks

__all__ = ["PolygonDialect", "polygon_crypto", "polygon_stocks"]

_EXCHANGE = 1
_SELLS, _BUYS = 1, 2  # of a trade of crypto, in its conditions


def _status(status: str, message: str) -> dict[str, str]:
    return {"ev": "status", "status": status, "message": message}


class PolygonDialect(ItemListDialect):
    """One of the two clusters."""

    greeting = _status("connected", "Connected Successfully")
    logged_in = _status("auth_success", "authenticated")
    malformed = _status("error", "invalid message")
    not_logged_in = _status("auth_required", "authenticate first")
    login_refused = _status("auth_failed", "authentication failed")

    def __init__(self, market: str, products: Sequence[Product], account: Credentials | None = None) -> None:
        super().__init__(products, account)
        self.protocol, self.path = f"polygon_{market}", f"/{market}"
        self._is_crypto = market == "crypto"
        self._trades, self._quotes = ("XT", "XQ") if self._is_crypto else ("T", "Q")

    def account_in(self, request: Mapping[str, Any]) -> tuple[str, str | None]:
        """A key alone."""
        return str(request.get("params", "")), None

    def obey(self, caller: Caller, action: str, request: Mapping[str, Any]) -> Reply:
        """One answer a stream, `T.AAPL`."""
        return Reply([self._answer(caller, action, name) for name in str(request.get("params")).split(",")])

    def tell(self, product: Product, fact: Fact) -> Iterator[Saying]:
        """See `StreamDialect`."""
        symbol = product.symbol
        match fact:
            case Fill():
                told = fact if self._is_crypto else fact._replace(is_buy=None)
                yield Saying(f"{self._trades}:{symbol}", self._trade(product, told), told)
            case Best():
                yield Saying(f"{self._quotes}:{symbol}", self._quote(product, fact), fact)
            case Top() | Mark():
                return

    def _answer(self, caller: Caller, action: str, name: str) -> str:
        channel, _, symbol = name.partition(".")
        if channel not in (self._trades, self._quotes) or symbol not in self._by_symbol:
            return items(_status("error", f"unknown subscription: {name}"))
        if action == "subscribe":
            caller.subscribe(f"{channel}:{symbol}")
        else:
            caller.unsubscribe(f"{channel}:{symbol}")
        return items(_status("success", f"{action}d to: {name}"))

    def _trade(self, product: Product, fill: Fill) -> bytes:
        conditions = [_BUYS if fill.is_buy else _SELLS] if self._is_crypto else [14, 41]
        numbers = {"i": str(fill.number), "x": _EXCHANGE, "p": fill.price, "s": fill.size, "c": conditions}
        return self._text(self._trades, product, {**numbers, "t": fill.at_us // 1_000})

    def _quote(self, product: Product, best: Best) -> bytes:
        (bid, bid_size), (ask, ask_size) = best.bid, best.ask
        sides = {"bp": bid, "bs": bid_size, "ap": ask, "as": ask_size}
        return self._text(self._quotes, product, {**sides, "t": best.at_us // 1_000, "x": _EXCHANGE})

    def _text(self, kind: str, product: Product, fields: Mapping[str, Any]) -> bytes:
        name = "pair" if self._is_crypto else "sym"
        return items({"ev": kind, name: product.symbol, **fields}).encode()


def polygon_stocks(instruments: Sequence[SimulatedInstrument], account: Credentials | None) -> PolygonDialect:
    """Stocks."""
    return PolygonDialect("stocks", stocks(instruments), account)


def polygon_crypto(instruments: Sequence[SimulatedInstrument], account: Credentials | None) -> PolygonDialect:
    """Coins against the dollar."""
    return PolygonDialect("crypto", coins(instruments, lambda base, quote: f"{base}-{quote}", "USD"), account)

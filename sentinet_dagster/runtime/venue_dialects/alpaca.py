"""Alpaca's market data, stocks of IEX and crypto: login, subscriptions, trades, quotes, order books.

What lives here: the venue's words. A subscription is answered by all that is subscribed then; an error says
neither symbol nor channel. Books have no number: the first message is the whole, with `r`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from ingest_daemon.venues import Credentials
from ingest_daemon.venues.simulated import SimulatedInstrument
from sentinet_dagster.runtime.venue_dialects.base import Caller, Reply, Saying, instant, strings_in
from sentinet_dagster.runtime.venue_dialects.facts import Best, Fact, Fill, Level, Mark, Top
from sentinet_dagster.runtime.venue_dialects.item_lists import Item, ItemListDialect, items
from sentinet_dagster.runtime.venue_dialects.products import Product, coins, stocks

__all__ = ["AlpacaDialect", "alpaca_crypto", "alpaca_iex"]

_BOOKS = "orderbooks"


def _error(code: int, message: str) -> dict[str, Any]:
    return {"T": "error", "code": code, "msg": message}


class AlpacaDialect(ItemListDialect):
    """One of the two sockets."""

    unit_us = 1
    greeting: ClassVar[Item] = {"T": "success", "msg": "connected"}
    logged_in: ClassVar[Item] = {"T": "success", "msg": "authenticated"}
    malformed = _error(400, "invalid syntax")
    not_logged_in = _error(401, "not authenticated")
    login_refused = _error(402, "auth failed")

    def __init__(
        self, protocol: str, path: str, products: Sequence[Product], account: Credentials | None = None
    ) -> None:
        super().__init__(products, account)
        self.protocol, self.path = protocol, path
        self._is_crypto = protocol == "alpaca_crypto"
        self._channels = ("trades", "quotes", _BOOKS) if self._is_crypto else ("trades", "quotes")

    def account_in(self, request: Mapping[str, Any]) -> tuple[str, str | None]:
        """Both are wanted."""
        return str(request.get("key", "")), str(request.get("secret", ""))

    def obey(self, caller: Caller, action: str, request: Mapping[str, Any]) -> Reply:
        """All of a request, or nothing of it."""
        named = {channel: strings_in(value) for channel, value in request.items() if channel != "action"}
        symbols = {symbol for of_channel in named.values() for symbol in of_channel}
        if not set(named) <= set(self._channels) or not symbols <= set(self._by_symbol):
            return Reply([items(self.malformed)])
        for stream in (f"{channel}:{symbol}" for channel, found in named.items() for symbol in found):
            if action == "subscribe":
                # Subscribing once more changes nothing, and tells no book anew.
                if stream not in caller.wanted:
                    caller.subscribe(stream)
            else:
                caller.unsubscribe(stream)
        return Reply([items(self._subscribed(caller))])

    def tell(self, product: Product, fact: Fact) -> Iterator[Saying]:
        """See `StreamDialect`."""
        symbol = product.symbol
        match fact:
            case Fill():
                told = fact if self._is_crypto else fact._replace(is_buy=None)
                yield Saying(f"trades:{symbol}", _text(_trade(product, told)), told)
            case Best():
                yield Saying(f"quotes:{symbol}", _text(_quote(product, fact)), fact)
            case Top():
                change = self._ladders[symbol].move(fact)
                if change is not None:
                    update = _text(_book(product, fact, change.bids, change.asks))
                    whole = _text(_book(product, fact, fact.bids, fact.asks) | {"r": True})
                    yield Saying(f"{_BOOKS}:{symbol}", update, fact, whole)
            case Mark():
                return

    def _subscribed(self, caller: Caller) -> dict[str, Any]:
        found: dict[str, Any] = {"T": "subscription"} | {channel: [] for channel in (*self._channels, "bars")}
        for stream in caller.wanted:
            channel, _, symbol = stream.partition(":")
            found[channel].append(symbol)
        return found


def _trade(product: Product, fill: Fill) -> dict[str, Any]:
    taker = {} if fill.is_buy is None else {"tks": "B" if fill.is_buy else "S"}
    return {
        "T": "t",
        "S": product.symbol,
        "p": fill.price,
        "s": fill.size,
        "t": instant(fill.at_us),
        "i": fill.number,
        **taker,
    }


def _quote(product: Product, best: Best) -> dict[str, Any]:
    (bid, bid_size), (ask, ask_size) = best.bid, best.ask
    sides = {"bp": bid, "bs": bid_size, "ap": ask, "as": ask_size}
    return {"T": "q", "S": product.symbol, **sides, "t": instant(best.at_us)}


def _book(product: Product, top: Top, bids: Sequence[Level], asks: Sequence[Level]) -> dict[str, Any]:
    sides = {"b": _levels(bids), "a": _levels(asks)}
    return {"T": "o", "S": product.symbol, "t": instant(top.at_us), **sides}


def _levels(side: Sequence[Level]) -> list[dict[str, float]]:
    return [{"p": price, "s": size} for price, size in side]


def _text(item: Mapping[str, Any]) -> bytes:
    return items(item).encode()


def alpaca_iex(instruments: Sequence[SimulatedInstrument], account: Credentials | None) -> AlpacaDialect:
    """Stocks."""
    return AlpacaDialect("alpaca_iex", "/v2/iex", stocks(instruments), account)


def alpaca_crypto(instruments: Sequence[SimulatedInstrument], account: Credentials | None) -> AlpacaDialect:
    """Coins against the dollar."""
    products = coins(instruments, lambda base, quote: f"{base}/{quote}", "USD")
    return AlpacaDialect("alpaca_crypto", "/v1beta3/crypto/us", products, account)

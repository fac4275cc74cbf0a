"""Coinbase Exchange's feed: subscriptions, matches, ticker, the book in batches.

What lives here: the venue's words. Of a request with one wrong product or channel all is refused. Who
subscribes to matches first hears of the last one before; ids count up by one. Books have no number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from ingest_daemon.venues import Credentials
from ingest_daemon.venues.simulated import SimulatedInstrument
from sentinet_dagster.runtime.venue_dialects.base import (
    Answer,
    Caller,
    Reply,
    Saying,
    StreamDialect,
    instant,
    not_found,
    request_in,
    strings_in,
    text_of,
)
from sentinet_dagster.runtime.venue_dialects.facts import Best, Fact, Fill, Level, Mark, Top
from sentinet_dagster.runtime.venue_dialects.past import RemembersTrades, whole_number
from sentinet_dagster.runtime.venue_dialects.products import Product, coins

__all__ = ["CoinbaseDialect", "coinbase"]

_MOST_TRADES = 1_000  # of one answer
_CHANNELS = ("matches", "ticker", "level2_batch")


class CoinbaseDialect(StreamDialect, RemembersTrades):
    """The feed at the address itself."""

    protocol = "coinbase"
    path = ""
    unit_us = 1

    def hear(self, caller: Caller, message: str | bytes) -> Reply:
        """Subscribe, unsubscribe; the answer is all that is subscribed then."""
        request = request_in(message) or {}
        kind = request.get("type")
        if kind not in ("subscribe", "unsubscribe"):
            return Reply([_error("Malformed JSON" if not request else f"Type {kind} is not valid")])
        products, channels = strings_in(request.get("product_ids")), strings_in(request.get("channels"))
        for channel in channels:
            if channel not in _CHANNELS:
                return Reply([_error("Failed to subscribe", f"{channel} is not a valid channel")])
        for symbol in products:
            if symbol not in self._by_symbol:
                return Reply([_error("Failed to subscribe", f"{symbol} is not a valid product")])
        for stream in (f"{channel}:{symbol}" for channel in channels for symbol in products):
            if kind == "subscribe":
                caller.subscribe(stream)
            else:
                caller.unsubscribe(stream)
        return Reply([_subscriptions(caller)])

    def tell(self, product: Product, fact: Fact) -> Iterator[Saying]:
        """See `StreamDialect`."""
        symbol = product.symbol
        match fact:
            case Fill():
                first, later = (_match(kind, product, fact) for kind in ("last_match", "match"))
                yield Saying(f"matches:{symbol}", later, fact, first, opening_has_fact=False)
            case Best():
                yield Saying(f"ticker:{symbol}", _ticker(product, fact), fact)
            case Top():
                change = self._ladders[symbol].move(fact)
                if change is not None:
                    sides = (("buy", change.bids), ("sell", change.asks))
                    changes = [[side, *level] for side, levels in sides for level in _levels(product, levels)]
                    update = _text("l2update", symbol, changes=changes, time=instant(fact.at_us))
                    bids, asks = _levels(product, fact.bids), _levels(product, fact.asks)
                    whole = _text("snapshot", symbol, asks=asks, bids=bids)
                    yield Saying(f"level2_batch:{symbol}", update, fact, whole)
            case Mark():
                return

    async def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        """The trades again, the newest first."""
        _, _, symbol, kind, *_ = [*path.split("/"), "", "", ""]
        if kind != "trades":
            return not_found(path)
        product = self._by_symbol.get(symbol)
        if product is None:
            return Answer(text_of({"message": "NotFound"}).encode(), HTTPStatus.NOT_FOUND)
        number = whole_number(query, "after", -1)
        limit = min(whole_number(query, "limit", _MOST_TRADES), _MOST_TRADES)
        fills = self.past.numbered_before(product.source, None if number < 0 else number, limit)
        again = [_trade_again(product, self.as_told(product, fill)) for fill in fills]
        return Answer(text_of(again).encode())


def _trade_again(product: Product, fill: Fill) -> dict[str, Any]:
    return {
        "trade_id": fill.number,
        "side": "sell" if fill.is_buy else "buy",  # the maker's
        "size": product.size_text(fill.size),
        "price": product.price_text(fill.price),
        "time": instant(fill.at_us),
    }


def _match(kind: str, product: Product, fill: Fill) -> bytes:
    return _text(
        kind,
        product.symbol,
        trade_id=fill.number,
        side="sell" if fill.is_buy else "buy",  # the maker's
        size=product.size_text(fill.size),
        price=product.price_text(fill.price),
        sequence=fill.number,
        time=instant(fill.at_us),
    )


def _ticker(product: Product, best: Best) -> bytes:
    (bid, bid_size), (ask, ask_size) = best.bid, best.ask
    return _text(
        "ticker",
        product.symbol,
        sequence=best.number,
        price=product.price_text(bid),
        best_bid=product.price_text(bid),
        best_bid_size=product.size_text(bid_size),
        best_ask=product.price_text(ask),
        best_ask_size=product.size_text(ask_size),
        time=instant(best.at_us),
    )


def _levels(product: Product, side: Sequence[Level]) -> list[list[str]]:
    return [[product.price_text(price), product.size_text(size)] for price, size in side]


def _text(kind: str, symbol: str, **fields: Any) -> bytes:
    return text_of({"type": kind, "product_id": symbol, **fields}).encode()


def _subscriptions(caller: Caller) -> str:
    named: dict[str, list[str]] = {}
    for stream in caller.wanted:
        channel, _, symbol = stream.partition(":")
        named.setdefault(channel, []).append(symbol)
    channels = [{"name": name, "product_ids": products} for name, products in named.items()]
    return text_of({"type": "subscriptions", "channels": channels})


def _error(message: str, reason: str = "") -> str:
    return text_of({"type": "error", "message": message} | ({"reason": reason} if reason else {}))


def coinbase(instruments: Sequence[SimulatedInstrument], account: Credentials | None) -> CoinbaseDialect:
    """Coins against the dollar."""
    return CoinbaseDialect(coins(instruments, lambda base, quote: f"{base}-{quote}", "USD"), account)

"""Kraken's WebSocket v2: subscriptions, trades, ticker, books with checksum.

What lives here: the venue's words. A request is answered for each of its symbols. Prices and sizes are JSON
numbers with all their digits, of which a book's CRC32 is made: the best ten asks, then bids.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

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

__all__ = ["KrakenDialect", "kraken"]

_CHANNELS = ("trade", "ticker", "book")
_MOST_TRADES = 1_000  # of one answer
_METHODS = ("subscribe", "unsubscribe")
_STATUS = {
    "api_version": "v2",
    "connection_id": 12_393_906_104_898_154_338,
    "system": "online",
    "version": "2.0.0",
}


class KrakenDialect(StreamDialect, RemembersTrades):
    """The public socket."""

    protocol = "kraken"
    path = "/v2"
    unit_us = 1

    def greet(self, caller: Caller) -> Reply:  # noqa: ARG002
        """How the system is."""
        return Reply([text_of({"channel": "status", "type": "update", "data": [_STATUS]})])

    def hear(self, caller: Caller, message: str | bytes) -> Reply:
        """`ping`, subscribe, unsubscribe."""
        request = request_in(message) or {}
        method, params = request.get("method"), request.get("params")
        if method == "ping":
            return Reply([text_of({"method": "pong"})])
        if method not in _METHODS or not isinstance(params, dict):
            return Reply([_refusal(str(method), "Malformed request")])
        channel = params.get("channel")
        if channel not in _CHANNELS:
            return Reply([_refusal(method, f"Subscription channel {channel} not supported")])
        return Reply([self._obey(caller, method, channel, s) for s in strings_in(params.get("symbol"))])

    def tell(self, product: Product, fact: Fact) -> Iterator[Saying]:
        """See `StreamDialect`."""
        symbol = product.symbol
        match fact:
            case Fill():
                yield Saying(f"trade:{symbol}", _text("trade", "update", _trade(product, fact)), fact)
            case Best():
                yield Saying(f"ticker:{symbol}", _text("ticker", "update", _ticker(product, fact)), fact)
            case Top():
                change = self._ladders[symbol].move(fact)
                if change is not None:
                    update = _text("book", "update", _book(product, fact, change.bids, change.asks))
                    whole = _text("book", "snapshot", _book(product, fact, fact.bids, fact.asks))
                    yield Saying(f"book:{symbol}", update, fact, whole)
            case Mark():
                return

    async def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        """The trades again, the oldest first."""
        if path != "/0/public/Trades":
            return not_found(path)
        pair = query.get("pair", "")
        product = next((p for symbol, p in self._by_symbol.items() if symbol.replace("/", "") == pair), None)
        if product is None:
            return Answer(text_of({"error": ["EQuery:Unknown asset pair"]}).encode())
        limit = min(whole_number(query, "count", _MOST_TRADES), _MOST_TRADES)
        since_us = whole_number(query, "since", 0) / 1e3
        fills = self.past.after(product.source, since_us, limit)
        again = [_trade_again(product, self.as_told(product, fill)) for fill in fills]
        last = str(fills[-1].at_us * 1_000) if fills else query.get("since", "0")
        return Answer(text_of({"error": [], "result": {pair: again, "last": last}}).encode())

    def _obey(self, caller: Caller, method: str, channel: str, symbol: str) -> str:
        if symbol not in self._by_symbol:
            return _refusal(method, f"Currency pair not supported {symbol}", symbol)
        stream = f"{channel}:{symbol}"
        if method == "subscribe":
            caller.subscribe(stream)
        else:
            caller.unsubscribe(stream)
        result = {"channel": channel, "symbol": symbol}
        return text_of({"method": method, "result": result, "success": True})


def _trade(product: Product, fill: Fill) -> dict[str, Any]:
    return {
        "symbol": product.symbol,
        "side": "buy" if fill.is_buy else "sell",
        "price": _digits(product.price_text(fill.price)),
        "qty": _digits(product.size_text(fill.size)),
        "ord_type": "market",
        "trade_id": fill.number,
        "timestamp": instant(fill.at_us),
    }


def _trade_again(product: Product, fill: Fill) -> list[object]:
    price, size = product.price_text(fill.price), product.size_text(fill.size)
    return [price, size, fill.at_us / 1e6, "b" if fill.is_buy else "s", "m", "", fill.number]


def _ticker(product: Product, best: Best) -> dict[str, Any]:
    (bid, bid_size), (ask, ask_size) = best.bid, best.ask
    return {
        "symbol": product.symbol,
        "bid": _digits(product.price_text(bid)),
        "bid_qty": _digits(product.size_text(bid_size)),
        "ask": _digits(product.price_text(ask)),
        "ask_qty": _digits(product.size_text(ask_size)),
        "timestamp": instant(best.at_us),
    }


def _book(product: Product, top: Top, bids: Sequence[Level], asks: Sequence[Level]) -> dict[str, Any]:
    return {
        "symbol": product.symbol,
        "bids": _levels(product, bids),
        "asks": _levels(product, asks),
        "checksum": _checksum(product, top),
        "timestamp": instant(top.at_us),
    }


def _levels(product: Product, side: Sequence[Level]) -> list[dict[str, msgspec.Raw]]:
    return [
        {"price": _digits(product.price_text(price)), "qty": _digits(product.size_text(size))}
        for price, size in side
    ]


def _checksum(product: Product, top: Top) -> int:
    texts = [
        text.replace(".", "").lstrip("0")
        for side in (top.asks, top.bids)
        for price, size in side[:10]
        for text in (product.price_text(price), product.size_text(size))
    ]
    return zlib.crc32("".join(texts).encode())


def _digits(number: str) -> msgspec.Raw:
    """A number in JSON with its trailing zeros."""
    return msgspec.Raw(number.encode())


def _text(channel: str, kind: str, data: dict[str, Any]) -> bytes:
    return text_of({"channel": channel, "type": kind, "data": [data]}).encode()


def _refusal(method: str, error: str, symbol: str = "") -> str:
    answer = {"error": error, "method": method, "success": False}
    return text_of(answer | ({"symbol": symbol} if symbol else {}))


def kraken(instruments: Sequence[SimulatedInstrument], account: Credentials | None) -> KrakenDialect:
    """Coins against the dollar."""
    return KrakenDialect(coins(instruments, lambda base, quote: f"{base}/{quote}", "USD"), account)

"""Bybit v5's public topics, spot, linear and inverse: subscriptions, trades, books, tickers.

What lives here: the venue's words. Of a request with one wrong topic all is refused. A book is a snapshot,
then deltas whose number counts up by one. A trade's id is a UUID, on spot a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from ingest_daemon.venues import Credentials
from ingest_daemon.venues.simulated import SimulatedInstrument
from sentinet_dagster.runtime.venue_dialects.base import (
    Answer,
    Caller,
    Reply,
    Saying,
    StreamDialect,
    not_found,
    request_in,
    strings_in,
    text_of,
)
from sentinet_dagster.runtime.venue_dialects.facts import Best, Fact, Fill, Level, Mark, Top
from sentinet_dagster.runtime.venue_dialects.past import RemembersTrades, whole_number
from sentinet_dagster.runtime.venue_dialects.products import Product, coins, inverse_perpetuals, perpetuals

__all__ = ["BybitDialect", "bybit_inverse", "bybit_linear", "bybit_spot"]

_CONNECTION = "f428f979-3fd2-4b1e-aa12-f42ef3bc4a66"
_DEPTHS = (50, 200, 1000)
_MOST_TOPICS_OF_SPOT = 10  # in one request


class BybitDialect(StreamDialect, RemembersTrades):
    """One of the three sockets."""

    def __init__(self, market: str, products: Sequence[Product], account: Credentials | None = None) -> None:
        super().__init__(products, account)
        self.protocol = f"bybit_{market}"
        self.path = f"/v5/public/{market}"
        self._is_spot = market == "spot"
        channels = ["publicTrade", "orderbook.1", *(f"orderbook.{depth}" for depth in _depths(market))]
        if not self._is_spot:
            channels.append("tickers")
        self._channels = set(channels)
        self._books = [channel for channel in channels if channel.startswith("orderbook.")]

    def hear(self, caller: Caller, message: str | bytes) -> Reply:
        """`ping`, subscribe, unsubscribe."""
        request = request_in(message) or {}
        operation, number = (str(request.get(name, "")) for name in ("op", "req_id"))
        if operation == "ping":
            return Reply([_answer(operation, number, True, "pong")])
        topics = strings_in(request.get("args"))
        refusal = self._refusal(operation, topics)
        if refusal:
            return Reply([_answer(operation, number, False, refusal)])
        for topic in topics:
            if operation == "subscribe":
                caller.subscribe(topic)
            else:
                caller.unsubscribe(topic)
        return Reply([_answer(operation, number, True, "")])

    def tell(self, product: Product, fact: Fact) -> Iterator[Saying]:
        """See `StreamDialect`."""
        match fact:
            case Fill():
                topic = f"publicTrade.{product.symbol}"
                yield Saying(topic, _text(topic, "snapshot", fact.at_us, [self._trade(product, fact)]), fact)
            case Best():
                whole = Top(fact.instrument, fact.at_us, fact.number, (fact.bid,), (fact.ask,))
                yield from self._book("orderbook.1", product, whole, fact)
            case Top():
                for channel in self._books[1:]:
                    yield from self._book(channel, product, fact, fact)
            case Mark():
                yield _ticker(product, fact)

    async def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        """The last trades again, the newest first."""
        if path != "/v5/market/recent-trade":
            return not_found(path)
        category, symbol = query.get("category"), query.get("symbol", "")
        product = self._by_symbol.get(symbol)
        if product is None or f"bybit_{category}" != self.protocol:
            return Answer(text_of({"retCode": 10001, "retMsg": "Not supported symbols"}).encode())
        most = 60 if self._is_spot else 1_000
        limit = min(whole_number(query, "limit", most), most)
        fills = self.past.numbered_before(product.source, None, limit)
        again = [self._trade_again(product, self.as_told(product, fill)) for fill in fills]
        result = {"category": category, "list": again}
        return Answer(text_of({"retCode": 0, "retMsg": "OK", "result": result}).encode())

    def _refusal(self, operation: str, topics: Sequence[str]) -> str:
        """Why a request is not carried out; empty: it is."""
        if operation not in ("subscribe", "unsubscribe"):
            return f"error:request format invalid,op:{operation}"
        if self._is_spot and len(topics) > _MOST_TOPICS_OF_SPOT:
            return "error:args size >10"
        for topic in topics:
            channel, _, symbol = topic.rpartition(".")
            if channel not in self._channels:
                return f"error:handler not found,topic:{topic}"
            if symbol not in self._by_symbol:
                return f"Invalid symbol :[{topic}]"
        return ""

    def _trade(self, product: Product, fill: Fill) -> dict[str, Any]:
        # Spot does not say the direction of the price.
        direction = {} if self._is_spot else {"L": "PlusTick" if fill.is_buy else "MinusTick"}
        return {
            "T": fill.at_us // 1_000,
            "s": product.symbol,
            "S": "Buy" if fill.is_buy else "Sell",
            "v": product.size_text(fill.size),
            "p": product.price_text(fill.price),
            **direction,
            "i": self._id_of(product, fill),
            "BT": False,
        }

    def _trade_again(self, product: Product, fill: Fill) -> dict[str, Any]:
        return {
            "execId": self._id_of(product, fill),
            "symbol": product.symbol,
            "price": product.price_text(fill.price),
            "size": product.size_text(fill.size),
            "side": "Buy" if fill.is_buy else "Sell",
            "time": str(fill.at_us // 1_000),
            "isBlockTrade": False,
        }

    def _id_of(self, product: Product, fill: Fill) -> str:
        number = str(fill.number)
        return number if self._is_spot else str(uuid5(NAMESPACE_URL, f"{product.symbol}/{number}"))

    def _book(self, channel: str, product: Product, top: Top, fact: Fact) -> Iterator[Saying]:
        topic = f"{channel}.{product.symbol}"
        change = self._ladders[topic].move(top)
        if change is None:
            return

        def text(kind: str, bids: Sequence[Level], asks: Sequence[Level]) -> bytes:
            sides = {"b": _levels(product, bids), "a": _levels(product, asks)}
            data = {"s": product.symbol, **sides, "u": change.step, "seq": top.number}
            return _text(topic, kind, top.at_us, data, cts=top.at_us // 1_000)

        delta, whole = text("delta", change.bids, change.asks), text("snapshot", top.bids, top.asks)
        yield Saying(topic, delta, fact, whole)


def _depths(market: str) -> tuple[int, ...]:
    return _DEPTHS if market == "spot" else (50, 200, 500, 1000)


def _ticker(product: Product, mark: Mark) -> Saying:
    topic = f"tickers.{product.symbol}"
    values = {"markPrice": mark.mark_price, "indexPrice": mark.index_price, "fundingRate": mark.funding_rate}
    data = {"symbol": product.symbol} | {name: f"{value:.8f}" for name, value in values.items()}
    data["nextFundingTime"] = str((mark.due_us or 0) // 1_000)
    whole = data | {"tickDirection": "PlusTick", "fundingIntervalHour": "8"}
    texts = (
        _text(topic, kind, mark.at_us or 0, said) for kind, said in (("delta", data), ("snapshot", whole))
    )
    delta, snapshot = texts
    return Saying(topic, delta, mark, snapshot)


def _levels(product: Product, side: Sequence[Level]) -> list[list[str]]:
    return [[product.price_text(price), product.size_text(size) if size else "0"] for price, size in side]


def _text(topic: str, kind: str, at_us: int, data: object, **more: int) -> bytes:
    return text_of({"topic": topic, "type": kind, "ts": at_us // 1_000, "data": data, **more}).encode()


def _answer(operation: str, number: str, is_done: bool, message: str) -> str:
    return text_of(
        {"success": is_done, "ret_msg": message, "conn_id": _CONNECTION, "req_id": number, "op": operation}
    )


def bybit_spot(instruments: Sequence[SimulatedInstrument], account: Credentials | None) -> BybitDialect:
    """Coins against USDT."""
    return BybitDialect("spot", coins(instruments, lambda base, quote: base + quote, "USDT"), account)


def bybit_linear(instruments: Sequence[SimulatedInstrument], account: Credentials | None) -> BybitDialect:
    """Perpetuals in units of the coin."""
    return BybitDialect("linear", perpetuals(instruments, lambda base, quote: base + quote, {}), account)


def bybit_inverse(instruments: Sequence[SimulatedInstrument], account: Credentials | None) -> BybitDialect:
    """Perpetuals whose contract is a US dollar."""
    return BybitDialect(
        "inverse", inverse_perpetuals(instruments, lambda base, quote: base + quote, {}), account
    )

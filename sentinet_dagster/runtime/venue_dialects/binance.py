"""Binance's spot, USD-M and COIN-M: requests over the socket, streams, the REST interface.

What lives here: the venue's words. Spot and USD-M send the frames of the source as they are, simulated or
recorded; COIN-M tells the simulated perpetuals in contracts of 10 or 100 USD. A stream's key is its name
without the speed: a recording's is not always the one that is asked for.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from http import HTTPStatus
from typing import Any

from ingest_daemon.venues import Credentials
from ingest_daemon.venues.simulated import SimulatedInstrument
from sentinet_dagster.runtime.venue_dialects.base import (
    Answer,
    Caller,
    Message,
    Reply,
    Saying,
    StreamDialect,
    not_found,
    text_of,
)
from sentinet_dagster.runtime.venue_dialects.facts import (
    Best,
    Fact,
    Fill,
    Instrument,
    Level,
    Mark,
    Top,
    fact_of,
)
from sentinet_dagster.runtime.venue_dialects.past import RemembersTrades, whole_number
from sentinet_dagster.runtime.venue_dialects.products import (
    Product,
    coins,
    inverse_perpetuals,
    others,
    perpetuals,
)
from sentinet_dagster.runtime.venue_sources import REST_ROOTS, Source, SourceFrame, stream_key

__all__ = ["BinanceDialect", "CoinMarginedDialect", "binance_coinm"]

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS")
_INVALID_REQUEST, _INVALID_JSON = 2, 3  # the venue's codes …
_INVALID_SYMBOL, _MISSING_PARAMETER, _ILLEGAL_VALUE = -1121, -1102, -1100
_NO_KEY = -2014
_DEPTH_LIMITS = range(1, 5001)
_MOST_TRADES = 1_000


class _BinanceBase(RemembersTrades, ABC):
    """Requests and addresses, which the three markets share."""

    market: str
    always_listens = False

    def __init__(self, market: str, streams: Iterable[str]) -> None:
        self.market = market
        self.protocol = f"binance_{market}"
        self._known = {stream_key(name) for name in streams}

    def refuses(self, path: str, query: Mapping[str, str]) -> Answer | None:
        """/stream[?streams=a/b], /ws, /ws/a/b."""
        _, kind, *_ = [*path.split("/"), ""]
        if kind not in ("stream", "ws"):
            return not_found(path)
        unknown = self._unknown(_streams_in(path, query))
        return refusal(_ILLEGAL_VALUE, f"Unknown stream: {', '.join(unknown)}") if unknown else None

    def greet(self, caller: Caller) -> Reply:
        """Nothing; the streams of the address are subscribed to."""
        for name in _streams_in(caller.path, caller.query):
            caller.subscribe(stream_key(name), name)
        return Reply()

    def hear(self, caller: Caller, message: str | bytes) -> Reply:
        """Subscribe, unsubscribe, list."""
        return Reply([self._answer_request(caller, message)])

    async def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        """The REST interface: ping, time, exchangeInfo, depth, and the trades again."""
        root = REST_ROOTS[self.market] + "/"
        match path.removeprefix(root) if path.startswith(root) else "":
            case "ping":
                return _json({})
            case "time":
                return _json({"serverTime": time.time_ns() // 1_000_000})
            case "exchangeInfo":
                return _json(_exchange_info(self._symbols()))
            case "depth":
                return await self._answer_depth(query)
            case "historicalTrades" | "aggTrades" as name:
                return self._answer_trades(name, query)
            case _:
                return not_found(path)

    @abstractmethod
    def _symbols(self) -> Sequence[str]:
        """What is traded."""

    @abstractmethod
    async def _depth(self, symbol: str, limit: int) -> bytes:
        """The snapshot of a book. Raises LookupError: there is none yet."""

    @abstractmethod
    def _product(self, symbol: str) -> Product | None:
        """Its contracts, where trades are told in some."""

    def _answer_trades(self, name: str, query: Mapping[str, str]) -> Answer:
        symbol = query.get("symbol", "")
        if symbol not in self._symbols():
            return refusal(_INVALID_SYMBOL, "Invalid symbol.")
        if name == "historicalTrades" and self.market != "spot":
            return refusal(_NO_KEY, "API-key format invalid.")
        product = self._product(symbol)
        instrument = Instrument(self.market, symbol) if product is None else product.source
        limit = min(whole_number(query, "limit", 500), _MOST_TRADES)
        if "fromId" in query:
            fills = self.past.numbered_from(instrument, whole_number(query, "fromId", 0), limit)
        else:
            fills = self.past.numbered_before(instrument, None, limit)[::-1]
        render = _aggregate_again if name == "aggTrades" else _trade_again
        return _json([render(fill, product) for fill in fills])

    async def _answer_depth(self, query: Mapping[str, str]) -> Answer:
        symbol, limit = query.get("symbol"), query.get("limit", "100")
        if not symbol:
            return refusal(
                _MISSING_PARAMETER, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."
            )
        if not (limit.isascii() and limit.isdigit() and int(limit) in _DEPTH_LIMITS):
            return refusal(_ILLEGAL_VALUE, f"Illegal value {limit!r} of parameter 'limit'.")
        if symbol not in self._symbols():
            return refusal(_INVALID_SYMBOL, "Invalid symbol.")
        try:
            return Answer(await self._depth(symbol, int(limit)))
        except LookupError as error:
            return refusal(_INVALID_SYMBOL, f"{error.args[0]}.")

    def _unknown(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if "@" not in name or stream_key(name) not in self._known]

    def _answer_request(self, caller: Caller, message: str | bytes) -> str:
        try:
            request = json.loads(message)
        except ValueError as error:
            return _error(_INVALID_JSON, f"Invalid JSON: {error}", None)
        number = request.get("id") if isinstance(request, dict) else None
        method = request.get("method") if isinstance(request, dict) else None
        if method not in _METHODS:
            expected = ", ".join(f"`{name}`" for name in _METHODS)
            why = f"Invalid request: unknown variant `{method}`, expected one of {expected}"
            return _error(_INVALID_REQUEST, why, number)
        if method == "LIST_SUBSCRIPTIONS":
            return json.dumps({"result": list(caller.wanted.values()), "id": number})
        names = request.get("params")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return _error(_INVALID_REQUEST, "Invalid request: params is not a list of stream names", number)
        if unknown := self._unknown(names):
            return _error(_INVALID_REQUEST, f"Invalid request: unknown stream {', '.join(unknown)}", number)
        for name in names:
            if method == "SUBSCRIBE":
                caller.subscribe(stream_key(name), name)
            else:
                caller.unsubscribe(stream_key(name))
        return json.dumps({"result": None, "id": number})


class BinanceDialect(_BinanceBase):
    """A market whose frames the source has."""

    def __init__(self, market: str, source: Source) -> None:
        streams = set(source.streams[market])
        self._has_aggregates = bool(source.instruments)  # of a recording only what was recorded
        if self._has_aggregates:
            streams |= {name.replace("@trade", "@aggTrade") for name in streams if name.endswith("@trade")}
        super().__init__(market, streams)
        self._source = source
        instruments = source.instruments
        own: list[Product] = []
        if market == "spot":
            own = [*coins(instruments, _joined, "USDT"), *others(instruments, _joined, "USDT")]
        elif market == "usdm":
            own = perpetuals(instruments, _joined, {})
        self.products = own

    def messages(self, frames: Sequence[SourceFrame], wanted: Set[str]) -> list[Message]:
        """The frames of this market; each trade is also an aggregate of one, if that is wanted."""
        told = []
        for frame in frames:
            if frame.market != self.market:
                continue
            key = stream_key(frame.stream)
            if key in wanted:
                told.append(Message(key, frame.text, frame.received_ns, name=frame.stream))
            if self._has_aggregates and key.endswith("@trade"):
                aggregate = key.replace("@trade", "@aggTrade")
                if aggregate in wanted:
                    told.append(self._aggregate(aggregate, frame))
        return told

    def _aggregate(self, stream: str, frame: SourceFrame) -> Message:
        fill = fact_of(frame)
        assert isinstance(fill, Fill), "a frame of `trade` is one"
        more = {"M": True} if self.market == "spot" else {}
        data = _aggregate(fill.instrument.symbol, fill, f"{fill.price:.8f}", f"{fill.size:.8f}") | more
        return Message(stream, _enveloped(stream, data), frame.received_ns, fill)

    def _symbols(self) -> Sequence[str]:
        return self._source.symbols[self.market]

    def _product(self, symbol: str) -> Product | None:  # noqa: ARG002
        return None

    async def _depth(self, symbol: str, limit: int) -> bytes:
        return await self._source.depth(self.market, symbol, limit)


class CoinMarginedDialect(_BinanceBase, StreamDialect):
    """The simulated perpetuals in contracts of USD."""

    def __init__(self, products: Sequence[Product]) -> None:
        channels = ("trade", "aggTrade", "bookTicker", "depth20@100ms", "depth@100ms", "markPrice@1s")
        names = (f"{p.symbol.lower()}@{channel}" for p in products for channel in channels)
        _BinanceBase.__init__(self, "coinm", names)
        protocol = self.protocol
        StreamDialect.__init__(self, products)
        self.protocol = protocol
        self._tops: dict[str, Top] = {}

    def tell(self, product: Product, fact: Fact) -> Iterator[Saying]:
        """See `StreamDialect`."""
        match fact:
            case Fill():
                price, size = product.price_text(fact.price), product.size_text(fact.size)
                trade = _trade(product.symbol, fact, price, size)
                yield _saying(product, "trade", trade, fact)
                yield _saying(product, "aggTrade", _aggregate(product.symbol, fact, price, size), fact)
            case Best():
                yield _saying(product, "bookTicker", _book_ticker(product, fact), fact)
            case Top():
                yield from self._book(product, fact)
            case Mark():
                yield _saying(product, "markPrice@1s", _mark_price(product, fact), fact)

    def _book(self, product: Product, top: Top) -> Iterator[Saying]:
        change = self._ladders[product.symbol].move(top)
        if change is None:
            return
        self._tops[product.symbol] = top
        ms, number, previous = top.at_us // 1_000, top.number, change.previous_number
        head = {"e": "depthUpdate", "E": ms, "T": ms, "s": product.symbol, "ps": f"{product.base}USD"}
        numbers = {"U": max(previous, 0) + 1, "u": number, "pu": max(previous, 0)}
        whole = {"b": _levels(product, top.bids), "a": _levels(product, top.asks)}
        changes = {"b": _levels(product, change.bids), "a": _levels(product, change.asks)}
        yield _saying(product, "depth20@100ms", head | numbers | whole, top)
        if previous >= 0:
            yield _saying(product, "depth@100ms", head | numbers | changes, top)

    def _symbols(self) -> Sequence[str]:
        return list(self._by_symbol)

    def _product(self, symbol: str) -> Product | None:
        return self._by_symbol[symbol]

    async def _depth(self, symbol: str, limit: int) -> bytes:
        product, top = self._by_symbol[symbol], self._tops.get(symbol)
        if top is None:
            raise LookupError(f"Nothing happened yet in {symbol}")
        ms = top.at_us // 1_000
        head = {"lastUpdateId": top.number, "E": ms, "T": ms, "symbol": symbol, "pair": f"{product.base}USD"}
        sides = {"bids": _levels(product, top.bids[:limit]), "asks": _levels(product, top.asks[:limit])}
        return text_of(head | sides).encode()


def refusal(code: int, message: str) -> Answer:
    """How the REST interface says no."""
    return _json({"code": code, "msg": message}, HTTPStatus.BAD_REQUEST)


def _joined(base: str, quote: str) -> str:
    return base + quote


def _trade(symbol: str, fill: Fill, price: str, size: str) -> dict[str, Any]:
    ms = fill.at_us // 1_000
    head = {"e": "trade", "E": ms, "T": ms, "s": symbol, "t": fill.number}
    return head | {"p": price, "q": size, "X": "MARKET", "m": not fill.is_buy}


def _aggregate(symbol: str, fill: Fill, price: str, size: str) -> dict[str, Any]:
    ms, number = fill.at_us // 1_000, fill.number
    head = {"e": "aggTrade", "E": ms, "a": number, "s": symbol, "p": price, "q": size}
    return head | {"f": number, "l": number, "T": ms, "m": not fill.is_buy}


def _trade_again(fill: Fill, product: Product | None) -> dict[str, Any]:
    price, size = _written(fill, product)
    again = {"id": fill.number, "price": price, "qty": size, "quoteQty": f"{fill.price * fill.size:.8f}"}
    return again | {"time": fill.at_us // 1_000, "isBuyerMaker": not fill.is_buy, "isBestMatch": True}


def _aggregate_again(fill: Fill, product: Product | None) -> dict[str, Any]:
    price, size = _written(fill, product)
    again = {"a": fill.number, "p": price, "q": size, "f": fill.number, "l": fill.number}
    return again | {"T": fill.at_us // 1_000, "m": not fill.is_buy}


def _written(fill: Fill, product: Product | None) -> tuple[str, str]:
    """Price and size as the stream writes them."""
    if product is None:
        return f"{fill.price:.8f}", f"{fill.size:.8f}"
    told = product.as_told(fill, 1_000)
    assert isinstance(told, Fill), "as it was"
    return product.price_text(told.price), product.size_text(told.size)


def _book_ticker(product: Product, best: Best) -> dict[str, Any]:
    (bid, bid_size), (ask, ask_size) = best.bid, best.ask
    ms = best.at_us // 1_000
    return {
        "u": best.number,
        "e": "bookTicker",
        "s": product.symbol,
        "ps": f"{product.base}USD",
        "b": product.price_text(bid),
        "B": product.size_text(bid_size),
        "a": product.price_text(ask),
        "A": product.size_text(ask_size),
        "T": ms,
        "E": ms,
    }


def _mark_price(product: Product, mark: Mark) -> dict[str, Any]:
    values = {"p": mark.mark_price, "i": mark.index_price, "P": mark.index_price, "r": mark.funding_rate}
    texts = {name: f"{value:.8f}" for name, value in values.items()}
    head = {"e": "markPriceUpdate", "E": (mark.at_us or 0) // 1_000, "s": product.symbol}
    return head | texts | {"T": (mark.due_us or 0) // 1_000}


def _levels(product: Product, side: Sequence[Level]) -> list[list[str]]:
    return [[product.price_text(price), product.size_text(size)] for price, size in side]


def _saying(product: Product, channel: str, data: Mapping[str, Any], fact: Fact) -> Saying:
    name = f"{product.symbol.lower()}@{channel}"
    return Saying(stream_key(name), _enveloped(name, data), fact)


def _enveloped(stream: str, data: Mapping[str, Any]) -> bytes:
    return text_of({"stream": stream, "data": data}).encode()


def _streams_in(path: str, query: Mapping[str, str]) -> list[str]:
    """The streams that an address asks for."""
    _, _, *named = path.rstrip("/").split("/")
    return [name for name in (*query.get("streams", "").split("/"), *named) if name]


def _exchange_info(symbols: Iterable[str]) -> dict[str, Any]:
    trading = [{"symbol": symbol, "status": "TRADING"} for symbol in symbols]
    return {"timezone": "UTC", "serverTime": time.time_ns() // 1_000_000, "symbols": trading}


def _json(value: object, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    return Answer(json.dumps(value).encode(), status)


def _error(code: int, text: str, number: object) -> str:
    return json.dumps({"error": {"code": code, "msg": text}, "id": number})


def binance_coinm(
    instruments: Sequence[SimulatedInstrument],
    account: Credentials | None,  # noqa: ARG001 (none is wanted)
) -> CoinMarginedDialect:
    """Contracts of 100 USD for bitcoin, 10 for the others."""
    contracts = {"BTC": 100.0, "ETH": 10.0, "SOL": 10.0}
    return CoinMarginedDialect(
        inverse_perpetuals(instruments, lambda base, quote: f"{base}{quote}_PERP", contracts)
    )

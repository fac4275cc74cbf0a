"""OKX v5's public channels: subscriptions, trades, tickers, books with number and checksum, marks.

What lives here: the venue's words. Each argument of a request is answered by itself, the text `ping` by
`pong`. A book is a snapshot, then updates, each naming the one before and the CRC32 of the best 25 levels.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

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
    text_of,
)
from sentinet_dagster.runtime.venue_dialects.facts import Best, Fact, Fill, Level, Mark, Top
from sentinet_dagster.runtime.venue_dialects.past import RemembersTrades, whole_number
from sentinet_dagster.runtime.venue_dialects.products import Product, coins, perpetuals

__all__ = ["OkxDialect", "okx"]

_OF_ALL = ("trades", "tickers", "bbo-tbt", "books5", "books")
_OF_SWAPS = ("mark-price", "funding-rate")
_INDEX = "index-tickers"
_CONNECTION = "a4d3ae55"
_MOST_TRADES = 100  # of one answer
_UNKNOWN, _INVALID = "60018", "60012"  # the venue's codes


class OkxDialect(StreamDialect, RemembersTrades):
    """The public socket."""

    protocol = "okx"
    path = "/ws/v5/public"

    def __init__(self, products: Sequence[Product], account: Credentials | None = None) -> None:
        super().__init__(products, account)
        self._streams = {f"{channel}:{p.symbol}" for p in products for channel in _OF_ALL}
        for product in products:
            if product.kind == "perpetual":
                self._streams |= {f"{channel}:{product.symbol}" for channel in _OF_SWAPS}
                self._streams.add(f"{_INDEX}:{_index_of(product)}")

    def hear(self, caller: Caller, message: str | bytes) -> Reply:
        """`ping`, subscribe, unsubscribe."""
        if message in ("ping", b"ping"):
            return Reply(["pong"])
        request = request_in(message) or {}
        operation, arguments = request.get("op"), request.get("args")
        if operation not in ("subscribe", "unsubscribe") or not isinstance(arguments, list):
            return Reply([_error(_INVALID, "Invalid request")])
        return Reply([self._obey(caller, operation, argument) for argument in arguments])

    def tell(self, product: Product, fact: Fact) -> Iterator[Saying]:
        """See `StreamDialect`."""
        match fact:
            case Fill():
                yield _saying("trades", product.symbol, fact, [_trade(product, fact)])
            case Best():
                sides = {"asks": _levels(product, [fact.ask]), "bids": _levels(product, [fact.bid])}
                data = sides | {"ts": _ms(fact.at_us), "seqId": fact.number}
                yield _saying("bbo-tbt", product.symbol, fact, [data])
                yield _saying("tickers", product.symbol, fact, [_ticker(product, fact)])
            case Top():
                five = fact._replace(bids=fact.bids[:5], asks=fact.asks[:5])
                if self._ladders[f"books5:{product.symbol}"].move(five) is not None:
                    yield _saying("books5", product.symbol, five, [_book(product, five)])
                yield from self._update(product, fact)
            case Mark():
                yield from _marks(product, fact)

    async def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        """The trades again, the newest first."""
        if path != "/api/v5/market/history-trades":
            return not_found(path)
        product = self._by_symbol.get(query.get("instId", ""))
        if product is None:
            return _json("51001", "Instrument ID does not exist", [])
        number = whole_number(query, "after", -1)
        limit = min(whole_number(query, "limit", _MOST_TRADES), _MOST_TRADES)
        fills = self.past.numbered_before(product.source, None if number < 0 else number, limit)
        return _json("0", "", [_trade(product, self.as_told(product, fill)) for fill in fills])

    def _obey(self, caller: Caller, operation: str, argument: object) -> str:
        named = argument if isinstance(argument, dict) else {}
        channel, symbol = named.get("channel"), named.get("instId")
        stream = f"{channel}:{symbol}"
        if stream not in self._streams:
            return _error(
                _UNKNOWN,
                f"Wrong URL or channel:{channel},instId:{symbol} doesn't exist. Please use the correct URL, "
                "channel and parameters referring to API document.",
            )
        if operation == "subscribe":
            caller.subscribe(stream)
        else:
            caller.unsubscribe(stream)
        return text_of({"event": operation, "arg": named, "connId": _CONNECTION})

    def _update(self, product: Product, top: Top) -> Iterator[Saying]:
        change = self._ladders[f"books:{product.symbol}"].move(top)
        if change is None:
            return
        numbers: dict[str, Any] = {
            "ts": _ms(top.at_us),
            "checksum": _checksum(product, top),
            "seqId": top.number,
        }
        sides = {"asks": _levels(product, change.asks), "bids": _levels(product, change.bids)}
        data = sides | numbers | {"prevSeqId": change.previous_number}
        whole = _book(product, top) | numbers | {"prevSeqId": -1}
        yield Saying(
            f"books:{product.symbol}",
            _text("books", product.symbol, [data], action="update"),
            top,
            _text("books", product.symbol, [whole], action="snapshot"),
        )


def _trade(product: Product, fill: Fill) -> dict[str, Any]:
    return {
        "instId": product.symbol,
        "tradeId": str(fill.number),
        "px": product.price_text(fill.price),
        "sz": product.size_text(fill.size),
        "side": "buy" if fill.is_buy else "sell",
        "ts": _ms(fill.at_us),
        "count": "1",
    }


def _json(code: str, message: str, data: list[dict[str, Any]]) -> Answer:
    return Answer(text_of({"code": code, "msg": message, "data": data}).encode())


def _ticker(product: Product, best: Best) -> dict[str, Any]:
    (bid, bid_size), (ask, ask_size) = best.bid, best.ask
    return {
        "instType": "SWAP" if product.kind == "perpetual" else "SPOT",
        "instId": product.symbol,
        "askPx": product.price_text(ask),
        "askSz": product.size_text(ask_size),
        "bidPx": product.price_text(bid),
        "bidSz": product.size_text(bid_size),
        "ts": _ms(best.at_us),
    }


def _book(product: Product, top: Top) -> dict[str, Any]:
    return {
        "asks": _levels(product, top.asks),
        "bids": _levels(product, top.bids),
        "ts": _ms(top.at_us),
        "seqId": top.number,
    }


def _marks(product: Product, mark: Mark) -> Iterator[Saying]:
    """Three channels, which do not tick in the same millisecond."""
    at_us = mark.at_us or 0
    symbol, index = product.symbol, _index_of(product)
    alone = Mark(mark.instrument, at_us, mark_price=mark.mark_price)
    data = {"instId": symbol, "instType": "SWAP", "markPx": _number(mark.mark_price), "ts": _ms(at_us)}
    yield _saying("mark-price", symbol, alone, [data])
    alone = Mark(mark.instrument, at_us + 1_000, index_price=mark.index_price)
    yield _saying(
        _INDEX,
        index,
        alone,
        [{"instId": index, "idxPx": _number(mark.index_price), "ts": _ms(at_us + 1_000)}],
    )
    alone = Mark(mark.instrument, at_us + 2_000, funding_rate=mark.funding_rate, due_us=mark.due_us)
    data = {
        "fundingRate": _number(mark.funding_rate),
        "fundingTime": _ms(mark.due_us),
        "instId": symbol,
        "instType": "SWAP",
        "nextFundingRate": "",
        "ts": _ms(at_us + 2_000),
    }
    yield _saying("funding-rate", symbol, alone, [data])


def _checksum(product: Product, top: Top) -> int:
    def words(side: Sequence[Level]) -> list[str]:
        return [f"{product.price_text(price)}:{product.size_text(size)}" for price, size in side[:25]]

    pairs = zip_longest(words(top.bids), words(top.asks))
    unsigned = zlib.crc32(":".join(word for word in chain.from_iterable(pairs) if word).encode())
    return unsigned - 2**32 if unsigned >= 2**31 else unsigned


def _levels(product: Product, side: Sequence[Level]) -> list[list[str]]:
    return [[product.price_text(price), product.size_text(size), "0", "1"] for price, size in side]


def _index_of(product: Product) -> str:
    return f"{product.base}-{product.quote}"


def _saying(channel: str, symbol: str, fact: Fact, data: list[dict[str, Any]]) -> Saying:
    return Saying(f"{channel}:{symbol}", _text(channel, symbol, data), fact)


def _text(channel: str, symbol: str, data: list[dict[str, Any]], **more: str) -> bytes:
    return text_of({"arg": {"channel": channel, "instId": symbol}, **more, "data": data}).encode()


def _ms(at_us: int | None) -> str:
    return "" if at_us is None else str(at_us // 1_000)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.8f}"


def _error(code: str, message: str) -> str:
    return text_of({"event": "error", "code": code, "msg": message, "connId": _CONNECTION})


def okx(instruments: Sequence[SimulatedInstrument], account: Credentials | None) -> OkxDialect:
    """Spot, and swaps whose contract is a part of a coin."""
    spot = coins(instruments, lambda base, quote: f"{base}-{quote}", "USDT")
    swaps = perpetuals(
        instruments, lambda base, quote: f"{base}-{quote}-SWAP", {"BTC": "0.01", "ETH": "0.1", "SOL": "1"}
    )
    return OkxDialect([*spot, *swaps], account)

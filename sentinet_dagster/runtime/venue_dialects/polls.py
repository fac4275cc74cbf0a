"""Venues that are asked for the last price over REST: Alpha Vantage and Financial Modeling Prep.

What lives here: what they have in common, and the words of each. What never does: sockets. A price that an
answer told is a fact of the ledger where it is new, by what the venue says of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from ingest_daemon.venues import Credentials
from ingest_daemon.venues.simulated import SimulatedInstrument
from sentinet_dagster.runtime.venue_dialects.base import (
    Answer,
    Caller,
    Message,
    Reply,
    instant,
    not_found,
    text_of,
)
from sentinet_dagster.runtime.venue_dialects.facts import Fill, Mark, fact_of
from sentinet_dagster.runtime.venue_dialects.products import Product, stocks
from sentinet_dagster.runtime.venue_sources import SourceFrame

__all__ = ["AlphaVantageDialect", "FmpDialect", "alpha_vantage", "fmp"]

_SECOND_US = 1_000_000


@dataclass(slots=True)
class _Last:
    """What is known of a product."""

    received_ns: int
    at_us: int
    price: float
    volume: float = 0.0


class PolledDialect(ABC):
    """A venue without a socket."""

    protocol: str
    path: str
    channel: str
    always_listens = True

    def __init__(self, products: Sequence[Product], account: Credentials | None = None) -> None:
        self.products = products
        self._account = account
        self._product_of = {product.source: product for product in products}
        self._last: dict[str, _Last] = {}
        self._told: dict[str, object] = {}

    def refuses(self, path: str, query: Mapping[str, str]) -> Answer | None:  # noqa: ARG002
        """There is no socket."""
        return not_found(path)

    def greet(self, caller: Caller) -> Reply:  # noqa: ARG002
        """There is no socket."""
        return Reply(closes=True)

    def hear(self, caller: Caller, message: str | bytes) -> Reply:  # noqa: ARG002
        """There is no socket."""
        return Reply(closes=True)

    def messages(self, frames: Sequence[SourceFrame], wanted: Set[str]) -> list[Message]:  # noqa: ARG002
        """None: trades are taken note of, for who asks."""
        for frame in frames:
            fact = fact_of(frame)
            product = self._product_of.get(fact.instrument) if isinstance(fact, Fill) else None
            if product is not None and isinstance(fact, Fill):
                before = self._last.get(product.symbol)
                volume = fact.size + (0.0 if before is None else before.volume)
                self._last[product.symbol] = _Last(frame.received_ns, fact.at_us, fact.price, volume)
        return []

    async def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        """The last price of a symbol, to who has an account."""
        if path != self.path:
            return not_found(path)
        key = query.get("apikey", "")
        if not key or (self._account is not None and key != self._account.key):
            return self.login_refused()
        symbol = query.get("symbol", "")
        last = self._last.get(symbol)
        if last is None:
            return Answer(text_of(self.nothing()).encode())
        version, mark = self.version(last), self.mark(symbol, last)
        message = None
        if self._told.get(symbol) != version:
            self._told[symbol] = version
            message = Message(f"{self.channel}:{symbol}", b"", last.received_ns, mark)
        return Answer(text_of(self.quote(symbol, last)).encode(), message=message)

    def mark(self, symbol: str, last: _Last) -> Mark:
        """The fact that an answer tells."""
        instrument = next(source for source, product in self._product_of.items() if product.symbol == symbol)
        return Mark(instrument, self.at_us(last), mark_price=last.price)

    @abstractmethod
    def login_refused(self) -> Answer:
        """What a wrong key is answered."""

    @abstractmethod
    def nothing(self) -> object:
        """What an unknown symbol is answered."""

    @abstractmethod
    def quote(self, symbol: str, last: _Last) -> object:
        """What a known symbol is answered."""

    @abstractmethod
    def version(self, last: _Last) -> object:
        """What tells two prices apart."""

    @abstractmethod
    def at_us(self, last: _Last) -> int | None:
        """When the venue says the price occurred."""


class AlphaVantageDialect(PolledDialect):
    """`GLOBAL_QUOTE`: status 200 whatever it says, and a day instead of a time."""

    protocol = "alpha_vantage"
    path = "/query"
    channel = "GLOBAL_QUOTE"

    def login_refused(self) -> Answer:
        """In the words that users tell of."""
        error = "the parameter apikey is invalid or missing."
        return Answer(text_of({"Error Message": error}).encode())

    def nothing(self) -> object:
        """An empty quote."""
        return {"Global Quote": {}}

    def quote(self, symbol: str, last: _Last) -> object:
        """Texts, by numbered names."""
        day, price, volume = self._words(last)
        return {
            "Global Quote": {
                "01. symbol": symbol,
                "05. price": price,
                "06. volume": volume,
                "07. latest trading day": day,
            }
        }

    def version(self, last: _Last) -> object:
        """Day, price and volume."""
        return self._words(last)

    def at_us(self, last: _Last) -> int | None:  # noqa: ARG002
        """It does not say."""
        return None

    def _words(self, last: _Last) -> tuple[str, str, str]:
        return instant(last.at_us)[:10], f"{last.price:.8f}", f"{last.volume:.2f}"


class FmpDialect(PolledDialect):
    """`quote`: a list of one, and a time in seconds."""

    protocol = "fmp"
    path = "/stable/quote"
    channel = "quote"

    def login_refused(self) -> Answer:
        """With a status that says so."""
        return Answer(text_of({"Error Message": "Invalid API KEY."}).encode(), HTTPStatus.UNAUTHORIZED)

    def nothing(self) -> object:
        """An empty list."""
        return []

    def quote(self, symbol: str, last: _Last) -> object:
        """Numbers."""
        fields: dict[str, Any] = {"symbol": symbol, "name": symbol, "price": last.price}
        return [fields | {"volume": last.volume, "timestamp": last.at_us // _SECOND_US}]

    def version(self, last: _Last) -> object:
        """The second."""
        return last.at_us // _SECOND_US

    def at_us(self, last: _Last) -> int | None:
        """The second."""
        return last.at_us // _SECOND_US * _SECOND_US


def alpha_vantage(
    instruments: Sequence[SimulatedInstrument], account: Credentials | None
) -> AlphaVantageDialect:
    """Stocks."""
    return AlphaVantageDialect(stocks(instruments), account)


def fmp(instruments: Sequence[SimulatedInstrument], account: Credentials | None) -> FmpDialect:
    """Stocks."""
    return FmpDialect(stocks(instruments), account)

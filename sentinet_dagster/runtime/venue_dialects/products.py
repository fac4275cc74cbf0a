"""What a venue trades: its name for an instrument, the digits of its numbers, the size of its contracts.

What lives here: pure functions from what happened to what a venue says of it, and back to base units. What
never does: the wording (the dialects).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ingest_daemon.venues.simulated import SimulatedInstrument
from sentinet_dagster.runtime.venue_dialects.facts import Best, Fact, Fill, Instrument, Level, Mark, Top

__all__ = ["Product", "coins", "inverse_perpetuals", "others", "perpetuals", "stocks"]

Kind = Literal["spot", "perpetual", "equity"]
Naming = Callable[[str, str], str]  # base and quote currency → the venue's symbol

_COINS = ("BTC", "ETH", "SOL")  # the other instruments of the simulated market pass for shares


@dataclass(frozen=True, slots=True)
class Product:
    """One instrument as a venue lists it."""

    symbol: str
    source: Instrument  # of the simulated market: what happens there is told of the product
    kind: Kind
    base: str
    quote: str
    price_decimals: int
    size_decimals: int  # of a size as the venue writes it, in contracts
    contract_size: float = 1.0
    contract_currency: Literal["base", "quote"] = "base"

    def price_text(self, price: float) -> str:
        """A price as the venue writes it."""
        return f"{price:.{self.price_decimals}f}"

    def size_text(self, contracts: float) -> str:
        """A size as the venue writes it."""
        return f"{contracts:.{self.size_decimals}f}"

    def as_told(self, fact: Fact, unit_us: int) -> Fact:
        """The fact with sizes in contracts and a time in whole units, as a message can say it."""
        told = fact if fact.at_us is None else fact._replace(at_us=fact.at_us // unit_us * unit_us)
        return _with_sizes(told, self._contracts)

    def in_base_units(self, told: Fact) -> Fact:
        """What was told, with sizes in base units: what should stand in the database."""
        return _with_sizes(told, self._base)

    def _contracts(self, level: Level) -> Level:
        price, size = level
        value = size * price if self.contract_currency == "quote" else size
        least = float(f"1e-{self.size_decimals}")
        return price, max(float(self.size_text(value / self.contract_size)), least)

    def _base(self, level: Level) -> Level:
        price, contracts = level
        value = contracts * self.contract_size
        return price, value / price if self.contract_currency == "quote" else value


def coins(instruments: Iterable[SimulatedInstrument], name: Naming, quote: str) -> list[Product]:
    """The spot markets of the great coins, against `quote`."""
    return [
        _product(spot, "spot", name(spot.base, quote), quote)
        for spot in instruments
        if spot.base in _COINS and not spot.is_perpetual
    ]


def others(instruments: Iterable[SimulatedInstrument], name: Naming, quote: str) -> list[Product]:
    """The spot markets of everything else."""
    return [
        _product(spot, "spot", name(spot.base, quote), quote)
        for spot in instruments
        if spot.base not in _COINS and not spot.is_perpetual
    ]


def stocks(instruments: Iterable[SimulatedInstrument]) -> list[Product]:
    """The same as if they were shares of companies."""
    return [
        _product(spot, "equity", spot.base, "USD")
        for spot in instruments
        if spot.base not in _COINS and not spot.is_perpetual
    ]


def perpetuals(
    instruments: Iterable[SimulatedInstrument], name: Naming, contracts: Mapping[str, str]
) -> list[Product]:
    """The perpetuals against USDT. `contracts`: base currency → how much of it a contract is, 0.01 or 1."""
    found = []
    for perpetual in instruments:
        if perpetual.is_perpetual:
            size = contracts.get(perpetual.base, "1")
            fewer = len(size.partition(".")[2])  # digits that the contract takes off a size
            decimals = max(perpetual.size_decimals - fewer, 0)
            symbol = name(perpetual.base, perpetual.quote)
            found.append(_product(perpetual, "perpetual", symbol, "USDT", decimals, float(size)))
    return found


def inverse_perpetuals(
    instruments: Iterable[SimulatedInstrument], name: Naming, contracts: Mapping[str, float]
) -> list[Product]:
    """The perpetuals whose contract is an amount of USD, whole contracts only."""
    return [
        _product(i, "perpetual", name(i.base, "USD"), "USD", 0, contracts.get(i.base, 1.0), "quote")
        for i in instruments
        if i.is_perpetual
    ]


def _product(
    instrument: SimulatedInstrument,
    kind: Kind,
    symbol: str,
    quote: str,
    size_decimals: int | None = None,
    contract_size: float = 1.0,
    contract_currency: Literal["base", "quote"] = "base",
) -> Product:
    market = "usdm" if instrument.is_perpetual else "spot"
    return Product(
        symbol,
        Instrument(market, instrument.venue_symbol),
        kind,
        instrument.base,
        quote,
        instrument.price_decimals,
        instrument.size_decimals if size_decimals is None else size_decimals,
        contract_size,
        contract_currency,
    )


def _with_sizes(fact: Fact, size: Callable[[Level], Level]) -> Fact:
    match fact:
        case Fill():
            return fact._replace(size=size((fact.price, fact.size))[1])
        case Best():
            return fact._replace(bid=size(fact.bid), ask=size(fact.ask))
        case Top():
            return fact._replace(bids=tuple(map(size, fact.bids)), asks=tuple(map(size, fact.asks)))
        case Mark():
            return fact

"""From contracts to units of the base currency, which is what a size means in an event.

What lives here: the arithmetic of it, applied to what a reader returns. What never does: knowing how large a
contract is (`Listing` says, from `market.instruments`).

    contract of      example                          size in base units
    base currency    OKX BTC-USDT-SWAP: 0.01 BTC      contracts × contract_size
    quote currency   Binance BTCUSD_PERP: 100 USD     contracts × contract_size / price of the trade or level

A book is held in the venue's own numbers, which its checksum is of; only what is said is converted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ingest_daemon.events import Book, Event, Quote, Trade
from ingest_daemon.venues.base import Listing
from ingest_daemon.venues.fields import Column, Reader

__all__ = ["Converter", "in_base_units", "to_base_units", "trades_in_base_units"]

Converter = Callable[[Sequence[Event]], Sequence[Event]]


def to_base_units(listing: Listing) -> Converter:
    """Events in contracts → events in base units; the same events where a contract is one base unit."""
    contract = listing.contract_size
    if listing.contract_currency == "quote":
        return lambda events: [_divided(event, contract) for event in events]
    if contract == 1.0:
        return _as_they_are
    return lambda events: [_multiplied(event, contract) for event in events]


def in_base_units(listing: Listing, read: Reader) -> Reader:
    """A reader whose sizes are in base units; the reader itself, at no cost, where they are already."""
    convert = to_base_units(listing)
    if convert is _as_they_are:
        return read
    return lambda frame, received_at: convert(read(frame, received_at))


def trades_in_base_units(listing: Listing) -> Callable[[Sequence[Trade]], Sequence[Trade]]:
    """As `to_base_units`, of trades alone."""
    convert = to_base_units(listing)
    return lambda trades: [event for event in convert(trades) if isinstance(event, Trade)]


def _as_they_are(events: Sequence[Event]) -> Sequence[Event]:
    return events


def _multiplied(event: Event, contract: float) -> Event:
    match event:
        case Trade(instrument_id, trade_id, occurred_at, received_at, price, size, aggressor, fills):
            return Trade(
                instrument_id, trade_id, occurred_at, received_at, price, size * contract, aggressor, fills
            )
        case Quote(instrument_id, update_id, occurred_at, received_at, bid, bid_size, ask, ask_size):
            bid_size, ask_size = bid_size * contract, ask_size * contract
            return Quote(instrument_id, update_id, occurred_at, received_at, bid, bid_size, ask, ask_size)
        case Book(instrument_id, update_id, occurred_at, received_at, bids, bid_sizes, asks, ask_sizes):
            bid_sizes = tuple([size * contract for size in bid_sizes])
            ask_sizes = tuple([size * contract for size in ask_sizes])
            return Book(instrument_id, update_id, occurred_at, received_at, bids, bid_sizes, asks, ask_sizes)
        case _:
            return event


def _divided(event: Event, contract: float) -> Event:
    match event:
        case Trade(instrument_id, trade_id, occurred_at, received_at, price, size, aggressor, fills):
            size = size * contract / price
            return Trade(instrument_id, trade_id, occurred_at, received_at, price, size, aggressor, fills)
        case Quote(instrument_id, update_id, occurred_at, received_at, bid, bid_size, ask, ask_size):
            bid_size, ask_size = bid_size * contract / bid, ask_size * contract / ask
            return Quote(instrument_id, update_id, occurred_at, received_at, bid, bid_size, ask, ask_size)
        case Book(instrument_id, update_id, occurred_at, received_at, bids, bid_sizes, asks, ask_sizes):
            bid_sizes, ask_sizes = _worth(bids, bid_sizes, contract), _worth(asks, ask_sizes, contract)
            return Book(instrument_id, update_id, occurred_at, received_at, bids, bid_sizes, asks, ask_sizes)
        case _:
            return event


def _worth(prices: Column, sizes: Column, contract: float) -> Column:
    return tuple([size * contract / price for price, size in zip(prices, sizes, strict=True)])

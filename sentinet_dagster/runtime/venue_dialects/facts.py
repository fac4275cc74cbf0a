"""What happened in the simulated market, without any venue's words for it.

What lives here: the facts, and reading them out of the frames of the simulated market. What never does: how a
venue tells them (the dialects), sockets, clocks. Times are microseconds since 1970 UTC.

This is no parser of a venue's protocol: it reads what our own renderer writes, and shares no code with the
parsers that the daemon has. So a ledger of facts does not agree with a wrong parser by construction.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from sentinet_dagster.runtime.venue_sources import SourceFrame

__all__ = ["Best", "Fact", "Fill", "Instrument", "Level", "Mark", "Top", "fact_of"]

Level = tuple[float, float]  # price, size


class Instrument(NamedTuple):
    """What is traded, by the simulated market's names."""

    market: str  # spot or usdm
    symbol: str  # BTCUSDT


class Fill(NamedTuple):
    """A trade."""

    instrument: Instrument
    at_us: int
    number: int  # counts up by one within the instrument
    price: float
    size: float
    is_buy: bool | None  # whether the taker bought; None: not told


class Best(NamedTuple):
    """The best bid and ask."""

    instrument: Instrument
    at_us: int
    number: int  # of the update: ascends within the instrument
    bid: Level
    ask: Level


class Top(NamedTuple):
    """All of a book, best first."""

    instrument: Instrument
    at_us: int
    number: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class Mark(NamedTuple):
    """What a derivative is valued at; None where it is not told."""

    instrument: Instrument
    at_us: int | None
    mark_price: float | None = None
    index_price: float | None = None
    funding_rate: float | None = None
    due_us: int | None = None


Fact = Fill | Best | Top | Mark

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def fact_of(frame: SourceFrame) -> Fact | None:
    """What a frame of the simulated market tells; None where that is only a difference."""
    symbol, channel, *_ = frame.stream.split("@")
    instrument = Instrument(frame.market, symbol.upper())
    data = _decode(frame.text)["data"]
    match channel:
        case "trade":
            price, size = float(data["p"]), float(data["q"])
            return Fill(instrument, data["T"] * 1_000, data["t"], price, size, not data["m"])
        case "bookTicker":
            bid, ask = (float(data["b"]), float(data["B"])), (float(data["a"]), float(data["A"]))
            return Best(instrument, data["u"], data["u"], bid, ask)  # the number of an update is its time
        case "depth20":
            number = data.get("u") or data["lastUpdateId"]
            bids, asks = (
                _levels(data.get(short) or data[long]) for short, long in (["b", "bids"], ["a", "asks"])
            )
            return Top(instrument, number, number, bids, asks)
        case "markPrice":
            mark, index, rate = (float(data[name]) for name in "pir")
            return Mark(instrument, data["E"] * 1_000, mark, index, rate, data["T"] * 1_000)
        case _:
            return None


def _levels(side: list[list[str]]) -> tuple[Level, ...]:
    return tuple([(float(price), float(size)) for price, size in side])

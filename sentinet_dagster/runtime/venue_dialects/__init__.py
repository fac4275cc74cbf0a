"""Every dialect that the venue server speaks, one small file each; none knows another.

What lives here: the table. What never does: sockets, delivery. A test holds it against
`ingest_daemon.venues.VENUES`: what the daemon understands, the server speaks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ingest_daemon.venues import Credentials
from ingest_daemon.venues.simulated import SimulatedInstrument
from sentinet_dagster.runtime.venue_dialects.alpaca import alpaca_crypto, alpaca_iex
from sentinet_dagster.runtime.venue_dialects.base import Answer, Caller, Dialect, Message, Reply
from sentinet_dagster.runtime.venue_dialects.binance import BinanceDialect, binance_coinm
from sentinet_dagster.runtime.venue_dialects.bybit import bybit_inverse, bybit_linear, bybit_spot
from sentinet_dagster.runtime.venue_dialects.coinbase import coinbase
from sentinet_dagster.runtime.venue_dialects.facts import Best, Fact, Fill, Mark, Top, fact_of
from sentinet_dagster.runtime.venue_dialects.finage import finage
from sentinet_dagster.runtime.venue_dialects.kraken import kraken
from sentinet_dagster.runtime.venue_dialects.okx import okx
from sentinet_dagster.runtime.venue_dialects.polls import alpha_vantage, fmp
from sentinet_dagster.runtime.venue_dialects.polygon import polygon_crypto, polygon_stocks
from sentinet_dagster.runtime.venue_dialects.products import Product
from sentinet_dagster.runtime.venue_sources import Source

__all__ = [
    "Answer",
    "Best",
    "Caller",
    "Dialect",
    "Fact",
    "Fill",
    "Mark",
    "Message",
    "Product",
    "Reply",
    "Top",
    "dialects_of",
    "fact_of",
]

_TELLING: Sequence[Callable[[Sequence[SimulatedInstrument], Credentials | None], Dialect]] = (
    okx,
    bybit_spot,
    bybit_linear,
    bybit_inverse,
    coinbase,
    kraken,
    alpaca_iex,
    alpaca_crypto,
    polygon_stocks,
    polygon_crypto,
    finage,
    alpha_vantage,
    fmp,
)


def dialects_of(source: Source, account: Credentials | None = None) -> dict[str, Dialect]:
    """The prefix of a market's addresses → its dialect.

    Binance's markets are called spot, usdm and coinm, every other by its protocol. A recording is played by
    its own market alone.

    Args:
        source: where frames come from.
        account: who may log in where a login is wanted; None: anybody.
    """
    dialects: dict[str, Dialect] = {market: BinanceDialect(market, source) for market in source.streams}
    if source.instruments:
        dialects["coinm"] = binance_coinm(source.instruments, account)
        dialects |= {
            found.protocol: found for found in (tell(source.instruments, account) for tell in _TELLING)
        }
    return dialects

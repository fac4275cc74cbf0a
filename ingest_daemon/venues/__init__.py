"""The registry: every dialect the daemon speaks, by the name that `config/venues.yaml` gives as `protocol`.

What lives here: the table. A venue is one module that knows no other, and one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ingest_daemon.venues.alpaca import ALPACA_CRYPTO, ALPACA_IEX
from ingest_daemon.venues.alpha_vantage import ALPHA_VANTAGE
from ingest_daemon.venues.base import (
    CallLimit,
    Capabilities,
    History,
    HistoryProtocol,
    KeyedSession,
    KeyedVenueProtocol,
    KnownTrade,
    Listing,
    MissingTrades,
    PolledVenueProtocol,
    Request,
    Session,
    TradeRepair,
    VenueProtocol,
)
from ingest_daemon.venues.binance import BINANCE_COINM, BINANCE_SPOT, BINANCE_USDM
from ingest_daemon.venues.bybit import BYBIT_INVERSE, BYBIT_LINEAR, BYBIT_SPOT
from ingest_daemon.venues.coinbase import COINBASE
from ingest_daemon.venues.credentials import Credentials
from ingest_daemon.venues.finage import FINAGE
from ingest_daemon.venues.fmp import FMP
from ingest_daemon.venues.kraken import KRAKEN
from ingest_daemon.venues.okx import OKX
from ingest_daemon.venues.polygon import POLYGON_CRYPTO, POLYGON_STOCKS
from ingest_daemon.venues.roll import Stream

__all__ = [
    "VENUES",
    "CallLimit",
    "Capabilities",
    "Credentials",
    "History",
    "HistoryProtocol",
    "KeyedSession",
    "KeyedVenueProtocol",
    "KnownTrade",
    "Listing",
    "MissingTrades",
    "PolledVenueProtocol",
    "Request",
    "Session",
    "Stream",
    "TradeRepair",
    "VenueProtocol",
]

_ENTRIES: tuple[VenueProtocol, ...] = (
    BINANCE_SPOT,
    BINANCE_USDM,
    BINANCE_COINM,
    OKX,
    BYBIT_SPOT,
    BYBIT_LINEAR,
    BYBIT_INVERSE,
    COINBASE,
    KRAKEN,
    ALPACA_IEX,
    ALPACA_CRYPTO,
    POLYGON_STOCKS,
    POLYGON_CRYPTO,
    FINAGE,
    ALPHA_VANTAGE,
    FMP,
)

VENUES: Mapping[str, VenueProtocol] = MappingProxyType({entry.name: entry for entry in _ENTRIES})

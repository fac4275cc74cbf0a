"""The registry: every detector by name. A detector is one module that knows no other, and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from types import MappingProxyType
from typing import Final

from sentinet_dagster.surveillance.detectors.base import Detector, Inputs, Lookback, Thresholds
from sentinet_dagster.surveillance.detectors.basis_stress import BASIS_STRESS
from sentinet_dagster.surveillance.detectors.book_spoofing import BOOK_SPOOFING
from sentinet_dagster.surveillance.detectors.crossed_market import CROSSED_MARKET
from sentinet_dagster.surveillance.detectors.decoupling import DECOUPLING
from sentinet_dagster.surveillance.detectors.depth_stress import DEPTH_STRESS
from sentinet_dagster.surveillance.detectors.favourable_execution import FAVOURABLE_EXECUTION
from sentinet_dagster.surveillance.detectors.feed_gap import FEED_GAP
from sentinet_dagster.surveillance.detectors.feed_latency import FEED_LATENCY
from sentinet_dagster.surveillance.detectors.flash_crash import FLASH_CRASH
from sentinet_dagster.surveillance.detectors.funding_anomaly import FUNDING_ANOMALY
from sentinet_dagster.surveillance.detectors.isolation_forest import ISOLATION_FOREST
from sentinet_dagster.surveillance.detectors.layering import LAYERING
from sentinet_dagster.surveillance.detectors.lead_lag_break import LEAD_LAG_BREAK
from sentinet_dagster.surveillance.detectors.marking_the_close import MARKING_THE_CLOSE
from sentinet_dagster.surveillance.detectors.momentum_ignition import MOMENTUM_IGNITION
from sentinet_dagster.surveillance.detectors.pair_divergence import PAIR_DIVERGENCE
from sentinet_dagster.surveillance.detectors.price_spike import PRICE_SPIKE
from sentinet_dagster.surveillance.detectors.pump_and_dump import PUMP_AND_DUMP
from sentinet_dagster.surveillance.detectors.quote_stuffing import QUOTE_STUFFING
from sentinet_dagster.surveillance.detectors.ramping import RAMPING
from sentinet_dagster.surveillance.detectors.rsi_extreme import RSI_EXTREME
from sentinet_dagster.surveillance.detectors.spoofing import SPOOFING
from sentinet_dagster.surveillance.detectors.spread_stress import SPREAD_STRESS
from sentinet_dagster.surveillance.detectors.stale_quotes import STALE_QUOTES
from sentinet_dagster.surveillance.detectors.systemic_decoupling import SYSTEMIC_DECOUPLING
from sentinet_dagster.surveillance.detectors.venue_divergence import VENUE_DIVERGENCE
from sentinet_dagster.surveillance.detectors.volatility_spike import VOLATILITY_SPIKE
from sentinet_dagster.surveillance.detectors.volume_spike import VOLUME_SPIKE
from sentinet_dagster.surveillance.detectors.wash_trading import WASH_TRADING

__all__ = ["DETECTORS", "WIDEST_LOOKBACK", "Detector", "Inputs", "Lookback", "Thresholds"]

_ENTRIES: Final[tuple[Detector, ...]] = (
    BASIS_STRESS,
    BOOK_SPOOFING,
    CROSSED_MARKET,
    DECOUPLING,
    DEPTH_STRESS,
    FAVOURABLE_EXECUTION,
    FEED_GAP,
    FEED_LATENCY,
    FLASH_CRASH,
    FUNDING_ANOMALY,
    ISOLATION_FOREST,
    LAYERING,
    LEAD_LAG_BREAK,
    MARKING_THE_CLOSE,
    MOMENTUM_IGNITION,
    PAIR_DIVERGENCE,
    PRICE_SPIKE,
    PUMP_AND_DUMP,
    QUOTE_STUFFING,
    RAMPING,
    RSI_EXTREME,
    SPOOFING,
    SPREAD_STRESS,
    STALE_QUOTES,
    SYSTEMIC_DECOUPLING,
    VENUE_DIVERGENCE,
    VOLATILITY_SPIKE,
    VOLUME_SPIKE,
    WASH_TRADING,
)

DETECTORS: Final[Mapping[str, Detector]] = MappingProxyType({entry.name: entry for entry in _ENTRIES})

WIDEST_LOOKBACK: Final = reduce(Lookback.wider, (entry.lookback for entry in _ENTRIES), Lookback())
"""What covers the look-back of every detector."""

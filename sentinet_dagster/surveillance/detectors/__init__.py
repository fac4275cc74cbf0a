"""The registry: every detector by name. A detector is one module that knows no other, and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from types import MappingProxyType
from typing import Final

from sentinet_dagster.surveillance.detectors.base import Detector, Inputs, Lookback, Thresholds
from sentinet_dagster.surveillance.detectors.decoupling import DECOUPLING
from sentinet_dagster.surveillance.detectors.isolation_forest import ISOLATION_FOREST
from sentinet_dagster.surveillance.detectors.pump_and_dump import PUMP_AND_DUMP
from sentinet_dagster.surveillance.detectors.spoofing import SPOOFING
from sentinet_dagster.surveillance.detectors.spread_stress import SPREAD_STRESS
from sentinet_dagster.surveillance.detectors.volatility_spike import VOLATILITY_SPIKE

__all__ = ["DETECTORS", "WIDEST_LOOKBACK", "Detector", "Inputs", "Lookback", "Thresholds"]

_ENTRIES: Final[tuple[Detector, ...]] = (
    DECOUPLING,
    ISOLATION_FOREST,
    PUMP_AND_DUMP,
    SPOOFING,
    SPREAD_STRESS,
    VOLATILITY_SPIKE,
)

DETECTORS: Final[Mapping[str, Detector]] = MappingProxyType({entry.name: entry for entry in _ENTRIES})

WIDEST_LOOKBACK: Final = reduce(Lookback.wider, (entry.lookback for entry in _ENTRIES), Lookback())
"""What covers the look-back of every detector."""

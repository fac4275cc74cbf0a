"""Real markets on calm days: what the detectors say of them, with the thresholds of production.

Six minutes of BTC and ETH on spot, USD-M and COIN-M of 2024-08-08, and three of USD-M of 2024-07-18. That is
too short for rules that look back for longer: `WITH_VERDICTS` is who has something to say at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import polars as pl
import pytest
import yaml

from sentinet_dagster.runtime.calm_markets import CalmMarket, recorded_markets
from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.alerts import alerts_of
from sentinet_dagster.surveillance.correlation import build_correlations
from sentinet_dagster.surveillance.detectors import DETECTORS, Inputs
from sentinet_dagster.surveillance.features import build_features
from sentinet_dagster.surveillance.findings import build_findings
from sentinet_dagster.surveillance.settings import SurveillanceSettings, load_settings

CONFIG: Final = Path(__file__).resolve().parents[4] / "config"

# What the product's configuration does not watch.
VENUES: Final = {
    "binance_coinm": {
        "protocol": "binance_coinm",
        "websocket_url": "wss://dstream.binance.com",
        "rest_url": "https://dapi.binance.com",
        "channels": ["trade", "bookTicker", "depth"],
    }
}
INSTRUMENTS: Final = [
    {
        "venue": "binance_coinm",
        "symbol": f"{base}-USD-PERP",
        "venue_symbol": f"{base}USD_PERP",
        "kind": "perpetual",
        "base": base,
        "quote": "USD",
        "contract_size": size,
        "contract_currency": "quote",
    }
    for base, size in (("BTC", 100.0), ("ETH", 10.0))
]

WINDOWS: Final = 484  # of 6 and of 2 instruments
# Findings and alerts of each detector over both days; who is not named: none.
FINDINGS: Final[Mapping[str, int]] = {"spoofing": 12, "layering": 1}
ALERTS: Final[Mapping[str, int]] = {"spoofing": 5, "layering": 1}
WITH_VERDICTS: Final = {
    "book_spoofing",
    "depth_stress",
    "feed_latency",
    "layering",
    "marking_the_close",
    "momentum_ignition",
    "pump_and_dump",
    "quote_stuffing",
    "spoofing",
    "spread_stress",
    "volatility_spike",
}


@pytest.fixture(scope="module")
def judged(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Inputs]:
    """Each day as judged past, with the instruments of COIN-M watched too."""
    directory = tmp_path_factory.mktemp("config")
    for name, more in (("venues", VENUES), ("instruments", INSTRUMENTS)):
        known = yaml.safe_load((CONFIG / f"{name}.yaml").read_text(encoding="utf-8"))
        known[name] = {**known[name], **more} if isinstance(more, dict) else [*known[name], *more]
        (directory / f"{name}.yaml").write_text(yaml.safe_dump(known), encoding="utf-8")
    files = sorted((shared_data / "binance_recordings").glob("*/*.gz"))
    return [past_of(market) for market in recorded_markets(files, directory)]


def past_of(market: CalmMarket) -> Inputs:
    features = build_features(market.windows, market.start, market.end)
    correlations = build_correlations(features, market.start, market.end)
    return Inputs(
        market.windows,
        features,
        correlations,
        schema.SCORES.empty(),
        market.facts.instruments,
        market.start,
        market.end,
        settings().completeness_floor,
    )


def settings() -> SurveillanceSettings:
    return load_settings(yaml.safe_load((CONFIG / "surveillance.yaml").read_text(encoding="utf-8")))


def findings(of: Inputs) -> pl.DataFrame:
    return build_findings(
        of.windows,
        of.features,
        of.correlations,
        of.scores,
        of.instruments,
        settings(),
        of.start,
        of.end,
        "code",
    )


def test_the_findings_and_alerts_of_calm_markets(judged: list[Inputs]) -> None:
    assert sum(day.windows.height for day in judged) == WINDOWS
    found = [findings(day) for day in judged]
    raised = [
        alerts_of(each, settings().cool_downs(each["detector"], day.instruments))
        for each, day in zip(found, judged, strict=True)
    ]
    assert Counter(name for each in found for name in each["detector"]) == FINDINGS
    assert Counter(name for each in raised for name in each["detector"]) == ALERTS


def test_who_has_something_to_say_of_so_short_a_time(judged: list[Inputs]) -> None:
    """Silence of the others is no merit: they look back for longer, or on what is not recorded."""
    speaking = {
        name
        for name, detector in DETECTORS.items()
        for day in judged
        if not detector.detect(day, settings().thresholds(detector, day.instruments)).is_empty()
    }
    assert speaking == WITH_VERDICTS

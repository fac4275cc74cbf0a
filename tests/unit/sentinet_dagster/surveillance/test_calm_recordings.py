"""Real markets on calm days: what the detectors say of them, with the thresholds of production.

Six minutes of BTC and ETH on spot, USD-M and COIN-M of 2024-08-08, and three of USD-M of 2024-07-18. That is
too short for rules that look back for longer: `WITH_VERDICTS` is who has something to say at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import polars as pl
import yaml

from ingest_daemon.batcher import Batch
from ingest_daemon.replay import replay_files
from ingest_daemon.venues import Listing
from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.alerts import alerts_of
from sentinet_dagster.surveillance.correlation import build_correlations
from sentinet_dagster.surveillance.detectors import DETECTORS, Inputs
from sentinet_dagster.surveillance.features import build_features
from sentinet_dagster.surveillance.findings import build_findings
from sentinet_dagster.surveillance.schema import WINDOW
from sentinet_dagster.surveillance.settings import SurveillanceSettings, load_settings
from tests.unit.sentinet_dagster.surveillance.facts import Facts, frame, frame_of

CONFIG: Final = Path(__file__).resolve().parents[4] / "config" / "surveillance.yaml"
PROTOCOLS: Final = {"spot": "binance_spot", "usdm": "binance_usdm", "coinm": "binance_coinm"}
LISTED: Final = (
    ("spot", "BTCUSDT", "BTC-USDT", "spot", "USDT"),
    ("spot", "ETHUSDT", "ETH-USDT", "spot", "USDT"),
    ("usdm", "BTCUSDT", "BTC-USDT-PERP", "perpetual", "USDT"),
    ("usdm", "ETHUSDT", "ETH-USDT-PERP", "perpetual", "USDT"),
    ("coinm", "BTCUSD_PERP", "BTC-USD-PERP", "perpetual", "USD"),
    ("coinm", "ETHUSD_PERP", "ETH-USD-PERP", "perpetual", "USD"),
)
CONTRACTS: Final = {"BTCUSD_PERP": Listing(5, 100.0, "quote"), "ETHUSD_PERP": Listing(6, 10.0, "quote")}

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


class Memory:
    """Where facts go instead of a database."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.repeated: Mapping[str, Sequence[int]] = {}

    def load_instruments(self, venues: Iterable[str]) -> Mapping[str, Mapping[str, Listing]]:
        """Those of LISTED."""
        listings = {
            (venue, symbol): CONTRACTS.get(symbol, Listing(number))
            for number, (venue, symbol, *_) in enumerate(LISTED, start=1)
        }
        return {
            wanted: {symbol: each for (venue, symbol), each in listings.items() if venue == wanted}
            for wanted in venues
        }

    def write(self, batch: Batch) -> Memory:
        """Keep it."""
        self.batches.append(batch)
        return self

    def frame(self, kind: str, relation: schema.Relation) -> pl.DataFrame:
        """All events of a kind."""
        return frame_of([event for batch in self.batches for event in getattr(batch, kind)], relation)


def instruments() -> pl.DataFrame:
    rows = [
        {
            "instrument_id": number,
            "venue": venue,
            "venue_symbol": venue_symbol,
            "symbol": symbol,
            "kind": kind,
            "base": symbol[:3],
            "quote": quote,
        }
        for number, (venue, venue_symbol, symbol, kind, quote) in enumerate(LISTED, start=1)
    ]
    return frame(schema.INSTRUMENTS, rows, contract_size=1.0, is_active=True)


@cache
def recorded(folder: Path, day: str) -> Inputs:
    """The day's recordings as judged past: from the first whole window to the last."""
    memory = Memory()
    replay_files(
        sorted(folder.glob(f"*/*_{day}.gz")), memory, {name: venue for venue, name in PROTOCOLS.items()}
    )
    facts = Facts(
        memory.frame("trades", schema.TRADES),
        memory.frame("quotes", schema.QUOTES),
        memory.frame("books", schema.BOOKS),
        memory.frame("book_flows", schema.BOOK_FLOWS),
        memory.frame("reference_prices", schema.REFERENCE_PRICES),
        memory.frame("feed_gaps", schema.FEED_GAPS),
        memory.frame("rejected_frames", schema.REJECTED_FRAMES),
        instruments().filter(pl.col("instrument_id").is_in(_heard(memory))),
    )
    times = facts.quotes["time"].dt.truncate("5s")
    start, end = times.min(), times.max()
    assert isinstance(start, datetime)
    assert isinstance(end, datetime)
    start += WINDOW
    windows = facts.windows(start, end)
    features = build_features(windows, start, end)
    correlations = build_correlations(features, start, end)
    return Inputs(windows, features, correlations, schema.SCORES.empty(), facts.instruments, start, end, 0.8)


def _heard(memory: Memory) -> list[int]:
    return sorted({event.instrument_id for batch in memory.batches for event in batch.quotes})


def settings() -> SurveillanceSettings:
    return load_settings(yaml.safe_load(CONFIG.read_text(encoding="utf-8")))


def days(shared_data: Path) -> list[Inputs]:
    return [recorded(shared_data / "binance_recordings", day) for day in ("20240808", "20240718")]


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


def counts(names: Iterable[Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return found


def test_the_findings_and_alerts_of_calm_markets(shared_data: Path) -> None:
    found = [findings(day) for day in days(shared_data)]
    raised = [
        alerts_of(each, settings().cool_downs(each["detector"], day.instruments))
        for each, day in zip(found, days(shared_data), strict=True)
    ]
    assert counts(name for each in found for name in each["detector"]) == FINDINGS
    assert counts(name for each in raised for name in each["detector"]) == ALERTS


def test_who_has_something_to_say_of_so_short_a_time(shared_data: Path) -> None:
    """Silence of the others is no merit: they look back for longer, or on what is not recorded."""
    speaking = {
        name
        for name, detector in DETECTORS.items()
        for day in days(shared_data)
        if not detector.detect(day, settings().thresholds(detector, day.instruments)).is_empty()
    }
    assert speaking == WITH_VERDICTS

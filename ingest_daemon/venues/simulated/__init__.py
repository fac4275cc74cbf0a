"""A seeded market with scripted abuse, in Binance's dialect: input for demos, tests, benchmarks.

Pure: no clock, no I/O. It writes frames and reads none; the daemon reads them with the protocols
`binance_spot` and `binance_usdm`.
"""

from __future__ import annotations

from ingest_daemon.venues.simulated.demo import DemoScript, demo_script
from ingest_daemon.venues.simulated.episodes import Episode, EpisodeKind, FixedScript, Script
from ingest_daemon.venues.simulated.instruments import (
    DEFAULT_INSTRUMENTS,
    PERPETUAL_VENUE,
    SPOT_VENUE,
    InstrumentKey,
    SimulatedInstrument,
)
from ingest_daemon.venues.simulated.market import DEFAULT_CHANNELS, SimulatedFrame, SimulatedMarket

__all__ = [
    "DEFAULT_CHANNELS",
    "DEFAULT_INSTRUMENTS",
    "PERPETUAL_VENUE",
    "SPOT_VENUE",
    "DemoScript",
    "Episode",
    "EpisodeKind",
    "FixedScript",
    "InstrumentKey",
    "Script",
    "SimulatedFrame",
    "SimulatedInstrument",
    "SimulatedMarket",
    "demo_script",
]

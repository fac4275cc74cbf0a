"""A simulated market of any size and pace, served on this machine: the load of the micro-batch benchmark.

What lives here: the instruments beyond the default twelve, the pace, the configuration that watches them, and
the server's process. What never does: the market (`ingest_daemon.venues.simulated`), delivery
(`venue_server.py`), measuring.

    python -m sentinet_dagster.runtime.load --port 9000 --instruments 20 --rate 17 --live-start-us …
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import uvloop
import yaml

from ingest_daemon.venues.simulated import (
    DEFAULT_INSTRUMENTS,
    SimulatedInstrument,
    SimulatedMarket,
    demo_script,
)
from sentinet_dagster.runtime.demo_config import render_config
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.venue_server import VenueServer
from sentinet_dagster.runtime.venue_sources import SimulatedSource

HISTORY_US = 15 * 60 * 1_000_000
MOST_INSTRUMENTS = 500
_ANY_TIME_US = 1_769_860_800_000_000
_TRIED_US = 5_000_000
_CLOSE_ENOUGH = 0.01
_ATTEMPTS = 12


def chosen_instruments(count: int) -> tuple[SimulatedInstrument, ...]:
    """The default twelve, which the script plays on, and more like the last four of them.

    Raises:
        UserError: fewer than those twelve, or too many.
    """
    default = len(DEFAULT_INSTRUMENTS)
    if not default <= count <= MOST_INSTRUMENTS:
        raise UserError(f"--instruments {count}: write a number from {default} to {MOST_INSTRUMENTS}")
    patterns = DEFAULT_INSTRUMENTS[-4:]
    more = [
        replace(
            patterns[number % len(patterns)], base=f"Z{number:03d}", group=f"Z{number:03d}", group_share=0.0
        )
        for number in range(count - default)
    ]
    return (*DEFAULT_INSTRUMENTS, *more)


def rate_for(instruments: Sequence[SimulatedInstrument], events_per_second: float) -> float:
    """The market's rate at which so many frames a second come. Books are capped, so it is searched."""
    market = SimulatedMarket(0, _ANY_TIME_US, instruments=instruments)
    rate = 1.0
    for _ in range(_ATTEMPTS):
        market = SimulatedMarket(0, _ANY_TIME_US, rate=rate, instruments=instruments)
        start = _ANY_TIME_US + 1_000_000
        found = sum(1 for _ in market.frames(start, start + _TRIED_US)) / (_TRIED_US / 1e6)
        if abs(found / events_per_second - 1) < _CLOSE_ENOUGH:
            break
        rate *= events_per_second / found
    return round(rate, 3)


def write_load_config(target: Path, venue_port: int, instruments: Sequence[SimulatedInstrument]) -> Path:
    """Write the demo's configuration into `target`, watching `instruments`; returns `target`."""
    render_config(target, venue_port)
    entries = [
        {
            "venue": instrument.venue,
            "symbol": instrument.symbol,
            "venue_symbol": instrument.venue_symbol,
            "kind": instrument.kind,
            "base": instrument.base,
            "quote": instrument.quote,
            "tick_size": instrument.tick_size,
        }
        for instrument in instruments
    ]
    text = yaml.safe_dump({"instruments": entries}, sort_keys=False)
    (target / "instruments.yaml").write_text(text, encoding="utf-8")
    return target


def market_of(seed: int, live_start_us: int, count: int, rate: float) -> SimulatedMarket:
    """The market that is live from `live_start_us` on; it begins `HISTORY_US` before."""
    anchor_us = live_start_us - live_start_us % 1_000_000 - HISTORY_US
    return SimulatedMarket(seed, anchor_us, rate=rate, instruments=chosen_instruments(count))


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    market = market_of(arguments.seed, arguments.live_start_us, arguments.instruments, arguments.rate)
    source = SimulatedSource(
        market, arguments.live_start_us, script_from=lambda at_us: demo_script(at_us, arguments.seed)
    )
    async with VenueServer(source, port=arguments.port):
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m sentinet_dagster.runtime.load", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--instruments", type=int, default=len(DEFAULT_INSTRUMENTS))
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--live-start-us", type=int, required=True)
    uvloop.run(_serve(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()

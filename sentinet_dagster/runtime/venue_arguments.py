"""The command line of the venue server: what may be written there, and what it comes to.

What lives here: arguments to a source, to faults, to files of history. What never does: sockets, the life of
the process (`venue_server.py`).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from ingest_daemon.venues.simulated import FixedScript, Script, SimulatedMarket, demo_script
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.venue_faults import Faults
from sentinet_dagster.runtime.venue_history import write_history
from sentinet_dagster.runtime.venue_recordings import Recording, RecordingSource
from sentinet_dagster.runtime.venue_sources import REST_ROOTS, SimulatedSource, Source

__all__ = ["faults_of", "history_of", "parser", "source_of"]

_SECOND_US = 1_000_000


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as everything that the user can mend."""
        raise UserError(message)


def _port(text: str) -> int:
    # The event loop takes a number above 65535 for another port, without a word.
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise UserError(f"--port {text}: write a number from 0 to 65535")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """Of the command line; a mistake in it is a UserError."""
    parser = _Parser(
        prog="python -m sentinet_dagster.runtime.venue_server",
        description="Venues on this machine, each in its own protocol: simulated, or playing recordings.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default %(default)s)")
    parser.add_argument(
        "--port", type=_port, default=0, help="where to listen; 0: any that is free (default)"
    )
    simulated = parser.add_argument_group("simulated market (unless --recording is given)")
    simulated.add_argument(
        "--seed", type=int, default=0, help="chooses the market and the script (default %(default)s)"
    )
    simulated.add_argument(
        "--live-start-us",
        type=int,
        help="when the live part begins, microseconds since 1970 UTC (default: now)",
    )
    simulated.add_argument(
        "--rate", type=float, default=1.0, help="multiple of the usual frames (default %(default)s)"
    )
    simulated.add_argument("--calm", action="store_true", help="play no episodes")
    simulated.add_argument(
        "--history", type=Path, metavar="DIR", help="write the minutes before as <venue>.gz there"
    )
    simulated.add_argument(
        "--history-minutes", type=int, default=30, help="how far back the market begins (default %(default)s)"
    )
    bad = parser.add_argument_group("a bad line: shares of all messages, 0 to 1")
    bad.add_argument("--malformed", type=float, default=0.0, help="beside these goes a damaged copy")
    bad.add_argument("--duplicated", type=float, default=0.0, help="these come again, soon after")
    bad.add_argument("--reordered", type=float, default=0.0, help="these come late")
    bad.add_argument(
        "--within", type=int, default=8, help="by how many messages at most (default %(default)s)"
    )
    recorded = parser.add_argument_group("recordings")
    recorded.add_argument(
        "--recording",
        action="append",
        default=[],
        metavar="MARKET=FILE",
        help=f"play a recording, MARKET one of {', '.join(REST_ROOTS)}; may be repeated",
    )
    recorded.add_argument(
        "--speed", default="1", help="times as fast as received, or max (default %(default)s)"
    )
    recorded.add_argument(
        "--close-at-end", action="store_true", help="close the sockets (code 1000) after the last line"
    )
    return parser


def _recording(text: str) -> Recording:
    market, _, path = text.partition("=")
    if market not in REST_ROOTS or not path:
        raise UserError(f"--recording {text}: write MARKET=FILE with MARKET one of {', '.join(REST_ROOTS)}")
    return Recording(market, Path(path))


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise UserError(f"--speed {text}: write a number above 0, or max")
    return speed


def faults_of(arguments: argparse.Namespace) -> Faults:
    """How bad the line is. Raises UserError."""
    try:
        return Faults(arguments.malformed, arguments.duplicated, arguments.reordered, arguments.within)
    except ValueError as error:
        raise UserError(f"--{error}") from error


def _market_of(arguments: argparse.Namespace, live_start_us: int) -> SimulatedMarket:
    if arguments.history_minutes < 1:
        raise UserError(f"--history-minutes {arguments.history_minutes}: write a whole number above 0")
    anchor_us = (live_start_us // _SECOND_US - arguments.history_minutes * 60) * _SECOND_US
    script: Script = FixedScript() if arguments.calm else demo_script(live_start_us, arguments.seed)
    try:
        return SimulatedMarket(arguments.seed, anchor_us, script, rate=arguments.rate)
    except ValueError as error:
        raise UserError(str(error)) from error


def source_of(arguments: argparse.Namespace, live_start_us: int) -> Source:
    """Where frames come from. Raises UserError."""
    if arguments.recording:
        recordings = [_recording(text) for text in arguments.recording]
        return RecordingSource(recordings, _speed(arguments.speed))
    market = _market_of(arguments, live_start_us)
    return SimulatedSource(
        market, live_start_us, script_from=lambda at_us: demo_script(at_us, arguments.seed)
    )


def history_of(arguments: argparse.Namespace, live_start_us: int) -> list[dict[str, Any]]:
    """Write the minutes before as files; which. Raises UserError."""
    if arguments.recording:
        raise UserError("--history is of the simulated market: leave it out with --recording")
    market = _market_of(arguments, live_start_us)
    try:
        files = write_history(market, market.anchor_us, live_start_us, arguments.history)
    except OSError as error:
        raise UserError(f"--history {arguments.history}: {error.strerror or error}") from error
    return [{"venue": file.venue, "path": str(file.path), "frames": file.frames} for file in files]

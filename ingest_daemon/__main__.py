"""The composition root: read the settings, run, turn what happened into an exit code.

0   stopped by SIGTERM or SIGINT, and everything received is committed
1   a fault that a human must see: the database refuses, or was away while stopping; the disk failed
2   a setting is wrong; one line on stderr says which
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import structlog
import uvloop

from ingest_daemon import config, daemon
from ingest_daemon.errors import ConfigError, SpoolUnusable, StoreError

__all__ = ["main"]

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_log = structlog.get_logger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal ends it; the exit code."""
    given = _parser().parse_args(arguments)
    try:
        settings = config.load(given.config, record=given.record)
        _configure_logging(settings.tuning.log_level)
        _tune_interpreter()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_run(settings))
    except ConfigError as error:
        sys.stderr.write(f"sentinet-ingest: {error}\n")
        return 2


def _tune_interpreter() -> None:
    """For a program with two busy threads: one parses, the other writes."""
    # At the usual 5 ms the writing thread, with each answer of the server, waits that long for the other one.
    sys.setswitchinterval(0.000_5)
    # What is loaded now stays: a full collection would stop the feeds to look through it. Events hold no
    # cycles, so what is young is looked through seldom.
    gc.freeze()
    gc.set_threshold(10_000, 50, 100)


async def _run(settings: config.Settings) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    code = 0
    try:
        await daemon.run(settings, stop)
    except* (StoreError, SpoolUnusable) as failures:
        for error in failures.exceptions:
            _log.error("ingest failed", error=str(error))
        code = 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sentinet-ingest",
        description="Stream trades, quotes and books from venues into the database.",
        epilog="SENTINET_DATABASE_URL says where to; SENTINET_INGEST_* tune. SIGTERM ends it without a loss.",
    )
    parser.add_argument("--config", type=Path, metavar="DIR", help="where venues.yaml is")
    parser.add_argument(
        "--record",
        type=Path,
        metavar="DIR",
        help="record raw frames there, as `sentinet replay` reads them (also SENTINET_INGEST_RECORD)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('sentinet')}")
    return parser


def _configure_logging(level: str) -> None:
    """One line an event on stderr: JSON, or for a terminal in colour."""
    is_terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if is_terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: _Lines(),
    )


class _Lines:
    """Lines on stderr. A disk that is too full for a log ends nothing: the line is lost."""

    def msg(self, line: str) -> None:
        with suppress(OSError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = exception = msg


if __name__ == "__main__":
    sys.exit(main())

"""The long form: `make chaos`, or `python -m tests.chaos --help`. Prints JSON; 0 if all is proved, else 1."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import structlog
import uvloop

from sentinet_dagster.runtime import guard
from sentinet_dagster.runtime.database import migrate
from tests.chaos.databases import OwnServer
from tests.chaos.plan import Amounts
from tests.chaos.run import Chaos, unleash

_MORE_S = 150.0  # to start and to settle; then it is given up


def main() -> int:
    arguments = _parser().parse_args()
    # To be cut off in the middle of a handshake is what the venue is for.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(sys.stderr))
    amounts = Amounts(
        seconds=arguments.seconds,
        kills=arguments.kills,
        restarts=arguments.restarts,
        cuts=arguments.cuts,
        silences=arguments.silences,
        overflows=min(2, arguments.restarts),
    )
    chaos = Chaos(amounts, arguments.seed, arguments.frames_per_s)
    with tempfile.TemporaryDirectory(prefix="sentinet-chaos-") as folder, _guarded() as guarded:
        server = OwnServer(Path(folder))
        guarded.write(f"+{server.pid}\n".encode())
        guarded.flush()
        try:
            migrate(server.url)
            account = uvloop.run(_bounded(chaos, server, Path(folder), guarded))
        finally:
            server.destroy()
            if arguments.keep_log:
                arguments.keep_log.write_bytes((Path(folder) / "daemon.log").read_bytes())
    print(json.dumps(account, indent=2))
    return 0 if account["is_proved"] else 1


async def _bounded(chaos: Chaos, server: OwnServer, folder: Path, guarded: IO[bytes]) -> dict[str, object]:
    async with asyncio.timeout(chaos.amounts.seconds + _MORE_S):
        return await unleash(chaos, server, folder, guarded)


@contextmanager
def _guarded() -> Iterator[IO[bytes]]:
    """Whoever is named there ends when this process does, however it does."""
    with subprocess.Popen([sys.executable, "-I", "-S", guard.__file__], stdin=subprocess.PIPE) as watcher:
        assert watcher.stdin is not None
        yield watcher.stdin


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--frames-per-s", type=float, default=5_000.0)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--restarts", type=int, default=10, help="of the database")
    parser.add_argument("--cuts", type=int, default=50, help="of all sockets")
    parser.add_argument("--silences", type=int, default=3)
    parser.add_argument("--keep-log", type=Path, metavar="FILE", help="of the daemon")
    return parser


if __name__ == "__main__":
    sys.exit(main())

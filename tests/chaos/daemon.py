"""The daemon of the chaos: killed and started again, and what it says of itself meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from tests.integration.daemon_process import start

_ASKED_EVERY_S = 0.2
_WATCHED = (
    "feed_live",
    "queue_bytes",
    "queue_events",
    "spool_bytes",
    "spool_segments",
    "lag_seconds",
    "reconnects_total",
    "shed_events_total",
)
_ANSWER_S = 10.0
_STOP_S = 60.0
_START_S = 60.0
FEEDS = 2


class ChaosDaemon:
    """One daemon after the other on the same home.

    Args:
        directory: where venues.yaml is; home and log are there too.
        database_url: where facts go.
        tuning: SENTINET_INGEST_…, by the rest of the name.
        guard: told `+pid` and `-pid`: ends what is left if we are killed.
    """

    def __init__(
        self, directory: Path, database_url: str, tuning: Mapping[str, str], guard: IO[bytes] | None
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        self._environment = {
            "SENTINET_DATABASE_URL": database_url,
            "SENTINET_CONFIG_DIR": str(directory),
            "SENTINET_HOME": str(directory / "home"),
            "SENTINET_INGEST_HEALTH_PORT": str(self._port),
            **{f"SENTINET_INGEST_{name.upper()}": value for name, value in tuning.items()},
        }
        self._log = directory / "daemon.log"
        self._guard = guard
        self._process: asyncio.subprocess.Process | None = None
        self.most: dict[str, float] = defaultdict(float)
        self.now: dict[str, float] = {}

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await start(self._environment, log.fileno(), own_group=True)
        self._tell_guard("+")

    async def receives(self) -> None:
        """Return when all of its feeds are live."""
        async with asyncio.timeout(_START_S):
            while self.now.get("feed_live") != FEEDS:  # noqa: ASYNC110 (it is another process)
                await asyncio.sleep(_ASKED_EVERY_S / 4)

    async def kill(self) -> None:
        assert self._process is not None
        assert self._process.returncode is None, f"the daemon ended by itself with {self._process.returncode}"
        self._process.kill()
        await self._process.wait()
        self.now = {}
        self._tell_guard("-")

    async def stop(self) -> int:
        """Ask it to end; its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_STOP_S):
            code = await self._process.wait()
        self._tell_guard("-")
        return code

    async def close(self) -> None:
        if self._process is not None and self._process.returncode is None:
            await self.kill()

    async def watch(self) -> None:
        """Ask it for its numbers, for ever; the greatest of each are kept."""
        while True:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    page = await self._ask()
            except (OSError, TimeoutError):
                self.now = {}
            else:
                self.now = _sums(page)
                for name, value in self.now.items():
                    self.most[name] = max(self.most[name], value)
            await asyncio.sleep(_ASKED_EVERY_S)

    async def _ask(self) -> str:
        # Not by a client that keeps connections: whom we ask is killed at any moment.
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
            return (await reader.read()).decode()
        finally:
            writer.close()

    def errors(self) -> list[str]:
        """What it logged that a human must see, and what is no log at all."""
        found = []
        for line in self._log.read_text(encoding="utf-8").splitlines():
            try:
                entry: dict[str, Any] = json.loads(line)
            except ValueError:
                found.append(line)
            else:
                found += [line] if entry["level"] == "error" else []
        return found

    def _tell_guard(self, sign: str) -> None:
        if self._guard is not None and self._process is not None:
            self._guard.write(f"{sign}{self._process.pid}\n".encode())
            self._guard.flush()


def _sums(page: str) -> dict[str, float]:
    sums: dict[str, float] = dict.fromkeys(_WATCHED, 0.0)
    for line in page.splitlines():
        name = line.partition(" ")[0].partition("{")[0].removeprefix("sentinet_ingest_")
        if name in sums:
            sums[name] += float(line.rpartition(" ")[2])
    return sums

"""A daemon as a process of its own, for tests: how it is started, what it says, how it ends."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import yaml

from tests.fake_venue import FakeVenue

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 40


class Daemon:
    """A running daemon and what it says of itself."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self._client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=5)

    async def until(self, metric: str, condition: Callable[[float], bool], label: str = "") -> None:
        """Wait until the sum of a metric's samples with a label, or of all, fulfils the condition."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition(await self.value(metric, label)):  # noqa: ASYNC110 (it is another process)
                await asyncio.sleep(0.02)

    async def page(self) -> str:
        """All that it tells Prometheus."""
        return (await self._client.get("/metrics")).text

    async def value(self, metric: str, label: str = "") -> float:
        """The sum of a metric's samples with a label, as the page writes it; 0 while nobody answers."""
        try:
            page = await self.page()
        except httpx.TransportError:
            return 0.0
        lines = [line for line in page.splitlines() if line.startswith((f"{metric} ", f"{metric}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in lines if label in line)

    async def healthz(self) -> tuple[int, Any]:
        response = await self._client.get("/healthz")
        return response.status_code, response.json()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    async def close(self) -> None:
        await self._client.aclose()
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


def fake(venue: FakeVenue, *channels: str) -> dict[str, Any]:
    """The settings of a venue under the test's control."""
    return {
        "protocol": "binance_spot",
        "websocket_url": venue.websocket_url,
        "rest_url": venue.rest_url,
        "channels": list(channels),
    }


@asynccontextmanager
async def daemon_of(
    venue: FakeVenue, database_url: str, directory: Path, largest_file: int | None = None, **tuning: str
) -> AsyncIterator[Daemon]:
    """A daemon of one venue, `here`, that streams trades."""
    venues = {"here": fake(venue, "trade")}
    async with daemon_at(venues, database_url, directory, largest_file=largest_file, **tuning) as daemon:
        yield daemon


@asynccontextmanager
async def daemon_at(
    venues: Mapping[str, Mapping[str, Any]],
    database_url: str,
    directory: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    largest_file: int | None = None,
    **tuning: str,
) -> AsyncIterator[Daemon]:
    """A daemon of these venues, with its settings and its home in the directory."""
    (directory / "venues.yaml").write_text(yaml.safe_dump({"venues": dict(venues)}), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {f"SENTINET_INGEST_{name.upper()}": value for name, value in tuning.items()}
    process = await start(
        {
            "SENTINET_DATABASE_URL": database_url,
            "SENTINET_CONFIG_DIR": str(directory),
            "SENTINET_HOME": str(directory / "home"),
            "SENTINET_INGEST_HEALTH_PORT": str(port),
            **settings,
            **(environment or {}),
        },
        *arguments,
        largest_file=largest_file,
    )
    daemon = Daemon(process, port)
    try:
        yield daemon
    finally:
        await daemon.close()


async def start(
    environment: Mapping[str, str],
    *arguments: str,
    stderr: int | None = None,
    largest_file: int | None = None,
) -> asyncio.subprocess.Process:
    """The program, with nothing of ours in its environment but what is given.

    `largest_file`: what a file of it may have, in bytes; then the disk is full, as far as it can see.
    """

    def limit() -> None:
        assert largest_file is not None
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SENTINET_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ingest_daemon",
        *arguments,
        cwd=ROOT,
        env={**inherited, **environment},
        stderr=stderr,
        preexec_fn=None if largest_file is None else limit,
    )


def watch_bitcoin(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """
            insert into market.instruments (venue, symbol, venue_symbol, kind, base, quote)
            values ('here', 'BTC-USDT', 'BTCUSDT', 'spot', 'BTC', 'USDT')
            """
        )


def trade_ids(database_url: str) -> list[int]:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select trade_id from market.trades order by trade_id").fetchall()
    return [trade_id for (trade_id,) in rows]


def trades(first: int, last: int) -> list[str]:
    return [
        '{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT",'
        f'"t":{trade_id},"p":"61837.63","q":"0.02","T":1723161255342,"m":true,"M":true}}}}'
        for trade_id in range(first, last)
    ]

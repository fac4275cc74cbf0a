"""The daemon as a process: started on a folder of settings, asked over its health page, ended by signals."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120  # for what takes a second or two on a machine that has nothing else to do


class Daemon:
    """A running daemon and what it says of itself."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self._client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE_S
        )

    async def until(self, metric: str, condition: Callable[[float], bool], label: str = "") -> None:
        """Wait until the sum of a metric's samples, of all or with a label, fulfils the condition."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition(await self.value(metric, label)):  # noqa: ASYNC110 (it is another process)
                await asyncio.sleep(0.02)

    async def metrics(self) -> str:
        return (await self._client.get("/metrics")).text

    async def value(self, metric: str, label: str = "") -> float:
        try:
            page = await self.metrics()
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


async def start(
    environment: Mapping[str, str],
    stderr: int | None = None,
    arguments: Sequence[str] = (),
    largest_file: int | None = None,
    own_group: bool = False,
) -> asyncio.subprocess.Process:
    """`largest_file`: bytes that any file of it may have; then the disk is full, as far as it can see."""

    def limit() -> None:
        assert largest_file is not None
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SENTINET_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingest_daemon", *arguments),
        cwd=ROOT,
        env={**inherited, **environment},
        stderr=stderr,
        preexec_fn=None if largest_file is None else limit,
        start_new_session=own_group,
    )


@asynccontextmanager
async def running_daemon(
    database_url: str,
    directory: Path,
    settings: Mapping[str, str],
    stderr: int | None = None,
    arguments: Sequence[str] = (),
    largest_file: int | None = None,
) -> AsyncIterator[Daemon]:
    """A daemon on the venues.yaml in `directory`; its home is there too."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        "SENTINET_DATABASE_URL": database_url,
        "SENTINET_CONFIG_DIR": str(directory),
        "SENTINET_HOME": str(directory / "home"),
        "SENTINET_INGEST_HEALTH_PORT": str(port),
        **settings,
    }
    daemon = Daemon(await start(environment, stderr, arguments, largest_file), port)
    try:
        yield daemon
    finally:
        await daemon.close()

"""`sentinet benchmark ingest`: from a venue's socket to what is committed, all on this machine.

What lives here: the stage (a database made for it, the firehose, the daemon as it is shipped) and what is
read from outside. What never does: the arithmetic (`pace.py`), judging a number.

A frame is late by the time from its write at the venue until somebody who listens to the database hears of
the commit that its row is in: every frame counts, none is sampled. Each span also proves that every frame
sent is one row.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

import numpy as np
import psutil
import psycopg
import yaml

from ingest_daemon.store import NOTIFY_CHANNEL
from sentinet_dagster.runtime import database
from sentinet_dagster.runtime.cpu_meter import own_cpu_s
from sentinet_dagster.runtime.database_url import connect
from sentinet_dagster.runtime.errors import ProcessFailed
from sentinet_dagster.runtime.firehose import CHANNELS, SYMBOLS, Order, Sent, serve_firehose
from sentinet_dagster.runtime.instruments import read_instruments
from sentinet_dagster.runtime.pace import Pace, Search, delays_ms, is_sustained, judge, spread
from sentinet_dagster.runtime.parts import ROOT
from sentinet_dagster.runtime.ports import LOOPBACK
from sentinet_dagster.runtime.scratch import scratch_database

__all__ = ["Options", "firehose", "measure_ingest", "staged"]

_VENUE: Final = "firehose"
_STEADY_PER_S: Final = 10_000.0
_PATIENCE_S: Final = 60.0
_POLL_S: Final = 0.05
_LISTEN_S: Final = 0.2
_MEGABYTE: Final = 2**20

_COMMITTED: Final = """
select xmin::text::bigint, min(number), max(number) + 1, count(*)
from (
    select xmin, trade_id as number from market.trades
    union all
    select xmin, update_id from market.quotes
) as rows
where number >= %s
group by xmin
"""
_LEDGER: Final = """
select batch_id, mod(xid::text::bigint, 4294967296), rows from ops.ingest_batches where batch_id > %s
"""


@dataclass(frozen=True, slots=True)
class Options:
    """How long to measure."""

    seconds: float = 4.0  # of each rate that is tried
    rounds: int = 3  # at 10 000 frames a second
    start_per_s: float = 30_000.0  # the first rate that is tried
    most_probes: int = 10


def measure_ingest(url: str, options: Options) -> dict[str, Any]:
    """The highest rate without growing lag, the delay at 10 000 frames a second, the daemon's memory.

    Raises:
        UserError: no database can be made on the server of `url`.
        ProcessFailed: the daemon or the venue ended, or a frame is not one row.
    """
    with staged(url) as stage:
        stage.span(Order(_STEADY_PER_S, 1.0))  # connections, files and caches are warm
        steady = [stage.span(Order(_STEADY_PER_S, options.seconds)) for _ in range(options.rounds)]
        used: dict[float, float] = {}

        def is_kept_up(frames_per_s: float) -> bool:
            span = stage.span(Order(frames_per_s, options.seconds))
            used[frames_per_s] = span.cpu_us_per_frame
            return is_sustained(span.pace, frames_per_s)

        probes = Search(options.start_per_s, most_probes=options.most_probes).run(is_kept_up)
        highest = max((probe.frames_per_s for probe in probes if probe.is_sustained), default=0.0)
        best = min(steady, key=lambda span: span.pace.p99_ms)
        return {
            "sustained_frames_per_s": round(highest),
            "at_10k": {
                "p50_ms": round(best.pace.p50_ms, 1),
                "p99_ms": round(best.pace.p99_ms, 1),
                "rounds": {
                    "p50_ms": spread([span.pace.p50_ms for span in steady], less_is_better=True),
                    "p99_ms": spread([span.pace.p99_ms for span in steady], less_is_better=True),
                },
            },
            "rss_mb": round(stage.peak_rss_mb, 1),
            "cpu_us_per_frame": round(used.get(highest, best.cpu_us_per_frame), 2),
            "cpu_us_per_frame_at_10k": round(best.cpu_us_per_frame, 2),
            "probes": [
                {"frames_per_s": round(probe.frames_per_s), "sustained": probe.is_sustained}
                for probe in probes
            ],
            "frames": stage.frames,
            "machine": {"cores": os.cpu_count(), "load": [round(each, 2) for each in os.getloadavg()]},
        }


@dataclass(frozen=True, slots=True)
class Span:
    """One order, and how it was taken."""

    pace: Pace
    cpu_us_per_frame: float  # of the daemon
    seconds: float  # from the first write at the venue until all of it was to be seen


@contextmanager
def staged(url: str) -> Iterator[Stage]:
    """A venue, a daemon that is subscribed to it, a database; all of it gone afterwards."""
    with (
        TemporaryDirectory(prefix="sentinet-benchmark-") as folder,
        scratch_database(url) as scratch,
        firehose() as (pipe, port),
    ):
        config = write_config(Path(folder), port)
        database.migrate(scratch)
        database.watch(scratch, read_instruments(config))
        with _daemon(scratch, config) as daemon, Watcher(scratch) as watcher:
            stage = Stage(scratch, pipe, daemon, watcher)
            stage.until_subscribed()
            yield stage


@contextmanager
def firehose() -> Iterator[tuple[Connection, int]]:
    """The venue's process: what to talk to it by, and its port."""
    context = multiprocessing.get_context("spawn")
    pipe, end = context.Pipe()
    process = context.Process(target=serve_firehose, args=(end,), daemon=True)
    process.start()
    try:
        while not pipe.poll(_POLL_S):
            if not process.is_alive():
                raise ProcessFailed("firehose", "ended before it listened")
        yield pipe, int(pipe.recv())
    finally:
        process.terminate()
        process.join(_PATIENCE_S)
        if process.is_alive():  # started where SIGTERM is ignored
            process.kill()
            process.join()


class Stage:
    """Everything up and subscribed."""

    def __init__(self, url: str, pipe: Connection, daemon: subprocess.Popen[bytes], watcher: Watcher) -> None:
        self.frames = 0
        self.peak_rss_mb = 0.0
        self._url = url
        self._pipe = pipe
        self._daemon = daemon
        self._watcher = watcher

    def until_subscribed(self) -> None:
        """Return when the daemon has asked the venue for every stream."""
        self._answer()

    def span(self, order: Order) -> Span:
        """Have the venue send, wait until all of it is committed, and read what that took."""
        before = own_cpu_s(self._daemon.pid)
        self._pipe.send(order)
        sent: Sent = self._answer()
        first, until = int(sent[0, 0]), int(sent[-1, 1])
        self.frames += until - first
        self._until(lambda: self._watcher.rows >= self.frames, f"{self.frames} frames are rows")
        cpu_s = own_cpu_s(self._daemon.pid) - before
        committed = self._committed(first)
        return Span(
            judge(sent, delays_ms(sent, committed)),
            cpu_s * 1e6 / (until - first),
            float(committed[:, 2].max() - sent[0, 2]) / 1e9,
        )

    def _committed(self, first: int) -> Sent:
        """Rows of `pace.delays_ms`."""
        with connect(self._url, autocommit=True) as connection:
            batches: list[tuple[Any, ...]] = connection.execute(_COMMITTED, [first]).fetchall()
        rows = []
        for transaction, least, after_last, count in batches:
            if count != after_last - least:
                raise ProcessFailed(
                    "daemon", f"of frames {least} to {after_last}, {count} are committed at once"
                )
            rows.append((least, after_last, self._watcher.seen_at(transaction)))
        return np.array(rows, np.int64)

    def _answer(self) -> Any:
        self._until(self._pipe.poll, "the venue answers")
        return self._pipe.recv()

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            if self._daemon.poll() is not None:
                raise ProcessFailed("daemon", f"ended with exit code {self._daemon.returncode}")
            if time.monotonic() > deadline:
                raise ProcessFailed("benchmark", f"gives up: not after {_PATIENCE_S:g} s: {what}")
            self.peak_rss_mb = max(self.peak_rss_mb, _rss_mb(self._daemon.pid))
            time.sleep(_POLL_S)


@dataclass
class Watcher:
    """Listens for commits, in a thread of its own: when each transaction of the ledger could be seen."""

    url: str
    rows: int = 0
    _seen: dict[int, int] = field(default_factory=dict)  # transaction → ns since 1970 UTC
    _is_over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._connection = psycopg.connect(self.url, autocommit=True, application_name="sentinet-benchmark")
        self._connection.execute(f"listen {NOTIFY_CHANNEL}")
        self._thread = threading.Thread(target=self._listen, name="watcher")
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._connection.close()

    def seen_at(self, transaction: int) -> int:
        """Nanoseconds since 1970 UTC. Raises ProcessFailed: it has no row in the ledger."""
        try:
            return self._seen[transaction]
        except KeyError:
            raise ProcessFailed("daemon", f"transaction {transaction} is not in the ledger") from None

    def _listen(self) -> None:
        last = 0
        while not self._is_over.is_set():
            # Whoever is notified can see the commit. The notes of several commits may be read as one.
            if list(self._connection.notifies(timeout=_LISTEN_S, stop_after=1)):
                last = self._note(last, time.time_ns())

    def _note(self, last: int, seen_ns: int) -> int:
        for batch_id, transaction, rows in self._connection.execute(_LEDGER, [last]).fetchall():
            self._seen.setdefault(transaction, seen_ns)
            self.rows += rows
            last = max(last, batch_id)
        return last


def write_config(folder: Path, port: int) -> Path:
    """venues.yaml and instruments.yaml for the firehose on `port`; returns `folder`."""
    address = f"{LOOPBACK}:{port}"
    venue = {
        "protocol": "binance_spot",
        "websocket_url": f"ws://{address}",
        "rest_url": f"http://{address}",
        "channels": list(CHANNELS),
    }
    instruments = [
        {
            "venue": _VENUE,
            "symbol": f"{symbol.removesuffix('USDT')}-USDT",
            "venue_symbol": symbol,
            "kind": "spot",
            "base": symbol.removesuffix("USDT"),
            "quote": "USDT",
        }
        for symbol in SYMBOLS
    ]
    for name, content in (("venues", {_VENUE: venue}), ("instruments", instruments)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({name: content}), encoding="utf-8")
    return folder


@contextmanager
def _daemon(url: str, config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon with the settings it is shipped with."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SENTINET_")}
    own = {
        "SENTINET_DATABASE_URL": url,
        "SENTINET_HOME": str(config / "home"),
        "SENTINET_INGEST_HEALTH_PORT": "0",
        "SENTINET_INGEST_LOG_LEVEL": "warning",
    }
    command = (sys.executable, "-m", "ingest_daemon", "--config", str(config))
    with subprocess.Popen(command, cwd=ROOT, env=inherited | own) as process:  # noqa: S603 (ours)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(_PATIENCE_S)


def _rss_mb(pid: int) -> float:
    try:
        return float(psutil.Process(pid).memory_info().rss) / _MEGABYTE
    except psutil.NoSuchProcess:
        return 0.0

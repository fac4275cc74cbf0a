"""What the daemon tells of itself: /healthz and /livez for a supervisor, /metrics for Prometheus.

What lives here: who is asked for numbers, when the daemon is ready, and a small HTTP server. What never does:
the numbers' names (`metrics.py`), deciding by them.

Counts of feeds are plain integers that the feeds keep; they are read when somebody asks, so a frame costs
nothing more.

    /healthz    200 while the daemon is ready: the database takes what we write, and every enabled feed is
                live or closed: not live, outside the hours that venues.yaml gives its market; else 503
    /livez      200 once every feed has been tried and the database was reached: the daemon does its work,
                whatever is away now is waited for; else 503

A recording that fails makes neither 503: the facts are written. It stands in the page, and in the metrics.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ingest_daemon.hours import MarketHours
from ingest_daemon.metrics import (
    PREFIX,
    FeedCounts,
    QueueCounts,
    RecorderCounts,
    Skews,
    SpoolCounts,
    feed_families,
    queue_families,
    recorder_families,
    spool_families,
)

__all__ = ["Health", "serve"]

_TIMEOUT_S: Final = 5.0
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_PARSE_SECONDS: Final = (1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 1e-2, 1e-1)


class Health:
    """The daemon's numbers, in a registry of their own."""

    def __init__(self) -> None:
        self.is_database_up = False
        self.skews = Skews()
        self._was_database_up = False
        self._feeds: Mapping[str, FeedCounts] = {}
        self._hours: Mapping[str, MarketHours] = {}
        self._queue: QueueCounts | None = None
        self._spool: SpoolCounts | None = None
        self._recorder: RecorderCounts | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        by_relation = ("venue", "relation")
        self.rows = self._counter("rows", "Rows committed that are new.", by_relation)
        self.duplicates = self._counter("duplicates", "Rows that were there already.", by_relation)
        self.gaps = self._counter("gaps", "Gaps written down.", ("venue", "cause"))
        self.repairs = self._counter("repairs", "Gaps tried to repair, by how it went.", ("venue", "outcome"))
        self.repaired_trades = self._counter(
            "repaired_trades", "Trades fetched from a venue's history.", ("venue",)
        )
        self.gaps_to_repair = Gauge(
            f"{PREFIX}_gaps_to_repair",
            "Gaps of trades of the last day that the venue's history may fill.",
            ("venue",),
            registry=self._registry,
        )
        self.store_failures = self._counter("store_failures", "Writes that the database did not take.")
        self.lag_seconds = Gauge(
            f"{PREFIX}_lag_seconds",
            "Since the oldest event arrived that is neither committed nor in the spool.",
            registry=self._registry,
        )
        self.parse_seconds = self._histogram("parse", "Time to parse one frame, one in 64.", _PARSE_SECONDS)
        self.commit_seconds = self._histogram("commit", "Time to write one batch.", _SECONDS)
        self.frame_to_commit_seconds = self._histogram(
            "frame_to_commit", "From the arrival of the oldest frame of a batch to its commit.", _SECONDS
        )

    def watch(self, feeds: Mapping[str, FeedCounts], hours: Mapping[str, MarketHours] | None = None) -> None:
        """The feeds to tell of, by venue, and the market hours of those that have some."""
        self._feeds = dict(feeds)
        self._hours = dict(hours or {})

    def watch_queue(self, queue: QueueCounts) -> None:
        """The queue to tell of."""
        self._queue = queue

    def watch_spool(self, spool: SpoolCounts) -> None:
        """The spool to tell of."""
        self._spool = spool

    def watch_recorder(self, recorder: RecorderCounts) -> None:
        """The recorder to tell of."""
        self._recorder = recorder

    def collect(self) -> Iterator[Metric]:
        """What others count, as Prometheus wants it: called by the registry."""
        yield from feed_families(self._feeds)
        yield self.skews.family()
        if self._queue is not None:
            yield from queue_families(self._queue)
        if self._spool is not None:
            yield from spool_families(self._spool)
        if self._recorder is not None:
            yield from recorder_families(self._recorder)

    def metrics(self) -> bytes:
        """The page /metrics."""
        return generate_latest(self._registry)

    def report(self, now: datetime) -> tuple[bool, dict[str, object]]:
        """Whether the daemon is ready, and the page /healthz."""
        feeds = {venue: self._state_of(venue, feed, now) for venue, feed in self._feeds.items()}
        is_ready = self.is_database_up and bool(feeds) and set(feeds.values()) <= {"live", "closed"}
        page: dict[str, object] = {
            "status": "ok" if is_ready else "unready",
            "database": "up" if self.is_database_up else "away",
            "feeds": feeds,
        }
        if self._recorder is not None:
            trouble = self._recorder.trouble
            page["recording"] = "ok" if trouble is None else f"failing: {trouble}"
        return is_ready, page

    @property
    def is_alive(self) -> bool:
        """Whether everything was tried, and the database was there once."""
        self._was_database_up = self._was_database_up or self.is_database_up
        states = [feed.state for feed in self._feeds.values()]
        return self._was_database_up and bool(states) and "starting" not in states

    def _state_of(self, venue: str, feed: FeedCounts, now: datetime) -> str:
        hours = self._hours.get(venue)
        is_closed = feed.state != "live" and hours is not None and not hours.is_open(now)
        return "closed" if is_closed else feed.state

    def _counter(self, name: str, text: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"{PREFIX}_{name}_seconds", text, buckets=buckets, registry=self._registry)


async def serve(health: Health, host: str, port: int) -> asyncio.Server:
    """Answer GET /healthz, /livez and /metrics until the server is closed.

    Raises:
        OSError: the address cannot be listened on.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(_respond(health, request))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # whoever asked is gone, or asks for nothing that we have
        finally:
            writer.close()

    return await asyncio.start_server(answer, host, port)


def _respond(health: Health, request: bytes) -> bytes:
    method, _, rest = request.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if method not in (b"GET", b"HEAD"):
        return _response("405 Method Not Allowed", "text/plain", b"GET only\n")
    match path:
        case b"/metrics":
            return _response("200 OK", CONTENT_TYPE_LATEST, health.metrics(), method)
        case b"/healthz":
            is_ready, page = health.report(datetime.now(UTC))
            return _response(_status(is_ready), "application/json", json.dumps(page).encode() + b"\n", method)
        case b"/livez":
            is_alive = health.is_alive
            return _response(_status(is_alive), "text/plain", b"ok\n" if is_alive else b"starting\n", method)
        case _:
            return _response("404 Not Found", "text/plain", b"/healthz, /livez, /metrics\n", method)


def _status(is_well: bool) -> str:
    return "200 OK" if is_well else "503 Service Unavailable"


def _response(status: str, kind: str, body: bytes, method: bytes = b"GET") -> bytes:
    head = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + (b"" if method == b"HEAD" else body)

"""What the daemon tells of itself: /healthz for a supervisor, /metrics for Prometheus.

What lives here: the numbers, their names, and a small HTTP server. What never does: deciding by them.

Counts of feeds are plain integers that the feeds keep; they are read when somebody asks, so a frame costs
nothing more. /healthz answers 200 while the database takes what we write and every feed's state is known:
live, or lost and being connected to again. Else, and before a connection was tried, it answers 503.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["FeedCounts", "Health", "SpoolCounts", "serve"]

_TIMEOUT_S: Final = 5.0
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_PARSE_SECONDS: Final = (1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 1e-2, 1e-1)


class FeedCounts(Protocol):
    """What a feed counts since the start."""

    @property
    def state(self) -> str:
        """`starting`, `live` or `lost`."""

    @property
    def frames(self) -> int:
        """Frames received."""

    @property
    def bytes(self) -> int:
        """Bytes of those frames."""

    @property
    def events(self) -> int:
        """Events they held."""

    @property
    def rejected(self) -> int:
        """Frames that could not be parsed."""

    @property
    def refused(self) -> int:
        """Requests that the venue refused."""

    @property
    def reconnects(self) -> int:
        """Sockets opened after the first."""


class SpoolCounts(Protocol):
    """What the spool tells."""

    @property
    def bytes(self) -> int:
        """Bytes on the disk."""

    @property
    def lost(self) -> Mapping[tuple[str, str], int]:
        """Events shed since the start, by venue and relation."""


_FEED_COUNTERS: Final[tuple[tuple[str, str, Callable[[FeedCounts], int]], ...]] = (
    ("frames", "Frames received.", lambda feed: feed.frames),
    ("received_bytes", "Bytes of the frames received.", lambda feed: feed.bytes),
    ("events", "Events that the frames held.", lambda feed: feed.events),
    ("rejected_frames", "Frames that could not be parsed.", lambda feed: feed.rejected),
    ("refused_requests", "Requests that the venue refused.", lambda feed: feed.refused),
    ("reconnects", "Sockets opened after the first.", lambda feed: feed.reconnects),
)


class Health:
    """The daemon's numbers, in a registry of their own."""

    def __init__(self) -> None:
        self.is_database_up = False
        self._feeds: Mapping[str, FeedCounts] = {}
        self._spool: SpoolCounts | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)
        by_relation = ("venue", "relation")
        self.rows = self._counter("rows", "Rows committed that are new.", by_relation)
        self.duplicates = self._counter("duplicates", "Rows that were there already.", by_relation)
        self.gaps = self._counter("gaps", "Gaps written down.", ("venue", "cause"))
        self.store_failures = self._counter("store_failures", "Writes that the database did not take.")
        self.queue_bytes = Gauge(
            "sentinet_ingest_queue_bytes", "Bytes that wait to be written.", registry=self._registry
        )
        self.parse_seconds = self._histogram("parse", "Time to parse one frame, one in 64.", _PARSE_SECONDS)
        self.commit_seconds = self._histogram("commit", "Time to write one batch.", _SECONDS)
        self.frame_to_commit_seconds = self._histogram(
            "frame_to_commit", "From the arrival of the oldest frame of a batch to its commit.", _SECONDS
        )

    def watch(self, feeds: Mapping[str, FeedCounts]) -> None:
        """The feeds to tell of, by venue."""
        self._feeds = dict(feeds)

    def watch_spool(self, spool: SpoolCounts) -> None:
        """The spool to tell of."""
        self._spool = spool

    def collect(self) -> Iterator[Metric]:
        """The feeds' counts as Prometheus wants them: called by the registry."""
        for name, text, read in _FEED_COUNTERS:
            counter = CounterMetricFamily(f"sentinet_ingest_{name}", text, labels=["venue"])
            for venue, feed in self._feeds.items():
                counter.add_metric([venue], read(feed))
            yield counter
        live = GaugeMetricFamily("sentinet_ingest_feed_live", "1 while frames come in.", labels=["venue"])
        for venue, feed in self._feeds.items():
            live.add_metric([venue], feed.state == "live")
        yield live
        if self._spool is not None:
            yield GaugeMetricFamily(
                "sentinet_ingest_spool_bytes",
                "Bytes on the disk that wait for the database.",
                self._spool.bytes,
            )
            shed = CounterMetricFamily(
                "sentinet_ingest_shed_events",
                "Events given up for want of room.",
                labels=["venue", "relation"],
            )
            for labels, count in self._spool.lost.items():
                shed.add_metric(labels, count)
            yield shed

    def metrics(self) -> bytes:
        """The page /metrics."""
        return generate_latest(self._registry)

    def report(self) -> tuple[bool, dict[str, object]]:
        """Whether all is well, and the page /healthz."""
        feeds = {venue: feed.state for venue, feed in self._feeds.items()}
        is_well = self.is_database_up and bool(feeds) and "starting" not in feeds.values()
        database = "up" if self.is_database_up else "away"
        return is_well, {"status": "ok" if is_well else "unready", "database": database, "feeds": feeds}

    def _counter(self, name: str, text: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(f"sentinet_ingest_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"sentinet_ingest_{name}_seconds", text, buckets=buckets, registry=self._registry)


async def serve(health: Health, host: str, port: int) -> asyncio.Server:
    """Answer GET /healthz and GET /metrics until the server is closed.

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
            is_well, page = health.report()
            status = "200 OK" if is_well else "503 Service Unavailable"
            return _response(status, "application/json", json.dumps(page).encode() + b"\n", method)
        case _:
            return _response("404 Not Found", "text/plain", b"/healthz, /metrics\n", method)


def _response(status: str, kind: str, body: bytes, method: bytes = b"GET") -> bytes:
    head = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + (b"" if method == b"HEAD" else body)

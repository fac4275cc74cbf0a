"""The daemon's numbers as Prometheus families: names, units, labels. Pure: reads what others count.

What lives here: what is told of feeds, spool and recorder, and the skew of clocks. What never does: counting
per frame, sockets, deciding by a number.

Names follow https://prometheus.io/docs/practices/naming: base units, `_total` for what only grows. Labels are
the venue, the relation and a gap's cause, no symbol: their number is the operator's, not the market's; and of
a format that changed the field, of which there are few (`drift.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ingest_daemon.batcher import Batch
from ingest_daemon.drift import Change

__all__ = [
    "PREFIX",
    "FeedCounts",
    "QueueCounts",
    "RecorderCounts",
    "Skews",
    "SpoolCounts",
    "feed_families",
    "queue_families",
    "recorder_families",
    "spool_families",
]

PREFIX: Final = "sentinet_ingest"
_SKEW_KEPT_S: Final = 60.0
_SAMPLES: Final = 8  # of a batch


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
    def not_kept(self) -> int:
        """Of the rejected: counted with others in a row, without their bytes."""

    @property
    def refused(self) -> int:
        """Requests that the venue refused."""

    @property
    def reconnects(self) -> int:
        """Sockets opened after the first."""

    @property
    def drift(self) -> Mapping[Change, int]:
        """Frames that differ from the format that the venue had, of those looked at."""


class QueueCounts(Protocol):
    """What waits in memory to be written."""

    @property
    def bytes(self) -> int:
        """Bytes of the frames that wait."""

    @property
    def limit(self) -> int:
        """At which the sockets are no longer read."""

    @property
    def events(self) -> int:
        """Events that wait."""


class SpoolCounts(Protocol):
    """What waits on the disk to be written."""

    @property
    def bytes(self) -> int:
        """Bytes on the disk."""

    @property
    def limit(self) -> int:
        """At which something is shed."""

    @property
    def segments(self) -> int:
        """Files."""

    @property
    def oldest_at(self) -> int | None:
        """When the oldest that waits was received, microseconds since 1970 UTC."""

    @property
    def lost(self) -> Mapping[tuple[str, str], int]:
        """Events shed since the start, by venue and relation."""


class RecorderCounts(Protocol):
    """What becomes of a recording."""

    @property
    def written_bytes(self) -> int:
        """Packed bytes written since the start."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes in its buffer."""

    @property
    def lost_lines(self) -> int:
        """Lines that are in no recording, since the start."""

    @property
    def failures(self) -> int:
        """Times that the disk did not take it."""

    @property
    def cpu_s(self) -> float:
        """Seconds of processor time that its thread used."""

    @property
    def trouble(self) -> str | None:
        """Why nothing is recorded now."""


_FEED_COUNTERS: Final[tuple[tuple[str, str, Callable[[FeedCounts], int]], ...]] = (
    ("frames", "Frames received.", lambda feed: feed.frames),
    ("received_bytes", "Bytes of the frames received.", lambda feed: feed.bytes),
    ("events", "Events that the frames held.", lambda feed: feed.events),
    ("rejected_frames", "Frames that could not be parsed.", lambda feed: feed.rejected),
    (
        "rejected_frames_not_kept",
        "Frames that could not be parsed and are in a row with others, without their bytes.",
        lambda feed: feed.not_kept,
    ),
    ("refused_requests", "Requests that the venue refused.", lambda feed: feed.refused),
    ("reconnects", "Sockets opened after the first.", lambda feed: feed.reconnects),
)


def feed_families(feeds: Mapping[str, FeedCounts]) -> Iterator[Metric]:
    """The feeds, by venue."""
    for name, text, read in _FEED_COUNTERS:
        counter = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=["venue"])
        for venue, feed in feeds.items():
            counter.add_metric([venue], read(feed))
        yield counter
    drifted = CounterMetricFamily(
        f"{PREFIX}_drifted_fields",
        "Frames with a field that is new, missing or of another type, of one in 256 and those refused.",
        labels=["venue", "channel", "field", "change"],
    )
    for venue, feed in feeds.items():
        for change, count in feed.drift.items():
            drifted.add_metric([venue, *change], count)
    yield drifted
    live = GaugeMetricFamily(f"{PREFIX}_feed_live", "1 while frames come in.", labels=["venue"])
    for venue, feed in feeds.items():
        live.add_metric([venue], feed.state == "live")
    yield live


def queue_families(queue: QueueCounts) -> Iterator[Metric]:
    """The queue."""
    yield _gauge("queue_bytes", "Bytes of frames that wait to be written.", queue.bytes)
    yield _gauge("queue_limit_bytes", "Bytes at which sockets are no longer read.", queue.limit)
    yield _gauge("queue_events", "Events that wait to be written.", queue.events)


def spool_families(spool: SpoolCounts) -> Iterator[Metric]:
    """The spool."""
    oldest_at = spool.oldest_at
    age_s = 0.0 if oldest_at is None else max(0.0, time.time() - oldest_at / 1e6)
    yield _gauge("spool_bytes", "Bytes on the disk that wait for the database.", spool.bytes)
    yield _gauge("spool_limit_bytes", "Bytes at which events are shed.", spool.limit)
    yield _gauge("spool_segments", "Files on the disk that wait for the database.", spool.segments)
    yield _gauge("spool_oldest_age_seconds", "Since the oldest event in the spool was received.", age_s)
    shed = CounterMetricFamily(
        f"{PREFIX}_shed_events", "Events given up for want of room.", labels=["venue", "relation"]
    )
    for labels, count in spool.lost.items():
        shed.add_metric(labels, count)
    yield shed


def recorder_families(recorder: RecorderCounts) -> Iterator[Metric]:
    """The recording."""
    yield _gauge("recording_up", "1 while what is received is recorded.", recorder.trouble is None)
    yield _gauge("recording_buffer_bytes", "Bytes that wait to be recorded.", recorder.waiting_bytes)
    yield _counter("recording_written_bytes", "Packed bytes recorded.", recorder.written_bytes)
    yield _counter("recording_lost_lines", "Frames and notes that are in no recording.", recorder.lost_lines)
    yield _counter("recording_failures", "Times that the disk did not take the recording.", recorder.failures)
    yield _counter("recording_cpu_seconds", "Processor time of the recorder's thread.", recorder.cpu_s)


class Skews:
    """How much later we see events than their venue dates them, at least: clock skew and the shortest way.

    Of a venue the least of the last one to two minutes, over a few events of each batch. Negative: our clock
    is behind the venue's. A recording is judged by its own receive times.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._now: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def observe(self, batch: Batch) -> None:
        """Take a batch into account."""
        self._turn()
        for events in (batch.trades, batch.quotes):
            self._observe(batch.venue, events)

    def family(self) -> Metric:
        """As Prometheus wants it."""
        self._turn()
        family = GaugeMetricFamily(
            f"{PREFIX}_clock_skew_seconds",
            "Least receive time minus the venue's own time, of the last minute or two.",
            labels=["venue"],
        )
        for venue in sorted({*self._now, *self._before}):
            least = min(found[venue] for found in (self._now, self._before) if venue in found)
            family.add_metric([venue], least / 1e6)
        return family

    def _observe(self, venue: str, events: Sequence[_Dated]) -> None:
        for event in events[:: max(1, len(events) // _SAMPLES)]:
            if event.occurred_at is not None:
                delay = event.received_at - event.occurred_at
                self._now[venue] = min(delay, self._now.get(venue, delay))

    def _turn(self) -> None:
        elapsed = self._clock() - self._began
        if elapsed >= _SKEW_KEPT_S:
            self._before = self._now if elapsed < 2 * _SKEW_KEPT_S else {}
            self._now = {}
            self._began = self._clock()


class _Dated(Protocol):
    @property
    def occurred_at(self) -> int | None: ...
    @property
    def received_at(self) -> int: ...


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{PREFIX}_{name}", text, value)

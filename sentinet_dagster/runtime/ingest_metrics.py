"""The ingest daemon's /metrics as numbers: counts at one moment, and what happened between two.

What lives here: fetching the page, reading it, differences. What never does: what the names mean to the
daemon (`ingest_daemon/health.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families

_PREFIX = "sentinet_ingest_"
_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class IngestCounts:
    """The daemon's counters since its start. `taken_at` is of a monotonic clock, in seconds."""

    taken_at: float
    frames: Mapping[str, int] = field(default_factory=dict)  # by venue
    live: Mapping[str, bool] = field(default_factory=dict)
    rows: int = 0
    delay_buckets: Mapping[float, float] = field(default_factory=dict)  # cumulative: seconds → batches
    drift: Mapping[tuple[str, ...], int] = field(
        default_factory=dict
    )  # venue, channel, field, change → frames

    @property
    def all_frames(self) -> int:
        """Frames of all venues."""
        return sum(self.frames.values())


def fetch_counts(url: str, now: float) -> IngestCounts | None:
    """The counts at the daemon of `url`, or None where nobody answers."""
    try:
        page = httpx.get(f"{url}/metrics", timeout=_TIMEOUT_S, trust_env=False)
    except httpx.TransportError:
        return None
    return read_counts(page.text, now) if page.is_success else None


def read_counts(page: str, now: float) -> IngestCounts:
    """The counts that a page in Prometheus' text format holds."""
    frames: dict[str, int] = {}
    live: dict[str, bool] = {}
    rows = 0
    buckets: dict[float, float] = {}
    drift: dict[tuple[str, ...], int] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            match sample.name.removeprefix(_PREFIX):
                case "frames_total":
                    frames[sample.labels["venue"]] = int(sample.value)
                case "feed_live":
                    live[sample.labels["venue"]] = bool(sample.value)
                case "drifted_fields_total":
                    names = ("venue", "channel", "field", "change")
                    drift[tuple(sample.labels[name] for name in names)] = int(sample.value)
                case "rows_total":
                    rows += int(sample.value)
                case "frame_to_commit_seconds_bucket":
                    buckets[float(sample.labels["le"])] = sample.value
    return IngestCounts(now, frames, live, rows, buckets, drift)


def rate(before: Mapping[str, int], after: Mapping[str, int], seconds: float) -> dict[str, float]:
    """Per venue, counts a second between two moments; a counter that began anew counts from 0.

    >>> rate({"binance": 100}, {"binance": 300}, 2.0)
    {'binance': 100.0}
    """
    rates = {}
    for venue, count in after.items():
        grown = count - before.get(venue, 0)
        rates[venue] = (grown if grown >= 0 else count) / seconds
    return rates


def median_delay_s(before: Mapping[float, float], after: Mapping[float, float]) -> float | None:
    """The median of what a histogram counted between two moments, interpolated in its bucket.

    >>> median_delay_s({}, {0.1: 10.0, 0.2: 30.0, float("inf"): 40.0})
    0.15
    """
    grown = {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)}
    total = grown.get(float("inf"), 0.0)
    if total <= 0:
        return None
    lower, counted = 0.0, 0.0
    for bound, count in grown.items():
        if count >= total / 2:
            if bound == float("inf"):
                return lower
            share = (total / 2 - counted) / (count - counted)
            return lower + (bound - lower) * share
        lower, counted = bound, count
    return None

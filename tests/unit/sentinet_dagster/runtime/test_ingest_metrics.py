"""The daemon's page, made by the daemon's own code, read back."""

from __future__ import annotations

from dataclasses import dataclass, field

from ingest_daemon.drift import Change
from ingest_daemon.health import Health
from sentinet_dagster.runtime.ingest_metrics import fetch_counts, median_delay_s, rate, read_counts


@dataclass
class Counts:
    state: str
    frames: int
    bytes: int = 0
    events: int = 0
    rejected: int = 0
    not_kept: int = 0
    refused: int = 0
    reconnects: int = 0
    drift: dict[Change, int] = field(default_factory=dict)


def test_the_daemons_own_page_is_understood() -> None:
    health = Health()
    changed = {Change("trade", "data.X", "new_field"): 3}
    health.watch({"binance": Counts("live", 120), "okx": Counts("lost", 7, drift=changed)})
    health.rows.labels("binance", "trades").inc(40)
    health.rows.labels("okx", "quotes").inc(2)
    for seconds in (0.02, 0.02, 0.2):
        health.frame_to_commit_seconds.observe(seconds)
    counts = read_counts(health.metrics().decode(), now=5.0)
    assert counts.frames == {"binance": 120, "okx": 7}
    assert counts.all_frames == 127
    assert counts.live == {"binance": True, "okx": False}
    assert counts.rows == 42
    assert counts.drift == {("okx", "trade", "data.X", "new_field"): 3}
    delay = median_delay_s({}, counts.delay_buckets)
    assert delay is not None
    assert 0.01 < delay <= 0.025


def test_a_daemon_that_began_anew_counts_from_nothing() -> None:
    assert rate({"binance": 1000}, {"binance": 50}, 10.0) == {"binance": 5.0}
    assert rate({}, {"okx": 30}, 10.0) == {"okx": 3.0}


def test_no_batch_has_no_delay() -> None:
    buckets = {0.1: 3.0, float("inf"): 3.0}
    assert median_delay_s(buckets, buckets) is None
    assert median_delay_s({}, {}) is None


def test_what_lies_beyond_the_last_bucket_is_at_least_its_bound() -> None:
    assert median_delay_s({}, {0.1: 0.0, float("inf"): 4.0}) == 0.1


def test_nobody_there_is_no_count() -> None:
    assert fetch_counts("http://127.0.0.1:9", 0.0) is None

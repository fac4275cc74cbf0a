"""A real recording, made worse, judged live and by a backfill: row by row and alert by alert the same.

Of the frames of two markets some are missing, some come twice, and some trades come a minute or more late.
They go through the parser and the store, and the sensor judges while they come. A copy of the facts is judged
by one run of all hours, as a backfill is.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest_daemon.batcher import Batch, Limits
from ingest_daemon.events import Event, Trade
from ingest_daemon.replay import replay_files
from ingest_daemon.store import Store, WriteReport
from sentinet_dagster.partitions import INSTRUMENTS_TAG, in_microseconds, range_tags
from sentinet_dagster.resources import SurveillanceConfig
from sentinet_dagster.surveillance.settings import load_settings
from tests.conftest import PostgresServer
from tests.integration.judging import RELATIONS, Desk, open_desk
from tests.integration.market_facts import SECOND, batch

pytestmark = pytest.mark.integration

SYMBOLS = ("btcusdt", "ethusdt")
HOURS = range_tags("2024-08-08-23:00", "2024-08-09-00:00")
UNTIL = "2024-08-08T23:59:30Z"  # the recording ends soon after; it closes all windows before
ALERTS = (
    "select alert_id, detector, instrument_id, window_start, severity, score, threshold, summary, evidence,"
    " completeness, windows_fired, last_window_start, closes_at, peak_score, peak_window_start, incident_id"
    " from surveillance.alerts where window_start < %s and state <> 'retracted'"
    " order by alert_id"
)


def made_worse(recording: Path, seed: int) -> tuple[list[tuple[int, bytes]], dict[str, int]]:
    """The frames as they came in the end, with their receive times; and what was done to how many."""
    rng = random.Random(seed)
    done = {"missing": 0, "twice": 0, "late": 0}
    frames: list[tuple[int, bytes]] = []
    with gzip.open(recording) as lines:
        for line in lines:
            text, _, frame = line.rstrip(b"\n").partition(b" ")
            received, chance = int(text), rng.random()
            if chance < 0.002:
                done["missing"] += 1
            elif chance < 0.02 and b"@trade" in frame:
                done["late"] += 1
                frames.append((received + rng.randrange(60, 200) * 10**9, frame))
            else:
                frames.append((received, frame))
                if chance > 0.99 and b"@depth" not in frame:
                    done["twice"] += 1
                    frames.append((received + rng.randrange(1, 20) * 10**9, frame))
    return sorted(frames, key=lambda each: each[0]), done


@dataclass
class JudgedStore:
    """A store that has what it stores judged, as it comes."""

    store: Store
    desk: Desk
    requests: list[str] = field(default_factory=list)
    writes: int = 0

    def load_instruments(self, venues: Any) -> Any:
        return self.store.load_instruments(venues)

    def write(self, batch: Batch) -> WriteReport:
        report = self.store.write(batch)
        self.writes += 1
        if self.writes % 2 == 0:
            for request in self.desk.tick():
                self.requests.append(str(request.partition_key))
                assert self.desk.run(request).success
        return report


@pytest.fixture(autouse=True)
def sensitive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds at which six quiet minutes have many alerts to compare, some of one window, some of more."""
    spike = {"price_z": 1.5, "return_z": 1.5, "move_bps": 0.1, "cool_down_s": 10}
    sensitive = load_settings({"detectors": {"default": {"volatility_spike": spike}}})
    monkeypatch.setattr(SurveillanceConfig, "load", lambda _: sensitive)


@pytest.fixture
def live(database_url: str, shared_data: Path, tmp_path: Path) -> Iterator[Desk]:
    """The recording, judged by the sensor while it came."""
    paths = []
    for seed, symbol in enumerate(SYMBOLS):
        frames, done = made_worse(shared_data / f"binance_recordings/spot/{symbol}_20240808.gz", seed)
        assert min(done.values()) > 5, done
        paths.append(tmp_path / f"{symbol}.gz")
        with gzip.open(paths[-1], "wb", compresslevel=1) as lines:
            lines.writelines(b"%d %s\n" % each for each in frames)
    with open_desk(database_url, ("BTC", "ETH")) as desk, Store(database_url) as store:
        judged = JudgedStore(store, desk)
        replay_files(paths, judged, {"binance_spot": "binance"}, limits=Limits(rows=4000))
        assert len(judged.requests) > 8
        assert all(result.success for result in desk.catch_up())
        yield desk


@pytest.fixture
def past(live: Desk, postgres_server: PostgresServer) -> Iterator[Desk]:
    """The facts of `live` in a database of their own, not judged."""
    name = postgres_server.copy(psycopg.conninfo.conninfo_to_dict(live.url)["dbname"])  # type: ignore[arg-type]
    with open_desk(postgres_server.url(name), instruments=None) as desk:
        judgement = ", ".join(
            f"surveillance.{relation}" for relation in [*RELATIONS, "alerts", "alert_events"]
        )
        desk.fetch(f"truncate {judgement}, ops.plans")
        yield desk
    postgres_server.drop(name)


def judge(desk: Desk, **tags: str) -> None:
    assert desk.execute("judge_windows", tags={**HOURS, **tags}).success


def assert_same(one: Desk, other: Desk) -> None:
    for relation in RELATIONS:
        rows = one.rows(relation, UNTIL)
        assert len(rows) > (5 if relation == "findings" else 60), relation
        assert rows == other.rows(relation, UNTIL), relation
    alerts = one.fetch(ALERTS, UNTIL)
    assert len(alerts) > 5
    assert alerts == other.fetch(ALERTS, UNTIL)


def test_live_and_one_run_of_all_hours_judge_the_same(live: Desk, past: Desk) -> None:
    found = live.fetch(
        "select sum(duplicates) as twice, (select count(*) from market.feed_gaps) as gaps"
        " from ops.ingest_batches"
    )
    assert found[0]["twice"] > 100
    assert found[0]["gaps"] > 0  # a book with a frame missing
    judge(past)
    assert_same(live, past)

    # Facts of one instrument that nobody has judged: a backfill of it alone.
    start = in_microseconds(datetime(2024, 8, 8, 23, 56, tzinfo=UTC))
    commit([trade(1, start + number * 3 * SECOND) for number in range(40)], live, past)
    before = computed(live)
    judge(live, **{INSTRUMENTS_TAG: "1"})
    judge(past)
    assert_same(live, past)
    after = computed(live)
    assert {key for key in after if after[key] != before[key]} == {key for key in after if key[0] == 1}

    # Where it breaks the silence, there are windows of all.
    commit([trade(2, start - 30 * 60 * SECOND)], live, past)
    judge(live, **{INSTRUMENTS_TAG: "2"})
    judge(past)
    assert_same(live, past)
    first = "select count(*) as n from surveillance.windows where window_start < '2024-08-08T23:30Z'"
    assert live.fetch(first) == [{"n": 2 * 13}]  # the trade's window and the minute after it


def trade(instrument: int, time: int) -> Trade:
    return Trade(instrument, time, time, time, 61_000.0 / 23 ** (instrument - 1), 3.0, 1)


def commit(facts: Sequence[Event], *desks: Desk) -> None:
    for desk in desks:
        with Store(desk.url) as store:
            store.write(batch(facts))


def computed(desk: Desk) -> dict[tuple[int, datetime], datetime]:
    rows = desk.fetch("select instrument_id, window_start, computed_at from surveillance.windows")
    return {(row["instrument_id"], row["window_start"]): row["computed_at"] for row in rows}

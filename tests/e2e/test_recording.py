"""Two real markets from the socket to the alert, held against what their recordings say.

A venue server plays the recordings over WebSockets, the ingest daemon writes them, Dagster's sensor judges
them. A backfill judges a copy of the same facts. A third database takes the files in by `sentinet replay`.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from tests.conftest import PostgresServer
from tests.e2e import independent
from tests.e2e.command import ask, started
from tests.integration.judging import RELATIONS, Desk, open_desk

pytestmark = [pytest.mark.integration, pytest.mark.e2e]

MARKETS = {"spot": "binance", "usdm": "binance_usdm"}
PROTOCOLS = {"spot": "binance_spot", "usdm": "binance_usdm"}
HOURS = ("2024-08-08-23:00", "2024-08-09-00:00")
UNTIL = "2024-08-09T01:00:00Z"  # all of it
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Judged:
    """The facts of the socket, judged by the sensor and by a backfill; and those of `sentinet replay`."""

    live: Desk
    past: Desk
    replayed: Desk
    recordings: Mapping[str, Path]  # "<market>/<symbol>" → file
    ledger: dict[str, Any]  # what the venue server says it sent


@pytest.fixture(scope="module")
def judged(
    postgres_server: PostgresServer,
    migrated_template: str,
    shared_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Judged]:
    recordings = {
        f"{path.parent.name}/{path.name.split('_')[0].upper()}": path
        for market in MARKETS
        for path in sorted((shared_data / "binance_recordings" / market).glob("*20240808.gz"))
    }
    played, replayed = (postgres_server.create(migrated_template) for _ in range(2))
    ask(
        os.environ | {"SENTINET_DATABASE_URL": postgres_server.url(played)}, "migrate"
    )  # brings the instruments
    ledger = play(postgres_server.url(played), recordings, tmp_path_factory.mktemp("config"))
    replay(postgres_server.url(replayed), recordings)
    # Data closes the windows before its end, the clock the rest ten seconds later: live judgement and the
    # backfill must not meet different moments of this.
    with open_desk(postgres_server.url(played), instruments=None) as desk:
        desk.be_silent()
    copied = postgres_server.copy(played)
    names = (played, copied, replayed)
    with ExitStack() as desks:
        live, past, again = (
            desks.enter_context(open_desk(postgres_server.url(name), instruments=None)) for name in names
        )
        assert all(result.success for result in live.catch_up())
        assert all(past.judge(hour).success for hour in HOURS)
        yield Judged(live, past, again, recordings, ledger)
    for name in names:
        postgres_server.drop(name)


def play(url: str, recordings: Mapping[str, Path], config: Path) -> dict[str, Any]:
    """The venue server plays, the daemon writes, until all that was sent is committed; what was sent."""
    chosen = [f"--recording={name.split('/')[0]}={path}" for name, path in recordings.items()]
    with started("sentinet_dagster.runtime.venue_server", "--speed=max", *chosen) as server:
        assert server.stdout is not None
        markets = json.loads(server.stdout.readline())["markets"]
        write_config(config, markets)
        environment = {"SENTINET_DATABASE_URL": url, "SENTINET_CONFIG_DIR": str(config)}
        environment |= {"SENTINET_INGEST_HEALTH_PORT": "0", "SENTINET_HOME": str(config / "home")}
        with started("ingest_daemon", **environment) as daemon:
            ledger = wait_for_end(markets["spot"]["rest_url"].removesuffix("/spot"))
            wait_until_committed(url, ledger)
            daemon.send_signal(signal.SIGTERM)  # it drains what it has received
            assert daemon.wait(PATIENCE_S) == 0
    return ledger


def wait_for_end(base_url: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        ledger: dict[str, Any] = httpx.get(f"{base_url}/ledger", trust_env=False, timeout=PATIENCE_S).json()
        if ledger["has_ended"]:
            return ledger
        time.sleep(0.1)
    raise AssertionError(f"the recordings were not played within {PATIENCE_S:g} s")


def wait_until_committed(url: str, ledger: dict[str, Any]) -> None:
    """Until as many trades are stored as were sent; what is in a socket's buffer is not yet received."""
    sent = sum(stream["deliveries"] for name, stream in ledger["streams"].items() if name.endswith("@trade"))
    deadline = time.monotonic() + PATIENCE_S
    with psycopg.connect(url, autocommit=True) as connection:
        while time.monotonic() < deadline:
            (stored,) = connection.execute("select count(*) from market.trades").fetchone() or (0,)
            if stored >= sent:
                return
            time.sleep(0.1)
    raise AssertionError(f"{sent} trades were sent and {stored} are stored after {PATIENCE_S:g} s")


def write_config(directory: Path, markets: Mapping[str, Mapping[str, str]]) -> None:
    venues = {
        venue: {
            **markets[market],
            "protocol": PROTOCOLS[market],
            "channels": ["trade", "bookTicker", "depth"],
            "received_at": "recorded",
        }
        for market, venue in MARKETS.items()
    }
    (directory / "venues.yaml").write_text(yaml.safe_dump({"venues": venues}))


def replay(url: str, recordings: Mapping[str, Path]) -> dict[str, dict[str, int]]:
    report = ask(os.environ | {"SENTINET_DATABASE_URL": url}, "replay", *map(str, recordings.values()))
    streams: dict[str, dict[str, int]] = report["streams"]
    return streams


def test_every_trade_sent_is_committed_once(judged: Judged) -> None:
    for name, path in judged.recordings.items():
        expected = {at for window in independent.windows_of(path).values() for at in window.trades}
        sent = judged.ledger["streams"][f"{name.lower()}@trade"]
        assert sent["deliveries"] == len(expected)
        assert set(trade_ids(judged.live, name)) == expected
        assert len(trade_ids(judged.live, name)) == len(expected)
        assert trade_ids(judged.replayed, name) == trade_ids(judged.live, name)
    for relation in ("quotes", "rejected_frames"):
        assert counts(judged.replayed)[relation] == counts(judged.live)[relation]


def test_replaying_again_adds_no_row(judged: Judged) -> None:
    before = counts(judged.replayed)
    streams = replay(judged.replayed.url, judged.recordings)
    assert counts(judged.replayed) == before
    assert sum(stream["rows"] for stream in streams.values()) == 0
    assert {
        name: stream["frames"] for name, stream in streams.items() if stream["frames"]
    } == expected_frames(judged)
    for name, stream in streams.items():
        if name.endswith(("@trade", "@bookTicker")):
            assert stream["frames"] == stream["duplicates"] + stream["refused"], name


def test_windows_are_what_the_recordings_say(judged: Judged) -> None:
    for name, path in judged.recordings.items():
        found = {row["window_start"]: row for row in windows(judged.live, name)}
        expected = independent.windows_of(path)
        closed = {
            start: window
            for start_us, window in expected.items()
            if (start := datetime.fromtimestamp(start_us / 1e6, UTC)) < datetime.fromisoformat(UNTIL)
        }
        assert len(closed) > 60
        for start, window in closed.items():
            row = found[start]
            prices = window.prices_in_order
            assert row["trade_count"] == len(window.trades)
            assert row["quote_count"] == len(window.spreads_bps)
            assert row["volume"] == pytest.approx(window.volume, rel=1e-12)
            assert row["buy_volume"] == pytest.approx(window.buy_volume, rel=1e-12)
            if window.vwap is None:
                assert row["vwap"] is None
            else:
                assert row["vwap"] == pytest.approx(window.vwap, rel=1e-12)
                assert (row["open"], row["close"]) == (prices[0], prices[-1])
                assert (row["high"], row["low"]) == (max(prices), min(prices))
            if window.spreads_bps:
                mean = math.fsum(window.spreads_bps) / len(window.spreads_bps)
                assert row["spread_bps_mean"] == pytest.approx(mean, rel=1e-9)
                assert row["spread_bps_max"] == pytest.approx(max(window.spreads_bps), rel=1e-12)


def test_live_equals_backfill(judged: Judged) -> None:
    for relation in RELATIONS:
        live, past = judged.live.rows(relation, UNTIL), judged.past.rows(relation, UNTIL)
        assert len(live) == len(past), relation
        differing = Counter(key for a, b in zip(live, past, strict=True) for key in a if a[key] != b[key])
        assert not differing, relation
    alerts = (
        "select alert_id, summary, evidence from surveillance.alerts where state <> 'retracted' order by 1"
    )
    assert judged.live.fetch(alerts) == judged.past.fetch(alerts)


def trade_ids(desk: Desk, name: str) -> list[int]:
    rows = desk.fetch(
        "select trade_id from market.trades join market.instruments using (instrument_id)"
        " where venue = %s and venue_symbol = %s order by trade_id",
        *venue_and_symbol(name),
    )
    return [row["trade_id"] for row in rows]


def windows(desk: Desk, name: str) -> list[dict[str, Any]]:
    return desk.fetch(
        "select windows.* from surveillance.windows join market.instruments using (instrument_id)"
        " where venue = %s and venue_symbol = %s",
        *venue_and_symbol(name),
    )


def venue_and_symbol(name: str) -> tuple[str, str]:
    market, symbol = name.split("/")
    return MARKETS[market], symbol


def counts(desk: Desk) -> dict[str, int]:
    relations = ("trades", "quotes", "books", "feed_gaps", "rejected_frames")
    return {name: desk.fetch(f"select count(*) as n from market.{name}")[0]["n"] for name in relations}


def expected_frames(judged: Judged) -> dict[str, int]:
    """The recordings' own lines, by the names that `replay` gives their streams."""
    return {
        name: count
        for path in judged.recordings.values()
        for name, count in independent.count_streams(path, MARKETS[path.parent.name]).items()
    }

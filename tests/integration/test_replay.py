"""Real recordings through the parser into a real database: everything adds up, and twice is once."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from pathlib import Path

import psycopg
import pytest

from ingest_daemon.replay import StreamReport, replay_files
from ingest_daemon.store import Store

pytestmark = pytest.mark.integration

VENUES = {"binance_spot": "binance", "binance_usdm": "binance_usdm"}


@pytest.fixture
def recordings(shared_data: Path, database_url: str) -> list[Path]:
    """Two files, after the instruments in them are known to the database."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            """
            insert into market.instruments (venue, symbol, venue_symbol, kind, base, quote)
            values ('binance', 'BTC-USDT', 'BTCUSDT', 'spot', 'BTC', 'USDT'),
                ('binance_usdm', 'ETH-USDT-PERP', 'ETHUSDT', 'perpetual', 'ETH', 'USDT')
            on conflict do nothing
            """
        )
    found = shared_data / "binance_recordings"
    return [found / "spot/btcusdt_20240808.gz", found / "usdm/ethusdt_20240718.gz"]


def test_a_recording_adds_up_and_twice_is_once(recordings: list[Path], database_url: str) -> None:
    lines: Counter[str] = Counter()
    trades: defaultdict[str, set[int]] = defaultdict(set)
    for path, venue in zip(recordings, ("binance", "binance_usdm"), strict=True):
        with gzip.open(path) as recorded:
            frames = [json.loads(line.partition(b" ")[2]) for line in recorded]
        for frame in frames:
            stream = frame.get("stream", "")
            lines[f"{venue}/{stream}"] += 1
            if stream.endswith("@trade"):
                trades[f"{venue}/{stream}"].add(frame["data"]["t"])

    with Store(database_url) as store:
        first = replay_files(recordings, store, VENUES).streams
        second = replay_files(recordings, store, VENUES).streams

    assert sum(stream.frames for stream in first.values()) == sum(lines.values())
    for name, count in lines.items():
        if name.endswith(("@trade", "@bookTicker")):
            assert first[name] == StreamReport(frames=count, rows=count)
            assert second[name] == StreamReport(frames=count, duplicates=count)
        elif not name.endswith("/"):
            assert first[name].frames == count
            assert first[name].rows > 0
            assert first[name].refused == 0
            assert (second[name].rows, second[name].duplicates) == (0, first[name].rows)
    assert {name: first[name].rows for name in trades} == {name: len(ids) for name, ids in trades.items()}

    with psycopg.connect(database_url) as connection:
        in_ledger = dict(
            connection.execute("select relation, sum(rows) from ops.ingest_batches group by 1").fetchall()
        )
        for relation in ("trades", "quotes", "books"):
            statement = psycopg.sql.SQL("select count(*) from {}").format(
                psycopg.sql.Identifier("market", relation)
            )
            row = connection.execute(statement).fetchone()
            assert row is not None
            assert in_ledger[relation] == row[0]
        by_venue = connection.execute(
            "select i.venue, count(*) from market.trades join market.instruments as i using (instrument_id)"
            " group by 1 order by 1"
        ).fetchall()
    assert by_venue == [(name.partition("/")[0], len(ids)) for name, ids in sorted(trades.items())]


def test_receive_times_are_the_recordings_own(recordings: list[Path], database_url: str) -> None:
    with Store(database_url) as store:
        report = replay_files(recordings[:1], store, VENUES)

    with gzip.open(recordings[0]) as lines:
        stamps = [int(line.partition(b" ")[0]) // 1_000 for line in lines]
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "select min(extract(epoch from received_at) * 1000000)::bigint,"
            " max(extract(epoch from received_at) * 1000000)::bigint from market.quotes"
        ).fetchone()
    assert (report.first_received_at, report.last_received_at) == (stamps[0], stamps[-1])
    assert row is not None
    assert stamps[0] <= row[0] <= row[1] <= stamps[-1]

"""What a daemon records is what it committed: every dialect, cut sockets, floods, a disk that is full."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from psycopg import sql

from ingest_daemon.recording import Connection
from ingest_daemon.recording_files import find_recordings
from ingest_daemon.replay import ReplayReport, replay_files
from ingest_daemon.store import Store
from ingest_daemon.venues import VENUES, Credentials, KeyedVenueProtocol, PolledVenueProtocol
from ingest_daemon.venues.simulated import FixedScript, SimulatedMarket
from sentinet_dagster.assets.building import build
from sentinet_dagster.resources import Timescale
from sentinet_dagster.runtime.venue_server import VenueServer
from sentinet_dagster.runtime.venue_sources import SimulatedSource
from tests.fake_venue import FakeVenue
from tests.integration.daemon_process import Daemon, running_daemon
from tests.integration.daemons import daemon_of, fake, trade_ids, trades, watch_bitcoin, write_venues

pytestmark = pytest.mark.integration

ACCOUNT = Credentials("PKTESTKEY0001", "s3cretS3CRETs3cret")
SYMBOLS_EACH = 2
NUMBERED_BY_THE_DATABASE = {"gap_id", "rejected_frame_id", "recorded_at"}


def facts(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of schema market but the instruments, without the numbers that a database gives.

    When a gap was repaired is the database's to say, that it was is not.
    """
    with psycopg.connect(url) as connection:
        columns: dict[str, list[str]] = {}
        for table, column in connection.execute(
            "select table_name, column_name from information_schema.columns where table_schema = 'market'"
            " and table_name <> 'instruments' order by table_name, ordinal_position"
        ):
            if column not in NUMBERED_BY_THE_DATABASE:
                columns.setdefault(table, []).append(column)
        return {
            table: connection.execute(
                sql.SQL("select {0} from {1} order by {0}").format(
                    sql.SQL(", ").join(map(_said, names)), sql.Identifier("market", table)
                )
            ).fetchall()
            for table, names in columns.items()
        }


def _said(column: str) -> sql.Composable:
    name = sql.Identifier(column)
    return sql.SQL("({} is not null)").format(name) if column == "repaired_at" else name


def judged(url: str, began: datetime) -> pl.DataFrame:
    """The windows from `began` on, as the judgement builds them: what features and alerts are made of."""
    start = datetime.fromtimestamp(began.timestamp() // 5 * 5, UTC)
    timescale = Timescale(url=url)
    try:
        return build(timescale, start, start + timedelta(minutes=3)).frame
    finally:
        timescale.close()


def replay(url: str, *paths: Path) -> ReplayReport:
    with Store(url) as store:
        return replay_files(paths, store, {})


def watch(urls: Sequence[str], products: Mapping[str, Sequence[Any]]) -> None:
    """The same instruments in each database, under the same numbers."""
    rows = [
        (
            *(venue, each.symbol, each.symbol, each.kind, each.base, each.quote),
            *(each.contract_size, each.contract_currency),
        )
        for venue, listed in products.items()
        for each in listed
    ]
    for url in urls:
        with psycopg.connect(url) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "insert into market.instruments (venue, symbol, venue_symbol, kind, base, quote,"
                " contract_size, contract_currency) values (%s, %s, %s, %s, %s, %s, %s, %s)",
                rows,
            )


def settings_of(server: VenueServer) -> dict[str, dict[str, Any]]:
    """Every dialect's, with all of its channels."""
    venues: dict[str, dict[str, Any]] = {}
    for addresses in server.markets.values():
        protocol = VENUES[addresses["protocol"]]
        venue = venues[protocol.name] = {**addresses, "channels": list(protocol.channels)}
        if isinstance(protocol, PolledVenueProtocol):
            venue["calls_per_minute"] = 1_200
            venue.pop("websocket_url")
        elif not isinstance(protocol, KeyedVenueProtocol):
            venue["rotate_after_s"] = 4.0
    return venues


def keys_of(venues: Mapping[str, Any]) -> dict[str, str]:
    keys = {}
    for name in venues:
        protocol = VENUES[name]
        if isinstance(protocol, KeyedVenueProtocol):
            for need in protocol.needs:
                keys[f"SENTINET_VENUE_{name.upper()}_{need.upper()}"] = getattr(ACCOUNT, need)
    return keys


async def until_each_has_rows(daemon: Daemon, venues: Sequence[str], least: int) -> None:
    for venue in venues:
        await daemon.until("sentinet_ingest_rows_total", lambda rows: rows >= least, f'venue="{venue}"')


async def test_a_replay_gives_every_row_of_every_venue_again(
    database_url: str, second_database_url: str, tmp_path: Path
) -> None:
    live_us = int(datetime.now(UTC).timestamp()) * 1_000_000
    source = SimulatedSource(SimulatedMarket(3, live_us - 60_000_000, FixedScript()), live_us)
    recordings = tmp_path / "recordings"
    async with VenueServer(source, account=ACCOUNT) as server, FakeVenue({}).serve() as odd:
        venues = settings_of(server)
        products = {dialect.protocol: dialect.products[:SYMBOLS_EACH] for dialect in server.dialects.values()}
        watch([database_url, second_database_url], products)
        for url in (database_url, second_database_url):
            watch_bitcoin(url)
        settings = {**venues, "here": fake(odd, "trade")}
        write_venues(tmp_path, settings)
        arguments = ("--record", str(recordings))
        async with running_daemon(database_url, tmp_path, keys_of(venues), arguments=arguments) as daemon:
            await odd.accept()
            await odd.send(*trades(0, 5), '{"a":\n1}', *["not JSON"] * 100, *trades(5, 8))
            await until_each_has_rows(daemon, list(settings), 5)
            server.hub.cut()
            odd.cut()
            await odd.accept()
            await odd.send(*trades(6, 12))  # some again, as venues do
            await daemon.until("sentinet_ingest_gaps_total", lambda gaps: gaps >= 10)
            await until_each_has_rows(daemon, list(settings), 15)
            for venue, own in venues.items():
                if "rotate_after_s" in own:  # once for the cut, once for a change without a hole
                    reconnects = "sentinet_ingest_reconnects_total"
                    await daemon.until(reconnects, lambda n: n >= 2, f'venue="{venue}"')
            assert (await daemon.healthz())[1]["recording"] == "ok"
            assert await daemon.stop() == 0

    await asyncio.to_thread(replay, second_database_url, recordings)

    live, again = facts(database_url), facts(second_database_url)
    assert {table: len(rows) for table, rows in live.items()} == {
        table: len(rows) for table, rows in again.items()
    }
    assert live == again
    for table in ("trades", "quotes", "books", "reference_prices", "feed_gaps", "rejected_frames"):
        assert live[table], f"nothing was tested of {table}"
    assert not list(recordings.rglob("*.part"))
    assert_without_keys(recordings)
    began = datetime.fromtimestamp(live_us / 1e6, UTC)
    windows = judged(database_url, began)
    assert windows["trade_count"].sum() > 100
    assert windows.equals(judged(second_database_url, began))


def assert_without_keys(recordings: Path) -> None:
    told = [
        repr(entry)
        for recording in find_recordings([recordings])
        for entry, _ in recording.entries(lambda _cut: None)
    ]
    assert len(told) > 1_000
    for text in told:
        assert ACCOUNT.key not in text
        assert ACCOUNT.secret not in text
        assert "authenticated" not in text


async def test_frames_are_recorded_to_the_byte_and_a_kill_loses_a_second_at_most(
    database_url: str, second_database_url: str, tmp_path: Path
) -> None:
    for url in (database_url, second_database_url):
        watch_bitcoin(url)
    recordings = tmp_path / "recordings"
    sent = [*trades(0, 500), " \t{} ", '{"sentinet":"gap"}', '{"é":\n\r\n"\x00\x7f"}', "", "\r", "{}\r"]
    async with (
        FakeVenue({}).serve() as venue,
        daemon_of(venue, database_url, tmp_path, record=str(recordings)) as daemon,
    ):
        await venue.accept()
        await venue.send(*sent)
        await daemon.until("sentinet_ingest_frames_total", lambda frames: frames == len(sent))
        await daemon.until("sentinet_ingest_rows_total", lambda rows: rows >= 500)
        await daemon.until("sentinet_ingest_recording_buffer_bytes", lambda size: size == 0)
        written = await daemon.value("sentinet_ingest_recording_written_bytes_total")
        await venue.send(*trades(500, 501))
        # What is written from now on is written after all that had left the buffer.
        await daemon.until("sentinet_ingest_recording_written_bytes_total", lambda size: size > written)
        await daemon.stop(signal.SIGKILL)

    (path,) = recordings.rglob("*.zst.part")
    (recording,) = find_recordings([recordings])
    cuts: list[Any] = []
    contents = [entry.content for entry, _ in recording.entries(cuts.append)]
    assert isinstance(contents[0], Connection)
    frames = [content for content in contents[1:] if isinstance(content, bytes)]
    assert frames[: len(sent)] == [text.encode() for text in sent]
    assert [cut.reason for cut in cuts] == ["the end is missing"]

    report = replay(second_database_url, recordings)
    assert [cut.path for cut in report.cuts] == [str(path)]
    assert trade_ids(second_database_url)[:500] == list(range(500))


async def test_a_disk_that_is_full_costs_the_recording_and_nothing_else(
    database_url: str, second_database_url: str, tmp_path: Path
) -> None:
    for url in (database_url, second_database_url):
        watch_bitcoin(url)
    recordings = tmp_path / "recordings"
    async with (
        FakeVenue({}).serve() as venue,
        daemon_of(venue, database_url, tmp_path, record=str(recordings), largest_file=30_000) as daemon,
    ):
        await venue.accept()
        sent = 0
        while not await daemon.value("sentinet_ingest_recording_failures_total"):
            await venue.send(*trades(sent, sent + 500))
            sent += 500
            await daemon.until("sentinet_ingest_frames_total", lambda frames, sent=sent: frames == sent)
        status, page = await daemon.healthz()
        assert (status, page["status"], page["recording"]) == (200, "ok", "failing: File too large")
        assert await daemon.value("sentinet_ingest_recording_up") == 0
        await venue.send(*trades(sent, sent + 100))
        await daemon.until("sentinet_ingest_recording_lost_lines_total", lambda lines: lines >= 100)
        assert await daemon.stop() == 0
        assert trade_ids(database_url) == list(range(sent + 100))

    report = replay(second_database_url, recordings)
    assert report.cuts
    found = trade_ids(second_database_url)
    assert found == list(range(len(found)))
    assert 0 < len(found) < sent


async def test_a_flood_of_malformed_frames_is_few_rows_and_counted_to_the_frame(
    database_url: str, tmp_path: Path
) -> None:
    watch_bitcoin(database_url)
    flood = 100_000
    async with (
        FakeVenue({}).serve() as venue,
        daemon_of(venue, database_url, tmp_path) as daemon,
    ):
        await venue.accept()
        await venue.send(*trades(0, 10))
        for first in range(0, flood, 1_000):
            numbers = range(first, first + 1_000)
            await venue.send(*(f'{{"stream":"btcusdt@trade","data":{number}}}' for number in numbers))
        await venue.send(*trades(10, 20))
        await daemon.until("sentinet_ingest_frames_total", lambda frames: frames == flood + 20)
        assert await daemon.value("sentinet_ingest_rejected_frames_total") == flood
        not_kept = await daemon.value("sentinet_ingest_rejected_frames_not_kept_total")
        assert await daemon.stop() == 0

    with psycopg.connect(database_url) as connection:
        ((rows, frames, kept, size, began, hours),) = connection.execute(
            """
            select
                count(*),
                sum(frames),
                count(*) filter (where frame <> ''),
                sum(length(frame)),
                min(received_at),
                count(distinct date_trunc('hour', received_at))
            from market.rejected_frames
            """
        ).fetchall()
        spans = connection.execute(
            "select received_at, last_received_at from market.rejected_frames"
        ).fetchall()
    assert frames == flood
    assert kept == flood - not_kept
    assert kept <= 25 * hours  # an hour begins with a full bucket
    assert rows <= 100 * hours
    assert size < 10_000 * hours
    # A row that stands for several is of one window.
    for first, last in spans:
        assert last is None or first.timestamp() // 5 == last.timestamp() // 5
    windows = judged(database_url, began)
    assert windows["refused_frames"].sum() == flood

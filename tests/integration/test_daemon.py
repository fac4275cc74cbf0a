"""The daemon as a process: a venue on a socket, a real database, and whatever happens to either."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from ingest_daemon.batcher import batch_of
from ingest_daemon.events import Trade
from ingest_daemon.spool import Spool
from sentinet_dagster.runtime.database import migrate
from sentinet_dagster.runtime.embedded_postgres import EmbeddedPostgres
from tests.fake_venue import FakeVenue
from tests.integration.daemon_process import PATIENCE_S, start
from tests.integration.daemons import daemon_of, trade_ids, trades, watch_bitcoin

pytestmark = pytest.mark.integration


async def test_what_was_received_is_committed_when_a_signal_ends_it(
    database_url: str, tmp_path: Path
) -> None:
    watch_bitcoin(database_url)
    async with (
        FakeVenue({}).serve() as venue,
        daemon_of(venue, database_url, tmp_path, batch_age_s="60") as daemon,  # nothing is due by itself
    ):
        await venue.accept()
        await venue.send(*trades(0, 2_000))
        await daemon.until("sentinet_ingest_frames_total", lambda frames: frames == 2_000)
        assert await daemon.healthz() == (
            200,
            {"status": "ok", "database": "up", "feeds": {"here": "live"}},
        )
        assert trade_ids(database_url) == []

        assert await daemon.stop() == 0

    assert trade_ids(database_url) == list(range(2_000))


async def test_a_cut_socket_leaves_a_gap_row_and_nothing_twice(database_url: str, tmp_path: Path) -> None:
    watch_bitcoin(database_url)
    async with (
        FakeVenue({}).serve() as venue,
        daemon_of(venue, database_url, tmp_path) as daemon,
    ):
        await venue.accept()
        await venue.send(*trades(0, 10))
        await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 10)
        venue.cut()
        await venue.accept()
        await venue.send(*trades(5, 20))  # some again, as venues do
        await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 21)  # 20 trades, 1 gap
        assert await daemon.value("sentinet_ingest_duplicates_total") == 5
        assert await daemon.value("sentinet_ingest_gaps_total") == 1
        assert await daemon.stop(signal.SIGINT) == 0

    assert trade_ids(database_url) == list(range(20))
    with psycopg.connect(database_url) as connection:
        (gap,) = connection.execute(
            """
            select
                venue,
                channel,
                cause,
                started_at = (select max(received_at) from market.trades where trade_id < 10),
                ended_at > started_at
                    and ended_at <= (select min(received_at) from market.trades where trade_id >= 10)
            from market.feed_gaps
            """
        ).fetchall()
    assert gap == ("here", "trade", "disconnected", True, True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_time_in_which_it_did_not_run_is_a_gap(
    database_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    watch_bitcoin(database_url)
    async with FakeVenue({}).serve() as venue:
        for first in (0, 10):
            async with daemon_of(venue, database_url, tmp_path) as daemon:
                await venue.accept()
                await venue.send(*trades(first, first + 10))
                rows = 10 if first == 0 else 11  # 10 trades, and the gap; a first start has none
                await daemon.until("sentinet_ingest_rows_total", lambda found, rows=rows: found == rows)
                assert await daemon.stop(number) == (0 if number is signal.SIGTERM else -number)

    assert trade_ids(database_url) == list(range(20))
    with psycopg.connect(database_url) as connection:
        gaps = connection.execute(
            """
            select
                channel,
                instrument_id,
                cause,
                started_at = (select max(received_at) from market.trades where trade_id < 10),
                ended_at = (select min(received_at) from market.trades where trade_id >= 10)
            from market.feed_gaps
            """
        ).fetchall()
    assert gaps == [("trade", 1, "not_running", True, True)]


async def test_without_a_spool_the_sockets_are_held_back_while_the_database_is_away(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    server = EmbeddedPostgres(tmp_path / "postgres", tmp_path / "postgres.log")
    try:
        started = server.start()
        migrate(started.url())
        watch_bitcoin(started.url())
        async with (
            FakeVenue({}).serve() as venue,
            # A queue that overflows while the database is away, so that the socket is held back too.
            daemon_of(
                venue, started.url(), config, queue_bytes="65536", batch_age_s="0.02", spool_bytes="0"
            ) as daemon,
        ):
            await venue.accept()
            await venue.send(*trades(0, 500))
            await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 500)
            await asyncio.to_thread(server.stop)
            sending = asyncio.create_task(venue.send(*trades(500, 20_000)))
            await daemon.until("sentinet_ingest_store_failures_total", lambda failures: failures > 0)
            await daemon.until("sentinet_ingest_queue_bytes", lambda size: size >= 65_536)
            assert (await daemon.healthz())[0] == 503
            assert await daemon.value("sentinet_ingest_frames_total") < 20_000

            again = await asyncio.to_thread(
                EmbeddedPostgres(tmp_path / "postgres", tmp_path / "postgres.log", port=started.port).start
            )
            assert again.port == started.port
            await sending
            await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 20_000)
            assert await daemon.stop() == 0
        assert trade_ids(started.url()) == list(range(20_000))
    finally:
        server.destroy()


@asynccontextmanager
async def postgres(directory: Path) -> AsyncIterator[Postgres]:
    """A server of the test's own, which it may stop and start."""
    server = Postgres(directory)
    try:
        await asyncio.to_thread(server.start)
        migrate(server.url)
        watch_bitcoin(server.url)
        yield server
    finally:
        await asyncio.to_thread(server.embedded.destroy)


class Postgres:
    """An embedded server that comes back at the same address."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.embedded = EmbeddedPostgres(directory / "postgres", directory / "postgres.log")
        self.url = ""

    def start(self) -> None:
        started = self.embedded.start()
        self.url = started.url()
        self.embedded = EmbeddedPostgres(
            self._directory / "postgres", self._directory / "postgres.log", port=started.port
        )

    def stop(self) -> None:
        self.embedded.stop()


async def test_a_database_that_restarts_loses_nothing_and_holds_nobody_back(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    async with (
        postgres(tmp_path) as server,
        FakeVenue({}).serve() as venue,
        daemon_of(venue, server.url, config, queue_bytes="65536", batch_age_s="0.02") as daemon,
    ):
        await venue.accept()
        await venue.send(*trades(0, 500))
        await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 500)
        await asyncio.to_thread(server.stop)
        await venue.send(*trades(500, 20_000))
        await daemon.until("sentinet_ingest_frames_total", lambda frames: frames == 20_000)
        await daemon.until("sentinet_ingest_spool_bytes", lambda size: size > 0)

        await asyncio.to_thread(server.start)
        await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 20_000)
        await daemon.until("sentinet_ingest_spool_bytes", lambda size: size == 0)
        await venue.send(*trades(20_000, 20_010))
        await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 20_010)
        assert await daemon.stop() == 0
        assert trade_ids(server.url) == list(range(20_010))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_daemon_that_ends_and_starts_while_the_database_is_away_loses_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    config = tmp_path / "config"
    config.mkdir()
    async with postgres(tmp_path) as server, FakeVenue({}).serve() as venue:
        async with daemon_of(venue, server.url, config) as daemon:
            await venue.accept()
            await venue.send(*trades(0, 100))
            await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 100)
            await asyncio.to_thread(server.stop)
            await venue.send(*trades(100, 200))
            await daemon.until("sentinet_ingest_spool_bytes", lambda size: size > 0)
            if number is signal.SIGKILL:  # until all is on the disk; it waits nowhere else
                await daemon.until("sentinet_ingest_frames_total", lambda frames: frames == 200)
                await daemon.until("sentinet_ingest_queue_bytes", lambda size: size == 0)
                await asyncio.to_thread(wait_for_spooled, config / "home" / "spool", 100)
            assert await daemon.stop(number) == (0 if number is signal.SIGTERM else -number)

        async with daemon_of(venue, server.url, config) as daemon:
            await venue.accept()
            await venue.send(*trades(200, 300))
            await daemon.until("sentinet_ingest_frames_total", lambda frames: frames >= 100)
            await asyncio.to_thread(server.start)
            await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 201)
            assert await daemon.stop() == 0

        assert trade_ids(server.url) == list(range(300))
        with psycopg.connect(server.url) as connection:
            gaps = connection.execute(
                """
                select
                    cause,
                    started_at = (select max(received_at) from market.trades where trade_id < 200),
                    ended_at <= (select min(received_at) from market.trades where trade_id >= 200)
                from market.feed_gaps
                """
            ).fetchall()
        assert gaps == [("not_running", True, True)]


async def test_each_life_that_is_killed_while_the_database_is_away_leaves_its_hole(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    async with postgres(tmp_path) as server, FakeVenue({}).serve() as venue:
        for first in (0, 10, 20):
            async with daemon_of(venue, server.url, config) as daemon:
                await venue.accept()
                await venue.send(*trades(first, first + 10))
                if first == 0:
                    await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 10)
                    await asyncio.to_thread(server.stop)
                elif first == 10:  # nobody asked the database how far it had come
                    await asyncio.to_thread(wait_for_spooled, config / "home" / "spool", 10)
                else:
                    await daemon.until("sentinet_ingest_frames_total", lambda frames: frames >= 10)
                    await asyncio.to_thread(server.start)
                    await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 22)
                    assert await daemon.value("sentinet_ingest_gaps_total", "not_running") == 2
                await daemon.stop(signal.SIGKILL)

        assert trade_ids(server.url) == list(range(30))
        with psycopg.connect(server.url) as connection:
            gaps = connection.execute(
                """
                select
                    gaps.cause,
                    started_at = (select max(received_at) from market.trades where trade_id < 10 * n),
                    ended_at <= (select min(received_at) from market.trades where trade_id >= 10 * n)
                from (
                    select *, row_number() over (order by started_at) as n from market.feed_gaps
                ) as gaps
                """
            ).fetchall()
        assert gaps == [("not_running", True, True)] * 2


async def test_a_first_life_that_wrote_nothing_leaves_a_hole_from_its_first_frame_on(
    database_url: str, tmp_path: Path
) -> None:
    watch_bitcoin(database_url)
    async with FakeVenue({}).serve() as venue:
        async with daemon_of(venue, database_url, tmp_path, batch_age_s="60") as daemon:
            await venue.accept()
            await venue.send(*trades(0, 10))
            await daemon.until("sentinet_ingest_frames_total", lambda frames: frames == 10)
            await daemon.stop(signal.SIGKILL)
        async with daemon_of(venue, database_url, tmp_path) as daemon:
            await venue.accept()
            await venue.send(*trades(10, 20))
            await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 11)
            await daemon.stop()

    with psycopg.connect(database_url) as connection:
        gaps = connection.execute(
            """
            select
                cause,
                started_at < ended_at,
                ended_at <= (select min(received_at) from market.trades)
            from market.feed_gaps
            """
        ).fetchall()
    assert gaps == [("not_running", True, True)]
    assert trade_ids(database_url) == list(range(10, 20))


async def test_refused_frames_are_counted_over_a_crash(database_url: str, tmp_path: Path) -> None:
    watch_bitcoin(database_url)
    async with FakeVenue({}).serve() as venue:
        for life in range(2):
            async with daemon_of(venue, database_url, tmp_path) as daemon:
                await venue.accept()
                await venue.send(*["{"] * 100, *trades(life, life + 1))
                await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 1, '"trades"')
                await daemon.stop(signal.SIGTERM if life else signal.SIGKILL)

    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select sum(frames), count(*) < 60 from market.rejected_frames").fetchall()
    assert rows == [(200, True)]


async def test_a_spool_is_written_to_its_own_database_alone(
    database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    migrate(empty_database_url)
    watch_bitcoin(database_url)
    watch_bitcoin(empty_database_url)
    async with FakeVenue({}).serve() as venue:
        async with daemon_of(venue, database_url, tmp_path) as daemon:
            await venue.accept()
            await daemon.stop()
        spool = Spool(tmp_path / "home" / "spool", 65_536)
        spool.open()
        spool.append(batch_of("here", [Trade(1, 1, 1, 1, 1.0, 1.0, 1)]))
        spool.close()

        async with daemon_of(venue, empty_database_url, tmp_path) as daemon:
            async with asyncio.timeout(PATIENCE_S):
                assert await daemon.process.wait() == 1
        assert trade_ids(empty_database_url) == []
        async with daemon_of(venue, database_url, tmp_path) as daemon:
            await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 1)
        assert trade_ids(database_url) == [1]


def wait_for_spooled(directory: Path, count: int) -> None:
    """Return when so many trades are on the disk, read as another process may."""
    deadline = time.monotonic() + PATIENCE_S
    while spooled(directory) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def spooled(directory: Path) -> int:
    with tempfile.TemporaryDirectory() as copy:
        for segment in directory.glob("*.segment"):
            shutil.copy(segment, copy)
        spool, found = Spool(Path(copy), 2**24), 0
        spool.open()
        while (batch := spool.peek()) is not None:
            found += len(batch.trades)
            spool.advance()
        spool.close()
        return found


async def test_a_database_that_is_away_at_the_start_is_waited_for(tmp_path: Path) -> None:
    nowhere = "postgresql://u@127.0.0.1:1/x"
    async with FakeVenue({}).serve() as venue, daemon_of(venue, nowhere, tmp_path) as daemon:
        await daemon.until("sentinet_ingest_store_failures_total", lambda failures: failures >= 2)
        assert await daemon.healthz() == (503, {"status": "unready", "database": "away", "feeds": {}})
        assert await daemon.stop() == 0  # nothing was received, so nothing is lost


async def test_a_venue_without_instruments_is_a_wrong_setting(database_url: str, tmp_path: Path) -> None:
    async with FakeVenue({}).serve() as venue, daemon_of(venue, database_url, tmp_path) as daemon:
        async with asyncio.timeout(PATIENCE_S):
            assert await daemon.process.wait() == 2


async def test_a_database_without_schema_is_a_failure(empty_database_url: str, tmp_path: Path) -> None:
    async with FakeVenue({}).serve() as venue, daemon_of(venue, empty_database_url, tmp_path) as daemon:
        async with asyncio.timeout(PATIENCE_S):
            assert await daemon.process.wait() == 1


async def test_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    process = await start(
        {"SENTINET_CONFIG_DIR": str(tmp_path), "SENTINET_DATABASE_URL": "postgresql://u:s3cret@h/d"},
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S):
        _, said = await process.communicate()

    assert process.returncode == 2
    assert said.decode() == (
        f"sentinet-ingest: {tmp_path}/venues.yaml: cannot be read: No such file or directory\n"
    )

"""A disk that is full under the embedded server: said, waited for, and nothing is lost or written twice.

As root, on a file system of its own in memory; skipped elsewhere, with the reason.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from sentinet_dagster.cli import run
from sentinet_dagster.runtime.database import migrate
from sentinet_dagster.runtime.embedded_postgres import EmbeddedPostgres, Server
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.processes import Restart
from sentinet_dagster.runtime.server_keeper import ServerKeeper
from tests.conftest import KEPT_FOR_EVER
from tests.fake_venue import FakeVenue
from tests.integration.daemons import daemon_of, trade_ids, trades, watch_bitcoin

pytestmark = pytest.mark.integration

SIZE_MB = 96
SETTINGS = {"fsync": "off", "max_wal_size": "64MB", "checkpoint_timeout": "1h", "autovacuum": "off"}


class Disk:
    """A small file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self, spare_bytes: int = 0) -> None:
        """Leave no room but this."""
        ballast = os.open(self.path / "ballast", os.O_WRONLY | os.O_CREAT)
        with suppress(OSError):
            while os.write(ballast, bytes(2**16)):
                pass
        assert os.statvfs(self.path).f_bavail == 0
        if spare_bytes:
            os.ftruncate(ballast, os.fstat(ballast).st_size - spare_bytes)
        os.close(ballast)

    def make_room(self) -> None:
        (self.path / "ballast").unlink()


@pytest.fixture
def disk() -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("not root: a file system of a given size cannot be mounted")
    # Where the server's own account comes to it; what pytest makes is root's alone.
    path = Path(tempfile.mkdtemp(prefix="sentinet-test-disk-"))
    argv = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=0755", "sentinet-test", str(path)]
    mounted = subprocess.run(argv, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        path.rmdir()
        pytest.skip(f"no file system of a given size can be mounted: {mounted.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
        path.rmdir()
        path.with_name(f"{path.name}.log").unlink(missing_ok=True)


def embedded(disk: Disk, port: int | None = None) -> EmbeddedPostgres:
    log = disk.path.with_name(f"{disk.path.name}.log")
    return EmbeddedPostgres(disk.path / "postgres", log, port=port, settings=SETTINGS)


@pytest.fixture
def server(disk: Disk) -> Iterator[Server]:
    """A migrated server on the small disk."""
    started = embedded(disk).start()
    try:
        migrate(started.url(), KEPT_FOR_EVER)
        watch_bitcoin(started.url())
        yield started
    finally:
        embedded(disk).destroy()


async def test_the_daemon_spools_and_drains_when_there_is_room_again(
    disk: Disk, server: Server, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.mkdir()
    async with FakeVenue({}).serve() as venue, daemon_of(venue, server.url(), config) as daemon:
        await venue.accept()
        await venue.send(*trades(0, 500))
        await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 500)
        disk.fill()
        await venue.send(*trades(500, 20_000))
        await daemon.until("sentinet_ingest_frames_total", lambda frames: frames == 20_000)
        await daemon.until("sentinet_ingest_spool_bytes", lambda size: size > 0)
        status, page = await daemon.healthz()
        assert (status, page["database"]) == (503, "away")
        disk.make_room()
        # Had the server ended, `sentinet up` would start it again; here it is the test's.
        await asyncio.to_thread(embedded(disk, server.port).start)
        await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 20_000)
        await daemon.until("sentinet_ingest_spool_bytes", lambda size: size == 0)
        assert (await daemon.healthz())[0] == 200
        assert await daemon.stop() == 0
    assert trade_ids(server.url()) == list(range(20_000))


async def test_with_the_spool_on_the_same_full_disk_the_venue_is_held_back(
    disk: Disk, server: Server, tmp_path: Path
) -> None:
    config = disk.path / "config"  # and the daemon's home
    config.mkdir()
    async with (
        FakeVenue({}).serve() as venue,
        daemon_of(venue, server.url(), config, queue_bytes="65536", batch_age_s="0.02") as daemon,
    ):
        await venue.accept()
        await venue.send(*trades(0, 500))
        await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 500)
        disk.fill()
        sending = asyncio.create_task(venue.send(*trades(500, 20_000)))
        await daemon.until("sentinet_ingest_store_failures_total", lambda failures: failures > 0)
        await daemon.until("sentinet_ingest_queue_bytes", lambda size: size >= 65_536)
        assert daemon.process.returncode is None
        disk.make_room()
        await asyncio.to_thread(embedded(disk, server.port).start)
        await sending
        await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 20_000)
        assert await daemon.stop() == 0
    assert trade_ids(server.url()) == list(range(20_000))


def end_for_want_of_room(disk: Disk, server: Server) -> None:
    """The log that is written ahead cannot grow: the server gives up, and its recovery does, too.

    It does so as soon as the next segment is asked for: by the switch, what follows, or a process of its own.
    """
    disk.fill()
    with psycopg.connect(server.url(), autocommit=True) as owner:
        owner.execute("create table public.filler ()")
        with pytest.raises(psycopg.OperationalError):
            owner.execute("select pg_switch_wal(); drop table public.filler")
    psutil.wait_procs([psutil.Process(server.pid)] if psutil.pid_exists(server.pid) else [], timeout=60)
    assert embedded(disk).running() is None


def test_a_server_that_ended_is_up_again_as_soon_as_there_is_room(disk: Disk, server: Server) -> None:
    keeper = ServerKeeper(embedded(disk, server.port), server.pid, restart=Restart(first_s=0, cap_s=0))
    end_for_want_of_room(disk, server)
    while (keeper.state().failure or "it has ended").startswith("it has ended"):
        keeper.poll()
    state = keeper.state()
    data = (disk.path / "postgres" / "cluster" / "data").resolve()
    assert state.state == "waiting"
    assert state.failure is not None
    assert state.failure.startswith(f"the disk of {data} is full (")
    disk.make_room()
    keeper.poll()
    assert keeper.state().state == "running"
    with psycopg.connect(server.url()) as owner:
        assert owner.execute("select count(*) from market.instruments").fetchone() == (1,)


def test_commands_say_it_in_one_line(
    disk: Disk, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SENTINET_DATABASE_URL", server.url())
    with psycopg.connect(server.url(), autocommit=True) as owner:  # something that needs room
        owner.execute("drop schema ops, market, surveillance, model, rollup cascade")
        owner.execute("drop table alembic_version")
    disk.fill()
    capsys.readouterr()
    assert run(["migrate"]) == 2
    told = capsys.readouterr().err.splitlines()
    address = f"postgresql://sentinet@127.0.0.1:{server.port}/sentinet"
    assert [line for line in told if line.startswith("sentinet: ")] == [told[-1]]
    assert told[-1].startswith(f"sentinet: the disk of {address} is full (")
    assert "No space left on device" in told[-1]
    disk.make_room()
    assert run(["migrate"]) == 0


def test_a_server_that_finds_no_room_to_start_says_so(disk: Disk, server: Server) -> None:
    end_for_want_of_room(disk, server)
    with pytest.raises(UserError, match=r"^the disk of .*/data is full \(\d+ MB left\): make room and start"):
        embedded(disk).start()
    disk.make_room()
    assert embedded(disk).start().pid != server.pid


def test_a_server_that_finds_no_room_to_be_made_leaves_none_behind(disk: Disk) -> None:
    disk.fill(spare_bytes=8 * 2**20)
    with pytest.raises(UserError, match=r"^the disk of .*/data is full \(\d+ MB left\): make room and start"):
        embedded(disk).start()
    disk.make_room()
    assert embedded(disk).start().port
    embedded(disk).destroy()

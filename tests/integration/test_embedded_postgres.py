"""The life of the embedded server, on real processes: whoever dies when, it comes back with its data."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from sentinet_dagster.runtime import postgres_binaries
from sentinet_dagster.runtime.database_url import connect
from sentinet_dagster.runtime.embedded_postgres import EmbeddedPostgres, Server
from sentinet_dagster.runtime.errors import ProcessFailed, UserError
from sentinet_dagster.runtime.pids import survivors
from sentinet_dagster.runtime.ports import free_port

pytestmark = pytest.mark.integration
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where a test's server lives; nothing of it is left afterwards."""
    yield tmp_path / "postgres"
    EmbeddedPostgres(tmp_path / "postgres", tmp_path / "postgres.log").destroy()


@pytest.fixture
def open_place() -> Iterator[Path]:
    """The same where everybody may enter: pytest's own folders are closed to all but us."""
    with tempfile.TemporaryDirectory(prefix="sentinet-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "postgres"
        embedded(Path(folder) / "postgres").destroy()


def embedded(place: Path, port: int | None = None, preferred_port: int | None = None) -> EmbeddedPostgres:
    return EmbeddedPostgres(
        place,
        place.parent / "postgres.log",
        port=port,
        preferred_port=preferred_port,
        settings={"fsync": "off"},
    )


def write(server: Server) -> None:
    with psycopg.connect(server.url()) as connection:
        connection.execute("create table kept as select 42 as answer")


def read(server: Server) -> object:
    with psycopg.connect(server.url()) as connection:
        return connection.execute("select answer from kept").fetchall()


def family(server: Server) -> list[psutil.Process]:
    postmaster = psutil.Process(server.pid)
    return [postmaster, *postmaster.children()]


def end_at_once(server: Server) -> None:
    """Kill the postmaster alone, as the kernel does when memory is short."""
    process = psutil.Process(server.pid)
    process.kill()
    assert survivors([process], 10) == []


def test_a_new_server_has_its_databases_and_settings(place: Path) -> None:
    server = embedded(place).start()
    assert not server.adopted
    assert server.password not in repr(server)
    with psycopg.connect(server.url("sentinet_dagster")) as connection:
        shown = {
            name: connection.execute(f"show {name}").fetchone()
            for name in ("jit", "timezone", "synchronous_commit", "max_wal_size", "listen_addresses")
        }
        assert shown == {
            "jit": ("off",),
            "timezone": ("UTC",),
            "synchronous_commit": ("on",),
            "max_wal_size": ("2GB",),
            "listen_addresses": ("127.0.0.1",),
        }
        tables = "select count(*) from pg_class where relnamespace = 'public'::regnamespace"
        assert connection.execute(tables).fetchone() == (0,)
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("select 'a' < 'B', 'é' = 'é', lower('É')").fetchone() == (False, True, "é")


def test_others_on_this_machine_stay_out(place: Path) -> None:
    server = embedded(place).start()
    assert stat.S_IMODE((place / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE((place / "cluster").resolve().stat().st_mode) == 0o700
    assert list((place / "cluster").resolve().iterdir()) == [(place / "cluster").resolve() / "data"]
    address = f"127.0.0.1:{server.port}/sentinet"
    with pytest.raises(
        UserError, match=rf"^cannot connect to postgresql://sentinet@{address}: .*no password"
    ):
        connect(f"postgresql://sentinet@{address}")
    with pytest.raises(UserError) as failure:
        connect(f"postgresql://sentinet:guessed@{address}")
    message = f"cannot connect to postgresql://sentinet@{address}: password authentication failed for user"
    assert str(failure.value) == f'{message} "sentinet"'
    addresses = set()
    for process in family(server):
        with suppress(psutil.NoSuchProcess):  # the backends of the refused connections end meanwhile
            addresses |= {c.laddr.ip for c in process.net_connections("all") if c.status == "LISTEN"}
    assert addresses == {"127.0.0.1"}


def test_starting_again_changes_nothing(place: Path) -> None:
    first = embedded(place).start()
    postgres = embedded(place)
    again = postgres.start()
    assert (again.pid, again.port, again.adopted) == (first.pid, first.port, True)
    assert postgres.running() == again


def test_stopping_leaves_no_process_and_keeps_the_data(place: Path) -> None:
    postgres = embedded(place)
    assert postgres.stop() is False
    server = postgres.start()
    write(server)
    processes = family(server)
    with psycopg.connect(server.url()) as idle:
        assert postgres.stop() is True
        with pytest.raises(psycopg.OperationalError):
            idle.execute("select 1")
    assert survivors(processes, 0) == []
    assert postgres.running() is None
    assert postgres.stop() is False
    again = embedded(place, preferred_port=server.port).start()
    assert again.port == server.port
    assert read(again) == [(42,)]


OWNER = """
import sys
from pathlib import Path
from sentinet_dagster.runtime.embedded_postgres import EmbeddedPostgres
place = Path(sys.argv[1])
server = EmbeddedPostgres(place, place.parent / "postgres.log").start()
print(f"up {server.pid}", file=sys.stderr, flush=True)
sys.stdin.read()
"""


def test_the_server_of_a_killed_owner_is_adopted(place: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stderr is not None
        word, pid = owner.stderr.readline().split()
        assert word == "up"
        owner.kill()
    postgres = embedded(place)
    server = postgres.start()
    assert (server.pid, server.adopted) == (int(pid), True)
    write(server)
    assert read(server) == [(42,)]
    processes = family(server)
    assert postgres.stop() is True
    assert survivors(processes, 0) == []


def test_two_starts_at_once_share_one_server(place: Path) -> None:
    owners = [
        subprocess.Popen(
            [sys.executable, "-c", OWNER, str(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = set()
    for owner in owners:
        assert owner.stderr is not None
        said.add(owner.stderr.readline())
    assert len(said) == 1
    assert said.pop().startswith("up ")
    for owner in owners:
        owner.communicate()


def test_a_killed_server_starts_again_with_its_data(place: Path) -> None:
    postgres = embedded(place)
    server = postgres.start()
    write(server)
    processes = family(server)
    end_at_once(server)
    assert postgres.running() is None
    again = embedded(place).start()
    assert again.pid != server.pid
    assert not again.adopted
    assert read(again) == [(42,)]
    assert survivors(processes, 0) == []


def test_a_stale_pid_file_of_a_foreign_process_is_nobodys(place: Path) -> None:
    """After a reboot the pid may be anybody's: PostgreSQL itself takes any of the same user for a server."""
    postgres = embedded(place)
    server = postgres.start()
    write(server)
    pid_file = (place / "cluster").resolve() / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    postgres.stop()
    account = postgres_binaries.service_account(pid_file.parent)
    with account.spawn(["/bin/sleep", "600"], subprocess.DEVNULL) as foreign:
        pid_file.write_text("\n".join([str(foreign.pid), *lines[1:]]) + "\n")
        assert postgres.running() is None
        assert postgres.stop() is False
        again = postgres.start()
        assert not again.adopted
        assert read(again) == [(42,)]
        assert foreign.poll() is None
        foreign.kill()


def test_a_stale_pid_file_of_a_dead_process_is_ignored(place: Path) -> None:
    postgres = embedded(place)
    postgres.start()
    postgres.stop()
    pid_file = (place / "cluster").resolve() / "data" / "postmaster.pid"
    with subprocess.Popen(["true"]) as dead:
        pass
    for content in (f"{dead.pid}\n/x\n0\n1\n\n\n\nready\n", "garbage", ""):
        pid_file.write_text(content)
        assert postgres.running() is None
        assert not postgres.start().adopted
        postgres.stop()


def test_an_interrupted_first_start_is_begun_anew(open_place: Path) -> None:
    partial = open_place / "cluster" / "data.partial"
    partial.mkdir(parents=True)
    (partial / "PG_VERSION").write_text("18\n")
    (open_place / "cluster" / "password.once").write_text("old")
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(open_place / "cluster", nobody.pw_uid, nobody.pw_gid)
    write(embedded(open_place).start())


def test_a_port_the_user_set_is_used_or_refused(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError) as failure:
            embedded(place, port=port).start()
    assert str(failure.value).startswith(f"port {port} is in use: set SENTINET_POSTGRES_PORT")
    assert embedded(place, port=port).start().port == port
    other = free_port()
    moved = embedded(place, port=other).start()
    assert (moved.port, moved.adopted) == (other, False)


def test_a_preferred_port_that_is_taken_is_given_up(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert embedded(place, preferred_port=port).start().port != port


def test_two_homes_side_by_side(tmp_path: Path) -> None:
    places = [tmp_path / "one" / "postgres", tmp_path / "two" / "postgres"]
    try:
        servers = [embedded(place).start() for place in places]
        write(servers[0])
        with psycopg.connect(servers[1].url()) as connection:
            assert connection.execute("select to_regclass('kept')").fetchone() == (None,)
        embedded(places[0]).stop()
        assert embedded(places[1]).running() is not None
    finally:
        for place in places:
            embedded(place).destroy()


def test_a_lost_password_is_told(place: Path) -> None:
    embedded(place).start()
    (place / "password").unlink()
    with pytest.raises(UserError, match=r"password is gone.*put it back, or move .* away"):
        embedded(place).start()
    (place / "password").write_text("whatever")


def test_a_server_that_cannot_start_shows_its_log(place: Path) -> None:
    broken = EmbeddedPostgres(place, place.parent / "postgres.log", settings={"shared_buffers": "many"})
    with pytest.raises(ProcessFailed) as failure:
        broken.start()
    first, *rest = str(failure.value).splitlines()
    assert first == "postgres ended with 1 while starting"
    assert 'invalid value for parameter "shared_buffers": "many"' in rest[0]


def test_destroying_leaves_nothing(tmp_path: Path) -> None:
    place = tmp_path / "postgres"
    postgres = embedded(place)
    server = postgres.start()
    processes, data = family(server), (place / "cluster").resolve()
    postgres.destroy()
    assert survivors(processes, 0) == []
    assert not data.exists()
    assert not place.exists()


@as_root
def test_root_runs_it_as_nobody(place: Path) -> None:
    server = embedded(place).start()
    assert psutil.Process(server.pid).username() == "nobody"
    assert psutil.Process(server.pid).gids().real == pwd.getpwnam("nobody").pw_gid


@as_root
def test_below_a_folder_nobody_may_enter_the_data_lies_outside(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    place = hidden / "postgres"
    postgres = embedded(place)
    try:
        server = postgres.start()
        write(server)
        outside = (place / "cluster").readlink()
        assert not outside.is_relative_to(hidden)
        postgres.stop()
        assert read(embedded(place).start()) == [(42,)]
        assert (place / "cluster").readlink() == outside
    finally:
        postgres.destroy()
    assert not outside.exists()


@as_root
def test_a_home_everybody_may_enter_keeps_the_data(open_place: Path) -> None:
    embedded(open_place).start()
    assert not (open_place / "cluster").is_symlink()
    assert (open_place / "cluster" / "data").stat().st_uid == pwd.getpwnam("nobody").pw_uid


@as_root
def test_lost_data_outside_is_told_rather_than_made_anew(tmp_path: Path) -> None:
    place = tmp_path / "postgres"
    place.mkdir()
    (place / "cluster").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=r"is gone: it was in .*/gone; put it back, or remove"):
        embedded(place).start()


@as_root
def test_programs_nobody_may_reach_are_copied(
    open_place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout below /root: the wheel is out of the account's sight."""
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "site").symlink_to(postgres_binaries._site_packages())
    shared = open_place.parent / "shared"
    monkeypatch.setattr(postgres_binaries, "SHARED_STATE", shared)
    monkeypatch.setattr(postgres_binaries, "_site_packages", lambda: hidden / "site")
    old = os.umask(0o077)
    try:
        server = embedded(open_place).start()
        assert Path(psutil.Process(server.pid).exe()).is_relative_to(shared)
        (copy,) = shared.iterdir()
        made = copy.stat().st_ino
        embedded(open_place).stop()
        embedded(open_place).start()
        assert copy.stat().st_ino == made  # once is enough
    finally:
        os.umask(old)


@as_root
def test_root_runs_the_server_of_a_user_as_that_user(open_place: Path) -> None:
    """`sudo sentinet up` in a home that a user made."""
    embedded(open_place).start()
    embedded(open_place).stop()
    data = (open_place / "cluster").resolve() / "data"
    daemon = pwd.getpwnam("daemon")
    for path in (data.parent, data, *data.rglob("*")):
        os.lchown(path, daemon.pw_uid, daemon.pw_gid)
    server = embedded(open_place).start()
    assert psutil.Process(server.pid).username() == "daemon"


@as_root
def test_another_users_server_is_left_alone(open_place: Path) -> None:
    embedded(open_place).start()
    daemon = pwd.getpwnam("daemon")
    child = os.fork()
    if child == 0:  # a user is switched for good, so not here
        os.setgroups([])
        os.setgid(daemon.pw_gid)
        os.setuid(daemon.pw_uid)
        told = 0
        for attempt in (embedded(open_place).start, embedded(open_place).stop, embedded(open_place).running):
            try:
                attempt()
            except UserError as error:
                told += "is another user's: run sentinet as that user" in str(error)
        os._exit(told)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert embedded(open_place).running() is not None


def test_a_stop_that_clients_resist_is_forced(place: Path) -> None:
    postgres = embedded(place)
    server = postgres.start()
    write(server)
    with psycopg.connect(server.url()) as busy:
        pid = busy.info.backend_pid
        os.kill(pid, signal.SIGSTOP)  # a backend that answers no signal but one
        assert postgres.stop() is True
        assert survivors([psutil.Process(server.pid)] if psutil.pid_exists(server.pid) else [], 0) == []
        assert survivors([psutil.Process(pid)] if psutil.pid_exists(pid) else [], 5) == []
    assert read(postgres.start()) == [(42,)]

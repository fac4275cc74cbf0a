"""A real TimescaleDB for the tests, without Docker: in the Debian tree of `scripts/timescaledb_tree.sh`.

The server runs under chroot as the tree's own `postgres` user, listens on loopback with a password, and is
stopped and deleted when the tests end. The tree is kept in a cache (`SENTINET_TEST_CACHE`, default
~/.cache/sentinet).
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

SCRIPT = Path(__file__).parents[1] / "scripts" / "timescaledb_tree.sh"
BINARIES = "/usr/lib/postgresql/17/bin"
# Nothing here must survive a power cut, and /dev/shm is not mounted in the tree.
SETTINGS = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "dynamic_shared_memory_type": "mmap",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "256MB",
    "max_worker_processes": "16",
    "timezone": "UTC",
}


@dataclass(frozen=True)
class TimescaleServer:
    """The URL of a running server's superuser, and the server's process."""

    url: str
    pid: int


class CannotRunError(Exception):
    """This machine cannot run the tree; the message is the reason, for `pytest.skip`."""


def build_tree() -> Path:
    """The finished tree, built if it is not there.

    Raises:
        CannotRunError: not root, no apt, no mirror.
    """
    if os.geteuid() != 0:
        raise CannotRunError("a TimescaleDB under chroot needs root")
    default = Path("~/.cache/sentinet").expanduser()
    tree = Path(os.environ.get("SENTINET_TEST_CACHE", default)) / "timescaledb-tree"
    tree.parent.mkdir(parents=True, exist_ok=True)
    built = subprocess.run(["sh", str(SCRIPT), str(tree)], capture_output=True, text=True, check=False)
    if built.returncode == 3:
        raise CannotRunError(built.stderr.strip().splitlines()[-1])
    if built.returncode != 0:
        raise RuntimeError(f"{SCRIPT.name} failed with {built.returncode}: {built.stderr.strip()}")
    return tree


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def run_server(tree: Path) -> Iterator[TimescaleServer]:
    """A fresh cluster inside `tree`, until the block ends."""
    clusters = tree / "var/lib/postgresql"
    data = Path(tempfile.mkdtemp(prefix="sentinet-", dir=clusters))
    inside = "/" + str(data.relative_to(tree))
    port, password = _free_port(), secrets.token_urlsafe(16)
    (data.with_suffix(".password")).write_text(password)
    as_postgres = ["chroot", "--userspec=postgres:postgres", str(tree)]

    def run(*argv: str) -> None:
        done = subprocess.run([*as_postgres, *argv], capture_output=True, text=True, check=False)
        if done.returncode:
            log = data / "server.log"
            tail = log.read_text()[-2000:] if log.exists() else ""
            raise RuntimeError(f"{argv[0]} failed: {done.stdout}{done.stderr}{tail}")

    try:
        subprocess.run(
            ["chroot", str(tree), "chown", "postgres:postgres", inside, f"{inside}.password"], check=True
        )
        run(
            f"{BINARIES}/initdb", "--pgdata", inside, "--auth=scram-sha-256", "--username=postgres",
            f"--pwfile={inside}.password", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
        )  # fmt: skip
        with (data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{key} = '{value}'\n" for key, value in {**SETTINGS, "port": str(port)}.items())
        run(f"{BINARIES}/pg_ctl", "start", "--pgdata", inside, "--wait", f"--log={inside}/server.log")
        try:
            url = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("create extension if not exists timescaledb")
            yield TimescaleServer(url, pid=int((data / "postmaster.pid").read_text().split()[0]))
        finally:
            run(f"{BINARIES}/pg_ctl", "stop", "--pgdata", inside, "--mode=immediate", "--wait")
    finally:
        shutil.rmtree(data, ignore_errors=True)
        data.with_suffix(".password").unlink(missing_ok=True)

"""The files of an embedded server: the data directory, the superuser's password, who may start it now.

What lives here: making them, once and whole. What never does: processes (`embedded_postgres.py`).

    password   the superuser's, mode 600, ours
    lock       held while somebody starts or stops the server
    cluster/   the account's own folder, or a link to one, with `data/` in it

Below a home that the account cannot reach (root's, mode 0700) `cluster` is a link to a folder outside.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import structlog

from sentinet_dagster.runtime.disk import free_bytes, says_full
from sentinet_dagster.runtime.errors import ProcessFailed, UserError
from sentinet_dagster.runtime.postgres_binaries import Account, shared_state

SUPERUSER = "sentinet"

log = structlog.get_logger(__name__)


def initial_settings(memory_bytes: int) -> dict[str, str]:
    """What a new server is made with: appends of ticks, re-reads of the last minutes, two cores.

    They land in `data/postgresql.conf`, which is the operator's from then on.

    >>> initial_settings(24 * 2**30)["shared_buffers"]
    '1536MB'
    """
    megabytes = memory_bytes // 2**20
    return {
        "shared_buffers": f"{min(max(megabytes // 16, 64), 2048)}MB",
        "effective_cache_size": f"{max(megabytes // 2, 256)}MB",
        "work_mem": "16MB",
        "maintenance_work_mem": f"{min(max(megabytes // 64, 32), 512)}MB",
        "max_connections": "100",
        # A batch that the daemon was told is written must survive a power cut.
        "synchronous_commit": "on",
        # Ticks are written once and in bulk: checkpoints by time rather than by volume.
        "checkpoint_timeout": "15min",
        "max_wal_size": "2GB",
        "random_page_cost": "1.1",
        # Compiling costs more than the short queries of a micro-batch.
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "log_checkpoints": "off",
    }


class PostgresCluster:
    """The files of one server below `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._cluster = directory / "cluster"
        self._password_file = directory / "password"

    @property
    def data(self) -> Path:
        """The data directory, wherever it lies."""
        return self._cluster.resolve() / "data"

    @property
    def title(self) -> str:
        """Names the server in the titles of its processes, so that those left behind by a crash are found."""
        return "sentinet_" + hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]

    def exists(self) -> bool:
        """Whether there is a data directory. It appears whole or not at all.

        Raises:
            UserError: it is another user's.
        """
        try:
            return self.data.is_dir()
        except PermissionError:
            raise UserError(
                f"the database in {self._directory} is another user's: "
                "run sentinet as that user, or set SENTINET_HOME to another folder"
            ) from None

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold off others who start or stop the same server. The kernel lets go if we die."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def password(self) -> str:
        """The superuser's password.

        Raises:
            UserError: the file is gone.
        """
        try:
            return self._password_file.read_text().strip()
        except FileNotFoundError:
            raise UserError(
                f"{self._password_file} is gone, and without it the database beside it opens to nobody: "
                f"put it back, or move {self._directory} away to begin anew"
            ) from None

    def create(self, binaries: Path, account: Account, *, sync: bool = True) -> None:
        """Make the data directory with `initdb`. An interrupted attempt leaves nothing to stumble over.

        `sync` false: a power cut in the next seconds may ruin it.

        Raises:
            UserError: there is no place that the account can reach, or no room.
            ProcessFailed: `initdb` failed.
        """
        folder = self._make_folder(account)
        partial = folder / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        self._keep_password()
        once = folder / "password.once"
        once.unlink(missing_ok=True)
        _write_secret(once, self.password(), account)
        try:
            made = account.run(_initdb(binaries, partial, once) + ([] if sync else ["--no-sync"]))
        finally:
            once.unlink(missing_ok=True)
        if made.returncode != 0 and says_full(made.stderr):
            shutil.rmtree(partial, ignore_errors=True)
            raise self.refuse_full_disk()
        if made.returncode != 0:
            raise ProcessFailed("initdb", f"ended with {made.returncode}", made.stderr.strip())
        partial.rename(folder / "data")
        log.info("database made", directory=str(folder))

    def refuse_full_disk(self) -> UserError:
        """What to say where the server finds no room for its files."""
        left = free_bytes(self.data) / 2**20
        return UserError(
            f"the disk of {self.data} is full ({left:.0f} MB left): make room and start again; "
            "what is in the database is whole"
        )

    def delete(self) -> None:
        """Remove everything, also what lies outside `directory`. The server must not run."""
        shutil.rmtree(self._cluster.resolve(), ignore_errors=True)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _make_folder(self, account: Account) -> Path:
        """A folder of the account's own: here where the account can reach it, else outside and linked to."""
        if self._cluster.is_symlink() and not self._cluster.exists():
            raise UserError(
                f"the database of {self._directory} is gone: it was in {self._cluster.readlink()}; "
                f"put it back, or remove {self._directory} to begin anew"
            )
        if not self._cluster.exists():
            self._cluster.mkdir(mode=0o700)
            account.own(self._cluster)
        if account.can_write(self._cluster):
            return self._cluster.resolve()
        outside = self._make_outside()
        account.own(outside)
        self._cluster.rmdir()
        self._cluster.symlink_to(outside)
        return outside

    def _make_outside(self) -> Path:
        # As long-lived as the home itself: what is below /tmp stays there.
        temporary = Path(tempfile.gettempdir()).resolve()
        try:
            parent = temporary if self._directory.resolve().is_relative_to(temporary) else shared_state()
            return Path(tempfile.mkdtemp(prefix="sentinet-postgres-", dir=parent))
        except OSError as error:
            raise UserError(
                f"PostgreSQL's user cannot reach {self._directory}, and there is no place elsewhere: {error}"
            ) from error

    def _keep_password(self) -> None:
        """Generate the password before the server knows it; one from an interrupted attempt is as good."""
        if not self._password_file.exists():
            scratch = self._password_file.with_suffix(".new")
            scratch.unlink(missing_ok=True)
            _write_secret(scratch, secrets.token_urlsafe(24))
            scratch.rename(self._password_file)


def _write_secret(path: Path, secret: str, owner: Account | None = None) -> None:
    # Exclusive: in a folder that belongs to another user a link may lie in wait under any name.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        if owner is not None:
            owner.own(descriptor)
        file.write(secret + "\n")


def _initdb(binaries: Path, data: Path, password_file: Path) -> list[str]:
    argv = [
        str(binaries / "initdb"),
        f"--pgdata={data}",
        f"--username={SUPERUSER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        # Text sorts by code point, on every machine and whatever its libc.
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-instructions",
    ]
    for name, value in initial_settings(psutil.virtual_memory().total).items():
        argv += ["--set", f"{name}={value}"]
    return argv

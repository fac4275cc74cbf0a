"""A small supervisor: the child processes of `sentinet up` and `sentinet demo`.

What lives here: starting, waiting for readiness, restarting, stopping in reverse order, leaving nothing.
What never does: which processes there are. PostgreSQL is not among them: it has a life of its own.

Nothing runs in the background: the owner calls `poll` a few times a second. Every child leads a process group
of its own, so that Ctrl-C in the terminal reaches only the supervisor; `guard.py` ends the groups if the
supervisor dies.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import psutil
import structlog

from sentinet_dagster.runtime import guard
from sentinet_dagster.runtime.errors import ProcessFailed
from sentinet_dagster.runtime.logs import log_tail, rotate
from sentinet_dagster.runtime.pids import survivors

STOP_ALL_S = 9.0
_KILL_RESERVE_S = 1.0
_POLL_S = 0.05
# They would cost seconds at every start (no byte-code) or belong to the caller's own interpreter.
_NOT_INHERITED = ("PYTHONDONTWRITEBYTECODE",)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Restart:
    """When a process that ended by itself is started again, and after how long."""

    first_s: float = 0.5
    cap_s: float = 15.0
    healthy_after_s: float = 60.0  # having run this long, the next wait is `first_s` again

    def delay_s(self, failures: int) -> float:
        """The wait before the next start, after `failures` ends in a row (1 or more).

        >>> [Restart().delay_s(failures) for failures in (1, 2, 3, 10)]
        [0.5, 1.0, 2.0, 15.0]
        """
        return float(min(self.cap_s, self.first_s * 2 ** min(failures - 1, 30)))


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process to keep running.

    Attributes:
        env: added to our own environment.
        ready: answers at once whether the process does its work; None: it does as soon as it lives.
        restart: None: its end is final.
        stop_s: how long it may take to end after SIGTERM.
    """

    name: str
    argv: Sequence[str]
    log_file: Path
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    ready: Callable[[], bool] | None = None
    ready_s: float = 240.0  # one that ends is noticed at once; a busy machine needs minutes
    restart: Restart | None = None
    stop_s: float = 4.0


class State(Enum):
    """Where a process is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"  # ended, to be started again
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Status:
    """One process as it is now."""

    name: str
    state: State
    pid: int | None
    restarts: int
    exit_code: int | None  # of the last end


class _Managed:
    """One spec and what became of it."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.child: subprocess.Popen[bytes] | None = None
        self.state = State.STARTING
        self.started_at = 0.0
        self.log_start = 0
        self.restarts = 0
        self.failures = 0  # ends in a row, each soon after its start
        self.start_again_at = 0.0
        self.exit_code: int | None = None

    def status(self) -> Status:
        pid = self.child.pid if self.child is not None else None
        return Status(self.spec.name, self.state, pid, self.restarts, self.exit_code)


class Supervisor:
    """Starts and stops processes. Use as a context manager: leaving the block stops all of them."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._managed: dict[str, _Managed] = {}
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_all()

    def start(self, spec: ProcessSpec) -> None:
        """Start a process; do not wait for it. Start in the order of dependence: they stop the other way.

        Raises:
            ProcessFailed: its program cannot be run.
        """
        if spec.name in self._managed:
            raise ValueError(f"{spec.name} is there already")
        managed = _Managed(spec)
        self._launch(managed)
        self._managed[spec.name] = managed

    def wait_until_ready(self) -> None:
        """Wait for all that were started. Each has its own `ready_s`.

        Raises:
            ProcessFailed: one ended or was not ready in time; the message ends with its log. Others run on.
        """
        while starting := [m for m in self._managed.values() if m.state is not State.RUNNING]:
            for managed in starting:
                self._check_start(managed)
            if any(managed.state is State.STARTING for managed in starting):
                time.sleep(_POLL_S)

    def poll(self) -> None:
        """Notice ends, start again what is due.

        Raises:
            ProcessFailed: a process whose end is final ended. Said once.
        """
        self._keep_guard()
        for managed in list(self._managed.values()):
            if managed.state is State.WAITING:
                if self._now() >= managed.start_again_at:
                    self._start_again(managed)
            elif managed.state is not State.ENDED and self._has_ended(managed):
                self._after_end(managed)
            elif managed.state is State.STARTING:
                self._look_whether_ready(managed)

    def status(self) -> tuple[Status, ...]:
        """All processes, in the order they were started."""
        return tuple(managed.status() for managed in self._managed.values())

    def stop_all(self, within_s: float = STOP_ALL_S) -> None:
        """Stop all in reverse order: SIGTERM, wait, SIGKILL to what is left. Nothing survives."""
        deadline = time.monotonic() + within_s - _KILL_RESERVE_S
        # The stack calls in reverse, and calls all whatever one of them raises.
        with ExitStack() as stack:
            stack.callback(self._dismiss_guard)
            earlier: list[ProcessSpec] = []
            for managed in self._managed.values():
                stack.callback(self._stop, managed, deadline, tuple(earlier))
                earlier.append(managed.spec)
            self._managed = {}

    def _launch(self, managed: _Managed) -> None:
        spec = managed.spec
        spec.log_file.parent.mkdir(parents=True, exist_ok=True)
        rotate(spec.log_file)
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        with spec.log_file.open("ab") as output:
            managed.log_start = output.tell()
            try:
                managed.child = subprocess.Popen(  # noqa: S603 - our own programs, no shell
                    list(spec.argv),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    cwd=spec.cwd,
                    env=environment | dict(spec.env),
                )
            except OSError as error:
                raise ProcessFailed(spec.name, f"cannot be started: {error}") from error
        self._tell_guard(f"+{managed.child.pid}")
        managed.started_at = self._now()
        managed.state = State.STARTING if spec.ready is not None else State.RUNNING
        log.info("process started", process=spec.name, pid=managed.child.pid)

    def _check_start(self, managed: _Managed) -> None:
        spec = managed.spec
        if managed.state is State.ENDED or self._has_ended(managed):
            raise self._failure(managed, f"ended with {managed.exit_code} while starting")
        if not self._look_whether_ready(managed):
            raise self._failure(managed, f"was not ready after {spec.ready_s:g} s")

    def _look_whether_ready(self, managed: _Managed) -> bool:
        """Note it if it is. False: its time is over and it has been killed, an end like any other."""
        spec, seconds = managed.spec, self._now() - managed.started_at
        if spec.ready is None or spec.ready():
            managed.state = State.RUNNING
            log.info("process ready", process=spec.name, seconds=round(seconds, 2))
        elif seconds > spec.ready_s:
            assert managed.child is not None
            log.warning("process never ready", process=spec.name, after_s=round(seconds, 1))
            _kill_group(managed.child.pid)
            return False
        return True

    def _failure(self, managed: _Managed, reason: str) -> ProcessFailed:
        return ProcessFailed(managed.spec.name, reason, log_tail(managed.spec.log_file, managed.log_start))

    def _has_ended(self, managed: _Managed) -> bool:
        """Whether the process is gone. What it left running in its group is ended, too."""
        child = managed.child
        if child is None:
            return True
        code = child.poll()
        if code is None:
            return False
        _kill_group(child.pid)
        self._tell_guard(f"-{child.pid}")
        managed.exit_code = code
        managed.child = None
        return True

    def _after_end(self, managed: _Managed) -> None:
        spec = managed.spec
        if spec.restart is None:
            managed.state = State.ENDED
            raise self._failure(managed, f"ended with {managed.exit_code}")
        if self._now() - managed.started_at >= spec.restart.healthy_after_s:
            managed.failures = 0
        managed.failures += 1
        delay = spec.restart.delay_s(managed.failures)
        managed.start_again_at = self._now() + delay
        managed.state = State.WAITING
        log.warning("process ended", process=spec.name, exit_code=managed.exit_code, restart_in_s=delay)

    def _start_again(self, managed: _Managed) -> None:
        managed.restarts += 1
        self._launch(managed)

    def _stop(self, managed: _Managed, deadline: float, earlier: Sequence[ProcessSpec]) -> None:
        """Stop one; `earlier` are those that are stopped after it and need some of the time."""
        child = managed.child
        managed.state = State.ENDED
        if child is None:
            return
        remaining = max(0.0, deadline - time.monotonic())
        # What the others may need is kept for them, but nobody gets less than an equal share.
        spare = remaining - sum(other.stop_s for other in earlier)
        patience_s = min(managed.spec.stop_s, max(spare, remaining / (len(earlier) + 1)))
        family = _descendants(child.pid)
        with suppress(ProcessLookupError):
            child.terminate()
        try:
            managed.exit_code = child.wait(patience_s)
        except subprocess.TimeoutExpired:
            log.warning("process killed", process=managed.spec.name, after_s=round(patience_s, 1))
        # The group's leader may be gone and others of the group, or of a session they opened, may not.
        _kill_group(child.pid)
        for process in family:
            with suppress(psutil.Error):
                process.kill()
        managed.exit_code = child.wait()
        survivors(family, timeout_s=_KILL_RESERVE_S)
        self._tell_guard(f"-{child.pid}")
        managed.child = None
        log.info("process stopped", process=managed.spec.name, exit_code=managed.exit_code)

    def _keep_guard(self) -> subprocess.Popen[bytes]:
        """The guard, started again if it died, and told of all that runs."""
        if self._guard is None or self._guard.poll() is not None:
            self._dismiss_guard()
            self._guard = subprocess.Popen(  # noqa: S603 - our own program, no shell
                [sys.executable, "-I", "-S", guard.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            for managed in self._managed.values():
                if managed.child is not None:
                    self._tell_guard(f"+{managed.child.pid}")
        return self._guard

    def _tell_guard(self, line: str) -> None:
        pipe = self._keep_guard().stdin
        assert pipe is not None
        with suppress(BrokenPipeError):  # it died this moment; the next poll starts another and tells it all
            pipe.write(line.encode() + b"\n")
            pipe.flush()

    def _dismiss_guard(self) -> None:
        if self._guard is None:
            return
        assert self._guard.stdin is not None
        with suppress(BrokenPipeError):
            self._guard.stdin.close()
        self._guard.wait()
        self._guard = None


def answers_http(url: str) -> Callable[[], bool]:
    """A readiness probe: a GET of `url` is answered with success."""

    import httpx

    def probe() -> bool:
        try:
            # No proxy: it is our own process on the loopback interface.
            return httpx.get(url, timeout=1.0, trust_env=False).is_success
        except httpx.TransportError:
            return False

    return probe


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)

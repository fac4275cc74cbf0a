"""The warm worker's loop: takes runs from its socket, forks each and watches them; runs no user code itself.

Single-threaded on purpose, so that a fork copies a whole process: one poll, short answers, signals that
wake it. While it serves it opens no instance: what must be told to Dagster is told by a fork (`task.py`).
Its runs are in a journal, so that a successor answers for them: itself after an exec when the code has
changed, or the next worker when this one was killed.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from dagster._core.instance.ref import InstanceRef
from dagster._serdes import deserialize_value

from .channel import MAX_MESSAGE, RunRequest, WorkerSettings
from .preload import Code, open_sockets
from .process import detach_from_worker, explain_exit
from .runs import Running, Runs
from .task import ProcessId, Task

HANDOVER_VARIABLE = "DAGSTER_WARM_WORKER_HANDOVER"
TICK_SECONDS = 1.0
REPAIR_PATIENCE_SECONDS = 60.0
STOP_GRACE_SECONDS = 3.0
STOP_PATIENCE_SECONDS = 2.0
LOG_BYTES = 16 << 20
_ENDINGS = frozenset({signal.SIGTERM, signal.SIGINT})

logger = logging.getLogger(__name__)


class Worker:
    """Owns the runs forked from this process."""

    def __init__(
        self, settings: WorkerSettings, listener: socket.socket, lock: int, same_process: bool
    ) -> None:
        self._settings = settings
        self._channel = settings.channel
        self._listener = listener
        self._lock = lock
        self._same_process = same_process
        self._runs = Runs(settings.instance_ref)
        self._code = Code(
            deserialize_value(settings.instance_ref, InstanceRef), settings.watch_paths, settings.idle_threads
        )
        self._asked_to_stop = False
        self._stop_at: float | None = None
        self._active_at = time.monotonic()
        self._inode = self._channel.socket_path.stat().st_ino
        self._wake_in, self._wake_out = socket.socketpair()
        for end in (listener, self._wake_in, self._wake_out):
            end.setblocking(False)
        self._sockets = open_sockets()

    def serve(self) -> Task | None:
        """Serve until told to stop, idle for long, or unreachable: None. In a fork: the task to perform."""
        inherited = self._runs.load(self._channel.journal, self._same_process, REPAIR_PATIENCE_SECONDS)
        self._code.skip.update(inherited.skip)
        self._watch_signals()
        self._preload(inherited.origins)
        self._active_at = time.monotonic()  # preloading may take longer than a worker may idle
        logger.info("Warm worker ready: pid %s", os.getpid())
        while not self._finished():
            self._reap()
            self._kill_overdue()
            task = self._fork_due()
            if task is not None:
                return task
            self._wait()
        self._close()
        return None

    def _preload(self, origins: Sequence[str]) -> None:
        unsafe = self._code.load_modules(self._settings.preload_modules)
        for origin in origins:
            unsafe = unsafe or self._code.load_location(origin, None)
        if unsafe is not None:
            self._begin_afresh(skip=unsafe)

    def _finished(self) -> bool:
        now = time.monotonic()
        if self._stop_at is None and self._must_stop():
            self._stop(now + STOP_GRACE_SECONDS)
            return False
        if self._stop_at is not None:
            return not self._runs.busy or now > self._stop_at + STOP_PATIENCE_SECONDS
        if self._runs.busy or self._runs.waiting:
            self._active_at = now
            return False
        idle = self._settings.idle_timeout_seconds
        return self._unreachable() or (self._settings.detached and 0 < idle < now - self._active_at)

    def _must_stop(self) -> bool:
        orphaned = self._settings.parent not in (None, os.getppid())
        if orphaned:
            logger.info("Warm worker stops: its parent has ended")
        return self._asked_to_stop or orphaned

    def _unreachable(self) -> bool:
        """Whether the socket was removed or replaced, say with the whole home: nobody can ask us any more."""
        try:
            return self._channel.socket_path.stat().st_ino != self._inode
        except FileNotFoundError:
            return True

    def _stop(self, kill_at: float) -> None:
        """Tell every run to end and fail those that have not begun; after the grace they are killed."""
        self._stop_at = kill_at
        for run in self._runs.running.values():
            _interrupt(run, kill_at)
        while self._runs.waiting:
            request = self._runs.waiting.popleft()
            self._runs.repair(
                request, "The warm worker was stopped before the run began.", STOP_PATIENCE_SECONDS
            )

    def _close(self) -> None:
        if not self._unreachable():
            self._channel.socket_path.unlink(missing_ok=True)
        self._listener.close()
        if not self._runs.busy:
            self._channel.journal.unlink(missing_ok=True)
        # The lock ends with the process: who gets it may be sure that this one is gone.
        logger.info("Warm worker ended: pid %s", os.getpid())

    def _begin_afresh(self, skip: str | None = None) -> NoReturn:
        """Become a new interpreter: same process, socket, lock and children, nothing imported."""
        if skip is not None:
            self._code.skip.add(skip)
        self._save()
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
        for descriptor in (self._listener.fileno(), self._lock):
            os.set_inheritable(descriptor, True)
        os.environ[HANDOVER_VARIABLE] = json.dumps([self._listener.fileno(), self._lock])
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 -- our own command line

    def _save(self) -> None:
        self._runs.save(self._channel.journal, self._code.origins, self._code.skip)

    def _fork_due(self) -> Task | None:
        """Fork what is due: repairs at once, runs up to the bound. In a fork: its task."""
        while (task := self._next_task()) is not None:
            try:
                process = self._fork(task)
            except OSError:
                logger.exception("Cannot fork, trying again: run %s", task.request.run_id)
                self._runs.put_back(task)
                return None
            if process is None:
                return task
            self._runs.begun(task, process)
            self._save()
        return None

    def _next_task(self) -> Task | None:
        if self._runs.repairs:
            return self._runs.repairs.popleft()
        full = len(self._runs.running) >= self._settings.max_concurrent_runs
        if self._stop_at is not None or full or not self._runs.waiting:
            return None
        request = self._runs.waiting[0]
        if (path := self._code.changed()) is not None:
            logger.info("Warm worker begins afresh: %s has changed", path)
            self._begin_afresh()
        if self._settings.preload_location:
            unsafe = self._code.load_location(request.origin, request.location)
            if unsafe is not None:
                self._begin_afresh(skip=unsafe)
        return self._runs.task(self._runs.waiting.popleft())

    def _fork(self, task: Task) -> ProcessId | None:
        """Fork; the new process, or None in it. If that is unsafe it becomes a fresh interpreter at once."""
        hazard = self._code.fork_hazard(self._sockets)
        if hazard is not None:
            logger.warning("Run %s gets a fresh interpreter: %s", task.request.run_id, hazard)
        worker = os.getpid()
        # A request to end that arrives in between must meet the fork's handler, not ours.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
        pid = os.fork()
        if pid != 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)
            return ProcessId.of(pid)
        for inherited in (self._listener, self._wake_in, self._wake_out):
            inherited.close()
        os.close(self._lock)
        detach_from_worker(worker, self._settings.thread_variables, task if hazard else None)
        return None

    def _watch_signals(self) -> None:
        signal.set_wakeup_fd(self._wake_out.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _ENDINGS:
            signal.signal(number, self._ask_to_stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)

    def _ask_to_stop(self, *_: object) -> None:
        self._asked_to_stop = True

    def _wait(self) -> None:
        """Sleep until somebody calls, a child ends, a signal comes or the tick is over."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._wake_in, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(TICK_SECONDS * 1000)}
        if self._wake_in.fileno() in ready:
            with suppress(BlockingIOError):
                self._wake_in.recv(4096)
        if self._listener.fileno() in ready:
            self._serve_one()
        if self._settings.detached:
            self._turn_log()

    def _reap(self) -> None:
        """Take note of children that have ended; settle a run that did not end well, and end its group."""
        while (ended := _next_ended()) is not None:
            pid, code = ended
            run = self._runs.of_process(pid)
            if run is not None and (code != 0 or run.kill_at is not None):
                # Not reaped yet, so its number still belongs to its group.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._runs.repairing.pop(pid, None)
            if run is not None:
                self._runs.ended(run, code)
                if code != 0:
                    patience = REPAIR_PATIENCE_SECONDS if self._stop_at is None else STOP_PATIENCE_SECONDS
                    reason = f"The run's process (pid: {pid}) {explain_exit(code)}."
                    self._runs.repair(run.request, reason, patience)
            self._save()

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for run in self._runs.running.values():
            if run.kill_at is not None and now > run.kill_at:
                with suppress(ProcessLookupError):
                    os.killpg(run.process.pid, signal.SIGKILL)

    def _turn_log(self) -> None:
        """Begin a new log when it is long: nobody else looks after that of a worker nobody supervises."""
        log = self._channel.log
        with suppress(FileNotFoundError):
            if log.stat().st_size > LOG_BYTES:
                log.replace(log.with_suffix(".log.1"))
                fresh = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                os.dup2(fresh, 1)
                os.dup2(fresh, 2)
                os.close(fresh)

    def _serve_one(self) -> None:
        """Read one message and answer it. A caller that says nothing costs a second, and never the worker."""
        try:
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(1.0)
                message = connection.recv(MAX_MESSAGE)
                answer = self._answer(json.loads(message)) if message else None
                if answer is not None:
                    connection.send(json.dumps(answer).encode())
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("A caller was not answered: %r", error)

    def _answer(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """The answer, or None to hang up: the caller then asks the worker that follows."""
        match message["do"]:
            case "launch":
                return self._launch(RunRequest(**message["request"]))
            case "status":
                return self._runs.status(message["run_id"])
            case "terminate":
                return self._terminate(message["run_id"])
            case "stop":
                self._ask_to_stop()
                return {}
            case _:
                return self._describe()

    def _launch(self, request: RunRequest) -> dict[str, Any] | None:
        """Write the run down before answering; it is forked from the loop afterwards."""
        if self._asked_to_stop or self._stop_at is not None:
            return None
        self._runs.accept(request)
        self._save()
        return {}

    def _terminate(self, run_id: str) -> dict[str, Any]:
        """Tell a run's process group to end, and kill it after the grace; a run that waits is taken out."""
        status = self._runs.status(run_id)
        if status["state"] == "running":
            kill_at = time.monotonic() + self._settings.terminate_grace_seconds
            _interrupt(self._runs.running[run_id], kill_at)
        elif status["state"] == "waiting":
            self._runs.withdraw(run_id)
        self._save()
        return status

    def _describe(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "running": list(self._runs.running),
            "waiting": [request.run_id for request in self._runs.waiting],
            "hazard": self._code.fork_hazard(open_sockets()),
            "skipped": sorted(self._code.skip),
        }


def _interrupt(run: Running, kill_at: float) -> None:
    run.kill_at = kill_at
    with suppress(ProcessLookupError):
        os.killpg(run.process.pid, signal.SIGTERM)


def _next_ended() -> tuple[int, int] | None:
    """A child that has ended, not yet reaped: its pid and exit code, negative for a signal."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if ended is None:
        return None
    return ended.si_pid, ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

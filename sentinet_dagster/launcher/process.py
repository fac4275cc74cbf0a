"""The moment between a fork and its task: how a process stops being the worker. Linux only."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterable
from typing import NoReturn

from .channel import SETTINGS_VARIABLE
from .task import TASK_VARIABLE, Task

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def detach_from_worker(worker: int, thread_variables: Iterable[str], fresh: Task | None) -> None:
    """Make this fork a process of its own: own session and randomness, default signals; ends with its worker.

    With `fresh` it does not return: the process becomes a new interpreter that performs that task.
    """
    os.setsid()
    # The worker has one thread, so this is the death of the worker. It survives the exec below.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != worker:
        os._exit(1)  # It died in between; whoever follows it finds the run in the journal.
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    for name in (SETTINGS_VARIABLE, *thread_variables):
        os.environ.pop(name, None)
    if fresh is not None:
        os.environ[TASK_VARIABLE] = fresh.to_json()
        os.execv(sys.executable, [sys.executable, "-m", __package__ or "launcher"])  # noqa: S606
    if (random := sys.modules.get("numpy.random")) is not None:
        random.seed()  # Python seeds its own generator anew in a fork, numpy does not.


def leave(code: int) -> NoReturn:
    """End a fork as an interpreter ends, but without taking apart what was imported: that costs 0.1 s of CPU.

    Threads are joined and exit functions run, in that order; `multiprocessing` ends its forks by the same
    names.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def explain_exit(code: int) -> str:
    """What an exit code says, as a clause: `was killed by signal 9 (SIGKILL)`."""
    if code >= 0:
        return f"ended with exit code {code} without finishing the run"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    hint = ", which is what the system does to a process when memory runs out" if name == "SIGKILL" else ""
    return f"was killed by signal {-code} ({name}){hint}"

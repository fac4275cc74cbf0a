"""The warm worker's program: in the foreground for a supervisor, in the background for a launcher."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from dagster._core.instance.ref import InstanceRef

from . import WarmRunLauncher
from .channel import SETTINGS_VARIABLE, Channel, Environment, WorkerGoneError, WorkerSettings
from .preload import SINGLE_THREAD, WITHOUT_BACKGROUND
from .process import leave
from .task import TASK_VARIABLE, Task, perform
from .worker import HANDOVER_VARIABLE, STOP_GRACE_SECONDS, STOP_PATIENCE_SECONDS, Worker

STANDBY_SECONDS = 0.5
_ENDINGS = frozenset({signal.SIGTERM, signal.SIGINT})


def main(arguments: Sequence[str]) -> int:
    """Perform the task this process was made for, or be the worker. The exit code; 2 is a user's error."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger(__package__).setLevel(logging.INFO)
    if (text := os.environ.pop(TASK_VARIABLE, None)) is not None:
        return perform(Task.from_json(text))
    inherited = os.environ.get(SETTINGS_VARIABLE)
    settings = WorkerSettings.from_json(inherited) if inherited else _supervised(arguments)
    settings = _without_threads(settings)
    handover = os.environ.pop(HANDOVER_VARIABLE, None)
    if handover is not None:
        listener, lock = _take_over(handover)
    else:
        found = settings.channel.lock_life()
        if found is None and settings.detached:
            return 0  # Another one serves, which is what was wanted.
        lock = _stand_by(settings) if found is None else found
        if lock < 0:
            return 0
        listener = settings.channel.listen()
        if settings.detached and os.fork() != 0:
            os._exit(0)  # The launcher that waits for us now finds the socket.
    task = Worker(settings, listener, lock, same_process=handover is not None).serve()
    if task is not None:
        leave(perform(task))
    return 0


def _supervised(arguments: Sequence[str]) -> WorkerSettings:
    """The settings of a worker in the foreground, from the instance's dagster.yaml."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument(
        "--dagster-home", default=os.environ.get("DAGSTER_HOME"), help="default: $DAGSTER_HOME"
    )
    parser.add_argument(
        "--working-directory", default=os.getcwd(), help="the code location's; default: this one"  # noqa: PTH109
    )  # fmt: skip
    parser.add_argument(
        "--with-parent", action="store_true", help="end when the process that started this one ends"
    )
    options = parser.parse_args(arguments)
    if not options.dagster_home:
        parser.error("set DAGSTER_HOME or give --dagster-home")
    os.chdir(options.working_directory)
    reference = InstanceRef.from_dir(options.dagster_home)
    launcher = reference.run_launcher
    if not isinstance(launcher, WarmRunLauncher):
        parser.error(
            f"{options.dagster_home}/dagster.yaml does not name {WarmRunLauncher.__name__} as run_launcher"
        )
    environment = Environment(sys.executable, options.working_directory)
    settings = launcher.worker_settings(reference, reference.local_artifact_storage.base_dir, environment)
    return replace(settings, parent=os.getppid() if options.with_parent else None)


def _without_threads(settings: WorkerSettings) -> WorkerSettings:
    """Keep libraries from starting threads at import, unless the user set how many. Survives an exec."""
    ours = [name for name in SINGLE_THREAD if name not in os.environ]
    os.environ.update({name: SINGLE_THREAD[name] for name in ours})
    for name, setting in WITHOUT_BACKGROUND.items():
        given = os.environ.get(name, "")
        if not given.endswith(setting):
            os.environ[name] = f"{given},{setting}" if given else setting
    settings = replace(settings, thread_variables=(*settings.thread_variables, *ours))
    os.environ[SETTINGS_VARIABLE] = settings.to_json()
    return settings


def _take_over(handover: str) -> tuple[socket.socket, int]:
    """The socket and the lock of the interpreter this process was before its exec."""
    listener, lock = json.loads(handover)
    for descriptor in (listener, lock):
        os.set_inheritable(descriptor, False)
    return socket.socket(fileno=listener), lock


def _stand_by(settings: WorkerSettings) -> int:
    """Wait while another worker serves; told to end, end that one too. The lock, or -1 for the end."""
    channel = settings.channel
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    logging.getLogger(__package__).info("Another warm worker serves, standing by: %s", channel.socket_path)
    told = False
    deadline = float("inf")
    while time.monotonic() < deadline:
        if (lock := channel.lock_life()) is not None:
            if told:
                os.close(lock)
                return -1
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)
            return lock
        ended = signal.sigtimedwait(_ENDINGS, STANDBY_SECONDS) is not None
        ended = ended or settings.parent not in (None, os.getppid())
        if ended and not told:
            told = True
            deadline = time.monotonic() + STOP_GRACE_SECONDS + STOP_PATIENCE_SECONDS
            _ask_to_stop(channel)
    return -1


def _ask_to_stop(channel: Channel) -> None:
    try:
        channel.ask({"do": "stop"})
    except (WorkerGoneError, TimeoutError) as error:
        logging.getLogger(__package__).warning("The other warm worker does not answer: %s", error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

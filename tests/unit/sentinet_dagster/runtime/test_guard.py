from __future__ import annotations

import signal
import subprocess
import sys

import psutil

from sentinet_dagster.runtime import guard
from sentinet_dagster.runtime.pids import survivors

OBEDIENT = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); " + OBEDIENT


def leader(code: str) -> subprocess.Popen[str]:
    """A process that leads a group and has said that it is up."""
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    child.stdout.close()
    return child


def test_the_closed_pipe_ends_what_still_runs() -> None:
    with (
        leader(OBEDIENT) as watched,
        leader(OBEDIENT) as let_go,
        subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__], stdin=subprocess.PIPE, text=True
        ) as script,
    ):
        assert script.stdin is not None
        script.stdin.write(f"+{watched.pid}\n+{let_go.pid}\n-{let_go.pid}\n")
        script.stdin.close()
        assert watched.wait(60) == -signal.SIGTERM
        assert script.wait(60) == 0
        assert let_go.poll() is None
        let_go.kill()


def test_the_stubborn_are_killed_with_their_children() -> None:
    parent = (
        "import subprocess, sys; "
        f"child = subprocess.Popen([sys.executable, '-S', '-c', {STUBBORN!r}], stdout=subprocess.PIPE); "
        "child.stdout.readline(); " + OBEDIENT
    )
    with leader(parent) as child:
        (grandchild,) = psutil.Process(child.pid).children()
        guard.end({child.pid}, patience_s=0.1)
        assert child.wait(60) == -signal.SIGTERM
        assert survivors([grandchild], 60) == []


def test_the_guard_does_not_hear_the_terminal() -> None:
    with (
        leader(OBEDIENT) as watched,
        subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__], stdin=subprocess.PIPE, text=True
        ) as script,
    ):
        assert script.stdin is not None
        script.stdin.write(f"+{watched.pid}\n")
        script.stdin.flush()
        # Its handlers are set before it reads: once the pipe is drained, a signal cannot come too early.
        status = psutil.Process(script.pid)
        while status.status() != psutil.STATUS_SLEEPING:
            pass
        script.send_signal(signal.SIGINT)
        assert watched.poll() is None
        script.stdin.close()
        assert watched.wait(60) == -signal.SIGTERM
        assert script.wait(60) == 0

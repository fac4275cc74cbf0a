"""Outlives a killed supervisor just long enough to end what it had started. A script, run by `processes.py`.

What lives here: reading pids from a pipe, and ending their process groups when the pipe closes.
What never does: anything of ours or of others' packages; it has to start in milliseconds and to stay small.

The kernel closes the pipe however the supervisor dies, by SIGKILL too. Unlike PR_SET_PDEATHSIG this reaches
what the children started in their turn, and insists where SIGTERM is not obeyed. Lines: `+123` watch group
123, `-123` it has ended.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable

PATIENCE_S = 5.0
_POLL_S = 0.05


def watch(lines: Iterable[str]) -> set[int]:
    """The groups that still run when `lines` ends.

    >>> sorted(watch(["+7\\n", "+9\\n", "-7\\n"]))
    [9]
    """
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    return groups


def end(groups: set[int], patience_s: float = PATIENCE_S) -> None:
    """Ask every group to end, wait, and kill those that did not."""
    alive = {group for group in groups if _signal(group, signal.SIGTERM)}
    deadline = time.monotonic() + patience_s
    while alive and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        alive = {group for group in alive if _signal(group, 0)}
    for group in alive:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Whether the group was there to get the signal."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def main() -> None:
    """Watch standard input. Signals meant for the terminal's or the supervisor's group are not for us."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end(watch(sys.stdin))


if __name__ == "__main__":
    main()

"""Waiting for processes to end that need not be our children.

What never lives here: ending them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil

_POLL_S = 0.01


def survivors(processes: Iterable[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Those of `processes` that still run after waiting for at most `timeout_s`.

    A zombie has ended: whoever is to collect it may never do so (process 1 of many containers does not).
    """
    deadline = time.monotonic() + timeout_s
    running = [process for process in processes if _runs(process)]
    while running and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        running = [process for process in running if _runs(process)]
    return running


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

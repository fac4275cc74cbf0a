"""CPU seconds by process: what `sentinet status` shows and `sentinet benchmark` subtracts.

What lives here: reading the operating system. What never does: which processes matter.
"""

from __future__ import annotations

from typing import NamedTuple

import psutil


class Use(NamedTuple):
    """CPU seconds and resident MB of a process and all that it started."""

    cpu_s: float
    rss_mb: float


def use_of(pid: int) -> Use | None:
    """What a process and its descendants have used so far; None: it is gone.

    Children that have ended count once their parent has waited for them. Memory that is shared among them
    (PostgreSQL's buffers, a forked interpreter) counts once for each.
    """
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return None
    cpu_s = rss = 0.0
    for process in family:
        try:
            with process.oneshot():
                times = process.cpu_times()
                cpu_s += times.user + times.system + times.children_user + times.children_system
                rss += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return Use(cpu_s, rss / 2**20)


def own_cpu_s(pid: int) -> float:
    """CPU seconds of one process alone; 0.0: it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)

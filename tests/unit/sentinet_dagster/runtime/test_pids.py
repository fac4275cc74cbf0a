from __future__ import annotations

import os
import subprocess
import sys

import psutil

from sentinet_dagster.runtime.pids import survivors


def test_who_runs_survives_and_a_zombie_does_not() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"]) as child:
        process = psutil.Process(child.pid)
        assert survivors([process], 0.0) == [process]
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process.status() == psutil.STATUS_ZOMBIE
        assert survivors([process], 10.0) == []
    assert survivors([process], 10.0) == []

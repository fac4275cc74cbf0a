"""The `sentinet` command as a user runs it: a process, an environment of its own, JSON on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

_PATIENCE_S = 300.0  # of a process that is told to end
SENTINET = Path(sys.executable).with_name("sentinet")


def environment_of(home: Path, **settings: str) -> dict[str, str]:
    """This process's environment without its settings of Sentinet; a home, and the settings given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SENTINET_")}
    return kept | {"SENTINET_HOME": str(home)} | settings


def ask(environment: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    """What a command answers with --json. It succeeds, and says nothing else on stdout."""
    done = subprocess.run(
        [SENTINET, *arguments, "--json"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"sentinet {' '.join(arguments)}: {done.stderr}"
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@contextmanager
def started(module: str, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process of ours until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(_PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()


def processes_of(home: Path) -> list[psutil.Process]:
    """The processes that were told this home, by environment or by command line."""
    return [process for process in psutil.process_iter() if _is_told(process, str(home))]


def _is_told(process: psutil.Process, home: str) -> bool:
    try:
        told = [*process.cmdline(), *process.environ().values()]
    except psutil.Error:
        return False
    return process.pid != os.getpid() and any(home in word for word in told)

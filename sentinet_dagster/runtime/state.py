"""What the one who runs in a home tells the others: `state.json`, written whole.

What lives here: the file and its shape. What never does: processes. The file outlives a killed supervisor:
believe it only while the home has an owner (`Home.owner`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from sentinet_dagster.runtime.home import Home

Phase = Literal["starting", "running", "failed"]


class ProcessState(msgspec.Struct, frozen=True):
    """One supervised process."""

    state: str
    pid: int | None
    restarts: int
    failure: str | None = None  # why it waits to be started again, where that is known


class RunState(msgspec.Struct, frozen=True):
    """A running Sentinet. `database` is a URL without its password; `failure` says why it is `failed`."""

    owner: int
    phase: Phase
    failure: str | None = None
    database: str | None = None
    addresses: dict[str, str] = {}
    processes: dict[str, ProcessState] = {}


def write_state(home: Home, state: RunState) -> None:
    """Replace the file."""
    path = _path(home)
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    scratch.write_bytes(msgspec.json.encode(state))
    scratch.replace(path)


def read_state(home: Home) -> RunState | None:
    """What the file says, or None where there is none."""
    try:
        return msgspec.json.decode(_path(home).read_bytes(), type=RunState)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def _path(home: Home) -> Path:
    return home.path / "state.json"

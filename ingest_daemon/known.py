"""What the daemon must know to start while the database is away. [IO]

What lives here: small files beside the spool, each replaced as a whole. What never does: deciding whether to
start from them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from ingest_daemon.venues import Listing

__all__ = ["Known", "read", "write"]

_T = TypeVar("_T")


class Known(msgspec.Struct, frozen=True):
    """What the database said when it was last asked."""

    identity: str  # of the database: `Store.identity`
    instruments: dict[str, dict[str, Listing]]  # venue → venue symbol → what it is


def read(path: Path, kind: type[_T]) -> _T | None:
    """What was kept; None where nothing was, or nothing that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None


def write(path: Path, value: object) -> None:
    """Keep it; at every moment, over a power cut too, the old or the new is there as a whole.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(msgspec.json.encode(value))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)

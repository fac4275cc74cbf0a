"""What the daemon must know to start while the database is away. [IO]

What lives here: one small file beside the spool, replaced as a whole. What never does: deciding whether to
start from it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ingest_daemon.venues import Listing

__all__ = ["Known", "read", "write"]


class Known(msgspec.Struct, frozen=True):
    """What the database said when it was last asked."""

    identity: str  # of the database: `Store.identity`
    instruments: dict[str, dict[str, Listing]]  # venue → venue symbol → what it is


def read(path: Path) -> Known | None:
    """What was kept; None where nothing was, or nothing that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Known)
    except (OSError, msgspec.DecodeError):
        return None


def write(path: Path, known: Known) -> None:
    """Keep it.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(known))
    new.replace(path)

"""The log files of what Sentinet starts: their last lines, and making room.

What never lives here: writing to them (the processes do), and Sentinet's own logging.
"""

from __future__ import annotations

from pathlib import Path

TAIL_BYTES = 16_384


def log_tail(path: Path, start: int = 0, lines: int = 20) -> str:
    """The last lines that were written to `path` from byte `start` on; empty if there is no such file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(start, size - TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def rotate(path: Path, above_bytes: int = 10 * 2**20, keep: int = 3) -> None:
    """Move a log larger than `above_bytes` to `<name>.1` and older ones one further; drop the last."""
    if not path.exists() or path.stat().st_size <= above_bytes:
        return
    for number in range(keep - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.rename(path.with_name(f"{path.name}.{number + 1}"))
    path.rename(path.with_name(f"{path.name}.1"))

"""Reading the shared captures: `<epoch seconds>: <frame>` lines; frames sent begin otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def read_capture(path: Path) -> Iterator[tuple[int, bytes]]:
    """Receive time in microseconds and frame, of the frames received."""
    with path.open("rb") as lines:
        for line in lines:
            stamp, _, frame = line.rstrip(b"\n").partition(b": ")
            if stamp.replace(b".", b"").isdigit():
                seconds, _, fraction = stamp.partition(b".")
                yield int(seconds) * 1_000_000 + int((fraction + b"000000")[:6]), frame


def read_examples(path: Path) -> list[bytes]:
    """The frames of a file with one a line."""
    return path.read_bytes().splitlines()

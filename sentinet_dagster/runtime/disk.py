"""Room on a disk: how much there is, how much is taken, and whether a failure means that there is none.

What never lives here: making room.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import psycopg

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_WORDS = tuple(os.strerror(number) for number in _NO_ROOM)


def free_bytes(path: Path) -> int:
    """What an unprivileged user may still write where `path` is, or will be made."""
    while not path.exists():
        path = path.parent
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def used_bytes(directory: Path) -> int:
    """What the files below it take. Those that go away meanwhile take nothing."""
    used = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                used += (Path(folder) / name).lstat().st_blocks * 512
    return used


def is_full(error: BaseException) -> bool:
    """Whether it failed because a disk takes no more: ours, or the database server's.

    >>> is_full(OSError(errno.ENOSPC, "No space left on device"))
    True
    """
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    return isinstance(error, psycopg.errors.DiskFull)


def says_full(words: str) -> bool:
    """Whether a program's own words say that a disk takes no more.

    >>> says_full('FATAL:  could not write to file "pg_wal/xlogtemp.1": No space left on device')
    True
    """
    return any(word in words for word in _WORDS)

"""A simulated market's past as recordings, so that it is taken in by the same way as any recording.

What lives here: writing files. What never does: the market (`ingest_daemon.venues.simulated`), reading
recordings.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ingest_daemon.venues.simulated import DEFAULT_CHANNELS, SimulatedMarket

_FASTEST = 1
_FRAMES_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class HistoryFile:
    """A recording that was written."""

    venue: str
    path: Path
    frames: int


def write_history(
    market: SimulatedMarket,
    from_us: int,
    to_us: int,
    directory: Path,
    channels: Sequence[str] = DEFAULT_CHANNELS,
) -> list[HistoryFile]:
    """Write what `market` sends so that it arrives in [from_us, to_us): `<venue>.gz` for each venue.

    A line is `<receive time, ns since 1970 UTC> <raw message>`, by receive time. The same market and span
    give the same bytes. Existing files are replaced.

    Raises:
        OSError: the directory cannot be made or written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    venues = list(dict.fromkeys(instrument.venue for instrument in market.instruments))
    paths = {venue: directory / f"{venue}.gz" for venue in venues}
    counts = dict.fromkeys(venues, 0)
    lines: dict[str, list[bytes]] = {venue: [] for venue in venues}
    with ExitStack() as stack:
        files = {venue: stack.enter_context(_open(path)) for venue, path in paths.items()}
        for frame in market.frames(from_us, to_us, channels):
            waiting = lines[frame.venue]
            waiting.append(b"%d000 %s\n" % (frame.received_at, frame.text))
            if len(waiting) >= _FRAMES_AT_ONCE:
                files[frame.venue].write(b"".join(waiting))
                counts[frame.venue] += len(waiting)
                waiting.clear()
        for venue, waiting in lines.items():
            files[venue].write(b"".join(waiting))
            counts[venue] += len(waiting)
    return [HistoryFile(venue, paths[venue], counts[venue]) for venue in venues]


def _open(path: Path) -> IO[bytes]:
    # Without a time of its own in the header, so that the same history is the same file.
    return gzip.GzipFile(path, "wb", compresslevel=_FASTEST, mtime=0)  # type: ignore[return-value]

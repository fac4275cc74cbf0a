"""Recordings into the database, by the same parser and the same writer as live.

What lives here: which venue speaks what, and the store's life. What never does: reading recordings
(`ingest_daemon.replay`), printing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ParamSpec

import yaml

from ingest_daemon.errors import ConfigError, RecordingError, StoreError
from ingest_daemon.replay import ReplayReport, Sink, replay_files
from ingest_daemon.store import Store, WriteReport
from sentinet_dagster.runtime.errors import UserError

P = ParamSpec("P")
Progress = Callable[[int], None]  # rows written so far, new or there already


def venues_by_protocol(config_directory: Path) -> dict[str, str]:
    """Protocol → the operator's name of the venue that speaks it; of several the one named first.

    Raises:
        UserError: venues.yaml is missing or not what it must be.
    """
    path = config_directory / "venues.yaml"
    venues: dict[str, str] = {}
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["venues"]
        for name, entry in entries.items():
            venues.setdefault(entry["protocol"], name)
    except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: no venue with a protocol can be read from it: {error}") from None
    return venues


def take_in(
    url: str,
    files: Sequence[Path],
    venues: Mapping[str, str],
    *,
    protocol: str | None = None,
    speed: float | None = None,
    progress: Progress | None = None,
) -> ReplayReport:
    """Write recordings into the database at `url`; `ingest_daemon.replay.replay_files` says how.

    Raises:
        UserError: a file is no recording, nobody speaks its protocol, or its instruments are not watched;
            nothing has been written then. Or the database refuses or went away; then what the report would
            have counted may be written in part, and replaying again completes it.
    """
    try:
        with Store(url, is_replay=True) as store:
            sink: Sink = _Counting(store, progress) if progress else store
            return replay_files(files, sink, venues, protocol=protocol, speed=speed)
    except (RecordingError, ConfigError) as error:
        raise UserError(str(error)) from error
    except StoreError as error:
        raise UserError(f"the database took only a part of it: {error}") from error


class _Counting:
    """A sink that tells how much went through it."""

    def __init__(self, store: Store, progress: Progress) -> None:
        self.load_instruments = store.load_instruments
        self.write = _counted(store.write, progress)


def _counted(write: Callable[P, WriteReport], progress: Progress) -> Callable[P, WriteReport]:
    rows = 0

    def counted(*arguments: P.args, **named: P.kwargs) -> WriteReport:
        nonlocal rows
        report = write(*arguments, **named)
        rows += sum(report.rows.values()) + sum(report.duplicates.values())
        progress(rows)
        return report

    return counted

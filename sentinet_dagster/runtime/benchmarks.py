"""Measuring parts of the work: what `sentinet benchmark` prints.

What lives here: the loops and the clock. What never does: judging a number; the parts themselves are the real
ones.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ParamSpec
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from ingest_daemon.errors import ParseError, RecordingError, VenueRefused
from ingest_daemon.replay import read_recording, replay_files
from ingest_daemon.store import Store, WriteReport
from ingest_daemon.venues import VENUES, Listing, VenueProtocol
from ingest_daemon.venues.simulated import SimulatedMarket
from sentinet_dagster.runtime import database
from sentinet_dagster.runtime.database_url import connect
from sentinet_dagster.runtime.demo_config import SOURCE
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.history import venues_by_protocol
from sentinet_dagster.runtime.instruments import read_instruments
from sentinet_dagster.runtime.venue_history import write_history

AT_LEAST_S = 1.0
_MINUTE_US = 60_000_000
_ANCHOR_US = 1_769_860_800_000_000  # any whole second

P = ParamSpec("P")
Frames = list[tuple[bytes, int]]


def measure_parsing(files: Sequence[Path]) -> dict[str, dict[str, dict[str, float]]]:
    """Protocol → kind of stream (`trade`, `depth` …) → frames_per_s, and the frames it was measured on.

    Each kind is parsed by a session of its own, again and again for at least a second. Frames are in memory.

    Raises:
        UserError: a file is no recording, or of no protocol known.
    """
    kinds: dict[str, dict[str, Frames]] = {}
    symbols: dict[str, set[str]] = defaultdict(set)
    for path in files:
        try:
            frames = list(read_recording(path))
        except RecordingError as error:
            raise UserError(str(error)) from error
        protocol = _spoken_in(path, frames)
        stream_of = protocol.open_session("benchmark", {}, ()).stream_of
        by_kind = kinds.setdefault(protocol.name, defaultdict(list))
        for frame, received_at in frames:
            stream = stream_of(frame)
            symbols[protocol.name].add(protocol.symbol_of(stream))
            by_kind[stream.partition("@")[2].partition("@")[0] or "other"].append((frame, received_at))
    return {
        name: {
            kind: {"frames_per_s": round(_rate(VENUES[name], symbols[name], frames)), "frames": len(frames)}
            for kind, frames in sorted(by_kind.items())
        }
        for name, by_kind in kinds.items()
    }


def measure_store(url: str, minutes: int) -> dict[str, float]:
    """Write `minutes` of simulated market into a new database on the server of `url`.

    Raises:
        UserError: the database cannot be made there.
    """
    market = SimulatedMarket(seed=0, anchor_us=_ANCHOR_US)
    with TemporaryDirectory(prefix="sentinet-benchmark-") as folder, _scratch_database(url) as scratch:
        until = _ANCHOR_US + minutes * _MINUTE_US
        files = write_history(market, _ANCHOR_US, until, Path(folder))
        database.migrate(scratch)
        database.watch(scratch, read_instruments(SOURCE))
        with _TimedStore(scratch) as store:
            replay_files([file.path for file in files], store, venues_by_protocol(SOURCE))
    return {
        "rows": store.rows,
        "batches": store.batches,
        "seconds": round(store.seconds, 4),
        "rows_per_s": round(store.rows / store.seconds),
    }


class _TimedStore(Store):
    """A store with a stop-watch."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.rows = self.batches = 0
        self.seconds = 0.0
        self.write = self._timed(self.write)  # type: ignore[method-assign]

    def _timed(self, write: Callable[P, WriteReport]) -> Callable[P, WriteReport]:
        def timed(*arguments: P.args, **named: P.kwargs) -> WriteReport:
            began = time.perf_counter()
            report = write(*arguments, **named)
            self.seconds += time.perf_counter() - began
            self.rows += sum(report.rows.values())
            self.batches += 1
            return report

        return timed


def _spoken_in(path: Path, frames: Frames) -> VenueProtocol:
    for frame, _ in frames:
        for protocol in VENUES.values():
            if protocol.recognises(frame):
                return protocol
    raise UserError(f"{path}: no frame of a protocol known ({', '.join(VENUES)})")


def _rate(protocol: VenueProtocol, symbols: set[str], frames: Frames) -> float:
    listings = {symbol: Listing(number) for number, symbol in enumerate(sorted(symbols - {""}), start=1)}
    parsed = 0
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < AT_LEAST_S:
        parse = protocol.open_session("benchmark", listings, protocol.channels).parse
        for frame, received_at in frames:
            with suppress(ParseError, VenueRefused):
                parse(frame, received_at)
        parsed += len(frames)
    return parsed / elapsed


@contextmanager
def _scratch_database(url: str) -> Iterator[str]:
    name = f"sentinet_benchmark_{uuid4().hex[:12]}"
    with connect(url, autocommit=True) as connection:
        try:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        except psycopg.Error as error:
            raise UserError(f"no database can be made for the benchmark: {error}") from None
        try:
            yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

"""Measuring parts of the work: what `sentinet benchmark` prints.

What lives here: the loops and the clock. What never does: judging a number; the parts themselves are the real
ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ParamSpec
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from ingest_daemon.replay import replay_files
from ingest_daemon.store import Store, WriteReport
from ingest_daemon.venues.simulated import SimulatedMarket
from sentinet_dagster.runtime import database
from sentinet_dagster.runtime.database_url import connect
from sentinet_dagster.runtime.demo_config import SOURCE
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.history import venues_by_protocol
from sentinet_dagster.runtime.instruments import read_instruments
from sentinet_dagster.runtime.venue_history import write_history

_MINUTE_US = 60_000_000
_ANCHOR_US = 1_769_860_800_000_000  # any whole second

P = ParamSpec("P")


def measure_store(url: str, minutes: int) -> dict[str, float]:
    """Write `minutes` of simulated market into a new database on the server of `url`.

    Raises:
        UserError: the database cannot be made there.
    """
    market = SimulatedMarket(seed=0, anchor_us=_ANCHOR_US)
    with TemporaryDirectory(prefix="sentinet-benchmark-") as folder, scratch_database(url) as scratch:
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


@contextmanager
def scratch_database(url: str) -> Iterator[str]:
    """The URL of a new database on the server of `url`, which is dropped after the block.

    Raises:
        UserError: none can be made there.
    """
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

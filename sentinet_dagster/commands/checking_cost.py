"""`sentinet benchmark check`: what data quality costs, beside what it is done for.

What lives here: a scratch database, real micro-batches in this process, and the same checks over the same
windows once more, alone. What never does: judging a number.

CPU is user and system time of this process, and of the server with all its backends where it is ours (then
`includes_server`). The batch is judged with its checks inside; its share is that of the second reading.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from sentinet_dagster.runtime.cpu_meter import use_of
from sentinet_dagster.runtime.errors import ProcessFailed
from sentinet_dagster.runtime.scratch import scratch_database

if TYPE_CHECKING:
    from dagster import DagsterInstance

_SPAN: Final = timedelta(seconds=5)  # live, a run judges the window that has just closed
_ANCHOR_US: Final = 1_769_860_800_000_000  # any whole hour
_FACTS: Final = ("trades", "quotes", "books", "book_flows", "reference_prices")


def measure_checks(
    url: str, server_pid: int | None, minutes: int, batches: int, events_per_second: float
) -> dict[str, Any]:
    """Fill a database made for it on the server of `url`, and measure there.

    Raises:
        UserError: no database can be made there.
        ProcessFailed: a micro-batch failed.
    """
    meter = _Meter(server_pid)
    with scratch_database(url) as scratch:
        start = _fill(scratch, minutes, events_per_second)
        micro = _micro_batches(scratch, meter, start + timedelta(minutes=minutes), batches)
        full = _full_pass(scratch, meter, start, start + timedelta(minutes=minutes))
    return {"includes_server": server_pid is not None, "micro_batch": micro, "full_pass": full}


def _fill(url: str, minutes: int, events_per_second: float) -> datetime:
    """Write so much of the simulated market into the new database at `url`. Returns when it begins."""
    from ingest_daemon.venues.simulated import DEFAULT_INSTRUMENTS, SimulatedMarket
    from sentinet_dagster.runtime import database
    from sentinet_dagster.runtime.demo_config import SOURCE
    from sentinet_dagster.runtime.history import take_in, venues_by_protocol
    from sentinet_dagster.runtime.instruments import read_instruments
    from sentinet_dagster.runtime.load import rate_for
    from sentinet_dagster.runtime.venue_history import write_history

    rate = rate_for(DEFAULT_INSTRUMENTS, events_per_second)
    market = SimulatedMarket(seed=0, anchor_us=_ANCHOR_US, rate=rate)
    database.migrate(url)
    database.watch(url, read_instruments(SOURCE))
    with TemporaryDirectory(prefix="sentinet-benchmark-") as folder:
        files = write_history(market, _ANCHOR_US, _ANCHOR_US + minutes * 60_000_000, Path(folder))
        take_in(url, [file.path for file in files], venues_by_protocol(SOURCE))
    return datetime.fromtimestamp(_ANCHOR_US / 1e6, UTC)


class _Meter:
    """CPU seconds of this process, and of the server."""

    def __init__(self, server_pid: int | None) -> None:
        self._server_pid = server_pid

    def of(self, work: Callable[[], object]) -> float:
        """What the work takes."""
        before = self._now()
        work()
        return self._now() - before

    def _now(self) -> float:
        server = None if self._server_pid is None else use_of(self._server_pid)
        return time.process_time() + (0.0 if server is None else server.cpu_s)


def _micro_batches(url: str, meter: _Meter, end: datetime, batches: int) -> dict[str, Any]:
    os.environ["SENTINET_DATABASE_URL"] = url  # Dagster's resource reads it when a run begins
    from dagster import DagsterInstance

    from sentinet_dagster.resources import Timescale

    spans = [(end - n * _SPAN, end - (n - 1) * _SPAN) for n in range(batches + 1, 0, -1)]
    timescale = Timescale(url=url)
    with DagsterInstance.ephemeral() as instance:
        _judge(instance, end.replace(minute=0), spans[0][1])  # what they look back on; and imports
        batch = sum(meter.of(lambda s=span: _judge(instance, *s)) for span in spans[1:])  # type: ignore[misc]
    checks = sum(meter.of(lambda s=span: _check(url, *s)) for span in spans[1:])  # type: ignore[misc]
    facts = sum(_rows(timescale, name, spans[1][0], end) for name in _FACTS)
    timescale.close()
    return {
        "batches": batches,
        "windows_s": _SPAN.total_seconds(),
        "facts": facts / batches,
        "cpu_s": round(batch / batches, 4),
        "checks_cpu_s": round(checks / batches, 4),
        "checks_share": round(checks / batch, 3),
    }


def _judge(instance: DagsterInstance, start: datetime, end: datetime) -> None:
    from sentinet_dagster.definitions import defs
    from sentinet_dagster.partitions import RANGE_END_TAG, RANGE_START_TAG, partition_key

    run = defs.resolve_job_def("judge_windows").execute_in_process(
        instance=instance,
        raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "WARNING"}}}},
        partition_key=partition_key(start),
        tags={RANGE_START_TAG: start.isoformat(), RANGE_END_TAG: end.isoformat()},
    )
    if not run.success:
        raise ProcessFailed("judge_windows", f"failed from {start.isoformat()} to {end.isoformat()}")


def _check(url: str, start: datetime, end: datetime) -> None:
    """As a run does it: on a connection of its own, with results for Dagster."""
    from sentinet_dagster.assets.soundness import Soundness
    from sentinet_dagster.resources import Timescale

    timescale = Timescale(url=url)
    soundness = Soundness(timescale)
    soundness.check_facts(start, end)
    soundness.check_windows(start, end)
    soundness.results()
    timescale.close()


def _full_pass(url: str, meter: _Meter, start: datetime, end: datetime) -> dict[str, Any]:
    from sentinet_dagster.quality.full_pass import full_pass
    from sentinet_dagster.quality.suites import FACTS, WINDOWS

    suites = [*FACTS, WINDOWS]
    fixed = meter.of(lambda: full_pass(url, suites, start - timedelta(days=1), start))  # imports, no rows
    again = meter.of(lambda: full_pass(url, suites, start - timedelta(days=1), start))
    results: list[Any] = []
    took = meter.of(lambda: results.extend(full_pass(url, suites, start, end)))
    rows = sum({each.relation: each.rows or 0 for each in results}.values())
    return {
        "rows": rows,
        "cpu_s": round(took, 3),
        "fixed_cpu_s": round(fixed, 3),
        "cpu_s_per_million_rows": round((took - again) / max(rows, 1) * 1e6, 3),
    }


def _rows(timescale: Any, table: str, start: datetime, end: datetime) -> int:
    row = timescale.connection.execute(
        f"select count(*) as n from market.{table} where time >= %s and time < %s",  # noqa: S608 - one of _FACTS
        (start, end),
    ).fetchone()
    return int(row["n"])

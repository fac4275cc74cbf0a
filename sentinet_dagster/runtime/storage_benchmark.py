"""`sentinet benchmark storage`: what storing costs, how fast it is summed, asked and read, at any size.

What lives here: the order of filling and measuring, and the clock. What never does: judging a number; the
statements (`storage_benchmark.sql`); the parts measured, which are the product's own.

Everything happens in a database made for it and dropped afterwards. The facts are made by the server, from
hashes: thirty days of twelve instruments, so that a query over them reads as much as it would in earnest.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import polars as pl
import psycopg

from sentinet_dagster.queries import Query, parse_queries, queries
from sentinet_dagster.resources import Timescale
from sentinet_dagster.rollups import refreshing
from sentinet_dagster.runtime import database, rollups
from sentinet_dagster.runtime.database_url import connect
from sentinet_dagster.runtime.disk import free_bytes
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.scratch import scratch_database
from sentinet_dagster.storage import Edition, Retention, StorageSettings, load_storage
from sentinet_dagster.surveillance.schema import TRADES

__all__ = ["ANALYSTS", "measure_storage", "needed_bytes"]

DAYS: Final = 30
_PIECE: Final = 1_000_000
_TRADES_A_QUOTE: Final = 4
_BASE_BYTES: Final = 3 * 2**30  # the write-ahead log at its longest, rollups, judgement, empty chunks
_BYTES_A_TRADE: Final = 200  # with its quarter of a quote, both with their index
# What the analysts' questions stand on. Indicators are windows over bars: their cost does not depend on
# the number of trades.
_ROLLUPS: Final = (
    "trade_bars_1m", "trade_bars_5m", "trade_bars_15m", "trade_bars_1h", "trade_bars_1d", "quote_spreads_1m",
    "book_depth_1m", "reference_prices_1m", "feed_quality_1h",
)  # fmt: skip
_READ_ROWS: Final = 500_000
_ROUNDS: Final = 5
_READ_ROUNDS: Final = 3
ANALYSTS: Final = "ask_"
"""What the names of the analysts' questions begin with."""

Connection = psycopg.Connection[Any]
Tell = Callable[[str], None]

# Nothing is removed or compressed by itself while it is measured: 36525 days is the longest there is.
_KEPT: Final = {
    "columnstore_after": "36525 days",
    "retention": dict.fromkeys(Retention.model_fields, "forever"),
}
_NO_COLUMNSTORE: Final = {
    Edition.PLAIN: "plain PostgreSQL has no columnstore",
    Edition.APACHE: "TimescaleDB's Apache edition has no columnstore",
}


@dataclass(frozen=True, slots=True)
class Span:
    """The facts: from when to when, and how many trades."""

    end: datetime
    days: int
    trades: int

    @property
    def start(self) -> datetime:
        """Of the first fact."""
        return self.end - timedelta(days=self.days)

    @property
    def before_last_hour(self) -> int:
        """How many trades lie before it."""
        return self.trades - self.trades // (self.days * 24)

    def step_us(self, every: int = 1) -> float:
        """Microseconds from one row to the next, of a relation with a row for so many trades."""
        return self.days * 86_400e6 / (self.trades // every)

    def at(self, share: float) -> datetime:
        """The moment at which this share of the span is over."""
        return self.start + (self.end - self.start) * share


def needed_bytes(trades: int) -> int:
    """About what the database takes while it is measured."""
    return _BASE_BYTES + _BYTES_A_TRADE * trades


def measure_storage(
    url: str, trades: int, home: Path, *, disk: Path | None, tell: Tell, days: int = DAYS
) -> dict[str, Any]:
    """Fill a database of its own on the server of `url`, measure it, drop it.

    Args:
        url: of a database whose user may make others.
        trades: how many, evenly over the days.
        home: where dbt's parsed project is kept.
        disk: a folder on the server's disk, where that is this machine's; None: its room cannot be seen.
        tell: is given a line now and then, the size of it all before anything is made.
        days: that the facts span, up to the last whole hour.

    Raises:
        UserError: there is too little room, or the database cannot be made there.
    """
    _check_room(trades, disk, tell)
    span = Span(datetime.now(UTC).replace(minute=0, second=0, microsecond=0), days, trades)
    with scratch_database(url) as scratch:
        migrated = database.migrate(scratch, _settings())
        rollups.deploy(scratch, home)
        with connect(scratch, autocommit=True) as connection:
            began = time.perf_counter()
            _fill(connection, span, disk, tell)
            result: dict[str, Any] = {
                "edition": migrated.edition.value,
                "trades": trades,
                "quotes": trades // _TRADES_A_QUOTE,
                "days": days,
                "made_in_s": round(time.perf_counter() - began, 1),
            }
            tell("summing")
            result["rollups"] = _measure_rollups(connection, span)
            connection.execute("analyze")
            tell("asking")
            result["queries"] = _measure_queries(connection, span)
            tell("reading")
            result["reading"] = _measure_reading(scratch, span)
            result |= _measure_bytes(connection, span, migrated.edition, tell)
            result["database_mb"] = round(_value(connection, "database_bytes") / 2**20)
    return result


def _settings() -> StorageSettings:
    return load_storage(_KEPT)


def _check_room(trades: int, disk: Path | None, tell: Tell) -> None:
    needed = needed_bytes(trades) / 2**30
    wanted = f"{trades:,} trades take about {needed:,.1f} GB while they are measured"
    if disk is None:
        tell(f"{wanted}; how much room the server has cannot be seen from here")
        return
    free = free_bytes(disk) / 2**30
    if free < needed:
        raise UserError(f"{wanted}, and the disk of {disk} has {free:.1f} GB left: give a smaller --trades")
    tell(f"{wanted}; {free:.1f} GB are free")


@cache
def _statements() -> Mapping[str, Query]:
    return parse_queries(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def _run(connection: Connection, statement: str, **parameters: object) -> psycopg.Cursor[Any]:
    return connection.execute(_statements()[statement].sql, parameters)


def _value(connection: Connection, statement: str) -> int:
    """What a statement answers, one number."""
    ((value,),) = _run(connection, statement).fetchall()
    return int(value)


# Filling ------------------------------------------------------------------------------------------------


def _fill(connection: Connection, span: Span, disk: Path | None, tell: Tell) -> None:
    """All but the last hour's trades, which come when a refresh is measured."""
    _run(connection, "make_instruments")
    bounds = {"start": span.start, "end": span.end}
    for statement in ("make_reference_prices", "make_gaps", "make_correlations", "make_alerts"):
        _run(connection, statement, **bounds)
    _run(connection, "make_alert_events")
    quotes = span.trades // _TRADES_A_QUOTE
    for first, last in _pieces(0, quotes):
        _make(connection, "quotes", span.start, first, last, span.step_us(_TRADES_A_QUOTE))
    for first, last in _pieces(0, span.before_last_hour):
        _make(connection, "trades", span.start, first, last, span.step_us())
        tell(f"{last:,} trades")
        if disk is not None and free_bytes(disk) < _BASE_BYTES:
            raise UserError(f"the disk of {disk} fills up: less than {_BASE_BYTES >> 30} GB are left")
    _run(connection, "summarize_time_indexes")


def _pieces(done: int, count: int) -> Iterator[tuple[int, int]]:
    """First and last numbers of the pieces of `done` + 1 to `count`."""
    for first in range(done + 1, count + 1, _PIECE):
        yield first, min(first + _PIECE - 1, count)


def _make(
    connection: Connection, relation: str, start: datetime, first: int, last: int, step_us: float
) -> None:
    with connection.transaction():
        _run(connection, f"make_{relation}", start=start, first=first, last=last, step=step_us)
        bounds = {
            "start": start + timedelta(microseconds=(first - 1) * step_us),
            "end": start + timedelta(microseconds=(last + 1) * step_us),
        }
        _run(connection, "make_ledger", relation=relation, rows=last - first + 1, **bounds)


# Measuring ----------------------------------------------------------------------------------------------


def _measure_rollups(connection: Connection, span: Span) -> dict[str, Any]:
    """Each made of all facts, then the hour that follows: what a refresh takes against a rebuild."""
    names = [name for name in refreshing.rollups(connection) if name in _ROLLUPS]
    rebuilt = {name: refreshing.rebuild(connection, name).seconds for name in names}
    first = span.before_last_hour
    for low, high in _pieces(first, span.trades):
        _make(connection, "trades", span.start, low, high, span.step_us())
    refreshed = {done.name: done.seconds for done in refreshing.refresh(connection, names)}
    quotes = first // _TRADES_A_QUOTE
    return {
        name: {
            "rebuild_s": round(rebuilt[name], 3),
            "refresh_s": round(refreshed[name], 4),
            "rebuild_to_refresh": round(rebuilt[name] / refreshed[name], 1),
            **_rates(name, first, quotes, span.trades - first, rebuilt[name], refreshed[name]),
        }
        for name in names
    }


def _rates(
    name: str, trades: int, quotes: int, new_trades: int, rebuild_s: float, refresh_s: float
) -> dict[str, int]:
    """Facts a second, of those that are made of facts of one kind; trades alone came anew."""
    if name == "trade_bars_1m":
        return {
            "rebuild_facts_per_s": round(trades / rebuild_s),
            "refresh_facts_per_s": round(new_trades / refresh_s),
        }
    if name == "quote_spreads_1m":
        return {"rebuild_facts_per_s": round(quotes / rebuild_s)}
    return {}


def _measure_queries(connection: Connection, span: Span) -> dict[str, Any]:
    return {
        name.removeprefix(ANALYSTS): _time_query(connection, query, span)
        for name, query in _statements().items()
        if name.startswith(ANALYSTS)
    }


def _time_query(connection: Connection, query: Query, span: Span) -> dict[str, Any]:
    """The first time, and the median of those after it; milliseconds until the last row is here."""
    bounds = {"start": span.start, "middle": span.at(0.5), "end": span.end}
    parameters = {name: bounds[name] for name in query.parameters}
    taken = []
    rows = 0
    for _ in range(1 + _ROUNDS):
        began = time.perf_counter()
        rows = len(connection.execute(query.sql, parameters).fetchall())
        taken.append((time.perf_counter() - began) * 1e3)
    return {"ms": round(statistics.median(taken[1:]), 2), "first_ms": round(taken[0], 2), "rows": rows}


def _measure_reading(url: str, span: Span) -> dict[str, Any]:
    """Trades as a run reads them, ADBC to Arrow to polars, beside psycopg's rows to polars."""
    share = min(1.0, _READ_ROWS / span.trades)
    start, end = span.at(0.5), min(span.at(0.5 + share), span.end)
    timescale = Timescale(url=url)
    try:

        def by_adbc() -> pl.DataFrame:
            return timescale.read(TRADES, "trades", start=start, end=end)

        def by_psycopg() -> pl.DataFrame:
            query = queries()["trades"].sql
            rows = timescale.connection.execute(query, {"start": start, "end": end}).fetchall()
            return TRADES.conform(pl.DataFrame(rows, infer_schema_length=1))

        keys = ["instrument_id", "trade_id"]
        frame = by_adbc().sort(keys)
        if not frame.equals(by_psycopg().sort(keys)):
            raise AssertionError("ADBC and psycopg read different rows")
        return {"rows": frame.height, "adbc": _rate(by_adbc), "psycopg": _rate(by_psycopg)}
    finally:
        timescale.close()


def _rate(read: Callable[[], pl.DataFrame]) -> dict[str, float]:
    """The fastest of the rounds: rows a second, and seconds of our own CPU a million rows."""
    rates, cpu = [], []
    for _ in range(_READ_ROUNDS):
        began, used = time.perf_counter(), time.process_time()
        rows = max(read().height, 1)
        rates.append(rows / (time.perf_counter() - began))
        cpu.append((time.process_time() - used) / rows * 1e6)
    return {"rows_per_s": round(max(rates)), "client_cpu_s_per_million": round(min(cpu), 3)}


def _measure_bytes(connection: Connection, span: Span, edition: Edition, tell: Tell) -> dict[str, Any]:
    """Bytes a trade; where there is a columnstore, with everything in it too, and the questions again."""
    before = _bytes_a_trade(connection, span)
    if not edition.has_policies:
        reason = _NO_COLUMNSTORE[edition]
        return {
            "bytes_per_trade": {"before": before, "after": None, "reason": reason},
            "queries_in_columnstore": None,
        }
    tell("compressing")
    for (chunk,) in _run(connection, "chunks_of_trades").fetchall():
        _run(connection, "to_columnstore", chunk=chunk)
    return {
        "bytes_per_trade": {"before": before, "after": _bytes_a_trade(connection, span), "reason": None},
        "queries_in_columnstore": _measure_queries(connection, span),
    }


def _bytes_a_trade(connection: Connection, span: Span) -> float:
    return round(_value(connection, "size_of_trades") / span.trades, 1)

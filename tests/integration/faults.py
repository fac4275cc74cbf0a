"""Twelve ways in which market data goes wrong, put where each can really arise, and who must notice it.

A fault arises in the recording, on its way through the parser; or below it, in the database, where a history,
an older version or a hand may have put it. Where the parser or a constraint refuses it, that is what catches
it, and it is put in below as well wherever the database takes it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

SECOND_NS = 1_000_000_000
LENGTH_NS = 200 * SECOND_NS
SPOILED = 2_000  # the lines that are spoiled lie behind so many: books are in sync by then
BTC, ETH = 1, 2

Line = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Catch:
    """Who must notice a fault: an expectation by its relation and name, or something before it."""

    by: str
    name: str


@dataclass(frozen=True)
class Fault:
    """One fault. `statements` put it into the database: of facts before they are judged, of windows after."""

    name: str
    catches: tuple[Catch, ...]
    spoil: Callable[[list[Line]], list[Line]] | None = None
    statements: Sequence[str] = ()
    refused: Sequence[tuple[str, str]] = ()  # (statement, name of the error that the database raises)
    after_judging: bool = False


def read_lines(path: Path, *, books: bool) -> list[Line]:
    """The first minutes of a recording."""
    found: list[Line] = []
    with gzip.open(path) as lines:
        for line in lines:
            stamp, _, text = line.partition(b" ")
            frame = json.loads(text)
            stream = frame.get("stream", "@depth")
            if found and int(stamp) - found[0][0] > LENGTH_NS:
                break
            if books or "@depth" not in stream:
                found.append((int(stamp), frame))
    return found


def write_lines(path: Path, lines: Sequence[Line]) -> None:
    """As a recorder would have."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{stamp} {json.dumps(frame)}\n" for stamp, frame in lines)


def _trades(lines: Sequence[Line], first: int = SPOILED) -> Iterator[int]:
    """The positions of trades behind the first lines."""
    for position in range(first, len(lines)):
        if lines[position][1].get("stream", "").endswith("@trade"):
            yield position


def _quotes(lines: Sequence[Line]) -> Iterator[int]:
    for position in range(SPOILED, len(lines)):
        if lines[position][1].get("stream", "").endswith("@bookTicker"):
            yield position


def _with(lines: Sequence[Line], position: int, **changed: Any) -> list[Line]:
    """One frame after that of `position`, as it is but for these fields and a number of its own."""
    stamp, frame = lines[position]
    spoiled = {**frame, "data": {**frame["data"], **changed}}
    return [*lines[: position + 1], (stamp + 1_000, spoiled), *lines[position + 1 :]]


def _nth(positions: Iterator[int], nth: int) -> int:
    return next(position for i, position in enumerate(positions) if i == nth)


def _again(lines: list[Line]) -> list[Line]:
    position = _nth(_trades(lines), 0)
    return [*lines[: position + 1], *lines[position : position + 1], *lines[position + 1 :]]


def _negative(lines: list[Line]) -> list[Line]:
    return _with(lines, _nth(_trades(lines), 3), q="-1.0", t=1)


def _crossed(lines: list[Line]) -> list[Line]:
    position = _nth(_quotes(lines), 5)
    ask = lines[position][1]["data"]["a"]
    return _with(lines, position, b=str(float(ask) + 1), u=lines[position][1]["data"]["u"] * 10 + 1)


def _future(lines: list[Line]) -> list[Line]:
    position = _nth(_trades(lines), 9)
    spoiled = list(lines)
    stamp, frame = lines[position]
    spoiled[position] = (stamp, {**frame, "data": {**frame["data"], "T": frame["data"]["T"] + 600_000}})
    return spoiled


def _gap(lines: list[Line]) -> list[Line]:
    lost = {_nth(_trades(lines), n) for n in range(40, 46)}
    return [line for position, line in enumerate(lines) if position not in lost]


def _in_seconds(lines: list[Line]) -> list[Line]:
    position = _nth(_trades(lines), 12)
    return _with(lines, position, T=lines[position][1]["data"]["T"] // 1000, t=2)


def _foreign(lines: list[Line]) -> list[Line]:
    return _with(lines, _nth(_trades(lines), 15), s="NOSUCHUSDT", t=3)


def _null(lines: list[Line]) -> list[Line]:
    return _with(lines, _nth(_trades(lines), 18), p=None, t=4)


def _swapped(lines: list[Line]) -> list[Line]:
    position = _nth(_quotes(lines), 25)
    data = lines[position][1]["data"]
    return _with(lines, position, b=data["a"], B=data["A"], a=data["b"], A=data["B"], u=data["u"] * 10 + 2)


def _insert_trade(**changed: str) -> str:
    """A trade as one that is there, but for these columns."""
    values = {
        name: changed.get(name, name)
        for name in (
            "instrument_id", "trade_id", "time", "occurred_at", "received_at",
            "price", "size", "aggressor", "fills",
        )
    }  # fmt: skip
    return (
        f"insert into market.trades ({', '.join(values)}) select {', '.join(values.values())}"
        " from market.trades where instrument_id = 1 order by time offset 500 limit 1"
    )


_LATER = "time + interval '3 milliseconds'"
_MICROSECONDS = "to_timestamp(extract(epoch from time) / 1000)"

FAULTS: Sequence[Fault] = (
    Fault(
        "duplicates",
        (Catch("ledger", "duplicates"), Catch("constraint", "UniqueViolation"),
         Catch("market.trades", "trades_are_executed_once")),
        spoil=_again,
        statements=(_insert_trade(time=_LATER),),
        refused=((_insert_trade(), "UniqueViolation"),),
    ),
    Fault(
        "negative size",
        (Catch("refused frame", "`$.data.q`"), Catch("market.trades", "size_is_positive")),
        spoil=_negative,
        statements=(_insert_trade(trade_id="9000000001", size="-size"),),
    ),
    Fault("crossed quote", (Catch("market.quotes", "bids_are_below_asks"),), spoil=_crossed),
    Fault("future time", (Catch("market.trades", "times_are_not_ahead"),), spoil=_future),
    Fault("gap", (Catch("market.trades", "trades_have_no_unexplained_gaps"),), spoil=_gap),
    Fault(
        "wrong unit of time",
        (Catch("refused frame", "`$.data.T`"), Catch("market.trades", "trades_are_of_this_age")),
        spoil=_in_seconds,
        statements=(
            _insert_trade(trade_id="9000000002", time=_MICROSECONDS, occurred_at=_MICROSECONDS),
        ),
    ),
    Fault(
        "unknown symbol",
        (Catch("refused frame", "NOSUCHUSDT"), Catch("market.trades", "instruments_are_known")),
        spoil=_foreign,
        statements=(_insert_trade(instrument_id="999"),),
    ),
    Fault(
        "null",
        (Catch("refused frame", "`$.data.p`"), Catch("constraint", "NotNullViolation"),
         Catch("market.reference_prices", "something_is_said")),
        spoil=_null,
        statements=(
            "insert into market.reference_prices (instrument_id, time, occurred_at, received_at)"
            " select instrument_id, time, occurred_at, received_at from market.trades"
            " where instrument_id = 1 order by time offset 500 limit 1",
        ),
        refused=((_insert_trade(trade_id="9000000003", price="null"), "NotNullViolation"),),
    ),
    Fault(
        "swapped bid and ask",
        (Catch("market.quotes", "bids_are_below_asks"),
         Catch("market.books", "best_bids_are_below_best_asks")),
        spoil=_swapped,
        statements=(
            "insert into market.books (instrument_id, update_id, time, occurred_at, received_at, bid_prices,"
            " bid_sizes, ask_prices, ask_sizes)"
            " select instrument_id, 9000000000, time, occurred_at, received_at, ask_prices, ask_sizes,"
            " bid_prices, bid_sizes from market.books"
            " where instrument_id = 1 order by time offset 100 limit 1",
        ),
    ),
    Fault(
        "OHLC broken",
        (Catch("surveillance.windows", "ohlc_are_consistent"),),
        statements=(
            "update surveillance.windows set high = low - 1 where (instrument_id, window_start) in ("
            "select instrument_id, window_start from surveillance.windows where instrument_id = 1"
            " and trade_count > 0 order by window_start offset 4 limit 1)",
        ),
        after_judging=True,
    ),
    Fault(
        "missing window",
        (Catch("surveillance.windows", "windows_have_no_holes"),),
        statements=(
            "delete from surveillance.windows where instrument_id = 1 and window_start in ("
            "select distinct window_start from surveillance.windows order by 1 offset 8 limit 1)",
        ),
        after_judging=True,
    ),
    Fault(
        "stale feed",
        (Catch("surveillance.windows", "no_feed_is_stale"),),
        statements=tuple(
            f"delete from market.{table} where instrument_id = 2 and time > ("
            "select min(time) + interval '60 seconds' from market.trades where instrument_id = 1"
            " and time > '2024-01-01') and time < ("
            "select min(time) + interval '160 seconds' from market.trades where instrument_id = 1"
            " and time > '2024-01-01')"
            for table in ("trades", "quotes")
        ),
    ),
)  # fmt: skip


ECHOES = {
    ("market.trades", "trade_numbers_rise"),  # future time
    ("market.books", "best_levels_come_first"),  # swapped bid and ask
    ("surveillance.windows", "vwap_is_between_low_and_high"),  # OHLC broken
}
"""What else the faults break."""


def table_of(faults: Sequence[Fault], caught: dict[str, list[str]]) -> str:
    """fault → what caught it, for a person."""
    width = max(len(fault.name) for fault in faults)
    rows = [f"  {fault.name:<{width}}   {'; '.join(caught[fault.name])}" for fault in faults]
    return "\n".join([f"  {'fault':<{width}}   caught by", *rows])


def inject(connection: psycopg.Connection[Any], faults: Sequence[Fault], *, after_judging: bool) -> None:
    """Put the faults of this stage into the database."""
    for fault in faults:
        if fault.after_judging is after_judging:
            for statement in fault.statements:
                changed = connection.execute(statement.encode()).rowcount
                assert changed >= 1, (fault.name, statement)

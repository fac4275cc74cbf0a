"""The suites of facts: what must hold of each row before it is judged. Pure.

What lives here: bounds, sides, times, numbers of trades. What never does: repairing: a row that breaks an
expectation of severity error is set aside in surveillance.quarantined_facts and stays where it is.

The parsers refuse most of this already (`ingest_daemon/venues`). It is said again of what is stored, since
rows also come from histories, from older versions and from a database that somebody has mended by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from sentinet_dagster.quality.expectations import Expectation, OneOf, Query, Rows, Severity, Suite, Within
from sentinet_dagster.queries import Query as Statement
from sentinet_dagster.queries import parse_queries

__all__ = ["BOOKS", "BOOK_FLOWS", "QUOTES", "REFERENCE_PRICES", "TRADES", "known_instruments", "over_range"]

_ERROR, _WARNING = Severity.ERROR, Severity.WARNING
_MOST: Final = 1e15  # of a price or a size: beyond it is a wrong unit; infinity and NaN are beyond it too
# A market of several venues may be crossed, and counts trades by venue.
_OF_EQUITIES: Final = "(select instrument_id from market.instruments where kind = 'equity')"


def known_instruments() -> Expectation:
    """Every instrument_id is one."""
    return Expectation(
        "instruments_are_known",
        _ERROR,
        Rows(
            "instrument_id not in (select instruments.instrument_id from market.instruments as instruments)"
        ),
        "instrument_id is in market.instruments.",
    )


@cache
def _range_rules() -> Mapping[str, Statement]:
    return parse_queries(Path(__file__).with_name("ranges.sql").read_text(encoding="utf-8"))


def over_range(name: str, severity: Severity) -> Expectation:
    """A rule of `ranges.sql`, which says what it means."""
    rule = _range_rules()[name]
    return Expectation(name, severity, Query(rule.sql), rule.description)


def _positive(column: str) -> Expectation:
    return Expectation(
        f"{column}_is_positive",
        _ERROR,
        Within(column, 0, _MOST, excludes_least=True),
        f"0 < {column} ≤ 1e15.",
    )


def _not_negative(column: str) -> Expectation:
    return Expectation(f"{column}_is_not_negative", _ERROR, Within(column, 0, _MOST), f"0 ≤ {column} ≤ 1e15.")


def _times(table: str) -> tuple[Expectation, ...]:
    """Of facts. Clocks differ by seconds; what was fetched afterwards was received long after its time."""
    return (
        Expectation(
            "times_are_not_ahead",
            _ERROR,
            Rows("time > received_at + interval '1 minute'"),
            "Nothing happens more than a minute after it was received.",
        ),
        Expectation(
            "times_are_recent",
            _WARNING,
            Rows("time < received_at - interval '1 day'"),
            "Nothing is received more than a day late.",
        ),
        over_range(f"{table}_are_of_this_age", _ERROR),
    )


def _best_first(side: str, sign: str) -> str:
    return f"{side}_prices[1] {sign} any({side}_prices)"


TRADES: Final = Suite(
    "market.trades",
    "time",
    ("instrument_id", "trade_id", "time"),
    (
        known_instruments(),
        _positive("price"),
        _positive("size"),
        Expectation("sides_are_known", _ERROR, OneOf("aggressor", (-1, 0, 1)), "aggressor is −1, 0 or 1."),
        Expectation("fills_are_counted", _ERROR, Within("fills", 1), "fills ≥ 1."),
        *_times("trades"),
        Expectation(
            "trades_are_executed_once",
            _ERROR,
            Rows(
                f"batch.instrument_id not in {_OF_EQUITIES}"  # noqa: S608 - code, no input
                " and exists (select 1 from market.trades as earlier"
                " where earlier.instrument_id = batch.instrument_id and earlier.trade_id = batch.trade_id"
                " and earlier.time < batch.time and earlier.time >= batch.time - interval '1 minute'"
                # The same, so that the server sees which chunks may have one.
                " and earlier.time >= %(start)s::timestamptz - interval '1 minute'"
                " and earlier.time < %(end)s::timestamptz)"
            ),
            "No trade has the number of one of the minute before: the second is the same trade again.",
        ),
        over_range("trade_numbers_rise", _WARNING),
        over_range("trades_have_no_unexplained_gaps", _WARNING),
    ),
    row_id="trade_id",
)

QUOTES: Final = Suite(
    "market.quotes",
    "time",
    ("instrument_id", "update_id", "time"),
    (
        known_instruments(),
        # A side that is empty has price and size 0.
        *(_not_negative(column) for column in ("bid_price", "bid_size", "ask_price", "ask_size")),
        Expectation(
            "bids_are_below_asks",
            _ERROR,
            Rows(
                "bid_price >= ask_price and bid_price > 0 and ask_price > 0"
                f" and instrument_id not in {_OF_EQUITIES}"
            ),
            "Best bid < best ask, but for equities, which are of several venues.",
        ),
        *_times("quotes"),
    ),
    row_id="update_id",
)

BOOKS: Final = Suite(
    "market.books",
    "time",
    ("instrument_id", "update_id", "time"),
    (
        known_instruments(),
        Expectation(
            "levels_are_positive",
            _ERROR,
            Rows(
                " or ".join(
                    f"0 >= any({column}) or {_MOST} < any({column})"
                    for column in ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")
                )
            ),
            "0 < every price and size ≤ 1e15.",
        ),
        Expectation(
            "levels_are_pairs",
            _ERROR,
            Rows(
                "cardinality(bid_prices) <> cardinality(bid_sizes)"
                " or cardinality(ask_prices) <> cardinality(ask_sizes)"
                " or cardinality(bid_prices) > 20 or cardinality(ask_prices) > 20"
            ),
            "As many sizes as prices a side, at most 20.",
        ),
        Expectation(
            "best_levels_come_first",
            _ERROR,
            Rows(f"{_best_first('bid', '<')} or {_best_first('ask', '>')}"),
            "No bid is above the first, no ask below the first.",
        ),
        Expectation(
            "best_bids_are_below_best_asks",
            _ERROR,
            Rows("bid_prices[1] >= ask_prices[1]"),
            "The first bid < the first ask.",
        ),
        *_times("books"),
    ),
    row_id="update_id",
)

BOOK_FLOWS: Final = Suite(
    "market.book_flows",
    "time",
    ("instrument_id", "side", "distance_bps", "is_partial", "time"),
    (
        known_instruments(),
        Expectation("sides_are_known", _ERROR, OneOf("side", (-1, 1)), "side is −1 or 1."),
        Expectation(
            "distances_are_known",
            _ERROR,
            OneOf("distance_bps", (0, 1, 2, 5, 10, 25)),
            "distance_bps is 0, 1, 2, 5, 10 or 25.",
        ),
        *(
            _not_negative(column)
            for column in (
                "added",
                "removed",
                "cancelled",
                "traded",
                "largest_added",
                "fleeting",
                "withdrawn",
            )
        ),
        Expectation("adds_are_counted", _ERROR, Within("adds", 0), "adds ≥ 0."),
        Expectation("cancels_are_counted", _ERROR, Within("cancels", 0), "cancels ≥ 0."),
        Expectation(
            "no_more_is_cancelled_than_removed",
            _ERROR,
            Rows("cancelled > removed * (1 + 1e-9) + 1e-9"),
            "cancelled ≤ removed.",
        ),
        *_times("book_flows"),
    ),
    # The rest of the unique key as one number.
    row_id="distance_bps::bigint * 4 + (side + 1) + is_partial::integer",
)

REFERENCE_PRICES: Final = Suite(
    "market.reference_prices",
    "time",
    ("instrument_id", "time"),
    (
        known_instruments(),
        _positive("mark_price"),
        _positive("index_price"),
        Expectation(
            "something_is_said",
            _ERROR,
            Rows("mark_price is null and index_price is null and funding_rate is null"),
            "A row has a price or a rate.",
        ),
        Expectation("funding_is_a_rate", _ERROR, Within("funding_rate", -1, 1), "−1 ≤ funding_rate ≤ 1."),
        *_times("reference_prices"),
    ),
    row_id="0::bigint",
)

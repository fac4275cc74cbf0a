"""The suites of facts: what must hold of each row before it is judged. Pure.

What lives here: bounds, sides, times, numbers of trades. What never does: repairing: a row that breaks an
expectation of severity error is set aside in surveillance.quarantined_facts and stays where it is.

The parsers refuse most of this already (`ingest_daemon/venues`). It is said again of what is stored, since
rows also come from histories, from older versions and from a database that somebody has mended by hand.
"""

from __future__ import annotations

from typing import Final

from sentinet_dagster.quality.expectations import Expectation, OneOf, Query, Rows, Severity, Suite, Within
from sentinet_dagster.quality.rules import MOST, known_instruments, not_negative, over_range, positive

__all__ = ["BOOKS", "BOOK_FLOWS", "QUOTES", "REFERENCE_PRICES", "TRADES"]

_ERROR, _WARNING = Severity.ERROR, Severity.WARNING
# A market of several venues may be crossed, and counts trades by venue.
_OF_EQUITIES: Final = "(select instrument_id from market.instruments where kind = 'equity')"


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
        Expectation(
            f"{table}_are_of_this_age",
            _ERROR,
            Query(
                f"select strays.instrument_id, strays.time from market.{table} as strays"  # noqa: S608 - code
                " where strays.time < '2009-01-01T00:00Z'"
            ),
            "No time is before 2009, whatever the range: such a time is in another unit.",
        ),
    )


def _best_first(side: str, sign: str) -> str:
    return f"{side}_prices[1] {sign} any({side}_prices)"


TRADES: Final = Suite(
    "market.trades",
    "time",
    ("instrument_id", "trade_id", "time"),
    (
        known_instruments(),
        positive("price"),
        positive("size"),
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
        *(not_negative(column) for column in ("bid_price", "bid_size", "ask_price", "ask_size")),
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
                    f"0 >= any({column}) or {MOST} < any({column})"
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
            not_negative(column)
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
        positive("mark_price"),
        positive("index_price"),
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

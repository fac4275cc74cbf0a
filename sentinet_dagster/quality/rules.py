"""Rules that more than one suite has: bounds, shares, prices, spreads. Pure.

What lives here: expectations made for a column or a relation, and the rules of `ranges.sql` by name. What
never does: which relation has which (`*_suites.py`, `suites.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from sentinet_dagster.quality.expectations import Expectation, Query, Rows, Severity, Within
from sentinet_dagster.queries import Query as Statement
from sentinet_dagster.queries import parse_queries

__all__ = [
    "MOST",
    "NEARLY",
    "known_instruments",
    "not_negative",
    "over_range",
    "positive",
    "prices_of_trades",
    "share",
    "spreads_in_order",
]

MOST: Final = 1e15
"""Of a price or a size: beyond it is a wrong unit; infinity and NaN are beyond it too."""

NEARLY: Final = 1e-9
"""Sums of the same numbers in another order differ in their last digits."""

_ERROR: Final = Severity.ERROR


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


def positive(column: str) -> Expectation:
    """Of a price or a size that is there."""
    return Expectation(
        f"{column}_is_positive", _ERROR, Within(column, 0, MOST, excludes_least=True), f"0 < {column} ≤ 1e15."
    )


def not_negative(column: str) -> Expectation:
    """Of a size, a count, a sum; NaN and infinity are none."""
    return Expectation(f"{column}_is_not_negative", _ERROR, Within(column, 0, MOST), f"0 ≤ {column} ≤ 1e15.")


def share(column: str) -> Expectation:
    """Of a part of a whole."""
    return Expectation(f"{column}_is_a_share", _ERROR, Within(column, 0, 1), f"0 ≤ {column} ≤ 1.")


def prices_of_trades() -> tuple[Expectation, ...]:
    """Of open, high, low, close and vwap, whatever the length of time."""
    return (
        Expectation(
            "ohlc_are_consistent",
            _ERROR,
            Rows("low > least(open, close, high) or high < greatest(open, close, low)"),
            "low ≤ open, close ≤ high.",
        ),
        Expectation(
            "prices_are_positive", _ERROR, Within("low", 0, MOST, excludes_least=True), "0 < low ≤ 1e15."
        ),
        Expectation(
            "vwap_is_between_low_and_high",
            _ERROR,
            Rows(f"vwap < low * (1 - {NEARLY}) or vwap > high * (1 + {NEARLY})"),
            "low ≤ vwap ≤ high.",
        ),
    )


def spreads_in_order() -> tuple[Expectation, ...]:
    """Of the least, mean and greatest spread, whatever the length of time."""
    return (
        Expectation(
            "spreads_are_in_order",
            _ERROR,
            Rows(
                f"spread_bps_min - abs(spread_bps_min) * {NEARLY} > spread_bps_mean"
                f" or spread_bps_max + abs(spread_bps_max) * {NEARLY} < spread_bps_mean"
            ),
            "spread_bps_min ≤ spread_bps_mean ≤ spread_bps_max.",
        ),
        Expectation(
            "spreads_are_not_negative",
            Severity.WARNING,
            Within("spread_bps_min", 0),
            "Best bid ≤ best ask; only a market of several venues (equities) may be crossed.",
        ),
    )

"""The suites of judgement, and the table of all of them. Pure: the one place that says what must hold.

What lives here: windows, alerts; `SUITES`. What never does: the suites of facts (`fact_suites.py`) and sums
(`rollup_suites.py`), how they are held (`compiled.py`, `full_pass.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from sentinet_dagster.quality.expectations import Above, Expectation, Rows, Severity, Suite, Within
from sentinet_dagster.quality.fact_suites import (
    BOOK_FLOWS,
    BOOKS,
    QUOTES,
    REFERENCE_PRICES,
    TRADES,
    known_instruments,
    over_range,
)
from sentinet_dagster.quality.rollup_suites import ROLLUPS

__all__ = ["ALERTS", "FACTS", "SUITES", "WINDOWS"]

_ERROR, _WARNING = Severity.ERROR, Severity.WARNING
# Sums of the same numbers in another order differ in their last digits.
_NEARLY: Final = 1e-9


def _share(column: str) -> Expectation:
    return Expectation(f"{column}_is_a_share", _ERROR, Within(column, 0, 1), f"0 ≤ {column} ≤ 1.")


WINDOWS: Final = Suite(
    "surveillance.windows",
    "window_start",
    ("instrument_id", "window_start"),
    (
        known_instruments(),
        _share("completeness"),
        _share("book_completeness"),
        _share("trade_completeness"),
        Expectation(
            "windows_are_aligned",
            _ERROR,
            Rows("window_start <> date_bin('5 seconds', window_start, 'epoch')"),
            "A window starts at a multiple of 5 s.",
        ),
        Expectation(
            "ohlc_are_consistent",
            _ERROR,
            Rows("low > least(open, close, high) or high < greatest(open, close, low)"),
            "low ≤ open, close ≤ high.",
        ),
        Expectation(
            "ohlc_are_of_trades",
            _ERROR,
            Rows("(trade_count > 0) <> (open is not null and high is not null and low is not null"
                 " and close is not null)"),
            "Prices are there where something was traded, and nowhere else.",
        ),
        Expectation(
            "prices_are_positive", _ERROR, Within("low", 0, 1e15, excludes_least=True), "0 < low ≤ 1e15."
        ),
        Expectation(
            "vwap_is_between_low_and_high",
            _ERROR,
            Rows(f"vwap < low * (1 - {_NEARLY}) or vwap > high * (1 + {_NEARLY})"),
            "low ≤ vwap ≤ high.",
        ),
        Expectation(
            "sides_make_no_more_than_the_volume",
            _ERROR,
            Rows(f"buy_volume + sell_volume > volume * (1 + {_NEARLY})"),
            "buy_volume + sell_volume ≤ volume; the rest is of unknown side.",
        ),
        *(
            Expectation(f"{column}_is_not_negative", _ERROR, Within(column, 0), f"{column} ≥ 0.")
            for column in (
                "volume", "trade_count", "quote_count", "book_count", "refused_frames", "gap_seconds"
            )
        ),
        Expectation(
            "spreads_are_in_order",
            _ERROR,
            Rows(
                f"spread_bps_min - abs(spread_bps_min) * {_NEARLY} > spread_bps_mean"
                f" or spread_bps_max + abs(spread_bps_max) * {_NEARLY} < spread_bps_mean"
            ),
            "spread_bps_min ≤ spread_bps_mean ≤ spread_bps_max.",
        ),
        Expectation(
            "spreads_are_not_negative",
            _WARNING,
            Within("spread_bps_min", 0),
            "Best bid ≤ best ask; only a market of several venues (equities) may be crossed.",
        ),
        over_range("windows_have_no_holes", _ERROR),
        over_range("no_feed_is_stale", _WARNING),
        over_range("row_counts_are_usual", _WARNING),
    ),
)  # fmt: skip

ALERTS: Final = Suite(
    "surveillance.alerts",
    "window_start",
    ("alert_id",),
    (
        known_instruments(),
        _share("completeness"),
        Expectation(
            "evidence_is_there",
            _ERROR,
            Rows("state <> 'retracted' and (evidence = jsonb_build_object() or summary = '')"),
            "An alert in force shows the numbers that fired.",
        ),
        Expectation(
            "alerts_stand_on_windows",
            _ERROR,
            Rows(
                "state <> 'retracted' and not exists (select 1 from surveillance.windows as windows"
                " where windows.instrument_id = batch.instrument_id"
                " and windows.window_start = batch.window_start)"
            ),
            "The window of an alert in force is still there.",
        ),
        Expectation(
            "alerts_end_after_they_start",
            _ERROR,
            Above("window_end", "window_start"),
            "window_start < window_end.",
        ),
    ),
)

FACTS: Final[Sequence[Suite]] = (TRADES, QUOTES, BOOKS, BOOK_FLOWS, REFERENCE_PRICES)
"""What is checked before it is judged, and set aside where it does not hold."""

SUITES: Final[Mapping[str, Suite]] = MappingProxyType(
    {suite.relation: suite for suite in (*FACTS, WINDOWS, ALERTS, *ROLLUPS)}
)
"""Relation → suite."""

"""The suites of judgement, and the table of all of them. Pure: the one place that says what must hold.

What lives here: windows, alerts; `SUITES`. What never does: the suites of facts (`fact_suites.py`) and sums
(`rollup_suites.py`), how they are held (`compiled.py`, `full_pass.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from sentinet_dagster.quality.expectations import Above, Expectation, Rows, Severity, Suite
from sentinet_dagster.quality.fact_suites import (
    BOOK_FLOWS,
    BOOKS,
    QUOTES,
    REFERENCE_PRICES,
    TRADES,
)
from sentinet_dagster.quality.rollup_suites import ROLLUPS
from sentinet_dagster.quality.rules import (
    NEARLY,
    known_instruments,
    not_negative,
    over_range,
    prices_of_trades,
    share,
    spreads_in_order,
)

__all__ = ["ALERTS", "FACTS", "SUITES", "WINDOWS"]

_ERROR, _WARNING = Severity.ERROR, Severity.WARNING

WINDOWS: Final = Suite(
    "surveillance.windows",
    "window_start",
    ("instrument_id", "window_start"),
    (
        known_instruments(),
        share("completeness"),
        share("book_completeness"),
        share("trade_completeness"),
        Expectation(
            "windows_are_aligned",
            _ERROR,
            Rows("window_start <> date_bin('5 seconds', window_start, 'epoch')"),
            "A window starts at a multiple of 5 s.",
        ),
        *prices_of_trades(),
        Expectation(
            "ohlc_are_of_trades",
            _ERROR,
            Rows("(trade_count > 0) <> (open is not null and high is not null and low is not null"
                 " and close is not null)"),
            "Prices are there where something was traded, and nowhere else.",
        ),
        Expectation(
            "sides_make_no_more_than_the_volume",
            _ERROR,
            Rows(f"buy_volume + sell_volume > volume * (1 + {NEARLY})"),
            "buy_volume + sell_volume ≤ volume; the rest is of unknown side.",
        ),
        *(
            not_negative(column)
            for column in (
                "volume", "trade_count", "quote_count", "book_count", "refused_frames", "gap_seconds"
            )
        ),
        *spreads_in_order(),
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
        share("completeness"),
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

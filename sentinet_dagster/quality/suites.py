"""The suites of judgement, and the table of all of them. Pure: the one place that says what must hold.

What lives here: windows, alerts; `SUITES`. What never does: the suites of facts (`fact_suites.py`) and sums
(`rollup_suites.py`), how they are held (`compiled.py`, `full_pass.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from sentinet_dagster.quality.expectations import Above, Expectation, Query, Rows, Severity, Suite, Within
from sentinet_dagster.quality.fact_suites import (
    BOOK_FLOWS,
    BOOKS,
    QUOTES,
    REFERENCE_PRICES,
    TRADES,
    known_instruments,
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
        Expectation("prices_are_positive", _ERROR, Within("low", 0, 1e15, excludes_least=True), "0 < low < 1e15."),
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
            for column in ("volume", "trade_count", "quote_count", "book_count", "refused_frames", "gap_seconds")
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
        Expectation(
            "windows_have_no_holes",
            _ERROR,
            Query(
                "select ids.instrument_id, starts.window_start"
                " from (select distinct window_start from batch) as starts"
                " cross join (select instrument_id, min(window_start) as since, max(window_start) as until"
                " from batch group by instrument_id) as ids"
                " where starts.window_start between ids.since and ids.until"
                " and not exists (select 1 from batch where batch.instrument_id = ids.instrument_id"
                " and batch.window_start = starts.window_start)"
                " union all"
                # Between two windows less than the silence apart none may be missing for everybody.
                " select null as instrument_id, window_start from ("
                " select window_start, lead(window_start) over (order by window_start) as following"
                " from (select distinct window_start from batch) as each_once) as steps"
                " where following > window_start + interval '5 seconds'"
                " and following <= window_start + interval '1 minute'"
            ),
            "Where an instrument has a window every instrument has, and none is missing between two.",
        ),
        Expectation(
            "no_feed_is_stale",
            _WARNING,
            Query(
                "with heard as ("
                " select instrument_id, window_start,"
                " lag(window_start) over (partition by instrument_id order by window_start) as before"
                " from batch where trade_count + quote_count + book_count > 0)"
                " select instrument_id, before as silent_since, window_start as silent_until from heard"
                " where window_start - before > interval '65 seconds'"
                " and not exists (select 1 from batch where batch.instrument_id = heard.instrument_id"
                " and batch.window_start > heard.before and batch.window_start < heard.window_start"
                " and batch.book_completeness < 1)"
                " union all"
                " select latest.instrument_id, latest.window_start, ends.window_start"
                " from (select instrument_id, max(window_start) as window_start from heard group by instrument_id)"
                " as latest"
                " cross join (select max(window_start) as window_start from heard) as ends"
                " where ends.window_start - latest.window_start > interval '1 minute'"
                " and not exists (select 1 from batch where batch.instrument_id = latest.instrument_id"
                " and batch.window_start > latest.window_start and batch.window_start <= ends.window_start"
                " and batch.book_completeness < 1)"
            ),
            "No instrument is silent for more than a minute while others are heard and no gap explains it.",
        ),
        Expectation(
            "row_counts_are_usual",
            _WARNING,
            Query(
                "with now as ("
                " select instrument_id, sum(trade_count + quote_count + book_count) as events from batch"
                " where {end} - {start} = interval '1 hour' group by instrument_id),"
                " past as ("
                " select windows.instrument_id, days.day,"
                " sum(windows.trade_count + windows.quote_count + windows.book_count) as events"
                " from generate_series(1, 7) as days (day)"
                " inner join surveillance.windows as windows"
                " on windows.window_start >= {start} - days.day * interval '1 day'"
                " and windows.window_start < {end} - days.day * interval '1 day'"
                " where {end} - {start} = interval '1 hour'"
                " group by windows.instrument_id, days.day),"
                " usual as ("
                " select instrument_id, percentile_cont(0.5) within group (order by events) as events from past"
                " group by instrument_id having count(*) >= 3)"
                " select usual.instrument_id, coalesce(now.events, 0) as events, usual.events as usual_events"
                " from usual left join now on usual.instrument_id = now.instrument_id"
                " where exists (select 1 from batch) and usual.events >= 100"
                " and (coalesce(now.events, 0) < usual.events / 5 or now.events > usual.events * 5)"
            ),
            "Of an hour: each instrument's trades, quotes and books are a fifth to five times the median of the "
            "same hour of the last seven days, where three of them are known.",
        ),
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

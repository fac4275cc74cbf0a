"""The suites of sums, which dbt makes: what must hold of them whatever they were made of. Pure.

What lives here: bars, spreads, depth, reference prices, indicators, the basis, the quality of hours. What
never does: views that only repeat these (quote_bars_1m, the marts); that sums are those of the facts and keys
unique: dbt's own tests hold that (`dbt_project`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sentinet_dagster.quality.expectations import Above, Expectation, Present, Rows, Severity, Suite, Within
from sentinet_dagster.quality.rules import (
    NEARLY,
    known_instruments,
    not_negative,
    positive,
    prices_of_trades,
    share,
    spreads_in_order,
)

__all__ = ["ROLLUPS"]

_ERROR, _WARNING = Severity.ERROR, Severity.WARNING
_LENGTHS: Final = {"1m": "1 minute", "5m": "5 minutes", "15m": "15 minutes", "1h": "1 hour", "1d": "1 day"}


def _suite(table: str, length: str, *expectations: Expectation, key: Sequence[str] = ()) -> Suite:
    """Of buckets of this length, one an instrument and `key`."""
    aligned = Expectation(
        "buckets_are_aligned",
        _ERROR,
        Rows(f"bucket <> date_bin('{length}', bucket, 'epoch')"),
        f"A bucket starts at a multiple of {length}.",
    )
    return Suite(
        f"rollup.{table}",
        "bucket",
        ("instrument_id", "bucket", *key),
        (known_instruments(), aligned, *expectations),
    )


def _there(column: str) -> Expectation:
    return Expectation(f"{column}_is_there", _ERROR, Present(column), f"{column} is not null.")


def _some(column: str) -> Expectation:
    return Expectation(f"{column}_is_not_0", _ERROR, Within(column, 1), f"{column} ≥ 1.")


def _no_more_are_timed_than(column: str) -> Expectation:
    return Expectation(
        "no_more_are_timed_than_counted",
        _ERROR,
        Above(column, "timed_count", or_equal=True),
        f"timed_count ≤ {column}.",
    )


def _bars(name: str, length: str) -> Suite:
    return _suite(
        f"trade_bars_{name}",
        length,
        *(_there(column) for column in ("open", "high", "low", "close", "vwap")),
        *prices_of_trades(),
        Expectation("something_was_traded", _ERROR, Within("trade_count", 1), "trade_count ≥ 1."),
        Expectation(
            "buyers_take_no_more_than_the_volume",
            _ERROR,
            Rows(f"buy_volume > volume * (1 + {NEARLY})"),
            "buy_volume ≤ volume.",
        ),
    )


QUOTE_SPREADS: Final = _suite(
    "quote_spreads_1m",
    "1 minute",
    _some("quote_count"),
    _no_more_are_timed_than("quote_count"),
    positive("mid_close"),
    *spreads_in_order(),
    not_negative("spread_bps_std"),
    Expectation(
        "order_imbalance_is_a_share",
        _ERROR,
        Within("order_imbalance", 0, 1 + NEARLY),
        "0 ≤ order_imbalance ≤ 1.",
    ),
)

BOOK_DEPTH: Final = _suite(
    "book_depth_1m",
    "1 minute",
    _some("book_count"),
    _no_more_are_timed_than("book_count"),
    not_negative("bid_depth_10bps"),
    not_negative("ask_depth_10bps"),
)

REFERENCE_PRICES: Final = _suite(
    "reference_prices_1m",
    "1 minute",
    _some("reference_price_count"),
    positive("mark_price"),
    positive("index_price"),
    Expectation("funding_is_a_rate", _ERROR, Within("funding_rate", -1, 1), "−1 ≤ funding_rate ≤ 1."),
)

FEED_QUALITY: Final = _suite(
    "feed_quality_1h",
    "1 hour",
    share("completeness"),
    Expectation(
        "minutes_are_of_an_hour", _ERROR, Within("minutes_with_facts", 0, 60), "0 ≤ minutes_with_facts ≤ 60."
    ),
    Expectation("gaps_are_of_an_hour", _ERROR, Within("gap_seconds", 0, 3600), "0 ≤ gap_seconds ≤ 3600."),
    Expectation(
        "gaps_of_books_include_the_others",
        _ERROR,
        Above("book_gap_seconds", "gap_seconds", or_equal=True),
        "gap_seconds ≤ book_gap_seconds.",
    ),
    *(
        not_negative(column)
        for column in ("trade_count", "quote_count", "book_count", "gap_count", "refused_frames")
    ),
    Expectation(
        "hours_are_mostly_whole", _WARNING, Within("completeness", 0.5), "Half an hour's data is there."
    ),
)

TECHNICAL_INDICATORS: Final = _suite(
    "technical_indicators_1m",
    "1 minute",
    _there("close"),
    *(positive(column) for column in ("close", "sma_20", "sma_50", "sma_200", "ema_12", "ema_26")),
    Expectation("rsi_is_a_percentage", _ERROR, Within("rsi_14", 0, 100 + NEARLY), "0 ≤ rsi_14 ≤ 100."),
    not_negative("sigma_20"),
    Expectation(
        "bands_are_in_order",
        _ERROR,
        Above("bollinger_upper", "bollinger_lower", or_equal=True),
        "bollinger_lower ≤ bollinger_upper.",
    ),
)

BASIS: Final = _suite(
    "basis_1m",
    "1 minute",
    *(positive(column) for column in ("perpetual_price", "spot_price", "index_price", "mark_price")),
    *(
        Expectation(
            f"basis_to_{of}_is_near",
            _WARNING,
            Within(f"basis_{of}_bps", -1000, 1000),
            f"A perpetual is within a tenth of its {of} price: −1000 ≤ basis_{of}_bps ≤ 1000.",
        )
        for of in ("spot", "index", "mark")
    ),
    key=("spot_instrument_id",),
)

ROLLUPS: Final[Sequence[Suite]] = (
    *(_bars(name, length) for name, length in _LENGTHS.items()),
    QUOTE_SPREADS,
    BOOK_DEPTH,
    REFERENCE_PRICES,
    FEED_QUALITY,
    TECHNICAL_INDICATORS,
    BASIS,
)
"""Checked where they are there."""

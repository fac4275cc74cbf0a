"""The suites of sums, which dbt makes: what must hold of bars whatever they were made of. Pure.

What lives here: bars of trades and of quotes. What never does: that sums are those of the facts: dbt's own
tests hold them against one another (`dbt_project`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sentinet_dagster.quality.expectations import Expectation, Rows, Severity, Suite, Within
from sentinet_dagster.quality.fact_suites import known_instruments

__all__ = ["ROLLUPS"]

_ERROR: Final = Severity.ERROR
_NEARLY: Final = 1e-9
_LENGTHS: Final = {"1m": "1 minute", "5m": "5 minutes", "15m": "15 minutes", "1h": "1 hour", "1d": "1 day"}


def _bars(name: str, length: str) -> Suite:
    return Suite(
        f"rollup.trade_bars_{name}",
        "bucket",
        ("instrument_id", "bucket"),
        (
            known_instruments(),
            Expectation(
                "buckets_are_aligned",
                _ERROR,
                Rows(f"bucket <> date_bin('{length}', bucket, 'epoch')"),
                f"A bar starts at a multiple of {length}.",
            ),
            Expectation(
                "ohlc_are_consistent",
                _ERROR,
                Rows("low > least(open, close, high) or high < greatest(open, close, low)"),
                "low ≤ open, close ≤ high.",
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
            Expectation("something_was_traded", _ERROR, Within("trade_count", 1), "trade_count ≥ 1."),
            Expectation(
                "buyers_take_no_more_than_the_volume",
                _ERROR,
                Rows(f"buy_volume > volume * (1 + {_NEARLY})"),
                "buy_volume ≤ volume.",
            ),
        ),
    )


ROLLUPS: Final[Sequence[Suite]] = tuple(_bars(name, length) for name, length in _LENGTHS.items())
"""Checked where they are there."""

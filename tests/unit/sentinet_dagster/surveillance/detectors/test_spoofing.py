"""A lean must hold for two windows, on one side, in enough quotes, while the price stays."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.detectors import Inputs
from sentinet_dagster.surveillance.detectors.spoofing import SPOOFING
from sentinet_dagster.surveillance.schema import WINDOW
from sentinet_dagster.surveillance.settings import load_settings
from tests.unit.sentinet_dagster.surveillance.facts import START, frame, instruments

ZEROS = {
    "volume": 0.0,
    "buy_volume": 0.0,
    "sell_volume": 0.0,
    "notional": 0.0,
    "gap_seconds": 0.0,
    "book_completeness": 1.0,
    "trade_completeness": 1.0,
    "flow_seconds": 0,
    "partial_flow_seconds": 0,
    "flow_changes": 0,
}
COUNTS = {
    "trade_count": 0,
    "book_count": 0,
    "refused_frames": 0,
    "buy_sweep_count": 0,
    "sell_sweep_count": 0,
    "order_trade_ratio": 0.0,
    "price_z_samples": 0,
}


def fires(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return not said(first, second).is_empty()


def said(first: dict[str, Any], second: dict[str, Any]) -> pl.DataFrame:
    """What fires on the second of two windows that otherwise lean by 0.8 in 20 quotes."""
    rows = [
        {
            "instrument_id": 1,
            "window_start": START + number * WINDOW,
            "imbalance_mean": 0.8,
            "quote_count": 20,
        }
        | {"price_move_bps": 2.0, "completeness": 1.0}
        | more
        for number, more in enumerate((first, second))
    ]
    inputs = Inputs(
        frame(schema.WINDOWS, rows, **ZEROS, **COUNTS),
        frame(schema.FEATURES, rows, **COUNTS),
        schema.CORRELATIONS.empty(),
        schema.SCORES.empty(),
        instruments(1),
        START + WINDOW,
        START + 2 * WINDOW,
        0.8,
    )
    found = SPOOFING.detect(inputs, load_settings({}).thresholds(SPOOFING, instruments(1)))
    return found.filter(pl.col("fires"))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {}, True),
        ({"imbalance_mean": -0.8}, {"imbalance_mean": -0.7}, True),
        ({"imbalance_mean": 0.5}, {}, False),
        ({"imbalance_mean": -0.8}, {}, False),
        ({"imbalance_mean": None}, {}, False),
        ({"quote_count": 7}, {}, False),
        ({"price_move_bps": 50.0}, {}, True),
        ({}, {"price_move_bps": 10.0}, False),
        ({}, {"price_move_bps": None}, False),
    ],
)
def test_all_conditions_must_hold(first: dict[str, Any], second: dict[str, Any], expected: bool) -> None:
    assert fires(first, second) is expected


@pytest.mark.parametrize(("flow_seconds", "severity"), [(0, "warning"), (5, "info")])
def test_where_the_orders_themselves_are_seen_it_is_a_hint(flow_seconds: int, severity: str) -> None:
    assert said({}, {"flow_seconds": flow_seconds})["severity"].to_list() == [severity]

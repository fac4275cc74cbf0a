"""An order counts if it, or what is traded meanwhile, is beyond all that was seen there."""

from __future__ import annotations

import polars as pl
import pytest

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.detectors import Inputs
from sentinet_dagster.surveillance.detectors.book_spoofing import BOOK_SPOOFING
from sentinet_dagster.surveillance.schema import WINDOW
from sentinet_dagster.surveillance.settings import load_settings
from tests.unit.sentinet_dagster.surveillance.facts import START, frame, instruments

ZEROS = dict.fromkeys(("volume", "buy_volume", "sell_volume", "notional", "gap_seconds"), 0.0)
WHOLE = dict.fromkeys(("completeness", "book_completeness", "trade_completeness"), 1.0)
COUNTS = dict.fromkeys(
    ("trade_count", "quote_count", "book_count", "refused_frames", "buy_sweep_count", "sell_sweep_count"), 0
)
PRICE, DEPTH = 1e4, 3e5


def verdict(order: float, executed: float, past: int = 60) -> bool | None:
    """Of a bid of so many base units while so many asks were taken, after windows with orders of 1 to 10 and
    1 to 10 taken; None: nothing is said."""
    windows = [
        {
            "instrument_id": 1,
            "window_start": START + number * WINDOW,
            "bid_withdrawn_max": order if number == past else 1.0 + number % 10,
            "ask_traded_near": executed if number == past else 1.0 + number % 10,
            "bid_traded_near": 0.0,
            "bid_withdrawn_life_s": 2.0,
        }
        for number in range(past + 1)
    ]
    shared = {"mid_close": PRICE, "bid_depth_10bps": DEPTH, "order_trade_ratio": 0.0}
    flows = {"flow_seconds": 5, "partial_flow_seconds": 0, "flow_changes": 0}
    start = START + past * WINDOW
    inputs = Inputs(
        frame(schema.WINDOWS, windows, **ZEROS, **WHOLE, **COUNTS, **shared, **flows),
        schema.FEATURES.empty(),
        schema.CORRELATIONS.empty(),
        schema.SCORES.empty(),
        instruments(1),
        start,
        start + WINDOW,
        0.8,
    )
    found = BOOK_SPOOFING.detect(inputs, load_settings({}).thresholds(BOOK_SPOOFING, instruments(1)))
    fires = found.filter(pl.col("window_start") == start)["fires"].to_list()
    return fires[0] if fires else None


@pytest.mark.parametrize(
    ("order", "executed", "fires"),
    [
        (15.1, 1.0, True),  # larger than one and a half times any
        (14.9, 1.0, False),
        (9.1, 15.1, True),  # larger than nine of ten, while more was executed than ever
        (9.1, 14.9, False),
        (8.9, 15.1, False),  # usual: whoever trades much does so beside market makers
        (15.1, 0.0, False),  # nobody took the other side
    ],
)
def test_the_order_or_what_is_executed_meanwhile_is_beyond_its_past(
    order: float, executed: float, fires: bool
) -> None:
    assert verdict(order, executed) is fires


def test_without_a_past_nothing_is_beyond_it() -> None:
    assert verdict(20.0, 20.0, past=29) is False
    assert verdict(20.0, 20.0, past=30) is True

"""An order counts if it, times what is traded meanwhile, is beyond all that was seen there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pytest

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.detectors import Inputs
from sentinet_dagster.surveillance.detectors.book_spoofing import BOOK_SPOOFING
from sentinet_dagster.surveillance.schema import PAST_WINDOWS, WINDOW
from sentinet_dagster.surveillance.settings import load_settings
from tests.unit.sentinet_dagster.surveillance.facts import START, frame, instruments

PRICE, DEPTH = 1e4, 3e5
SHARED = {"mid_close": PRICE, "bid_depth_10bps": DEPTH, "ask_depth_10bps": DEPTH, "flow_seconds": 5}
OTHER = {"bid": "ask", "ask": "bid"}


def windows(rows: Sequence[Mapping[str, float]]) -> pl.DataFrame:
    numbered = [
        {"instrument_id": 1, "window_start": START + number * WINDOW, **row}
        for number, row in enumerate(rows)
    ]
    return frame(schema.WINDOWS, numbered, **SHARED)


def said(seen: pl.DataFrame, first: int, end: int) -> pl.DataFrame:
    """Verdicts on the windows [first, end), of what a run reads for them: the look-back, its columns."""
    start = START + first * WINDOW
    since = start - BOOK_SPOOFING.lookback.windows
    past = seen.filter(pl.col("window_start").is_between(since, start, closed="left"))
    now = seen.filter(pl.col("window_start").is_between(start, START + end * WINDOW, closed="left"))
    inputs = Inputs(
        pl.concat([past.select(PAST_WINDOWS.names), now], how="diagonal"),
        schema.FEATURES.empty(),
        schema.CORRELATIONS.empty(),
        schema.SCORES.empty(),
        instruments(1),
        start,
        START + end * WINDOW,
        0.8,
    )
    return BOOK_SPOOFING.detect(inputs, load_settings({}).thresholds(BOOK_SPOOFING, instruments(1)))


def fires(order: float, executed: float, past: int = 60, side: str = "bid") -> bool:
    """Whether an order of so many base units does, while so many were taken of the other side, after windows
    with orders of 1 to 10, and 1 to 10 taken."""
    rows = [
        {
            f"{side}_withdrawn_max": order if number == past else 1.0 + number % 10,
            f"{OTHER[side]}_traded_near": executed if number == past else 1.0 + number % 10,
            f"{side}_traded_near": 0.0,
            f"{side}_withdrawn_life_s": 2.0,
        }
        for number in range(past + 1)
    ]
    (verdict,) = said(windows(rows), past, past + 1)["fires"].to_list()
    return bool(verdict)


@pytest.mark.parametrize("side", OTHER)
@pytest.mark.parametrize(
    ("order", "executed", "expected"),
    [
        (17.6, 10.0, True),  # 1.75 times the greatest of both is 175
        (17.4, 10.0, False),
        (9.1, 19.3, True),  # larger than nine of ten, while more was executed than ever
        (9.1, 19.2, False),
        (8.9, 30.0, False),  # usual: whoever trades much does so beside market makers
        (100.0, 1.7, False),  # the largest ever, and next to nothing traded
        (100.0, 0.0, False),
    ],
)
def test_the_order_times_what_is_executed_meanwhile_is_beyond_its_past(
    order: float, executed: float, expected: bool, side: str
) -> None:
    assert fires(order, executed, side=side) is expected


def test_without_a_past_nothing_is_beyond_it() -> None:
    assert fires(20.0, 20.0, past=29) is False
    assert fires(20.0, 20.0, past=30) is True


@pytest.mark.parametrize("step", [1, 7, 45])
def test_in_pieces_it_says_what_it_says_at_once(step: int) -> None:
    """Each piece sees of the past what a run reads: the windows of the look-back, and no other columns."""
    random, count = np.random.default_rng(5), 480
    rising = np.linspace(3, 25, count)
    orders, executed = (np.exp(random.normal(rising, 1, (2, count))) for _ in range(2))
    rows = [
        {
            f"{side}_{name}": value
            for place, side in enumerate(OTHER)
            for name, value in (
                ("withdrawn_max", orders[place, number]),
                ("traded_near", executed[place, number]),
                ("withdrawn_life_s", 2.0),
            )
        }
        for number in range(count)
    ]
    seen = windows(rows)
    whole = said(seen, 60, count)
    assert whole["fires"].sum() > 1
    pieces = [said(seen, first, min(first + step, count)) for first in range(60, count, step)]
    assert pl.concat(pieces).sort("window_start").equals(whole.sort("window_start"))

"""A rush is measured over 15 s against the medians of the five minutes before it."""

from __future__ import annotations

import polars as pl
import pytest

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.detectors import Inputs
from sentinet_dagster.surveillance.detectors.pump_and_dump import PUMP_AND_DUMP
from sentinet_dagster.surveillance.schema import WINDOW
from sentinet_dagster.surveillance.settings import load_settings
from tests.unit.sentinet_dagster.surveillance.facts import START, frame, instruments

ZEROS = {
    "notional": 0.0,
    "gap_seconds": 0.0,
    "book_completeness": 1.0,
    "trade_completeness": 1.0,
    "flow_seconds": 0,
    "partial_flow_seconds": 0,
    "flow_changes": 0,
    "completeness": 1.0,
    "order_trade_ratio": 0.0,
}
COUNTS = {"trade_count": 0, "quote_count": 9, "book_count": 0, "refused_frames": 0, "price_z_samples": 0}
PAST = 63


def found(
    rise: float = 30.0, bought: float = 9.0, sold: float = 1.0, past: int = PAST, quiet_volume: float = 1.0
) -> dict | None:
    """What it says after a calm past and a rush of three windows, each with this return and trading."""
    rows = []
    for number in range(past + 3):
        calm = number < past
        buy, sell = (quiet_volume / 2, quiet_volume / 2) if calm else (bought, sold)
        rows.append(
            {"instrument_id": 1, "window_start": START + number * WINDOW, "volume": buy + sell}
            | {"buy_volume": buy, "sell_volume": sell}
            | {"return_bps": (2.0 if number % 2 else -2.0) if calm else rise}
        )
    last = START + (past + 2) * WINDOW
    inputs = Inputs(
        frame(schema.WINDOWS, rows, **ZEROS, **COUNTS),
        frame(schema.FEATURES, rows, **ZEROS, **COUNTS),
        schema.CORRELATIONS.empty(),
        schema.SCORES.empty(),
        instruments(1),
        last,
        last + WINDOW,
        0.8,
    )
    answer = PUMP_AND_DUMP.detect(inputs, load_settings({}).thresholds(PUMP_AND_DUMP, instruments(1)))
    fired = answer.filter(pl.col("fires")).to_dicts()
    return fired[0] if fired else None


def test_the_numbers_of_a_rush() -> None:
    row = found()
    assert row is not None
    assert row["evidence"]["rise_bps"] == 90.0
    assert row["evidence"]["buy_share"] == 0.9
    assert row["evidence"]["volume_ratio"] == 10.0
    assert row["evidence"]["rise_sigmas"] == pytest.approx(90 / (3**0.5 * 1.4826 * 2))
    assert row["severity"] == "warning"


def test_a_great_rise_is_critical() -> None:
    row = found(rise=150.0)
    assert row is not None
    assert row["severity"] == "critical"


@pytest.mark.parametrize(
    "changed",
    [
        {"rise": 16.0},
        {"rise": -30.0},
        {"bought": 6.0, "sold": 4.0},
        {"bought": 2.0, "sold": 0.5},
        {"past": 20},
    ],
)
def test_all_conditions_must_hold(changed: dict[str, float]) -> None:
    assert found(**changed) is None


def test_without_any_usual_volume_there_is_no_ratio() -> None:
    assert found(quiet_volume=0.0) is None

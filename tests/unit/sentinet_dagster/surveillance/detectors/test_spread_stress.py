"""Both an absolute spread and the instrument's own past must be exceeded."""

from __future__ import annotations

import polars as pl
import pytest

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.detectors import Inputs
from sentinet_dagster.surveillance.detectors.spread_stress import SPREAD_STRESS
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
    "quote_count": 9,
    "book_count": 0,
    "refused_frames": 0,
    "buy_sweep_count": 0,
    "sell_sweep_count": 0,
    "price_z_samples": 0,
}


def severity(usual: float, now: float, z: float | None) -> str | None:
    """What it says of a spread after 60 windows of the usual one; None where it does not fire."""
    rows = [
        {"instrument_id": 1, "window_start": START + n * WINDOW, "spread_bps_mean": now if n == 60 else usual}
        | {"spread_bps_max": now, "spread_bps_z": z, "completeness": 1.0, "order_trade_ratio": 0.0}
        for n in range(61)
    ]
    inputs = Inputs(
        frame(schema.WINDOWS, rows, **ZEROS, **COUNTS),
        frame(schema.FEATURES, rows, **COUNTS),
        schema.CORRELATIONS.empty(),
        schema.SCORES.empty(),
        instruments(1),
        START + 60 * WINDOW,
        START + 61 * WINDOW,
        0.8,
    )
    found = SPREAD_STRESS.detect(inputs, load_settings({}).thresholds(SPREAD_STRESS, instruments(1)))
    fired = found.filter(pl.col("fires"))["severity"].to_list()
    return fired[0] if fired else None


@pytest.mark.parametrize(
    ("usual", "now", "z", "expected"),
    [
        (1.0, 4.0, 2.5, "warning"),
        (1.0, 6.0, 3.5, "critical"),
        (1.0, 6.0, 2.5, "warning"),
        (1.0, 4.0, 1.9, None),
        (0.1, 2.9, 9.0, None),  # wide for itself, and still narrow
        (15.0, 29.0, 9.0, None),  # wide, and less than twice its usual
        (15.0, 31.0, 9.0, "critical"),
        (1.0, 9.0, None, None),  # warming up
    ],
)
def test_dual_conditions(usual: float, now: float, z: float | None, expected: str | None) -> None:
    assert severity(usual, now, z) == expected

"""Less depth than a number and than its own past; none where the band is no wider than the spread."""

from __future__ import annotations

import polars as pl
import pytest

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.detectors import Inputs
from sentinet_dagster.surveillance.detectors.depth_stress import DEPTH_STRESS
from sentinet_dagster.surveillance.schema import WINDOW
from sentinet_dagster.surveillance.settings import load_settings
from tests.unit.sentinet_dagster.surveillance.facts import START, frame, instruments

PAST = 61
WHOLE = {
    **dict.fromkeys(("volume", "buy_volume", "sell_volume", "notional", "gap_seconds"), 0.0),
    **dict.fromkeys(("completeness", "trade_completeness", "book_completeness"), 1.0),
    **dict.fromkeys(("trade_count", "quote_count", "book_count", "refused_frames", "flow_changes"), 0),
    **dict.fromkeys(("buy_sweep_count", "sell_sweep_count", "flow_seconds", "partial_flow_seconds"), 0),
}


def severity(usual: float, now: float, spread_bps: float | None, held: int = 2) -> str | None:
    """What it says of a depth that `held` windows have had, after 61 of the usual one; None: it is silent."""
    rows = [
        {
            "instrument_id": 1,
            "window_start": START + number * WINDOW,
            "bid_depth_10bps": depth / 2,
            "ask_depth_10bps": depth / 2,
            "spread_bps_mean": spread_bps,
        }
        for number, depth in enumerate([usual] * PAST + [now] * held)
    ]
    end = START + (PAST + held) * WINDOW
    inputs = Inputs(
        frame(schema.WINDOWS, rows, **WHOLE),
        schema.FEATURES.empty(),
        schema.CORRELATIONS.empty(),
        schema.SCORES.empty(),
        instruments(1),
        end - WINDOW,
        end,
        0.8,
    )
    found = DEPTH_STRESS.detect(inputs, load_settings({}).thresholds(DEPTH_STRESS, instruments(1)))
    fired = found.filter(pl.col("fires"))["severity"].to_list()
    return fired[0] if fired else None


@pytest.mark.parametrize(
    ("usual", "now", "expected"),
    [
        (2e6, 450_000.0, "warning"),
        (2e6, 150_000.0, "critical"),
        (2e6, 550_000.0, None),  # little for itself, and still deep
        (300_000.0, 250_000.0, None),  # thin, as ever
    ],
)
def test_dual_conditions(usual: float, now: float, expected: str | None) -> None:
    assert severity(usual, now, 1.0) == expected


def test_one_thin_window_is_none() -> None:
    assert severity(2e6, 150_000.0, 1.0, held=1) is None


@pytest.mark.parametrize(("spread_bps", "expected"), [(9.9, "critical"), (None, "critical"), (10.0, None)])
def test_a_band_no_wider_than_the_spread_measures_no_depth(
    spread_bps: float | None, expected: str | None
) -> None:
    assert severity(40_000.0, 4_000.0, spread_bps) == expected

"""`pump_and_dump`: what a rush is held against, with literal windows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.detectors.base import Inputs
from sentinet_dagster.surveillance.detectors.pump_and_dump import PUMP_AND_DUMP
from sentinet_dagster.surveillance.schema import WINDOW
from sentinet_dagster.surveillance.settings import load_settings
from tests.unit.sentinet_dagster.surveillance.facts import frame, instruments

AT_NO_HOUR = datetime(2024, 3, 1, 10, 20, tzinfo=UTC)
AT_THE_HOUR = datetime(2024, 3, 1, 11, 0, 30, tzinfo=UTC)
ZEROS = {
    "volume": 0.0,
    "notional": 0.0,
    "gap_seconds": 0.0,
    "book_completeness": 1.0,
    "trade_completeness": 1.0,
    "flow_seconds": 0,
    "partial_flow_seconds": 0,
    "flow_changes": 0,
    "completeness": 1.0,
    "order_trade_ratio": 0.0,
    "trade_count": 0,
    "quote_count": 0,
    "book_count": 0,
    "refused_frames": 0,
    "sell_sweep_count": 0,
}
PAST = 783


def found(
    at: datetime = AT_NO_HOUR,
    rise: float = 0.06,
    sweeps: int = 10,
    bought: float = 9.0,
    past: int = PAST,
    broken: int | None = None,
    traded_every: int = 1,
    usual: float = 0.5,
    peak: int | None = None,
) -> dict[str, Any] | None:
    """What it says of the window that ends at `at`: the last of three with this buying, after a calm past
    of which one window may have closed 5 % higher."""
    rows: list[dict[str, Any]] = []
    for number in range(past + 3):
        calm = number < past
        trades = not calm or number % traded_every == 0
        price = 105.0 if number == peak else 100.0 if calm else 100.0 * (1 + rise)
        rows.append(
            {
                "instrument_id": 1,
                "window_start": at - (past + 3 - number) * WINDOW,
                "close": price if trades else None,
                "buy_volume": (usual if calm else bought) * trades,
                "sell_volume": (0.5 if calm else 1.0) * trades,
                "buy_sweep_count": 0 if calm else sweeps,
                "completeness": 0.0 if number == broken else 1.0,
            }
        )
    windows = frame(schema.WINDOWS, rows, **ZEROS)
    empty = schema.FEATURES.empty(), schema.CORRELATIONS.empty(), schema.SCORES.empty()
    inputs = Inputs(windows, *empty, instruments(1), at - WINDOW, at, 0.8)
    answer = PUMP_AND_DUMP.detect(inputs, load_settings({}).thresholds(PUMP_AND_DUMP, instruments(1)))
    fired = answer.filter("fires").to_dicts()
    return fired[0] if fired else None


def test_the_numbers_of_a_rush() -> None:
    row = found()
    assert row is not None
    assert row["score"] == pytest.approx(600)
    assert row["threshold"] == 180
    assert row["severity"] == "warning"
    assert row["evidence"] == {
        "rise_bps": pytest.approx(600),
        "jump_bps": pytest.approx(600),
        "buy_sweeps": 30,
        "buy_share": pytest.approx(31.5 / 39),
        "buy_volume": 31.5,
        "greatest_buy_volume": 6.0,
        "is_scheduled": False,
    }


def test_a_great_rise_is_critical() -> None:
    row = found(rise=0.12)
    assert row is not None
    assert row["severity"] == "critical"


@pytest.mark.parametrize("changed", [{"rise": 0.017}, {"rise": -0.06}, {"sweeps": 6}, {"bought": 6.0}])
def test_at_any_time_all_conditions_must_hold(changed: dict[str, Any]) -> None:
    assert found(**changed) is None


def test_any_buying_is_more_than_none_in_the_hour_before() -> None:
    assert found(usual=0.0, bought=0.1) is not None


@pytest.mark.parametrize(
    ("numbers", "fires"),
    [
        ({"rise": 0.03, "sweeps": 4}, True),
        ({"rise": 0.03, "sweeps": 4, "bought": 0.5}, True),  # on no more buying than usual
        ({"rise": 0.01, "sweeps": 4}, False),
        ({"rise": 0.03, "sweeps": 3}, False),
        ({"rise": 0.04, "sweeps": 1}, True),  # a jump above the hour before
        ({"rise": 0.04, "sweeps": 0}, False),  # a jump that no order walked the book for
        ({"rise": 0.04, "sweeps": 1, "peak": PAST - 717}, False),  # it was there within the hour
        ({"rise": 0.04, "sweeps": 1, "peak": PAST - 718}, True),
    ],
)
def test_at_a_full_or_half_hour_less_is_asked_for(numbers: dict[str, Any], fires: bool) -> None:
    assert (found(AT_THE_HOUR, **numbers) is not None) is fires
    assert (found(AT_THE_HOUR + timedelta(minutes=30), **numbers) is not None) is fires
    assert found(AT_NO_HOUR, **numbers) is None


@pytest.mark.parametrize(("seconds", "fires"), [(-65, False), (-60, True), (60, True), (65, False)])
def test_a_full_hour_is_a_minute_around_it(seconds: int, fires: bool) -> None:
    hour = AT_THE_HOUR.replace(second=0)
    assert (found(hour + timedelta(seconds=seconds), rise=0.03, sweeps=4) is not None) is fires


def test_a_coin_that_trades_once_in_five_minutes_has_a_past() -> None:
    assert found(traded_every=50) is not None


def test_it_is_silent_without_five_minutes_of_past() -> None:
    assert found(past=61) is not None
    assert found(past=59) is None


def test_it_is_silent_for_five_minutes_after_a_break() -> None:
    assert found(broken=PAST - 70) is not None
    assert found(broken=PAST - 20) is None

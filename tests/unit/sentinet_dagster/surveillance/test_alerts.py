"""Which windows open an alert, and what it carries."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.alerts import JUDGE_LOOKBACK, alert_id, alert_lookback, build_alerts
from sentinet_dagster.surveillance.schema import WINDOW
from sentinet_dagster.surveillance.settings import load_settings
from tests.unit.sentinet_dagster.surveillance.facts import START, frame, instruments

COUNT = 40


def alerts(
    fires: set[int],
    completeness: dict[int, float] | None = None,
    first: int = 0,
    config: dict[str, Any] | None = None,
) -> pl.DataFrame:
    """What `volatility_spike` opens on instrument 1 where the windows `fires` are spikes."""
    whole = completeness or {}
    windows, features = [], []
    for number in range(COUNT):
        key = {
            "instrument_id": 1,
            "window_start": START + number * WINDOW,
            "completeness": whole.get(number, 1.0),
        }
        windows.append(key)
        z = 4.0 if number in fires else 0.5
        features.append(key | {"price": 100.0, "price_z": z, "return_z": 3 * z, "return_bps": 10 * z})
    zeros = {
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
    counts = {
        "trade_count": 3,
        "quote_count": 7,
        "book_count": 0,
        "refused_frames": 0,
        "buy_sweep_count": 0,
        "sell_sweep_count": 0,
        "order_trade_ratio": 1.0,
    }
    return build_alerts(
        frame(schema.WINDOWS, windows, **zeros, **counts),
        frame(schema.FEATURES, features, price_z_samples=60, order_trade_ratio=1.0),
        schema.CORRELATIONS.empty(),
        schema.SCORES.empty(),
        instruments(1),
        load_settings(config or {}),
        START + first * WINDOW,
        START + COUNT * WINDOW,
        "code",
    )


def opened(said: pl.DataFrame) -> list[int]:
    return [(moment - START) // WINDOW for moment in said["window_start"]]


def test_neighbours_of_one_cause_open_one_alert() -> None:
    assert opened(alerts({3, 4, 5})) == [3]
    assert opened(alerts({3, 4, 6, 8})) == [3, 6, 8]


def test_more_quiet_windows_join_what_is_near() -> None:
    assert opened(alerts({3, 5, 10, 22}, config={"quiet_windows": 12})) == [3]
    assert opened(alerts({3, 16}, config={"quiet_windows": 12})) == [3, 16]


def test_what_fired_before_the_range_is_remembered() -> None:
    assert opened(alerts({3, 4, 5}, first=4)) == []
    assert opened(alerts({3, 16}, first=4)) == [16]


def test_data_less_whole_than_the_floor_is_silence() -> None:
    assert opened(alerts({3, 4}, {3: 0.79})) == [4]


def test_data_that_is_not_whole_lowers_the_severity_and_says_so() -> None:
    whole, torn = (alerts({3}, {3: share}).row(0, named=True) for share in (1.0, 0.9))
    assert (whole["severity"], torn["severity"]) == ("warning", "info")
    assert json.loads(whole["evidence"])["downgraded"] is None
    assert json.loads(torn["evidence"])["downgraded"] == "data 90.0% whole: warning lowered to info"
    assert torn["completeness"] == 0.9


def test_an_alert_carries_its_evidence() -> None:
    said = alerts({3})
    assert said.schema == schema.ALERTS.schema
    row = said.row(0, named=True)
    moment = START + 3 * WINDOW
    assert row["alert_id"] == alert_id("volatility_spike", 1, 1, moment)
    assert row["raised_at"] == row["window_end"] == moment + WINDOW
    assert (
        row["summary"]
        == "S1-USDT price 4.0 σ above its 5-minute mean after a move of +40.0 bps in 5 s (12.0 σ)"
    )
    assert (row["score"], row["threshold"], row["evidence_level"], row["model_id"]) == (4.0, 3.0, "L1", None)
    assert (row["code_hash"], row["config_hash"]) == ("code", load_settings({}).config_hash)
    evidence = json.loads(row["evidence"])
    assert evidence["numbers"]["price_z"] == 4.0
    assert evidence["window"] == {"start": moment.isoformat(), "end": (moment + WINDOW).isoformat()}
    assert evidence["ticks"] == {"trade": 3, "quote": 7, "book": 0}


def test_nothing_to_judge_opens_nothing() -> None:
    assert alerts(set()).equals(schema.ALERTS.empty())


@pytest.mark.parametrize(
    "other", [("x", 1, 1, START), ("y", 2, 1, START), ("y", 1, 2, START), ("y", 1, 1, START + WINDOW)]
)
def test_an_identity_is_of_detector_version_instrument_and_window(other: tuple[Any, ...]) -> None:
    assert alert_id("y", 1, 1, START) == alert_id("y", 1, 1, START)
    assert alert_id(*other) != alert_id("y", 1, 1, START)


def test_look_backs_cover_the_chain() -> None:
    usual, longest = (alert_lookback(load_settings({"quiet_windows": count})) for count in (1, 60))
    assert usual + 59 * WINDOW == longest
    assert timedelta(minutes=5) < longest < JUDGE_LOOKBACK < timedelta(hours=2)

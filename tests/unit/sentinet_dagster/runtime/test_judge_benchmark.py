"""The benchmark of the judgement: what it measures is the whole of it, on a market that is one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from sentinet_dagster.runtime.deque_reference import judge_one_by_one
from sentinet_dagster.runtime.judge_benchmark import Options, drawn_facts, measure_judging
from sentinet_dagster.surveillance.detectors import DETECTORS

START = datetime(2026, 1, 31, tzinfo=UTC)
TINY = Options(instruments=15, trades=5_000, events_per_s=0.5, hours=1, rounds=1, reference_events=500)


def test_everything_is_measured() -> None:
    result = measure_judging(TINY)
    for name in ("windows_trades_per_s", "events_per_s", "reference_events_per_s", "day_100_instruments_s"):
        assert result[name] > 0, name
    assert result["ratio_to_deque"] == pytest.approx(
        result["events_per_s"] / result["reference_events_per_s"], abs=0.1
    )
    events, twice = map(int, result["seconds_by_events"])
    assert twice == 2 * events
    assert result["micro_batch"]["detectors_ms"].keys() == DETECTORS.keys()
    assert result["micro_batch"]["ms"] == pytest.approx(sum(result["micro_batch"]["steps_ms"].values()))


def test_the_market_has_what_is_asked_for_in_the_order_of_the_database() -> None:
    facts = drawn_facts(3, START, timedelta(minutes=1), trades=300, quotes=200)
    assert (facts.trades.height, facts.quotes.height) == (300, 200)
    assert facts.trades.equals(facts.trades.sort("instrument_id", "time", "trade_id"))
    assert facts.quotes.select((pl.col("ask_price") > pl.col("bid_price")).all()).item()
    assert facts.windows(START, START + timedelta(minutes=1))["trade_count"].sum() == 300


def test_the_other_way_sees_a_jump() -> None:
    calm = [(float(second), 1, 100 + 0.01 * (second % 2), 1.0, 1, None) for second in range(60)]
    jump = (60.0, 1, 110.0, 1.0, 1, None)
    quiet, found = judge_one_by_one(calm), judge_one_by_one([*calm, jump])
    assert found > quiet
    assert judge_one_by_one([]) == 0

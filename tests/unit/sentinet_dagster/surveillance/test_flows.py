"""Columns of book flows: literal rows, and every window against a slow computation in plain Python."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from sentinet_dagster.surveillance.facts import Facts
from sentinet_dagster.surveillance.schema import WINDOW
from tests.unit.sentinet_dagster.surveillance.facts import START, at, random_facts, windows_of

SIZES = ("added", "removed", "cancelled", "traded", "largest_added", "fleeting", "withdrawn", "layered")
FLOW_COLUMNS = [
    "flow_seconds", "partial_flow_seconds", "flow_changes",
    *(f"{side}_{name}" for side in ("bid", "ask") for name in (
        "added_near", "cancelled_near", "traded_near", "cancel_share", "fleeting_near", "withdrawn_max",
        "withdrawn_life_s", "layered_max", "layers",
    )),
]  # fmt: skip


def flow(second: int, **more: Any) -> dict[str, Any]:
    row = {"instrument_id": 1, "time": at(second), "received_at": at(second + 2), "side": 1}
    row |= {"distance_bps": 0, "is_partial": False, "adds": 0, "cancels": 0, "levels": 0, "layers": 0}
    return row | dict.fromkeys(SIZES, 0.0) | more


def first(*flows: dict[str, Any]) -> dict[str, Any]:
    return windows_of(flows=flows, seconds=5).row(0, named=True)


def test_a_window_without_flows_knows_none() -> None:
    row = first()
    assert [row[name] for name in FLOW_COLUMNS] == [0, 0, 0, *[None] * 18]


def test_sizes_are_summed_within_ten_bps_and_by_side() -> None:
    row = first(
        flow(0, added=1.0, removed=4.0, cancelled=3.0, traded=1.0, fleeting=0.5),
        flow(4, distance_bps=5, added=2.0, removed=1.0, cancelled=1.0),
        flow(4, distance_bps=10, added=64.0, removed=64.0, cancelled=64.0),  # from 10 on is far
        flow(1, side=-1, added=16.0),
    )
    assert row["bid_added_near"] == 3.0
    assert row["ask_added_near"] == 16.0
    assert (row["bid_cancelled_near"], row["bid_traded_near"], row["bid_cancel_share"]) == (4.0, 1.0, 0.8)
    assert row["bid_fleeting_near"] == 0.5
    assert row["ask_cancel_share"] is None  # nothing left the asks
    assert row["flow_seconds"] == 3


def test_every_change_of_the_book_is_counted_however_far() -> None:
    assert first(flow(0, adds=2, cancels=3), flow(0, distance_bps=25, adds=5))["flow_changes"] == 10


def test_the_largest_order_withdrawn_brings_its_life() -> None:
    row = first(
        flow(0, withdrawn=2.0, withdrawn_life_us=100_000),
        flow(1, withdrawn=7.0, withdrawn_life_us=1_500_000),
        flow(2, withdrawn=7.0, withdrawn_life_us=900_000),
        flow(3, distance_bps=25, withdrawn=50.0, withdrawn_life_us=1),
    )
    assert (row["bid_withdrawn_max"], row["bid_withdrawn_life_s"]) == (7.0, 0.9)


def test_the_largest_group_of_layers_brings_their_number() -> None:
    row = first(flow(0, layered=9.0, layers=4), flow(1, layered=12.0, layers=3))
    assert (row["bid_layered_max"], row["bid_layers"]) == (12.0, 3)


def test_a_second_seen_in_part_counts_as_such_and_nowhere_else() -> None:
    row = first(flow(0, is_partial=True, added=5.0), flow(1, added=1.0))
    assert (row["flow_seconds"], row["partial_flow_seconds"], row["bid_added_near"]) == (1, 1, 1.0)


def test_a_second_seen_in_part_and_whole_is_whole() -> None:
    row = first(flow(0, is_partial=True, added=5.0), flow(0, side=-1, added=1.0), flow(0, added=6.0))
    assert (row["flow_seconds"], row["partial_flow_seconds"], row["bid_added_near"]) == (1, 0, 6.0)


def slow(facts: Facts, instrument: int, start: Any) -> dict[str, Any]:
    """The flow columns of a window, one row after the other."""
    mine = facts.book_flows.filter(
        (pl.col("instrument_id") == instrument)
        & pl.col("time").is_between(start, start + WINDOW, closed="left")
    ).to_dicts()
    whole = [row for row in mine if not row["is_partial"]]
    seconds = {row["time"] for row in whole}
    found: dict[str, Any] = {
        "flow_seconds": len(seconds),
        "partial_flow_seconds": len({row["time"] for row in mine} - seconds),
        "flow_changes": sum(row["adds"] + row["cancels"] for row in whole),
    }
    for side, number in (("bid", 1), ("ask", -1)):
        near = [row for row in whole if row["side"] == number and row["distance_bps"] < 10]
        found |= {f"{side}_{name}": None for name in ("cancel_share", "withdrawn_life_s")}
        for name in ("added", "cancelled", "traded", "fleeting"):
            found[f"{side}_{name}_near"] = sum(row[name] for row in near) if near else None
        if sum(row["removed"] for row in near) > 0:
            removed = sum(row["removed"] for row in near)
            found[f"{side}_cancel_share"] = sum(row["cancelled"] for row in near) / removed
        most = max((row["withdrawn"] for row in near), default=None)
        found[f"{side}_withdrawn_max"] = most
        lives = [row["withdrawn_life_us"] for row in near if row["withdrawn"] == most]
        if most:
            found[f"{side}_withdrawn_life_s"] = min(lives) / 1e6
        layered = max((row["layered"] for row in near), default=None)
        found[f"{side}_layered_max"] = layered
        layers = [row["layers"] for row in near if row["layered"] == layered]
        found[f"{side}_layers"] = min(layers) if near else None
    return found


@pytest.mark.parametrize("seed", range(3))
def test_every_window_equals_a_slow_computation(seed: int) -> None:
    facts = random_facts(seed, minutes=1)
    windows = facts.windows(START, at(60))
    assert windows["partial_flow_seconds"].sum() > 0
    for row in windows.iter_rows(named=True):
        expected = slow(facts, row["instrument_id"], row["window_start"])
        assert sorted(expected) == sorted(FLOW_COLUMNS)
        known = {name: value for name, value in expected.items() if value is not None}
        assert {name for name in expected if row[name] is not None} == set(known)
        assert {name: row[name] for name in known} == pytest.approx(known, rel=1e-12)

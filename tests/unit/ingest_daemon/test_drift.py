"""A venue changes its format: noticed by field, once said, counted on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingest_daemon.drift import LEARNT_FROM, Change, Drift

TRADE: dict[str, Any] = {
    "stream": "btcusdt@trade",
    "data": {"p": "1.5", "t": 7, "m": True, "x": [[1, "a"], []]},
}


def frame(**changed: Any) -> bytes:
    data = {name: value for name, value in {**TRADE["data"], **changed}.items() if value is not ...}
    return json.dumps({**TRADE, "data": data}).encode()


@pytest.fixture
def drift() -> Drift:
    known = Drift()
    for _ in range(LEARNT_FROM):
        assert known.look("trade", frame()) == ()
    return known


@pytest.mark.parametrize(
    ("changed", "field", "change"),
    [
        ({"n": 1}, "data.n", "new_field"),
        ({"p": ...}, "data.p", "missing_field"),
        ({"p": 1.5}, "data.p", "changed_type"),
        ({"m": None}, "data.m", "changed_type"),
        ({"x": [[1, 2]]}, "data.x[][]", "new_field"),
    ],
)
def test_a_change_is_said_once_and_counted_on(
    drift: Drift, changed: dict[str, Any], field: str, change: str
) -> None:
    if field == "data.x[][]":  # the first of a list stands for all: its second is not looked at
        assert drift.look("trade", frame(**changed)) == []
        return
    noticed = Change("trade", field, change)
    assert drift.look("trade", frame(**changed)) == [noticed]
    assert drift.look("trade", frame(**changed)) == []
    assert drift.counts == {noticed: 2}


def test_what_stays_as_it_was_is_no_change(drift: Drift) -> None:
    assert drift.look("trade", frame(p="2.5", t=8, m=False)) == []
    assert drift.counts == {}


def test_an_object_that_is_gone_is_named_and_not_its_fields(drift: Drift) -> None:
    bare = json.dumps({"stream": "btcusdt@trade"}).encode()
    assert drift.look("trade", bare) == [Change("trade", "data", "missing_field")]


def test_a_field_that_comes_and_goes_is_never_missing() -> None:
    known = Drift()
    for number in range(LEARNT_FROM):
        known.look("trade", frame(**({"X": "NA"} if number % 2 else {})))
    assert known.look("trade", frame()) == []
    assert known.look("trade", frame(X="MARKET")) == []


def test_channels_are_apart(drift: Drift) -> None:
    assert drift.look("quote", b'{"other": 1}') == ()
    assert drift.counts == {}


def test_data_as_keys_are_no_fields() -> None:
    known = Drift()
    for number in range(2 * LEARNT_FROM):
        keys = {f"order{number}-{n}": 1 for n in range(100)}
        assert known.look("orders", json.dumps(keys).encode()) == ()
    assert known.counts == {}


@pytest.mark.parametrize(
    ("error", "field", "change"),
    [
        ("Object missing required field `p` - at `$.data`", "data.p", "missing_field"),
        ("Object missing required field `data`", "data", "missing_field"),
        ("Expected `str`, got `int` - at `$.data.p`, found 5", "data.p", "changed_type"),
        ("Expected `float`, got `null` - at `$.data[...].p`", "data[].p", "changed_type"),
    ],
)
def test_a_refused_frame_names_its_field(error: str, field: str, change: str) -> None:
    known = Drift()
    assert known.refused("trade", error) == [Change("trade", field, change)]
    assert known.refused("trade", error) == []
    assert known.counts == {Change("trade", field, change): 2}


def test_a_refusal_for_its_value_is_no_change_of_format() -> None:
    assert Drift().refused("trade", "Expected `float` > 0.0 - at `$.data.p`, found -1.0") == ()
    assert Drift().refused("trade", "s is 'X' in a stream of BTCUSDT") == ()

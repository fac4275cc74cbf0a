"""Which alerts are one incident, and that alerts changed one after the other come to the incidents of all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.alerts import alert_id
from sentinet_dagster.surveillance.incidents import (
    LONGEST,
    REACH,
    begun_before,
    build_incidents,
    incident_id,
    regroup,
)
from sentinet_dagster.surveillance.schema import WINDOW
from tests.unit.sentinet_dagster.surveillance.facts import START, frame

Span = tuple[str, int, int]  # detector, first window, last window
HOUR = timedelta(hours=1) // WINDOW


def alerts(spans: Iterable[Span], **more: Any) -> pl.DataFrame:
    rows = [
        {
            "alert_id": alert_id(detector, 1, 1, START + first * WINDOW),
            "detector": detector,
            "window_start": START + first * WINDOW,
            "last_window_start": START + last * WINDOW,
        }
        for detector, first, last in spans
    ]
    usual = {"base": "BTC", "venue": "north", "instrument_id": 1, "severity": "warning"}
    return frame(schema.ALERT_SPANS, rows, **usual | more)


def sizes(incidents: pl.DataFrame) -> list[int]:
    return incidents["alert_ids"].list.len().to_list()


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([("a", 0, 3), ("b", 2, 9)], [2]),  # they overlap
        ([("a", 0, 3), ("b", 16, 16)], [2]),  # 60 s apart
        ([("a", 0, 3), ("b", 17, 17)], [1, 1]),
        ([("a", 0, 100), ("b", 5, 6), ("c", 90, 90)], [3]),  # the longest counts, not the last
        ([("a", 0, 0)], [1]),
        ([], []),
    ],
)
def test_alerts_that_overlap_or_follow_at_once_are_one(spans: list[Span], expected: list[int]) -> None:
    incidents = build_incidents(alerts(spans))
    assert incidents.schema == schema.INCIDENTS.schema
    assert sizes(incidents) == expected


def test_assets_are_apart_and_venues_and_detectors_are_not() -> None:
    parts = [
        alerts([("a", 0, 1)]),
        alerts([("b", 1, 4)], venue="south", instrument_id=2, severity="critical"),
        alerts([("c", 0, 1)], base="ETH", instrument_id=3),
    ]
    bitcoin, ether = build_incidents(pl.concat(parts)).iter_rows(named=True)
    assert bitcoin["incident_id"] == incident_id(alert_id("a", 1, 1, START))
    assert (bitcoin["started_at"], bitcoin["ended_at"]) == (START, START + 5 * WINDOW)
    assert (bitcoin["venues"], bitcoin["detectors"]) == (["north", "south"], ["a", "b"])
    assert (bitcoin["instrument_ids"], bitcoin["severity"]) == ([1, 2], "critical")
    assert (ether["base"], ether["severity"]) == ("ETH", "warning")


def test_an_incident_takes_alerts_for_six_hours() -> None:
    spans = [("a", hour * HOUR, hour * HOUR + HOUR - 1) for hour in range(8)]
    first, second = build_incidents(alerts(spans)).iter_rows(named=True)
    assert second["started_at"] == first["started_at"] + LONGEST
    assert (len(first["alert_ids"]), len(second["alert_ids"])) == (6, 2)


@dataclass
class Desk:
    """What a database would hold."""

    alerts: set[Span] = field(default_factory=set)
    incidents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def change(self, gone: set[Span], come: set[Span]) -> None:
        self.alerts = self.alerts - gone | come
        moved = gone | come
        if not moved:
            return
        low = START + min(first for _, first, _ in moved) * WINDOW
        high = START + (max(last for _, _, last in moved) + 1) * WINDOW
        span, found = REACH, None
        while found is None or not found.is_complete:
            until = high + span
            rows = [row for row in self.incidents.values() if low - REACH <= row["started_at"] < until]
            known = pl.DataFrame(rows, schema=schema.KNOWN_INCIDENTS.schema)
            since = min([low, *begun_before(known, low).values()])
            seen = [each for each in self.alerts if since <= START + each[1] * WINDOW < until]
            found = regroup(alerts(seen), known, low, high, until)
            span *= 2
        for each in found.gone:
            del self.incidents[each]
        for row in found.incidents.iter_rows(named=True):
            self.incidents[row["incident_id"]] = row


SPANS = st.sets(
    st.tuples(st.sampled_from("abc"), st.integers(0, 20 * HOUR), st.integers(0, HOUR - 1)).map(
        lambda each: (each[0], each[1], each[1] + each[2])
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(SPANS, min_size=1, max_size=4), leaving=st.randoms(use_true_random=False))
def test_alerts_that_come_and_go_leave_the_incidents_of_those_that_stay(
    steps: list[set[Span]], leaving
) -> None:
    desk = Desk()
    for come in steps:
        taken = {(detector, first) for detector, first, _ in come}
        gone = {each for each in desk.alerts if each[:2] in taken or leaving.random() < 0.2}
        desk.change(gone, come if len({each[:2] for each in come}) == len(come) else set())
        expected = build_incidents(alerts(desk.alerts))
        assert sorted(desk.incidents) == sorted(expected["incident_id"])
        for row in expected.iter_rows(named=True):
            assert desk.incidents[row["incident_id"]] == row

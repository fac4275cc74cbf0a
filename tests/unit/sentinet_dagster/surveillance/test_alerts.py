"""Which findings are one alert, and what a new judgement changes: the same in any order, with any cut."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.alerts import (
    LONGEST,
    REACH,
    alert_id,
    alerts_of,
    build_alerts,
    build_sessions,
    reaching,
    settle,
)
from sentinet_dagster.surveillance.schema import WINDOW
from sentinet_dagster.surveillance.settings import load_settings
from tests.unit.sentinet_dagster.surveillance.facts import START, frame, instruments

NO_COOL_DOWNS = load_settings({}).cool_downs((), instruments())
FULL = LONGEST // WINDOW


def firings(numbers: Iterable[int], **more: Any) -> pl.DataFrame:
    said = {"detector": "spoofing", "detector_version": 1, "instrument_id": 1, "severity": "warning"}
    said |= {"score": 1.0, "completeness": 1.0}
    rows = [said | {"window_start": START + number * WINDOW} | more for number in numbers]
    return frame(schema.FIRINGS, rows)


def spans(sessions: pl.DataFrame) -> list[tuple[int, int, int]]:
    """(first window, last window, windows) of each session."""
    return [
        ((first - START) // WINDOW, (last - START) // WINDOW, count)
        for first, last, count in sessions.select(
            "window_start", "last_window_start", "windows_fired"
        ).iter_rows()
    ]


@pytest.mark.parametrize(
    ("fires", "expected"),
    [
        ([], []),
        ([3], [(3, 3, 1)]),
        ([3, 4, 5], [(3, 5, 3)]),
        ([3, 63], [(3, 63, 2)]),  # 5 minutes from start to start
        ([3, 64], [(3, 3, 1), (64, 64, 1)]),
        ([3, 50, 100, 161], [(3, 100, 3), (161, 161, 1)]),
        (range(FULL), [(0, FULL - 1, FULL)]),
        (range(FULL + 2), [(0, FULL - 1, FULL), (FULL, FULL + 1, 2)]),
        (range(0, 3 * FULL, 7), [(0, 714, 103), (721, 1435, 103), (1442, 2156, 103)]),
    ],
)
def test_windows_that_follow_one_another_are_one_alert(
    fires: Sequence[int], expected: list[tuple[int, int, int]]
) -> None:
    sessions = build_sessions(firings(fires), NO_COOL_DOWNS)
    assert sessions.schema == schema.SESSIONS.schema
    assert spans(sessions) == expected


def test_a_cool_down_is_the_detectors_and_the_instruments() -> None:
    given_ = load_settings(
        {"detectors": {"instruments": {"north/S2-USDT": {"spoofing": {"cool_down_s": 30}}}}}
    ).cool_downs(["spoofing"], instruments())
    fires = pl.concat([firings([3, 23]), firings([3, 23], instrument_id=2), firings([3, 9], detector="gone")])
    said = build_sessions(fires, given_)
    assert spans(said) == [(3, 9, 2), (3, 23, 2), (3, 3, 1), (23, 23, 1)]


def test_detectors_versions_and_instruments_are_apart() -> None:
    fires = [firings([3]), firings([4], detector_version=2), firings([5], instrument_id=2)]
    assert len(build_sessions(pl.concat(fires), NO_COOL_DOWNS)) == 3


def test_a_session_says_how_grave_it_was_at_most() -> None:
    parts = [
        firings([3], score=2.0, severity="info", completeness=0.9),
        firings([4], score=5.0, severity="critical"),
        firings([5], score=5.0, severity="warning"),
    ]
    (row,) = build_sessions(pl.concat(parts), NO_COOL_DOWNS).iter_rows(named=True)
    assert (row["severity"], row["completeness"], row["peak_score"]) == ("critical", 0.9, 5.0)
    assert row["peak_window_start"] == START + 4 * WINDOW
    assert row["closes_at"] == START + 6 * WINDOW + timedelta(minutes=5)


def test_no_alert_closes_later_than_an_hour_after_it_opened() -> None:
    (row,) = build_sessions(firings(range(0, FULL, 30)), NO_COOL_DOWNS).iter_rows(named=True)
    assert row["closes_at"] == row["window_start"] + LONGEST


def full_findings(numbers: Iterable[int], scores: dict[int, float]) -> pl.DataFrame:
    rows = []
    for number in numbers:
        moment = START + number * WINDOW
        evidence = {"numbers": {"n": number}, "window": {"start": moment.isoformat()}, "downgraded": None}
        row = {"window_start": moment, "score": scores.get(number, 1.0), "summary": f"window {number}"}
        rows.append(row | {"evidence": json.dumps(evidence)})
    return frame(
        schema.FINDINGS,
        rows,
        detector="spoofing",
        detector_version=1,
        instrument_id=1,
        severity="warning",
        threshold=0.6,
        evidence_level="L1",
        completeness=1.0,
        code_hash="code",
        config_hash="config",
    )


def test_an_alert_shows_its_first_window_and_its_peak() -> None:
    said = alerts_of(full_findings([3, 4, 9], {4: 7.5}), NO_COOL_DOWNS)
    assert said.schema == schema.ALERTS.schema
    (row,) = said.iter_rows(named=True)
    opening = START + 3 * WINDOW
    assert row["alert_id"] == alert_id("spoofing", 1, 1, opening)
    assert row["raised_at"] == row["window_end"] == opening + WINDOW
    assert (row["score"], row["peak_score"], row["windows_fired"]) == (1.0, 7.5, 3)
    assert row["summary"] == "window 4"
    evidence = json.loads(row["evidence"])
    assert evidence["numbers"] == {"n": 3}
    assert evidence["peak"]["numbers"] == {"n": 4}
    assert evidence["peak"]["score"] == 7.5


def test_an_alert_without_its_findings_is_refused() -> None:
    sessions = build_sessions(firings([3]), NO_COOL_DOWNS)
    with pytest.raises(ValueError, match="a finding is missing of spoofing"):
        build_alerts(sessions, schema.FINDINGS.empty())


@pytest.mark.parametrize(
    "other", [("x", 1, 1, START), ("y", 2, 1, START), ("y", 1, 2, START), ("y", 1, 1, START + WINDOW)]
)
def test_an_identity_is_of_detector_version_instrument_and_window(other: tuple[Any, ...]) -> None:
    assert alert_id("y", 1, 1, START) == alert_id("y", 1, 1, START)
    assert alert_id(*other) != alert_id("y", 1, 1, START)


@dataclass
class Desk:
    """What a database would hold: findings as they are, and the alerts that runs have made of them."""

    fires: set[int] = field(default_factory=set)
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    superseded: dict[str, str | None] = field(default_factory=dict)
    read: int = 0

    def judge(self, first: int, stop: int, fires: set[int]) -> None:
        """A run of the windows [first, stop): its findings, then the alerts."""
        self.fires = {n for n in self.fires if not first <= n < stop} | fires
        self.settle(first, stop)

    def settle(self, first: int, stop: int) -> None:
        start, end = START + first * WINDOW, START + stop * WINDOW
        span, settled = LONGEST, None
        while settled is None or not settled.is_complete:
            until = end + span
            known = [row for row in self.alerts.values() if start - REACH <= row["window_start"] < until]
            standing = pl.DataFrame(known, schema=schema.STANDING.schema)
            since = reaching(standing, start)["since"].to_list()
            seen = [n for n in self.fires if (since or [start])[0] <= START + n * WINDOW < until]
            self.read = max(self.read, len(seen))
            settled = settle(firings(seen), standing, NO_COOL_DOWNS, start, end, until)
            span *= 2
        for gone in settled.withdrawn:
            del self.alerts[gone.alert_id]
            self.superseded[gone.alert_id] = gone.superseded_by
        for row in settled.sessions.iter_rows(named=True):
            key = [row[name] for name in ("detector", "detector_version", "instrument_id", "window_start")]
            self.alerts[alert_id(*key)] = row | {"alert_id": alert_id(*key)}

    def said(self) -> list[tuple[int, int, int]]:
        if not self.alerts:
            return []
        frame_ = pl.DataFrame(list(self.alerts.values()), schema_overrides=schema.SESSIONS.schema)
        return spans(frame_.sort("window_start"))


def at_once(fires: set[int]) -> list[tuple[int, int, int]]:
    return spans(build_sessions(firings(sorted(fires)), NO_COOL_DOWNS))


LENGTH = 1700  # windows: more than two hours
BUSY = st.builds(
    lambda runs: {n for first, length, step in runs for n in range(first, min(first + length, LENGTH), step)},
    st.lists(
        st.tuples(st.integers(0, LENGTH - 1), st.integers(1, 1500), st.sampled_from((1, 13, 59, 60, 61))),
        max_size=5,
    ),
)
RANGES = st.lists(
    st.tuples(st.integers(0, LENGTH - 1), st.integers(1, 1500)).map(
        lambda pair: (pair[0], min(sum(pair), LENGTH))
    ),
    max_size=8,
)


@settings(max_examples=50, deadline=None)
@given(fires=BUSY, ranges=RANGES, old=BUSY)
def test_any_cut_in_any_order_comes_to_the_same_alerts(
    fires: set[int], ranges: list[tuple[int, int]], old: set[int]
) -> None:
    """Ranges judged at random on other findings (other code, other data), then all of it, not in order."""
    desk = Desk()
    for first, stop in ranges:
        desk.judge(first, stop, {n for n in old if first <= n < stop})
    cuts = sorted({0, LENGTH, *(edge for pair in ranges for edge in pair)})
    pieces = list(pairwise(cuts))
    for first, stop in pieces[1::2] + pieces[::2]:
        desk.judge(first, stop, {n for n in fires if first <= n < stop})
    assert desk.said() == at_once(fires)


@settings(max_examples=20, deadline=None)
@given(fires=BUSY, late=st.lists(st.tuples(st.integers(0, LENGTH - 1), st.booleans()), max_size=5))
def test_a_late_window_moves_what_follows_it(fires: set[int], late: list[tuple[int, bool]]) -> None:
    desk = Desk()
    for first in range(0, LENGTH, 53):
        desk.judge(first, first + 53, {n for n in fires if first <= n < first + 53})
    assert desk.said() == at_once(fires)
    now = set(fires)
    for number, fires_now in late:
        now = now | {number} if fires_now else now - {number}
        desk.judge(number, number + 1, now & {number})
        assert desk.said() == at_once(now)


@settings(max_examples=30, deadline=None)
@example(
    fires={0, 61, *range(119, 783, 13)}, edge=62, turns=["b", "a"]
)  # an alert that loses its last window
@given(fires=BUSY, edge=st.integers(1, LENGTH - 1), turns=st.permutations(["a", "b"]))
def test_runs_of_neighbouring_hours_that_overlap_in_time(
    fires: set[int], edge: int, turns: list[str]
) -> None:
    """Both have written their findings before either settles alerts."""
    desk = Desk(fires=set(fires))
    for turn in turns:
        desk.settle(*((0, edge) if turn == "a" else (edge, LENGTH)))
    assert desk.said() == at_once(fires)


def test_an_alert_whose_opening_moves_is_superseded() -> None:
    desk = Desk()
    desk.judge(100, 130, {110, 120})
    (old,) = desk.alerts
    desk.judge(80, 100, {90})
    (new,) = desk.alerts
    assert desk.said() == [(90, 120, 3)]
    assert desk.superseded == {old: new}
    desk.judge(80, 111, set())
    (later,) = desk.alerts
    assert desk.said() == [(120, 120, 1)]
    assert desk.superseded == {old: new, new: later}


def test_an_alert_of_which_nothing_is_left_is_nobodys() -> None:
    desk = Desk()
    desk.judge(100, 130, {110})
    desk.judge(100, 130, set())
    assert (desk.alerts, list(desk.superseded.values())) == ({}, [None])


def test_a_window_of_a_long_alert_reads_an_hour_and_not_its_history() -> None:
    desk = Desk(fires=set(range(LENGTH)))
    desk.settle(0, LENGTH)
    desk.read = 0
    desk.judge(LENGTH - 1, LENGTH, {LENGTH - 1})
    assert desk.read <= 2 * FULL


def test_an_alert_after_the_range_without_findings_is_left_to_whoever_judges_there() -> None:
    desk = Desk()
    desk.judge(100, 130, {110})
    desk.fires = set()  # as of an alert older than findings are kept
    desk.settle(0, 100)
    assert desk.said() == [(110, 110, 1)]

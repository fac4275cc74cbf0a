"""Which value of a threshold is chosen, and how it holds on time that it has not seen."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.calibration import (
    Candidate,
    Choice,
    Span,
    choose,
    held_out_per_day,
    shared,
    tried_values,
    weighed,
)
from sentinet_dagster.surveillance.detectors import DETECTORS
from sentinet_dagster.surveillance.schema import WINDOW
from sentinet_dagster.surveillance.settings import load_settings
from tests.unit.sentinet_dagster.surveillance.facts import START, at, frame

DAY = timedelta(days=1)
COOL_DOWNS = pl.DataFrame(schema={"detector": pl.String, "instrument_id": pl.Int16, "cool_down": pl.Duration})
SPAN = Span(START, START + 2 * DAY)


def candidate(value: float, *hours: float, recall: float | None = None) -> Candidate:
    opened = tuple(START + timedelta(hours=hour) for hour in hours)
    return Candidate(value, opened, None, recall)


LOOSE, USUAL, STRICT = candidate(1, 1, 2, 3, 25, 26), candidate(2, 1, 25), candidate(4, 25)
THREE = (LOOSE, USUAL, STRICT)


@pytest.mark.parametrize("name", DETECTORS)
def test_every_number_has_values_that_are_accepted(name: str) -> None:
    detector = DETECTORS[name]
    for threshold, current in detector.thresholds().model_dump().items():
        if threshold in detector.thresholds.numbers() and isinstance(current, float) and current > 0:
            values = tried_values(detector, threshold, current)
            assert values == sorted(set(values))
            assert current in values
            for value in values:
                load_settings({"detectors": {"default": {name: {threshold: value}}}})


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (10.0, Choice(1, 2.5, fits=True)),
        (2.5, Choice(1, 2.5, fits=True)),
        (1.0, Choice(2, 1.0, fits=True)),
        (0.5, Choice(4, 0.5, fits=True)),
        (0.1, Choice(4, 0.5, fits=False)),
    ],
)
def test_the_most_sensitive_value_within_the_budget(budget: float, expected: Choice) -> None:
    assert choose(THREE, 2, budget, [SPAN]) == expected


def test_where_people_have_judged_recall_comes_first() -> None:
    found = choose([candidate(1, 1, 2, recall=0.5), candidate(2, 1, recall=1.0)], 1, 10, [SPAN])
    assert found.value == 2


def test_where_nothing_differs_the_value_in_force_stays() -> None:
    assert choose([candidate(value) for value in (1, 2, 4)], 2, 0, [SPAN]).value == 2


def test_a_choice_is_counted_on_time_it_has_not_seen() -> None:
    folds = SPAN.folds(2)
    assert [fold.days for fold in folds] == [1, 1]
    first, second = (choose(THREE, 2, 1, [fold]).value for fold in folds)
    assert (first, second) == (2, 2)
    assert held_out_per_day(THREE, 2, 1, folds) == 1
    assert held_out_per_day(THREE, 2, 3, folds) == pytest.approx((3 + 2) / 2)
    assert held_out_per_day(THREE, 2, 3, [SPAN]) is None


def test_who_wants_little_leaves_the_rest() -> None:
    assert shared(9, {"a": 10, "b": 2}) == {"b": 2, "a": 7}
    assert shared(100, {"a": 10, "b": 2}) == {"b": 2, "a": 10}
    assert shared(4, {}) == {}


def firings(*seconds: float) -> pl.DataFrame:
    rows = [{"instrument_id": 1, "window_start": at(second), "score": 1.0} for second in seconds]
    return frame(schema.FIRINGS, rows, detector="spoofing", detector_version=1, severity="warning")


def closed(*alerts: tuple[float, str]) -> pl.DataFrame:
    rows = [(1, at(second), at(second) + 2 * WINDOW, disposition) for second, disposition in alerts]
    names = ["instrument_id", "window_start", "last_window_start", "disposition"]
    return pl.DataFrame(
        rows,
        schema=dict(zip(names, (pl.Int16, schema.TIME, schema.TIME, pl.String), strict=True)),
        orient="row",
    )


def test_firings_near_one_another_are_one_alert_and_closed_ones_are_found_again() -> None:
    judged = closed((0, "true"), (1000, "false"), (2000, "true"), (3000, "benign"), (1000, "duplicate"))
    found = weighed(0.6, firings(5, 10, 1005, 5000), COOL_DOWNS, judged)
    assert found.opened_at == (at(5), at(1005), at(5000))
    assert found.precision == 1 / 2
    assert found.recall == 1 / 2
    assert found.per_day([SPAN]) == 1.5


def test_where_nobody_has_judged_nothing_is_said() -> None:
    found = weighed(0.6, firings(5), COOL_DOWNS, closed())
    assert (found.precision, found.recall) == (None, None)

"""When a chart on the screen counts as drawn, and what is said of one that is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sentinet_dagster.superset.screen import Shown

DRAWN = Shown(name="Depth", kind="echarts_area", busy=False, error="", empty=False, drawn=True, text="")


def test_a_chart_that_is_drawn_has_settled_and_is_fine() -> None:
    assert DRAWN.is_settled
    assert DRAWN.complaint == ""


@pytest.mark.parametrize(
    "chart", [replace(DRAWN, busy=True), replace(DRAWN, drawn=False)], ids=["loading over it", "not begun"]
)
def test_one_that_is_not_there_yet_is_waited_for(chart: Shown) -> None:
    assert not chart.is_settled
    assert chart.complaint == "Depth (echarts_area): nothing drawn"


@pytest.mark.parametrize(
    ("chart", "complaint"),
    [
        (
            replace(DRAWN, error="Unexpected error\n  no such column"),
            "Depth: Unexpected error no such column",
        ),
        (replace(DRAWN, empty=True), "Depth: no results"),
    ],
)
def test_one_that_says_why_it_shows_nothing_is_not_waited_for(chart: Shown, complaint: str) -> None:
    for each in (chart, replace(chart, drawn=False)):
        assert each.is_settled
        assert each.complaint == complaint
    assert not replace(chart, busy=True).is_settled

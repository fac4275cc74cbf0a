"""The dashboards as an analyst sees them: a real server, a real browser, a market that was judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentinet_dagster.superset.bundle import read_bundle
from tests.conftest import REPOSITORY
from tests.superset.pages import Analyst

pytestmark = pytest.mark.e2e

PICTURES: Path = REPOSITORY / "test-artifacts" / "dashboards"
BUNDLE = read_bundle()
# Measured of alerts that are raised while a market is live; this one is history.
OF_LIVE_ALERTS = {"Row → alert"}


@pytest.mark.parametrize("slug", BUNDLE.dashboards)
def test_every_visible_chart_shows_a_result_and_no_way_to_edit_it(analyst: Analyst, slug: str) -> None:
    analyst.open(slug)
    assert analyst.page.get_by_role("button", name="Edit dashboard").count() == 0
    seen: set[str] = set()
    complaints = []
    for number, tab in enumerate(analyst.tabs()):
        charts = analyst.settled()
        analyst.picture(PICTURES / f"{slug}_{number}.png")
        broken = [
            chart
            for chart in charts
            if chart.complaint and not (chart.empty and chart.name in OF_LIVE_ALERTS)
        ]
        complaints += [f"{tab}: {chart.complaint}" for chart in broken]
        seen |= {chart.name for chart in charts}
    assert complaints == []
    assert seen == {BUNDLE.charts[chart].title for chart in BUNDLE.dashboards[slug].charts}


def test_a_filter_changes_the_data(analyst: Analyst) -> None:
    def venues() -> set[str]:
        (markets,) = [chart for chart in analyst.settled() if chart.name == "Markets"]
        return {venue for venue in ("simulated", "simulated_usdm") if venue in markets.text.split()}

    analyst.open("market_overview")
    assert venues() == {"simulated", "simulated_usdm"}
    analyst.choose("Venue", "simulated_usdm")
    analyst.until(lambda: venues() == {"simulated_usdm"}, "one venue's markets are shown")

"""The dashboards as an analyst sees them: a real server, a real browser, a market that was judged."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser

from sentinet_dagster.superset.access import make_user
from sentinet_dagster.superset.bundle import Chart, Dashboard, identifier, read_bundle
from sentinet_dagster.superset.client import Superset
from sentinet_dagster.superset.pictures import file_name
from sentinet_dagster.superset.questions import choices, filters_of, queries, tabs, time_range
from tests.e2e.command import SENTINET
from tests.superset.conftest import Sentinet
from tests.superset.pages import PICTURES, Analyst

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

BUNDLE = read_bundle()
# Measured of an alert that is raised while the market is live: it may have been calm then.
OF_A_LIVE_ALERT = {"Row → alert"}


@pytest.fixture(scope="module")
def charts_by_number(sentinet: Sentinet) -> dict[int, Chart]:
    """Superset's number → the chart."""
    with Superset(sentinet.addresses["superset"], "analyst", sentinet.secrets.analyst_password) as session:
        numbers = session.ids("chart")
    return {numbers[identifier("chart", slug)]: chart for slug, chart in BUNDLE.charts.items()}


@pytest.mark.parametrize("slug", BUNDLE.dashboards)
def test_every_visible_chart_shows_a_result_and_no_way_to_edit_it(
    analyst: Analyst, charts_by_number: dict[int, Chart], slug: str
) -> None:
    analyst.posts.clear()
    analyst.open(slug)
    assert analyst.page.get_by_role("button", name="Edit dashboard").count() == 0
    seen: set[str] = set()
    complaints = []
    for tab in analyst.tabs():
        charts = analyst.settled()
        broken = [
            chart
            for chart in charts
            if chart.complaint and not (chart.empty and chart.name in OF_A_LIVE_ALERT)
        ]
        complaints += [f"{tab}: {chart.complaint}" for chart in broken]
        seen |= {chart.name for chart in charts}
    assert complaints == []
    assert seen == {BUNDLE.charts[chart].title for chart in BUNDLE.dashboards[slug].charts}
    assert unlike_ours(analyst.posts, BUNDLE.dashboards[slug], charts_by_number) == []


def test_a_picture_is_taken_of_every_tab(sentinet: Sentinet) -> None:
    done = subprocess.run(
        [SENTINET, "dashboards", "screenshot", PICTURES, "--json"],
        env=sentinet.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = {each["file"]: each["complaints"] for each in json.loads(done.stdout)["pictures"]}
    assert found.keys() == {str(PICTURES / file_name(tab.dashboard, tab.name)) for tab in tabs(BUNDLE)}
    complaints = {complaint for each in found.values() for complaint in each}
    assert complaints <= {f"{name}: no results" for name in OF_A_LIVE_ALERT}
    assert done.returncode == bool(complaints), done.stderr
    for file in found:
        with Image.open(file) as picture:
            assert (picture.format, picture.mode, picture.width) == ("PNG", "P", 1600)


def unlike_ours(posts: list[dict[str, Any]], dashboard: Dashboard, charts: dict[int, Chart]) -> list[str]:
    """Charts of which a browser asks something else than `questions.py` says, by which the benchmark asks."""
    found = []
    for post in posts:
        chart = charts.get(post["form_data"].get("slice_id"))
        # A filter's list has no chart; the dashboard that was left may have asked until it was gone.
        if chart is None or chart.slug not in dashboard.charts:
            continue
        first = [choice for choice in choices(dashboard) if chart.slug not in choice.excluded]
        values = {each["col"]: each["val"][0] for each in post["queries"][0]["filters"] if each["op"] == "IN"}
        filters = filters_of([(choice, values.get(choice.column)) for choice in first], chart.slug)
        ours = queries(chart, time_range(dashboard, chart.slug), filters)
        if [essence(each) for each in ours] != [essence(each) for each in post["queries"]]:
            found.append(f"{chart.slug}: {post['queries']}")
    return found


def essence(query: dict[str, Any]) -> dict[str, Any]:
    """What decides what is answered, without what is empty."""
    keys = (
        "columns", "metrics", "filters", "extras", "orderby", "row_limit", "post_processing",
        "series_columns", "time_range",
    )  # fmt: skip
    return {key: query[key] for key in keys if query.get(key) not in (None, [], {})}


def test_a_filter_changes_the_data(analyst: Analyst) -> None:
    def venues() -> set[str]:
        (markets,) = [chart for chart in analyst.settled() if chart.name == "Markets"]
        return {venue for venue in ("simulated", "simulated_usdm") if venue in markets.text.split()}

    analyst.open("market_overview")
    assert venues() == {"simulated", "simulated_usdm"}
    analyst.choose("Venue", "simulated_usdm")
    analyst.until(lambda: venues() == {"simulated_usdm"}, "one venue's markets are shown")


def test_who_has_no_alert_to_choose_is_shown_that(sentinet: Sentinet, browser: Browser) -> None:
    """As before the first alert: of no venue, thus of no alert, they see any."""
    name, password = "newcomer", "newcomer-password"
    with Superset(sentinet.addresses["superset"], "admin", sentinet.secrets.admin_password) as session:
        make_user(session, name, password, [])
    newcomer = Analyst(browser, sentinet.addresses["superset"], name, password)
    newcomer.open("surveillance")
    newcomer.show("One alert")
    newcomer.until(lambda: "no alert is chosen" in shown(newcomer), "the evidence says that there is none")


def shown(analyst: Analyst) -> str:
    return " ".join(chart.text for chart in analyst.look())

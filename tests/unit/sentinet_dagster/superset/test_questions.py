from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sentinet_dagster.superset.bundle import Bundle, Chart, read_bundle
from sentinet_dagster.superset.questions import Choice, choices, filters_of, queries, tabs, time_range

BUNDLE: Bundle = read_bundle()
DAY = 'DATEADD(DATETIME("now"), -24, hour) : now'


def asked(slug: str, **parameters: object) -> list[dict[str, Any]]:
    chart = BUNDLE.charts[slug]
    document = chart.document | {"params": chart.document["params"] | parameters}
    return queries(replace(chart, document=document), DAY, [])


def test_every_chart_of_the_bundle_is_on_a_tab_and_has_a_query() -> None:
    shown = {chart for tab in tabs(BUNDLE) for chart in tab.charts}
    assert shown == set(BUNDLE.charts)
    for slug, chart in BUNDLE.charts.items():
        for query in queries(chart, DAY, []):
            assert query["columns"] or query["metrics"], slug


def test_tabs_are_those_of_the_dashboards() -> None:
    named = [(tab.dashboard, tab.name) for tab in tabs(BUNDLE)]
    assert len(set(named)) == len(named)
    assert ("surveillance", "Queue") in named
    assert ("models", "") in named  # it has none
    for tab in tabs(BUNDLE):
        assert set(tab.charts) <= set(BUNDLE.dashboards[tab.dashboard].charts)


def test_a_chart_of_another_kind_is_named() -> None:
    chart = Chart("pie", "charts/pie.yaml", "alerts", {"viz_type": "pie", "params": {}})
    with pytest.raises(ValueError, match=r"^charts/pie\.yaml: viz_type pie: "):
        queries(chart, None, [])


def test_the_time_of_a_dashboard_leaves_out_what_it_excludes() -> None:
    surveillance = BUNDLE.dashboards["surveillance"]
    assert time_range(surveillance, "alert_queue") == DAY
    assert time_range(surveillance, "one_alert_price") is None
    (query,) = queries(BUNDLE.charts["one_alert_price"], None, [])
    assert "time_range" not in query


def test_a_filter_with_a_value_of_its_own_reaches_its_charts() -> None:
    (choice,) = choices(BUNDLE.dashboards["surveillance"])
    assert (choice.dataset, choice.column, choice.ascending) == ("alert_evidence", "alert", False)
    assert choice.query()["orderby"] == [["alert", False]]
    chosen = [(choice, "the newest")]
    assert filters_of(chosen, "alert_queue") == []
    assert filters_of(chosen, "one_alert") == [{"col": "alert", "op": "IN", "val": ["the newest"]}]
    assert choices(BUNDLE.dashboards["models"]) == []


def test_filters_of_the_dashboard_come_before_those_of_the_chart() -> None:
    filters = filters_of([(Choice("alerts", "venue", True, frozenset()), "okx")], "scores_over_time")
    (query,) = queries(BUNDLE.charts["scores_over_time"], DAY, filters)
    assert [(each["col"], each["op"]) for each in query["filters"]] == [
        ("venue", "IN"),
        ("window_start", "TEMPORAL_RANGE"),
        ("score", "IS NOT NULL"),
    ]
    assert "val" not in query["filters"][2]


def test_a_series_is_pivoted_and_summed_as_its_parameters_say() -> None:
    (query,) = asked("ingest_growth")
    operations = [step["operation"] for step in query["post_processing"]]
    assert operations == ["pivot", "cum", "rename", "flatten"]
    assert query["columns"][0]["timeGrain"] == query["extras"]["time_grain_sqla"] == "PT1M"
    (query,) = asked("top_movers")
    assert [step["operation"] for step in query["post_processing"]] == ["pivot", "sort", "flatten"]
    assert "timeGrain" not in query["columns"][0]


def test_a_table_with_a_last_line_asks_twice() -> None:
    sums, totals = asked("precision_by_detector")
    assert sums["orderby"] == [["alerts", False]]
    assert (totals["columns"], totals["row_limit"]) == ([], 0)
    assert totals["metrics"] == sums["metrics"]
    assert len(asked("precision_by_detector", show_totals=False)) == 1


def test_a_table_of_rows_is_ordered_as_it_says() -> None:
    (query,) = asked("alert_queue")
    assert query["orderby"] == [["priority", True], ["window_start", False]]
    assert query["row_limit"] == 500

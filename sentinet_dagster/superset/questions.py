"""What a browser asks Superset for: the query of a chart, made of the chart's parameters.

What lives here: the queries, for the kinds of chart that the bundle has, and which charts of a dashboard are
asked for at once. What never does: asking.

The bundle's charts keep no query: Superset's front end makes one of a chart's parameters and of the
dashboard's filters each time, and posts it to `/api/v1/chart/data`. This is the same for whoever has no
front end. tests/superset holds every query against what a browser posts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sentinet_dagster.superset.bundle import Bundle, Chart, Dashboard, Document

__all__ = ["Choice", "Tab", "choices", "filters_of", "queries", "tabs", "time_range"]

_TIME_SERIES: Final = {"echarts_timeseries_line", "echarts_timeseries_bar", "echarts_area"}
_MOST_VALUES: Final = 1000  # of a filter's list


@dataclass(frozen=True, slots=True)
class Tab:
    """Charts that are seen, and refreshed, together."""

    dashboard: str
    name: str  # "" where the dashboard has no tabs
    charts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """A filter that begins with the first of its values."""

    dataset: str
    column: str
    ascending: bool
    excluded: frozenset[str]  # charts

    def query(self) -> Document:
        """What gives its values."""
        return {
            "columns": [self.column],
            "metrics": [],
            "orderby": [[self.column, self.ascending]],
            "row_limit": _MOST_VALUES,
        }


def tabs(bundle: Bundle) -> list[Tab]:
    """Those of all dashboards, as they are laid out."""
    return [
        Tab(slug, str(node["meta"].get("text", "")), tuple(_charts_below(positions, node)))
        for slug, dashboard in bundle.dashboards.items()
        for positions in [dashboard.document["position"]]
        for node in _tab_nodes(positions)
    ]


def _tab_nodes(positions: Mapping[str, Any]) -> list[Document]:
    nodes = [node for node in positions.values() if isinstance(node, dict)]
    found = [node for node in nodes if node.get("type") == "TAB"]
    return found or [{"meta": {}, "children": ["ROOT_ID"]}]


def _charts_below(positions: Mapping[str, Any], node: Document) -> Iterator[str]:
    if node.get("type") == "CHART":
        yield node["meta"]["chart"]
    for child in node.get("children") or ():
        yield from _charts_below(positions, positions[child])


def time_range(dashboard: Dashboard, chart: str) -> str | None:
    """What the dashboard's filter of time begins with; None: it leaves this chart alone."""
    for each in _filters(dashboard):
        if each["filterType"] == "filter_time" and chart not in each["scope"]["excluded"]:
            return str(each["defaultDataMask"]["extraFormData"]["time_range"])
    return None


def choices(dashboard: Dashboard) -> list[Choice]:
    """The filters of a dashboard that have a value before anybody touches them."""
    return [
        Choice(
            each["targets"][0]["dataset"],
            each["targets"][0]["column"]["name"],
            each["controlValues"]["sortAscending"],
            frozenset(each["scope"]["excluded"]),
        )
        for each in _filters(dashboard)
        if each["controlValues"].get("defaultToFirstItem")
    ]


def filters_of(chosen: Sequence[tuple[Choice, object]], chart: str) -> list[Document]:
    """What the first values of filters mean for a chart, as filters of its query."""
    return [
        {"col": choice.column, "op": "IN", "val": [value]}
        for choice, value in chosen
        if chart not in choice.excluded
    ]


def queries(chart: Chart, shown: str | None, filters: Sequence[Document]) -> list[Document]:
    """The queries of a chart, as Superset's front end makes them.

    Args:
        chart: of a kind that the bundle has.
        shown: the time that the dashboard shows.
        filters: of the dashboard, besides the time.

    Raises:
        ValueError: it is of another kind.
    """
    params = chart.document["params"]
    kind = str(chart.document["viz_type"])
    own = [_filter(each) for each in params.get("adhoc_filters") or ()]
    query: Document = {"filters": [*filters, *own], "extras": {"having": "", "where": ""}}
    query["order_desc"] = params.get("order_desc", True)
    if shown is not None:
        query["time_range"] = shown
    if "row_limit" in params:
        query["row_limit"] = params["row_limit"]
    if "time_grain_sqla" in params:
        query["extras"]["time_grain_sqla"] = params["time_grain_sqla"]
    if kind in _TIME_SERIES:
        return [query | _time_series(params)]
    if kind == "table" and params["query_mode"] == "aggregate":
        return _aggregates(params, query)
    if kind in ("table", "handlebars"):
        ordered = [json.loads(each) for each in params.get("order_by_cols") or ()]
        return [query | {"columns": params["all_columns"], "orderby": ordered}]
    if kind == "big_number_total":
        return [query | {"columns": [], "metrics": [params["metric"]]}]
    if kind == "heatmap_v2":
        return [query | _heatmap(params)]
    if kind == "graph_chart":
        columns = [params[each] for each in ("source", "target", "source_category", "target_category")]
        ordered = [[column, True] for column in columns]
        return [query | {"columns": columns, "metrics": [params["metric"]], "orderby": ordered}]
    raise ValueError(f"{chart.path}: viz_type {kind}: what a browser asks for is not known here")


def _time_series(params: Document) -> Document:
    metrics, groups = params["metrics"], params["groupby"]
    labels = [_label(metric) for metric in metrics]
    steps: list[Document] = [
        {
            "operation": "pivot",
            "options": {
                "index": [params["x_axis"]],
                "columns": groups,
                "aggregates": {label: {"operator": "mean"} for label in labels},
                "drop_missing_columns": False,
            },
        }
    ]
    if params.get("rolling_type") == "cumsum":
        summed = {"operator": "sum", "columns": {label: label for label in labels}}
        steps.append({"operation": "cum", "options": summed})
    if groups and len(metrics) == 1 and params.get("truncate_metric"):
        unnamed = {"columns": {labels[0]: None}, "level": 0, "inplace": True}
        steps.append({"operation": "rename", "options": unnamed})
    if params.get("x_axis_sort"):
        ordered = {"by": params["x_axis_sort"], "ascending": params["x_axis_sort_asc"]}
        steps.append({"operation": "sort", "options": ordered})
    return {
        "columns": [_axis(params), *groups],
        "series_columns": groups,
        "metrics": metrics,
        "orderby": [[metrics[0], False]],
        "post_processing": [*steps, {"operation": "flatten"}],
    }


def _heatmap(params: Document) -> Document:
    ordered = [
        [params[column], params[key] == "alpha_asc"]
        for column, key in (("x_axis", "sort_x_axis"), ("groupby", "sort_y_axis"))
    ]
    rank = {"operation": "rank", "options": {"metric": _label(params["metric"])}}
    return {
        "columns": [_axis(params), params["groupby"]],
        "metrics": [params["metric"]],
        "orderby": ordered,
        "post_processing": [rank],
    }


def _aggregates(params: Document, query: Document) -> list[Document]:
    """A table of sums, and its last line."""
    metrics = params["metrics"]
    by = params.get("timeseries_limit_metric")
    ordered = [[by, not params["order_desc"]]] if by else [[metrics[0], False]]
    asked = [query | {"columns": params["groupby"], "metrics": metrics, "orderby": ordered}]
    if params.get("show_totals"):
        asked.append(query | {"columns": [], "metrics": metrics, "row_limit": 0})
    return asked


def _axis(params: Document) -> Document:
    name = params["x_axis"]
    axis = {
        "columnType": "BASE_AXIS",
        "sqlExpression": name,
        "label": name,
        "expressionType": "SQL",
        "isColumnReference": True,
    }
    grain = params.get("time_grain_sqla")
    return axis | {"timeGrain": grain} if grain else axis


def _filter(adhoc: Document) -> Document:
    asked = {"col": adhoc["subject"], "op": adhoc["operator"]}
    # Nothing is compared with in IS NULL and IS NOT NULL.
    return asked | {"val": adhoc["comparator"]} if "comparator" in adhoc else asked


def _label(metric: str | Document) -> str:
    return metric if isinstance(metric, str) else str(metric["label"])


def _filters(dashboard: Dashboard) -> Sequence[Document]:
    return dashboard.document["metadata"].get("native_filter_configuration") or ()

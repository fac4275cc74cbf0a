from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sentinet_dagster.superset.bundle import read_bundle
from sentinet_dagster.superset.validate import check_bundle
from tests.unit.sentinet_dagster.superset.trees import write_tree

TRAIL = "dashboards/shop.yaml → charts/line.yaml → datasets/market/prices.yaml"


def test_nothing_is_wrong_with_a_whole_bundle(tmp_path: Path) -> None:
    assert check_bundle(read_bundle(write_tree(tmp_path))) == []


def params(**changed: Any) -> Callable[[Any], None]:
    def apply(chart: Any) -> None:
        chart["params"].update(changed)

    return apply


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"groupby": ["colour"]}, "params.groupby: no column colour"),
        ({"x_axis": "when"}, "params.x_axis: no column when"),
        ({"metrics": ["first"]}, "params.metrics: no metric first"),
        ({"metric": "first"}, "params.metric: no metric first"),
        (
            {
                "metrics": [
                    {"expressionType": "SIMPLE", "column": {"column_name": "size"}, "aggregate": "SUM"}
                ]
            },
            "params.metrics: no column size",
        ),
        (
            {"adhoc_filters": [{"expressionType": "SIMPLE", "subject": "size", "clause": "WHERE"}]},
            "params.adhoc_filters: no column size",
        ),
        ({"order_by_cols": ['["size", true]']}, "params.order_by_cols: no column size"),
    ],
)
def test_a_chart_that_asks_for_what_its_dataset_has_not(
    tmp_path: Path, changed: dict[str, Any], problem: str
) -> None:
    bundle = read_bundle(write_tree(tmp_path, charts__line=params(**changed)))
    assert check_bundle(bundle) == [f"{TRAIL}: {problem}"]


def test_a_filter_and_a_time_column_that_are_not_there(tmp_path: Path) -> None:
    def rename(dataset: Any) -> None:
        dataset["columns"] = [each for each in dataset["columns"] if each["column_name"] != "venue"]
        dataset["main_dttm_col"] = "when"

    def forget(chart: Any) -> None:
        chart["params"] |= {"groupby": [], "adhoc_filters": []}

    bundle = read_bundle(write_tree(tmp_path, datasets__market__prices=rename, charts__line=forget))
    assert check_bundle(bundle) == [
        "datasets/market/prices.yaml: main_dttm_col: no column when",
        "dashboards/shop.yaml → datasets/market/prices.yaml: filter Venue: no column venue",
    ]


def test_what_nobody_shows_or_reads(tmp_path: Path) -> None:
    def drop(dashboard: Any) -> None:
        del dashboard["position"]["CHART-2"]

    tree = write_tree(tmp_path, dashboards__shop=drop)
    (tree / "datasets/market/idle.yaml").write_text((tree / "datasets/market/prices.yaml").read_text())
    assert check_bundle(read_bundle(tree)) == [
        "charts/list.yaml: no dashboard shows it",
        "datasets/market/idle.yaml: no chart and no filter reads it",
    ]

"""A small bundle: one of each kind, with every sort of reference."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

FILES: dict[str, dict[str, Any]] = {
    "metadata.yaml": {"version": "1.0.0", "type": "assets"},
    "databases/market.yaml": {"database_name": "Market", "sqlalchemy_uri": "postgresql://", "extra": {}},
    "datasets/market/prices.yaml": {
        "table_name": "prices",
        "schema": "shop",
        "main_dttm_col": "at",
        "columns": [
            {"column_name": "at", "is_dttm": True},
            {"column_name": "venue"},
            {"column_name": "price"},
            {"column_name": "in_cents", "expression": "price * 100"},
        ],
        "metrics": [{"metric_name": "last", "expression": "max(price)"}],
    },
    "charts/line.yaml": {
        "slice_name": "Price",
        "viz_type": "echarts_timeseries_line",
        "dataset": "prices",
        "params": {
            "x_axis": "at",
            "groupby": ["venue"],
            "metrics": ["last", {"expressionType": "SQL", "sqlExpression": "min(price)", "label": "low"}],
            "adhoc_filters": [{"expressionType": "SIMPLE", "subject": "venue", "clause": "WHERE"}],
            "annotation_layers": [
                {"name": "limit", "annotationType": "FORMULA", "value": "7"},
                {"name": "notes", "annotationType": "EVENT", "sourceType": "NATIVE", "value": "notes"},
            ],
        },
    },
    "charts/list.yaml": {
        "slice_name": "Prices",
        "viz_type": "table",
        "dataset": "prices",
        "params": {
            "all_columns": ["at", "in_cents"],
            "order_by_cols": ['["at", false]'],
            "link": "${DAGSTER_URL}/runs",
        },
    },
    "dashboards/shop.yaml": {
        "dashboard_title": "Shop",
        "theme": "night",
        "position": {
            "ROOT_ID": {"type": "ROOT", "children": []},
            "CHART-1": {"type": "CHART", "meta": {"chart": "line", "width": 6}},
            "CHART-2": {"type": "CHART", "meta": {"chart": "list", "width": 6}},
            "DASHBOARD_VERSION_KEY": "v2",
        },
        "metadata": {
            "native_filter_configuration": [
                {
                    "name": "Venue",
                    "targets": [{"dataset": "prices", "column": {"name": "venue"}}],
                    "scope": {"rootPath": ["ROOT_ID"], "excluded": ["list"]},
                }
            ],
            "timed_refresh_immune_slices": ["list"],
            "chart_configuration": {"line": {"crossFilters": {"chartsInScope": ["list"]}}},
        },
    },
    "themes/night.yaml": {"theme_name": "Night", "json_data": {"algorithm": "dark"}},
    "annotation_layers/notes.yaml": {"name": "Notes"},
}


def write_tree(folder: Path, **changes: Any) -> Path:
    """The bundle under `folder`. A change: `charts__line=` a document, a function of one, or None."""
    files = copy.deepcopy(FILES)
    for name, change in changes.items():
        path = f"{name.replace('__', '/')}.yaml"
        if change is None:
            del files[path]
        elif callable(change):
            change(files[path])
        else:
            files[path] = change
    for name, document in files.items():
        path_on_disk = folder / name
        path_on_disk.parent.mkdir(parents=True, exist_ok=True)
        path_on_disk.write_text(yaml.safe_dump(document, sort_keys=False))
    return folder

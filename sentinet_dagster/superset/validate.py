"""What must hold of a bundle: every link from a dashboard to a column leads somewhere.

What lives here: the links, and asking the live schema for their ends. What never does: Superset, mending.
Superset's own answer to a broken link is an empty chart, or a bare 500 when it is published.

Two passes: of the bundle alone (a chart's columns and metrics are its dataset's), and against a database and
dbt's manifest (relations, columns, every SQL expression, by EXPLAIN). Both say all that is wrong, each with
its path.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from sentinet_dagster.superset.bundle import Bundle, Chart, Dataset, Document

__all__ = ["check_bundle", "check_database"]

# Keys of a chart's params; what they hold, one or a list, is a column's name or an expression.
_COLUMNS: Final = (
    "x_axis", "groupby", "groupby_b", "columns", "all_columns", "all_columns_x", "all_columns_y",
    "series_columns", "granularity_sqla", "entity", "series", "source", "target", "groupbyRows",
    "groupbyColumns", "dimension", "id", "parent", "name", "source_category", "target_category",
)  # fmt: skip
_METRICS: Final = (
    "metric", "metrics", "metric_2", "metrics_b", "percent_metrics", "secondary_metric", "size", "x", "y",
    "timeseries_limit_metric", "timeseries_limit_metric_b", "series_limit_metric", "orderby",
)  # fmt: skip
_FILTERS: Final = ("adhoc_filters", "adhoc_filters_b")
_MARTS: Final = "rollup"  # dbt's schema


@dataclass(frozen=True, slots=True)
class _Expression:
    """SQL that Superset will put into a query of a relation."""

    path: str
    text: str
    is_condition: bool = False


def check_bundle(bundle: Bundle) -> list[str]:
    """What is wrong with the links inside the bundle; each line begins with its path."""
    found = [problem for chart in bundle.charts.values() for problem in _check_chart(bundle, chart)]
    for dataset in bundle.datasets.values():
        main = dataset.document.get("main_dttm_col")
        if main and main not in _known_columns(dataset):
            found.append(f"{dataset.path}: main_dttm_col: no column {main}")
    found.extend(_check_filters(bundle))
    found.extend(_check_unused(bundle))
    return found


def check_database(
    bundle: Bundle, connection: psycopg.Connection[Any], marts: Mapping[str, frozenset[str]]
) -> list[str]:
    """What of the bundle's datasets is not in the database, or is not what a dashboard may stand on.

    Args:
        bundle: one that `check_bundle` finds nothing wrong with.
        connection: in autocommit mode; nothing is written.
        marts: dbt's models → the columns that its manifest documents.

    Raises:
        psycopg.OperationalError: the database is away.
    """
    found: list[str] = []
    for dataset in bundle.datasets.values():
        missing = _check_relation(dataset, connection, marts)
        wrong = missing or _check_expressions(bundle, dataset, connection)
        found.extend(_seen_from(bundle, dataset, problem) for problem in wrong)
    return found


def _check_chart(bundle: Bundle, chart: Chart) -> Iterator[str]:
    dataset = bundle.datasets[chart.dataset]
    columns, metrics = (
        _known_columns(dataset),
        {each["metric_name"] for each in dataset.document.get("metrics") or []},
    )
    trail = f"{_shown_on(bundle, chart)}{chart.path} → {dataset.path}"
    for key, name in _columns_of(chart.document["params"]):
        if name not in columns:
            yield f"{trail}: params.{key}: no column {name}"
    for key, name in _metrics_of(chart.document["params"]):
        if name not in metrics:
            yield f"{trail}: params.{key}: no metric {name}"


def _check_filters(bundle: Bundle) -> Iterator[str]:
    for dashboard in bundle.dashboards.values():
        for each in dashboard.document["metadata"].get("native_filter_configuration") or []:
            for target in each.get("targets") or []:
                name = (target.get("column") or {}).get("name")
                dataset = bundle.datasets.get(target.get("dataset"))
                if dataset is not None and name not in _known_columns(dataset):
                    yield f"{dashboard.path} → {dataset.path}: filter {each.get('name')}: no column {name}"


def _check_unused(bundle: Bundle) -> Iterator[str]:
    shown = {slug for dashboard in bundle.dashboards.values() for slug in dashboard.charts}
    for slug in sorted(bundle.charts.keys() - shown):
        yield f"{bundle.charts[slug].path}: no dashboard shows it"
    read = {chart.dataset for chart in bundle.charts.values()} | {
        target.get("dataset")
        for dashboard in bundle.dashboards.values()
        for each in dashboard.document["metadata"].get("native_filter_configuration") or []
        for target in each.get("targets") or []
    }
    for slug in sorted(bundle.datasets.keys() - read):
        yield f"{bundle.datasets[slug].path}: no chart and no filter reads it"


def _check_relation(
    dataset: Dataset, connection: psycopg.Connection[Any], marts: Mapping[str, frozenset[str]]
) -> list[str]:
    schema, table = dataset.document["schema"], dataset.document["table_name"]
    rows = connection.execute(
        "select pg_class.relkind::text, pg_attribute.attname from pg_class"
        " inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid"
        " inner join pg_attribute on pg_class.oid = pg_attribute.attrelid"
        " where nspname = %s and relname = %s and attnum > 0 and not attisdropped",
        (schema, table),
    ).fetchall()
    if not rows:
        return [f"no relation {dataset.relation} in the database"]
    if schema == _MARTS and table not in marts:
        return [f"{dataset.relation} is in the database and no model of the dbt project"]
    kinds, live = {row[0] for row in rows}, {row[1] for row in rows}
    if schema != _MARTS and kinds != {"v"}:
        return [f"{dataset.relation} is no view: dashboards read database views and dbt's models only"]
    missing = [f"no column {name} in {dataset.relation}" for name in dataset.columns if name not in live]
    documented = marts[table] if schema == _MARTS else frozenset(live)
    missing += [
        f"column {name} of {dataset.relation} is not documented in the dbt project"
        for name in dataset.columns
        if name in live and name not in documented
    ]
    return missing


def _check_expressions(
    bundle: Bundle, dataset: Dataset, connection: psycopg.Connection[Any]
) -> Iterator[str]:
    relation = sql.Identifier(dataset.document["schema"], dataset.document["table_name"])
    for each in _expressions(bundle, dataset):
        # The text is ours, from the bundle; EXPLAIN runs nothing.
        text = sql.SQL(each.text)
        shape = "explain select 1 from {1} where {0}" if each.is_condition else "explain select {0} from {1}"
        try:
            connection.execute(sql.SQL(shape).format(text, relation))
        except psycopg.errors.OperationalError:
            raise
        except psycopg.Error as error:
            yield f"{each.path}: {error.diag.message_primary or error}: {' '.join(each.text.split())}"


def _expressions(bundle: Bundle, dataset: Dataset) -> Iterator[_Expression]:
    for metric in dataset.document.get("metrics") or []:
        yield _Expression(f"metrics.{metric['metric_name']}", metric["expression"])
    for column in dataset.document["columns"]:
        if column.get("expression"):
            yield _Expression(f"columns.{column['column_name']}", column["expression"])
    for chart in bundle.charts.values():
        if chart.dataset != dataset.slug:
            continue
        params = chart.document["params"]
        for key in (*_COLUMNS, *_METRICS):
            for each in _as_list(params.get(key)):
                if isinstance(each, dict) and each.get("sqlExpression"):
                    yield _Expression(f"{chart.path}: params.{key}", each["sqlExpression"])
        for key in _FILTERS:
            for each in _as_list(params.get(key)):
                if each.get("expressionType") == "SQL" and each.get("sqlExpression"):
                    is_condition = each.get("clause", "WHERE") == "WHERE"
                    yield _Expression(f"{chart.path}: params.{key}", each["sqlExpression"], is_condition)


def _columns_of(params: Document) -> Iterator[tuple[str, str]]:
    for key in _COLUMNS:
        for each in _as_list(params.get(key)):
            if isinstance(each, str):
                yield key, each
    for key in _METRICS:
        for each in _as_list(params.get(key)):
            if isinstance(each, dict) and each.get("expressionType") == "SIMPLE":
                yield key, str((each.get("column") or {}).get("column_name"))
    for key in _FILTERS:
        for each in _as_list(params.get(key)):
            if each.get("expressionType") == "SIMPLE" and each.get("clause", "WHERE") == "WHERE":
                yield key, str(each.get("subject"))
    for text in _as_list(params.get("order_by_cols")):
        yield "order_by_cols", json.loads(text)[0]  # Superset keeps ["column", true] as text


def _metrics_of(params: Document) -> Iterator[tuple[str, str]]:
    for key in _METRICS:
        for each in _as_list(params.get(key)):
            if isinstance(each, str):
                yield key, each


def _known_columns(dataset: Dataset) -> set[str]:
    return {each["column_name"] for each in dataset.document["columns"]}


def _seen_from(bundle: Bundle, dataset: Dataset, problem: str) -> str:
    """The problem with one way that leads to it."""
    for chart in bundle.charts.values():
        if chart.dataset == dataset.slug:
            return f"{_shown_on(bundle, chart)}{chart.path} → {dataset.path}: {problem}"
    return f"{dataset.path}: {problem}"


def _shown_on(bundle: Bundle, chart: Chart) -> str:
    paths = [each.path for each in bundle.dashboards.values() if chart.slug in each.charts]
    return f"{paths[0]} → " if paths else ""


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]

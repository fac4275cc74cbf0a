"""Whether relations are what the code takes them for, and whether facts still come in.

What lives here: the columns of a relation against `surveillance/schema/`, and the age of what came last.
What never does: rules about rows (`suites.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import polars as pl
import psycopg
from psycopg.rows import dict_row

from sentinet_dagster.quality.checking import CheckResult
from sentinet_dagster.quality.expectations import Severity
from sentinet_dagster.surveillance.schema import TIME, Relation

__all__ = ["STALE_AFTER", "check_columns", "check_freshness"]

STALE_AFTER: Final = timedelta(minutes=15)
"""A relation that a venue wrote within the last day and not for so long is stale. Polled venues write hourly
or so, and closed markets not at all: so this tells, and blocks nothing."""

_TYPES: Final[Mapping[str, pl.DataType | type[pl.DataType]]] = {
    "smallint": pl.Int16,
    "integer": pl.Int32,
    "bigint": pl.Int64,
    "double precision": pl.Float64,
    "boolean": pl.Boolean,
    "text": pl.String,
    "uuid": pl.String,
    "jsonb": pl.String,
    "timestamp with time zone": TIME,
    "smallint[]": pl.List(pl.Int16),
    "double precision[]": pl.List(pl.Float64),
}
_COLUMNS: Final = """
select attname as name, format_type(atttypid, atttypmod) as type, not attnotnull as nullable
from pg_attribute
where attrelid = to_regclass(%(relation)s) and attnum > 0 and not attisdropped
"""
_NEWEST: Final = """
select venue, max(committed_at) as committed_at, clock_timestamp() - max(committed_at) as age
from ops.ingest_batches
where relation = %(table)s and committed_at > clock_timestamp() - interval '1 day'
group by venue
having max(committed_at) < clock_timestamp() - %(stale_after)s
order by venue
"""


def check_columns(connection: psycopg.Connection[Any], relation: Relation) -> CheckResult:
    """Every column that the code knows is there, of its type, and refuses null where it must."""
    with connection.cursor(row_factory=dict_row) as cursor:
        found = {row["name"]: row for row in cursor.execute(_COLUMNS, {"relation": relation.name})}
    changed = []
    for column in relation.columns:
        stored = found.get(column.name)
        if stored is None:
            changed.append({"column": column.name, "expected": str(column.dtype), "found": "nothing"})
        elif _TYPES.get(stored["type"]) != column.dtype or (stored["nullable"] and not column.nullable):
            nullable = "" if stored["nullable"] == column.nullable else ", nullable"
            expected = str(column.dtype)
            changed.append({"column": column.name, "expected": expected, "found": stored["type"] + nullable})
    return CheckResult(
        relation.name,
        "columns_are_as_known",
        Severity.ERROR,
        len(changed),
        changed,
        rows=len(relation.columns),
    )


def check_freshness(connection: psycopg.Connection[Any], relation: str) -> CheckResult:
    """Every venue that wrote the relation within the last day wrote it within STALE_AFTER; by the ledger."""
    parameters = {"table": relation.partition(".")[2], "stale_after": STALE_AFTER}
    with connection.cursor(row_factory=dict_row) as cursor:
        stale = [
            {
                "venue": row["venue"],
                "committed_at": row["committed_at"].isoformat(),
                "age_s": round(row["age"].total_seconds()),
            }
            for row in cursor.execute(_NEWEST, parameters)
        ]
    return CheckResult(relation, "facts_are_fresh", Severity.WARNING, len(stale), stale)

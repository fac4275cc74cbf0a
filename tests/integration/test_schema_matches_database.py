"""The relations of `surveillance/schema/` are the tables that the migrations make."""

from __future__ import annotations

import polars as pl
import psycopg
import pytest

from sentinet_dagster.surveillance.schema import RELATIONS, TIME, Relation

pytestmark = pytest.mark.integration

DTYPES = {
    "smallint": pl.Int16(),
    "integer": pl.Int32(),
    "bigint": pl.Int64(),
    "double precision": pl.Float64(),
    "boolean": pl.Boolean(),
    "text": pl.String(),
    "uuid": pl.String(),
    "jsonb": pl.String(),
    "timestamp with time zone": TIME,
    "smallint[]": pl.List(pl.Int16),
    "text[]": pl.List(pl.String),
    "uuid[]": pl.List(pl.String),
    "double precision[]": pl.List(pl.Float64),
}
# `contract_currency` is the ingest daemon's: the facts are converted already.
ONLY_IN_THE_DATABASE = {
    "computed_at", "created_at", "changed_at", "recorded_at", "state", "frame", "last_received_at",
    "contract_currency", "superseded_by", "alerts.incident_id", "disposition",
}  # fmt: skip


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.name)
def test_columns_order_dtypes_and_nulls_agree(relation: Relation, database_url: str) -> None:
    query = """
        select attname, format_type(atttypid, atttypmod), not attnotnull
        from pg_attribute
        where attrelid = %s::regclass and attnum > 0 and not attisdropped
        order by attnum
    """
    with psycopg.connect(database_url) as connection:
        columns = connection.execute(query, [relation.name]).fetchall()
    stored = [
        (name, DTYPES[kind], nullable)
        for name, kind, nullable in columns
        if not {name, f"{relation.name.split('.')[1]}.{name}"} & ONLY_IN_THE_DATABASE
    ]
    assert [
        (column.name, pl.Schema({"x": column.dtype})["x"], column.nullable) for column in relation.columns
    ] == stored

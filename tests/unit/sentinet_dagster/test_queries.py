"""queries.sql: each statement is named, described, and binds every value with its type."""

from __future__ import annotations

import re

import pytest

from sentinet_dagster.queries import parse_queries, queries
from sentinet_dagster.surveillance.schema import (
    ALERTS,
    FINDINGS,
    INCIDENTS,
    REFERENCE_PRICES,
    RELATIONS,
    Relation,
)


def test_a_statement_is_bound_through_settings_where_copy_takes_no_parameters() -> None:
    text = (
        "-- name: span\n-- Rows\n-- of it.\n"
        "select 1\nwhere t >= %(start)s::int and t < %(end)s::int and %(start)s::int > 0;\n"
    )
    query = parse_queries(text)["span"]
    assert query.description == "Rows of it."
    assert query.parameters == ("start", "end")
    assert query.sql_of_settings.count("current_setting('sentinet.start')::int") == 2
    assert query.settings_sql == (
        "select set_config('sentinet.start', $1, false) as start_,"
        " set_config('sentinet.end', $2, false) as end_"
    )


@pytest.mark.parametrize(
    "text", ["-- name: a\nselect 1;", "-- name: a\n-- A.\nselect 1;\n-- name: a\n-- A.\nselect 2;"]
)
def test_a_statement_without_description_or_with_a_taken_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="'a'"):
        parse_queries(text)


def test_every_parameter_says_its_type() -> None:
    """A setting is text: without the cast, the statement would mean something else through ADBC than through
    psycopg."""
    for query in queries().values():
        bare = re.findall(r"%\(\w+\)s(?!::)", query.sql)
        assert bare == [], query.name


def test_no_statement_is_formatted() -> None:
    for query in queries().values():
        assert "{" not in query.sql.replace("'{}'", ""), query.name
        assert ";" not in query.sql, query.name


READ = [
    relation for relation in RELATIONS if relation not in (ALERTS, FINDINGS, INCIDENTS, REFERENCE_PRICES)
]  # those judging needs


@pytest.mark.parametrize("relation", READ, ids=lambda relation: relation.name)
def test_a_relation_is_read_with_its_columns_in_their_order(relation: Relation) -> None:
    listed = re.search(r"select\s+(.*?)\s+from", queries()[relation.name.split(".")[1]].sql, re.DOTALL)
    assert listed is not None
    assert [column.split(" as ")[-1].strip() for column in listed[1].split(",")] == list(relation.names)

"""The suites as a whole: what each says of itself, and that nothing in them can be formatted in."""

from __future__ import annotations

import re

import pytest

from sentinet_dagster.quality.compiled import range_statement, rows_statement
from sentinet_dagster.quality.expectations import Expectation, Query, Severity, Suite, failing_row
from sentinet_dagster.quality.suites import ALERTS, FACTS, SUITES, WINDOWS
from sentinet_dagster.surveillance import schema

EVERY = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.relation)
COLUMNS = {relation.name: set(relation.names) for relation in schema.RELATIONS}


@EVERY
def test_names_are_told_apart_and_every_rule_has_a_meaning(suite: Suite) -> None:
    names = [each.name for each in suite.expectations]
    assert len(set(names)) == len(names)
    for each in suite.expectations:
        assert re.fullmatch(r"[a-z][a-z0-9_]+", each.name), each.name
        assert each.meaning.endswith("."), each.name


@pytest.mark.parametrize("suite", [*FACTS, WINDOWS, ALERTS], ids=lambda suite: suite.relation)
def test_a_rule_of_one_column_names_a_column_of_its_relation(suite: Suite) -> None:
    columns = COLUMNS[suite.relation]
    assert {*suite.key, suite.time_column} <= columns
    for each in suite.expectations:
        if hasattr(each.rule, "column"):
            assert each.rule.column in columns, each.name


@EVERY
def test_values_are_bound_with_their_type(suite: Suite) -> None:
    statements = [rows_statement(suite)]
    statements += [range_statement(suite, each) for each in suite.expectations]
    for text in statements:
        assert set(re.findall(r"%\((\w+)\)s", text)) <= {"start", "end", "is_judged"}
        assert re.findall(r"%(?!\((?:start|end)\)s::timestamptz|\(is_judged\)s::boolean)", text) == []
        # GX formats a query once more, and SQLAlchemy would take `:word` for a parameter.
        assert not re.search(r"(?<![:\w]):[a-z]", text)
    for each in suite.expectations:
        condition = failing_row(each.rule)
        assert condition is None or "{" not in condition


def test_only_facts_are_set_aside_and_only_for_errors() -> None:
    for suite in SUITES.values():
        text = rows_statement(suite)
        assert ("quarantined_facts" in text) is (suite in FACTS)
        wanted = text[text.find("wanted as") : text.find("marked as")] if suite in FACTS else ""
        for each in suite.row_rules:
            assert (f"'{each.name}'" in wanted) is (suite in FACTS and each.severity is Severity.ERROR)


def test_a_rule_over_a_range_is_no_condition_of_a_row() -> None:
    rule = Query("select 1 from batch where false")
    suite = Suite("market.trades", "time", ("time",), (Expectation("a", Severity.ERROR, rule, "A."),))
    assert failing_row(rule) is None
    assert suite.row_rules == ()

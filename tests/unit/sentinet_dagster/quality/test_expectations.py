"""Each kind of rule as the condition of a row that breaks it."""

from __future__ import annotations

import pytest

from sentinet_dagster.quality.expectations import (
    Above,
    OneOf,
    Present,
    Query,
    Rows,
    Rule,
    Within,
    failing_row,
)


@pytest.mark.parametrize(
    ("rule", "condition"),
    [
        (Present("price"), "price is null"),
        (Within("price", 0, 10), "price < 0 or price > 10"),
        (Within("price", 0, 10, excludes_least=True), "price <= 0 or price > 10"),
        (Within("price", most=10), "price > 10"),
        (OneOf("side", (-1, 1)), "side not in (-1, 1)"),
        (Above("a", "b"), "a <= b"),
        (Above("a", "b", or_equal=True), "a < b"),
        (Rows("a + b > c"), "a + b > c"),
        (Query("select 1 from batch"), None),
    ],
)
def test_what_breaks_a_rule(rule: Rule, condition: str | None) -> None:
    assert failing_row(rule) == condition

"""Suites held against the database by the compiled statements: cheap enough for every micro-batch.

What lives here: running the statements, results as values, their history in ops.check_results. What never
does: rules (`suites.py`), Great Expectations (`full_pass.py`), Dagster.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from sentinet_dagster.quality.compiled import range_statement, rows_statement
from sentinet_dagster.quality.expectations import Query, Severity, Suite

__all__ = ["CheckResult", "Checked", "check_range", "check_rows", "existing", "store"]

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one expectation came to over a range."""

    relation: str
    expectation: str
    severity: Severity
    failing: int
    keys: Sequence[Mapping[str, Any]] = ()
    rows: int | None = None  # looked at; None: not counted
    error: str | None = None  # why it could not be told; then `failing` says nothing

    @property
    def passed(self) -> bool:
        """Whether nothing breaks it."""
        return self.failing == 0 and self.error is None

    @property
    def is_error(self) -> bool:
        """Whether it is broken, and that is more than something to tell."""
        return not self.passed and self.severity is Severity.ERROR


@dataclass(frozen=True, slots=True)
class Checked:
    """What the rows of a range came to: every expectation of single rows that is broken."""

    broken: Sequence[CheckResult] = ()
    marked: int = 0  # facts set aside that were not before, or for other reasons
    lifted: int = 0  # facts that are judged again


def check_rows(
    connection: Connection, suite: Suite, start: datetime, end: datetime, *, is_judged: bool
) -> Checked:
    """Hold the rows of [start, end) against the suite; of facts, set aside what breaks an error.

    Args:
        connection: commits, or is inside a transaction of the caller.
        is_judged: the caller builds the windows of what changed itself. Otherwise the plan finds them dirty.
    """
    parameters: dict[str, Any] = {"start": start, "end": end}
    if suite.row_id is not None:
        parameters["is_judged"] = is_judged
    row = _fetch(connection, rows_statement(suite), parameters)
    broken = [
        CheckResult(
            suite.relation, each.name, each.severity, found["failing"], [dict(key) for key in found["keys"]]
        )
        for each in suite.row_rules
        if (found := row["broken"].get(each.name)) is not None
    ]
    return Checked(broken, row.get("marked", 0), row.get("lifted", 0))


def check_range(connection: Connection, suite: Suite, start: datetime, end: datetime) -> list[CheckResult]:
    """Every expectation of the suite over [start, end), those that hold too. Facts are set aside as above."""
    broken = {
        each.expectation: each for each in check_rows(connection, suite, start, end, is_judged=False).broken
    }
    results = []
    for each in suite.expectations:
        if isinstance(each.rule, Query):
            row = _fetch(connection, range_statement(suite, each), {"start": start, "end": end})
            result = CheckResult(suite.relation, each.name, each.severity, row["failing"], row["keys"])
        else:
            result = broken.get(each.name, CheckResult(suite.relation, each.name, each.severity, 0))
        results.append(result)
    return results


def existing(connection: Connection, suites: Collection[Suite]) -> list[Suite]:
    """The suites whose relation is there: the sums are there once dbt has made them."""
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(
            "select name from unnest(%s::text[]) as wanted (name) where to_regclass(name) is not null",
            ([suite.relation for suite in suites],),
        )
        there = {row["name"] for row in found}
    return [suite for suite in suites if suite.relation in there]


def store(
    connection: Connection, engine: str, start: datetime, end: datetime, results: Sequence[CheckResult]
) -> None:
    """Write the results into ops.check_results.

    Args:
        connection: as above.
        engine: `incremental`, `range` or `full`: who looked, and how closely.
        start, end: the range.
        results: one row each.
    """
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            insert into ops.check_results (
                relation, expectation, severity, engine, range_start, range_end, rows, failing, keys, error
            ) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            [
                (
                    result.relation,
                    result.expectation,
                    result.severity.value,
                    engine,
                    start,
                    end,
                    result.rows,
                    result.failing,
                    Jsonb(list(result.keys)),
                    result.error,
                )
                for result in results
            ],
        )


def _fetch(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The one row of a statement of our own making."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(statement.encode(), parameters).fetchone()
    assert row is not None, "a statement of counts has a row"
    return row

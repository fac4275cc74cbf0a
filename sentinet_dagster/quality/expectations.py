"""What can be expected of a relation: the words that `suites.py` is written in. Pure.

What lives here: kinds of rules, and each one as the SQL condition of a row that breaks it. What never does:
which rules there are (`suites.py`), statements (`compiled.py`), Great Expectations (`full_pass.py`, which has
a translation of each kind of its own).

A rule of single rows is a condition on the columns of `batch`: it holds or not whatever range is looked at,
so it may set rows aside. A rule of a range is a query over `batch`, the rows of the range: it tells, and
names keys. Both may name %(start)s::timestamptz and %(end)s::timestamptz. As in SQL and in GX, a null breaks
no rule but `Present`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "Above",
    "Expectation",
    "OneOf",
    "Present",
    "Query",
    "Rows",
    "Rule",
    "Severity",
    "Suite",
    "Within",
    "failing_row",
]


class Severity(StrEnum):
    """What follows when it is broken."""

    ERROR = "error"  # a fact is set aside; what is judged from other rows waits; `sentinet check` exits 1
    WARNING = "warning"  # somebody is told


@dataclass(frozen=True, slots=True)
class Present:
    """The column is not null."""

    column: str


@dataclass(frozen=True, slots=True)
class Within:
    """least ≤ column ≤ most, or least < column. NaN is greater than every bound, so it is outside."""

    column: str
    least: float | None = None
    most: float | None = None
    excludes_least: bool = False


@dataclass(frozen=True, slots=True)
class OneOf:
    """The column has one of these values."""

    column: str
    values: Sequence[int]


@dataclass(frozen=True, slots=True)
class Above:
    """column > other, or column ≥ other; of one row."""

    column: str
    other: str
    or_equal: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """No row of `batch` fulfils the condition `failing`."""

    failing: str


@dataclass(frozen=True, slots=True)
class Query:
    """The query `failing`, over `batch`, has no row; a row is the key of what is wrong."""

    failing: str


Rule = Present | Within | OneOf | Above | Rows | Query


@dataclass(frozen=True, slots=True)
class Expectation:
    """One rule by name. The name is its identity in ops.check_results and in every report."""

    name: str
    severity: Severity
    rule: Rule
    meaning: str


@dataclass(frozen=True, slots=True)
class Suite:
    """What must hold of a relation.

    `row_id` makes (instrument_id, time, row_id) name one fact, for surveillance.quarantined_facts; None: its
    rows are made from others, and are never set aside but made anew.
    """

    relation: str
    time_column: str
    key: tuple[str, ...]
    expectations: tuple[Expectation, ...]
    row_id: str | None = None

    @property
    def row_rules(self) -> tuple[Expectation, ...]:
        """The expectations of single rows: what is checked of every micro-batch."""
        return tuple(each for each in self.expectations if not isinstance(each.rule, Query))

    @property
    def table(self) -> str:
        """The relation without its schema."""
        return self.relation.partition(".")[2]


def failing_row(rule: Rule) -> str | None:
    """The condition that a row fulfils which breaks the rule; None where it is not of single rows.

    >>> failing_row(Within("size", 0, 1e15, excludes_least=True))
    'size <= 0 or size > 1000000000000000.0'
    """
    match rule:
        case Present(column):
            return f"{column} is null"
        case Within(column, least, most, excludes_least):
            below = None if least is None else f"{column} {'<=' if excludes_least else '<'} {least}"
            above = None if most is None else f"{column} > {most}"
            return " or ".join(filter(None, (below, above)))
        case OneOf(column, values):
            return f"{column} not in ({', '.join(map(str, values))})"
        case Above(column, other, or_equal):
            return f"{column} {'<' if or_equal else '<='} {other}"
        case Rows(failing):
            return failing
        case Query():
            return None

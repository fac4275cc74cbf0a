"""Suites held by Great Expectations: the full pass of a day and of CI, and its Data Docs.

What lives here: each kind of rule as an expectation of GX, batches bounded by a range, results in our words.
What never does: a rule (`suites.py`), marking facts (`checking.py`). Importing Great Expectations costs three
seconds, so it is imported when a pass begins.

GX reads through SQLAlchemy where the rows lie: it is given a query, never a frame. It takes no parameters, so
the range is in the query's text; it is made of two datetimes and of nothing that anybody wrote.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sentinet_dagster.quality.checking import CheckResult
from sentinet_dagster.quality.compiled import KEYS_SHOWN, batch, failing_keys_query
from sentinet_dagster.quality.expectations import (
    Above,
    Expectation,
    OneOf,
    Present,
    Query,
    Rows,
    Severity,
    Suite,
    Within,
)

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
    from great_expectations.datasource.fluent.sql_datasource import SQLDatasource
    from great_expectations.expectations.expectation import Expectation as GxExpectation

__all__ = ["FullPassUnavailable", "full_pass"]

_SEVERITIES: Final = {Severity.ERROR: "critical", Severity.WARNING: "warning"}
_SITE: Final = "sentinet"
_PLAIN: Final = (str, int, float, bool, type(None))


class FullPassUnavailable(Exception):
    """Great Expectations is not installed."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """One pass: where it looks and at what."""

    context: EphemeralDataContext
    source: SQLDatasource
    start: datetime
    end: datetime


def full_pass(
    url: str, suites: Sequence[Suite], start: datetime, end: datetime, html: Path | None = None
) -> list[CheckResult]:
    """Hold [start, end) of each relation against its suite.

    Args:
        url: of the database.
        suites: of relations that are there.
        start, end: the range, by the suite's own time.
        html: where to write Data Docs; the page to open is `index.html`.

    Returns:
        Every expectation of every suite, in their order.

    Raises:
        FullPassUnavailable: the extra `quality` is not installed.
    """
    with _quietly():
        checkup = _Pass(*_open(url, html), start.astimezone(UTC), end.astimezone(UTC))
        try:
            results = [result for suite in suites for result in _hold(checkup, suite)]
            if html is not None:
                checkup.context.build_data_docs(site_names=[_SITE])
        finally:
            checkup.source.get_engine().dispose()
    return results


@contextmanager
def _quietly() -> Iterator[None]:
    """No progress bars, nothing on stdout, no word to its makers; and its own warnings are not ours."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        yield


def _open(url: str, html: Path | None) -> tuple[EphemeralDataContext, SQLDatasource]:
    try:
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig
    except ImportError as error:
        raise FullPassUnavailable(
            "Great Expectations is not installed: install sentinet with its extra `quality`"
        ) from error
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    if html is not None:
        context.add_data_docs_site(
            site_name=_SITE,
            site_config={
                "class_name": "SiteBuilder",
                "store_backend": {
                    "class_name": "TupleFilesystemStoreBackend",
                    "base_directory": str(html.absolute()),
                },
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            },
        )
    _, _, place = url.partition("://")
    source = context.data_sources.add_postgres(
        "sentinet", connection_string=f"postgresql+psycopg2://{place}", create_temp_table=False
    )
    return context, source


def _hold(checkup: _Pass, suite: Suite) -> list[CheckResult]:
    """The results of one suite, in its order."""
    import great_expectations as gx

    asset = checkup.source.add_query_asset(suite.relation, query=_with_range(batch(suite), checkup))
    definition_of_batch = asset.add_batch_definition_whole_table("range")
    expectations = checkup.context.suites.add(
        gx.ExpectationSuite(
            name=suite.relation,
            expectations=[_translated(suite, each, checkup) for each in suite.expectations],
        )
    )
    definition = checkup.context.validation_definitions.add(
        gx.ValidationDefinition(name=suite.relation, data=definition_of_batch, suite=expectations)
    )
    checkpoint = checkup.context.checkpoints.add(
        gx.Checkpoint(
            name=suite.relation,
            validation_definitions=[definition],
            result_format={
                "result_format": "SUMMARY",
                "unexpected_index_column_names": list(suite.key),
                "partial_unexpected_count": KEYS_SHOWN,
            },
        )
    )
    (found,) = checkpoint.run().run_results.values()
    by_name = {_name_of(result): result for result in found.results}
    rows = next(
        (count for each in found.results if (count := each.result.get("element_count")) is not None), None
    )
    return [_in_our_words(checkup, suite, each, by_name[each.name], rows) for each in suite.expectations]


def _translated(suite: Suite, expectation: Expectation, checkup: _Pass) -> GxExpectation:
    """The expectation in GX's own words where it has some, else as a query."""
    import great_expectations.expectations as gxe

    said: dict[str, Any] = {
        "severity": _SEVERITIES[expectation.severity],
        "description": f"{expectation.name}: {expectation.meaning}",
        "meta": {"name": expectation.name},
    }
    match expectation.rule:
        case Present(column):
            return gxe.ExpectColumnValuesToNotBeNull(column=column, **said)
        case Within(column, least, most, excludes_least):
            return gxe.ExpectColumnValuesToBeBetween(
                column=column, min_value=least, max_value=most, strict_min=excludes_least, **said
            )
        case OneOf(column, values):
            return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=list(values), **said)
        case Above(column, other, or_equal):
            return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A=column,
                column_B=other,
                or_equal=or_equal,
                ignore_row_if="either_value_is_missing",
                **said,
            )
        case Rows() | Query():
            return gxe.UnexpectedRowsExpectation(
                unexpected_rows_query=_query(suite, expectation, checkup), **said
            )


def _query(suite: Suite, expectation: Expectation, checkup: _Pass) -> str:
    """The keys of what breaks it; {batch} is GX's."""
    keys = failing_keys_query(suite, expectation)
    return _with_range(f"with batch as (select * from {{batch}}) select * from ({keys}) as found", checkup)  # noqa: S608


def _with_range(text: str, checkup: _Pass) -> str:
    for name, moment in (("start", checkup.start), ("end", checkup.end)):
        text = text.replace(f"%({name})s::timestamptz", f"timestamptz '{moment.isoformat()}'")
    return text


def _name_of(result: ExpectationValidationResult) -> str:
    assert result.expectation_config is not None, "a result of a suite knows its expectation"
    return str(result.expectation_config.meta["name"])


def _in_our_words(
    checkup: _Pass,
    suite: Suite,
    expectation: Expectation,
    result: ExpectationValidationResult,
    rows: int | None,
) -> CheckResult:
    found = result.result
    error = _error_of(result)
    is_query = isinstance(expectation.rule, Rows | Query)
    failing = int((found.get("observed_value") if is_query else found.get("unexpected_count")) or 0)
    keys: Sequence[Mapping[str, Any]] = ()
    if is_query and failing:
        keys = _first_keys(checkup, suite, expectation)
    elif failing:
        keys = [
            {name: _plain(row[name]) for name in suite.key}
            for row in (found.get("partial_unexpected_index_list") or ())[:KEYS_SHOWN]
        ]
    return CheckResult(suite.relation, expectation.name, expectation.severity, failing, keys, rows, error)


def _first_keys(checkup: _Pass, suite: Suite, expectation: Expectation) -> list[dict[str, Any]]:
    """GX keeps the rows of a query only where it keeps all rows of everything."""
    import sqlalchemy

    keys = failing_keys_query(suite, expectation)
    text = _with_range(
        f"with batch as ({batch(suite)}) select * from ({keys}) as found limit {KEYS_SHOWN}",  # noqa: S608
        checkup,
    )
    with checkup.source.get_engine().connect() as connection:
        rows = connection.execute(sqlalchemy.text(text)).mappings()
        return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _error_of(result: ExpectationValidationResult) -> str | None:
    """Why it could not be told: the first line of what was raised."""
    raised = result.exception_info or {}
    for info in [raised, *(each for each in raised.values() if isinstance(each, Mapping))]:
        if info.get("raised_exception"):
            return str(info.get("exception_message") or "it raised nothing in words").strip().splitlines()[0]
    return None


def _plain(value: object) -> object:
    """As JSON has it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value if isinstance(value, _PLAIN) else str(value)

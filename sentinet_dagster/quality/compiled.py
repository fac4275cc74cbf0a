"""A suite as SQL: one statement for all rules of single rows, one for each rule of a range. Pure.

What lives here: text made of `suites.py`, once; parameters %(start)s and %(end)s, and of facts %(is_judged)s,
are bound by whoever runs it (`checking.py`). What never does: a rule, a value, a connection.

The statement of rows reads its range once. For facts it also makes surveillance.quarantined_facts say exactly
what the suite says of the range: what breaks an error is marked, what no longer does is lifted. Where nothing
is broken and nothing was, it writes nothing, not even a transaction number.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from sentinet_dagster.quality.expectations import Expectation, Query, Severity, Suite, failing_row

__all__ = ["KEYS_SHOWN", "bound", "failing_keys_query", "range_statement", "rows_statement"]

KEYS_SHOWN: Final = 20
"""Of the rows that break a rule, so many are named; all are counted."""


def bound(text: str) -> str:
    """{start} and {end} as parameters."""
    return text.replace("{start}", "%(start)s::timestamptz").replace("{end}", "%(end)s::timestamptz")


@cache
def rows_statement(suite: Suite) -> str:
    """Check the rows of [start, end): `broken`, {expectation: {failing, keys}}; of facts also what changed."""
    asides = suite.row_id is not None
    keys = ", ".join(f"'{column}', {column}" for column in suite.key)
    rules = [(each.name, failing_row(each.rule)) for each in suite.row_rules]
    names = ", ".join(f"case when {condition} then '{name}' end" for name, condition in rules)
    any_of_them = "\n        or ".join(f"({condition})" for _, condition in rules)
    row = f"instrument_id, time, ({suite.row_id})::bigint as row_id, " if asides else ""
    steps = [
        f"batch as (\n    {_batch(suite)}\n)",
        f"failing as materialized (\n    select {row}{suite.time_column} as at, jsonb_build_object({keys}) as key,\n"
        f"        array_remove(array[{names}], null) as broken\n    from batch\n    where {any_of_them}\n)",
        *(_marking(suite) if asides else ()),
        "numbered as (\n    select name, failing.key,"
        " row_number() over (partition by name order by failing.at) as nth\n"
        "    from failing cross join lateral unnest(failing.broken) as listed (name)\n)",
        "counted as (\n    select name, count(*) as failing,\n"
        f"        jsonb_agg(key order by nth) filter (where nth <= {KEYS_SHOWN}) as keys\n"
        "    from numbered group by name\n)",
    ]
    changed = (
        ",\n    (select count(*) from marked) as marked, (select count(*) from lifted) as lifted" if asides else ""
    )
    return bound(
        "with\n" + ",\n".join(steps) + "\nselect\n    (select coalesce(jsonb_object_agg(name,"
        " jsonb_build_object('failing', failing, 'keys', keys)), '{}') from counted) as broken" + changed
    )


@cache
def range_statement(suite: Suite, expectation: Expectation) -> str:
    """Check one rule of a range: `failing`, and `keys` of the first."""
    return bound(
        f"with\nbatch as (\n    {_batch(suite)}\n),\nfound as materialized (\n"  # noqa: S608 - code, no input
        f"    {failing_keys_query(suite, expectation)}\n)\n"
        "select count(*) as failing,\n    coalesce((select jsonb_agg(to_jsonb(shown)) from"
        f" (select * from found limit {KEYS_SHOWN}) as shown), '[]') as keys\nfrom found"
    )


def failing_keys_query(suite: Suite, expectation: Expectation) -> str:
    """The query over `batch` whose rows are the keys of what breaks the rule."""
    if isinstance(expectation.rule, Query):
        return expectation.rule.failing
    condition = failing_row(expectation.rule)
    return f"select {', '.join(suite.key)} from batch where {condition}"  # noqa: S608 - code, no input


def _batch(suite: Suite) -> str:
    column = suite.time_column
    return f"select * from {suite.relation} where {column} >= {{start}} and {column} < {{end}}"  # noqa: S608


def _marking(suite: Suite) -> tuple[str, str, str]:
    """The steps that bring surveillance.quarantined_facts up to date."""
    errors = ", ".join(
        f"'{each.name}'" for each in suite.row_rules if each.severity is Severity.ERROR
    )
    wanted = (
        "wanted as (\n    select instrument_id, time, row_id,\n"
        "        array(select name from unnest(broken) as listed (name)"
        f" where name in ({errors})) as reasons\n    from failing\n"
        f"    where broken && array[{errors}]\n)"
    )
    marked = (
        "marked as (\n    insert into surveillance.quarantined_facts as known"  # noqa: S608 - code, no input
        " (relation, instrument_id, time, row_id, reasons, is_judged)\n"
        f"    select '{suite.relation}', instrument_id, time, row_id, reasons, %(is_judged)s::boolean from wanted\n"
        "    on conflict (relation, time, instrument_id, row_id) do update set\n"
        "        reasons = excluded.reasons, is_judged = excluded.is_judged, lifted_at = null,\n"
        "        marked_at = default, xid = default\n"
        "    where known.lifted_at is not null or known.reasons <> excluded.reasons\n    returning 1\n)"
    )
    lifted = (
        "lifted as (\n    update surveillance.quarantined_facts as known\n"  # noqa: S608 - code, no input
        "    set lifted_at = clock_timestamp(), is_judged = %(is_judged)s::boolean, xid = default\n"
        f"    where known.relation = '{suite.relation}' and known.lifted_at is null\n"
        "        and known.time >= {start} and known.time < {end}\n"
        "        and not exists (select 1 from wanted where wanted.time = known.time\n"
        "            and wanted.instrument_id = known.instrument_id and wanted.row_id = known.row_id)\n"
        "    returning 1\n)"
    )
    return wanted, marked, lifted

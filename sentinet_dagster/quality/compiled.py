"""A suite as SQL: one statement for all rules of single rows, one for each rule of a range. Pure.

What lives here: text made of `suites.py`, once; the parameters %(start)s and %(end)s, and of facts
%(is_judged)s, are bound by whoever runs it (`checking.py`). What never does: a rule, a value, a connection.

The statement of rows reads its range once. For facts it also makes surveillance.quarantined_facts say exactly
what the suite says of the range: what breaks an error is marked, what no longer does is lifted. Where nothing
is broken and nothing was, it writes nothing, not even a transaction number.
"""

# ruff: noqa: S608 - text is made of names and conditions in our own code, never of input

from __future__ import annotations

from functools import cache
from typing import Final

from sentinet_dagster.quality.expectations import Expectation, Query, Severity, Suite, failing_row

__all__ = ["KEYS_SHOWN", "batch", "failing_keys_query", "range_statement", "rows_statement"]

KEYS_SHOWN: Final = 20
"""Of the rows that break a rule, so many are named; all are counted."""

_COUNTED: Final = f"""
    select name, count(*) as failing, jsonb_agg(key order by nth) filter (where nth <= {KEYS_SHOWN}) as keys
    from (
        select name, failing.key, row_number() over (partition by name order by failing.at) as nth
        from failing cross join lateral unnest(failing.broken) as listed (name)
    ) as numbered
    group by name
"""
_BROKEN: Final = """
    select coalesce(jsonb_object_agg(name, jsonb_build_object('failing', failing, 'keys', keys)), '{}')
    from counted
"""


def batch(suite: Suite) -> str:
    """The rows of [start, end): what every rule looks at."""
    column = suite.time_column
    within = f"{column} >= %(start)s::timestamptz and {column} < %(end)s::timestamptz"
    return f"select * from {suite.relation} where {within}"


def failing_keys_query(suite: Suite, expectation: Expectation) -> str:
    """The query over `batch` whose rows are the keys of what breaks the rule."""
    if isinstance(expectation.rule, Query):
        return expectation.rule.failing
    return f"select {', '.join(suite.key)} from batch where {failing_row(expectation.rule)}"


@cache
def range_statement(suite: Suite, expectation: Expectation) -> str:
    """Check one rule of a range: `failing`, and the first `keys`."""
    return f"""
with batch as ({batch(suite)}),
found as materialized ({failing_keys_query(suite, expectation)})
select
    count(*) as failing,
    coalesce(
        (select jsonb_agg(to_jsonb(first)) from (select * from found limit {KEYS_SHOWN}) as first), '[]'
    ) as keys
from found"""


@cache
def rows_statement(suite: Suite) -> str:
    """Check the rows of a range: `broken`, {expectation: {failing, keys}}; of facts what changed, too."""
    marking = "" if suite.row_id is None else _marking(suite)
    changed = "" if suite.row_id is None else f", {_count('marked')} as marked, {_count('lifted')} as lifted"
    return f"""
with batch as ({batch(suite)}),
failing as materialized ({_failing(suite)}),{marking}
counted as ({_COUNTED})
select ({_BROKEN}) as broken{changed}"""


def _failing(suite: Suite) -> str:
    """The rows that break anything: their key, and the names of what they break."""
    rules = [(each.name, failing_row(each.rule)) for each in suite.row_rules]
    names = ",\n            ".join(f"case when {condition} then '{name}' end" for name, condition in rules)
    fact = "" if suite.row_id is None else f"instrument_id, time, ({suite.row_id})::bigint as row_id,"
    key = ", ".join(f"'{column}', {column}" for column in suite.key)
    return f"""
    select
        {fact}
        {suite.time_column} as at,
        jsonb_build_object({key}) as key,
        array_remove(array[
            {names}
        ], null) as broken
    from batch
    where ({") or (".join(str(condition) for _, condition in rules)})
"""


def _marking(suite: Suite) -> str:
    """The steps that bring surveillance.quarantined_facts up to date."""
    errors = ", ".join(f"'{each.name}'" for each in suite.row_rules if each.severity is Severity.ERROR)
    return f"""
wanted as (
    select
        instrument_id, time, row_id,
        array(select name from unnest(broken) as listed (name) where name in ({errors})) as reasons
    from failing
    where broken && array[{errors}]
),
marked as (
    insert into surveillance.quarantined_facts as known (
        relation, instrument_id, time, row_id, reasons, is_judged
    )
    select '{suite.relation}', instrument_id, time, row_id, reasons, %(is_judged)s::boolean
    from wanted
    on conflict (relation, time, instrument_id, row_id) do update set
        reasons = excluded.reasons,
        is_judged = excluded.is_judged,
        lifted_at = null,
        marked_at = default,
        xid = default
    where known.lifted_at is not null or known.reasons <> excluded.reasons
    returning 1
),
lifted as (
    update surveillance.quarantined_facts as known
    set lifted_at = clock_timestamp(), is_judged = %(is_judged)s::boolean, xid = default
    where
        known.relation = '{suite.relation}'
        and known.lifted_at is null
        and known.time >= %(start)s::timestamptz
        and known.time < %(end)s::timestamptz
        and not exists (
            select 1
            from wanted
            where
                wanted.time = known.time
                and wanted.instrument_id = known.instrument_id
                and wanted.row_id = known.row_id
        )
    returning 1
),"""


def _count(step: str) -> str:
    return f"(select count(*) from {step})"

"""Schema `rollup` from Python: the dbt project that defines it, what it consists of, bringing it up to date.

What lives here: `project` (where the dbt project is, running dbt), `catalogue` (its models and tests as
values), `translation` (dagster-dbt, in a process of its own), `refreshing` (rows). What never does: SQL of a
rollup (it is in dbt_project/), Dagster's definitions (`assets/rollups.py`).

dbt is not imported by whoever loads the code location: it costs 1.5 s of CPU. A minute's refresh does not
need it.
"""

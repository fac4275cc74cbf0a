"""Bringing schema `rollup` of a database to what this version's dbt project says.

What lives here: whether there is anything to do, and the order of the steps. What never does: the steps
(`sentinet_dagster.rollups`).
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
import structlog

from sentinet_dagster.rollups.project import DbtFailed, RollupProject, SourceFreshness
from sentinet_dagster.rollups.refreshing import refresh
from sentinet_dagster.runtime.database_url import connect
from sentinet_dagster.runtime.errors import UserError

__all__ = ["deploy", "document", "freshness", "prepare"]

log = structlog.get_logger(__name__)

# What else than the project decides what dbt makes: who can keep a rollup, the shape of what is read, whose
# it is to be; and for how long rows are kept, where policies say so.
_SURROUNDINGS = """
select
    (
        select extversion
        from pg_extension
        where extname = 'timescaledb' and current_setting('timescaledb.license', true) = 'timescale'
    ) as community,
    (select max(version) from ops.migrations) as migration,
    coalesce((
        select has_schema_privilege(oid, 'rollup', 'create')
        from pg_roles
        where rolname = 'sentinet_surveillance'
    ), false) as has_roles,
    (
        select string_agg(concat_ws(' ', relation, keep), ', ' order by relation)
        from ops.storage
        where current_setting('timescaledb.license', true) = 'timescale' and relation ~ '^(market|rollup)[.]'
    ) as kept
"""
_DEPLOYED = "select fingerprint from rollup.deployments order by deployed_at desc limit 1"
_ROLE = "sentinet_surveillance"


def prepare(home: Path) -> None:
    """See that the project is parsed: the code location reads what it consists of when it is loaded.

    Raises:
        UserError: it cannot be parsed, or the home cannot be written.
    """
    try:
        RollupProject(home).catalogue()
    except DbtFailed as error:
        raise UserError(str(error)) from None


def deploy(url: str, home: Path, *, full_refresh: bool = False) -> bool:
    """Make and fill what is missing or has changed, in a database that is migrated. False: nothing had to be.

    What is left alone costs one query. May be repeated, interrupted, and run twice at once.

    Raises:
        UserError: dbt failed; the message has its words.
    """
    project = RollupProject(home)
    began = time.perf_counter()
    with connect(url, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(hashtext('rollup'), 0)")
        fingerprint, role = _surroundings(connection, project.fingerprint)
        if not full_refresh and _deployed(connection) == fingerprint:
            return False
        try:
            project.run(url, role=role, fingerprint=fingerprint, full_refresh=full_refresh)
        except DbtFailed as error:
            raise UserError(str(error)) from None
        refresh(connection)
    log.info("rollups deployed", fingerprint=fingerprint, seconds=round(time.perf_counter() - began, 1))
    return True


def freshness(url: str, home: Path) -> list[SourceFreshness]:
    """How old the facts are that rollups are made of, by the batch ledger, as dbt says.

    Raises:
        UserError: dbt failed; the message has its words.
    """
    with tempfile.TemporaryDirectory() as scratch:
        try:
            return RollupProject(home).freshness(url, Path(scratch))
        except DbtFailed as error:
            raise UserError(str(error)) from None


def document(url: str, home: Path, folder: Path) -> Path:
    """Write dbt's documentation of what is deployed into `folder`; the page to open.

    Raises:
        UserError: dbt failed, or the folder cannot be made.
    """
    try:
        return RollupProject(home).document(url, folder)
    except DbtFailed as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None


def _surroundings(connection: psycopg.Connection[Any], project: str) -> tuple[str, str]:
    """What is to be deployed as one text, and whose it becomes: "" is who deploys."""
    row = connection.execute(_SURROUNDINGS).fetchone()
    assert row is not None, "a select without from has a row"
    community, migration, has_roles, kept = row
    role = _ROLE if has_roles else ""
    text = f"{project} {community} {migration} {role} {kept or ''}"
    return hashlib.sha256(text.encode()).hexdigest()[:32], role


def _deployed(connection: psycopg.Connection[Any]) -> str | None:
    try:
        row = connection.execute(_DEPLOYED).fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    return None if row is None else str(row[0])

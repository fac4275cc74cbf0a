"""`sentinet migrate`: bring the database to what this version expects."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentinet_dagster.commands.console import JsonOption, print_json, say

if TYPE_CHECKING:
    from sentinet_dagster.runtime.database import Migrated
    from sentinet_dagster.runtime.instruments import Loaded


def migrate(
    to_hypertables: Annotated[
        bool,
        typer.Option(
            "--to-hypertables",
            help="Where TimescaleDB came later: move the tables' rows into hypertables. Locks them.",
        ),
    ] = False,
    copy_from_home: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="First copy everything from the embedded database of this home; nothing may run there.",
            show_default=False,
        ),
    ] = None,
    roles: Annotated[
        bool,
        typer.Option(
            "--roles",
            help="Make the roles ingest, surveillance, analyst, officer (SENTINET_ROLE_<NAME>_PASSWORD).",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Apply what is missing: migrations, storage.yaml, roles, the configured instruments, rollups."""
    from sentinet_dagster.commands.database import config_directory, configured_instruments, open_database
    from sentinet_dagster.runtime import copying, database, rollups
    from sentinet_dagster.runtime.database_url import without_password
    from sentinet_dagster.runtime.home import Home
    from sentinet_dagster.runtime.roles import Passwords

    instruments = configured_instruments()
    storage = database.read_storage(config_directory())
    passwords = Passwords.from_environment(os.environ) if roles else None
    with open_database(make=True) as url:
        done = database.migrate(url, storage, to_hypertables=to_hypertables, roles=passwords)
        copied = {}
        if copy_from_home is not None:
            copied = copying.copy_from_home(Home(copy_from_home.expanduser().absolute()), url)
        loaded = database.watch(url, instruments)
        deployed = rollups.deploy(url, Home.from_environment(os.environ).path)
    result = {**_result(done, loaded), "database": without_password(url), "copied": copied}
    result["rollups"] = "deployed" if deployed else "unchanged"
    for table in done.to_move:
        say(f"sentinet: {table} has rows and is no hypertable: see `sentinet migrate --to-hypertables`")
    if as_json:
        print_json(result)
    else:
        applied = ", ".join(done.applied) or "nothing was missing"
        typer.echo(f"{result['database']} is at migration {done.version} (applied: {applied}).")
        if copied:
            typer.echo(f"{sum(copied.values()):,} rows of {len(copied)} tables were copied.")
        typer.echo(f"{loaded.active} instruments are watched, {loaded.added} of them new.")


def _result(done: Migrated, loaded: Loaded) -> dict[str, Any]:
    return {
        "applied": list(done.applied),
        "version": done.version,
        "edition": done.edition.value,
        "timescaledb": done.timescale,
        "to_move": list(done.to_move),
        "roles": done.roles,
        "instruments": {
            "active": loaded.active,
            "added": loaded.added,
            "changed": loaded.changed,
            "deactivated": loaded.deactivated,
        },
    }

"""`sentinet migrate`: bring the database to what this version expects."""

from __future__ import annotations

import os

import typer

from sentinet_dagster.commands.console import JsonOption, print_json


def migrate(as_json: JsonOption = False) -> None:
    """Apply what is missing: migrations, hypertables, the instruments of the configuration, rollups."""
    from sentinet_dagster.commands.database import configured_instruments, open_database
    from sentinet_dagster.runtime import database, rollups
    from sentinet_dagster.runtime.database_url import without_password
    from sentinet_dagster.runtime.home import Home

    instruments = configured_instruments()
    chunks = database.Chunks.from_environment(os.environ)
    with open_database(make=True) as url:
        done = database.migrate(url, chunks)
        loaded = database.watch(url, instruments)
        deployed = rollups.deploy(url, Home.from_environment(os.environ).path)
    result = {
        "database": without_password(url),
        "applied": list(done.applied),
        "version": done.version,
        "timescaledb": done.timescale,
        "instruments": {
            "active": loaded.active,
            "added": loaded.added,
            "changed": loaded.changed,
            "deactivated": loaded.deactivated,
        },
        "rollups": "deployed" if deployed else "unchanged",
    }
    if as_json:
        print_json(result)
    else:
        applied = ", ".join(done.applied) or "nothing was missing"
        typer.echo(f"{result['database']} is at migration {done.version} (applied: {applied}).")
        typer.echo(f"{loaded.active} instruments are watched, {loaded.added} of them new.")

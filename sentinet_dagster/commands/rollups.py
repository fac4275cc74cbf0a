"""`sentinet rollups`: schema rollup by hand: see, deploy, refresh, rebuild, document, ask what is stale."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentinet_dagster.commands.console import JsonOption, print_json

if TYPE_CHECKING:
    import psycopg

    from sentinet_dagster.rollups.refreshing import Refreshed

app = typer.Typer(help="See and maintain the sums in schema rollup.", rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A rollup, such as trade_bars_1m.")]


@app.callback()
def _root() -> None:
    """See and maintain the sums in schema rollup."""


@app.command("status")
def status(as_json: JsonOption = False) -> None:
    """Who keeps each rollup up to date, and when that last happened."""
    with _deployed() as connection:
        found = [
            {
                "name": name,
                "kept_by": "timescaledb" if is_native else "sentinet",
                "refreshed_at": None if refreshed_at is None else refreshed_at.isoformat(),
            }
            for name, is_native, refreshed_at in connection.execute(
                "select name, is_native, refreshed_at from rollup.continuous_aggregates order by name"
            )
        ]
    if as_json:
        print_json({"rollups": found})
        return
    for row in found:
        typer.echo(f"{row['name']:<24} {row['kept_by']:<12} {row['refreshed_at'] or 'never'}")


@app.command("deploy")
def deploy(
    full_refresh: Annotated[
        bool,
        typer.Option(
            "--full-refresh", help="Make everything anew, and let go of buckets whose facts are gone."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make what the dbt project defines, where it is not there yet; `sentinet migrate` does it, too."""
    from sentinet_dagster.runtime import rollups

    with _database() as (url, home):
        done = rollups.deploy(url, home, full_refresh=full_refresh)
    if as_json:
        print_json({"rollups": "deployed" if done else "unchanged"})
    else:
        typer.echo("Rollups are deployed." if done else "Rollups are what the dbt project says already.")


@app.command("refresh")
def refresh(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Which; without it, all.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the buckets anew that facts were committed to since the last time."""
    from sentinet_dagster.rollups import refreshing

    with _deployed() as connection:
        _known(connection, *(names or ()))
        _report(refreshing.refresh(connection, names), as_json)


@app.command("rebuild")
def rebuild(name: Name, as_json: JsonOption = False) -> None:
    """Make all rows of a rollup anew, of the facts that are there; older rows stay."""
    from sentinet_dagster.rollups import refreshing

    with _deployed() as connection:
        _known(connection, name)
        _report([refreshing.rebuild(connection, name)], as_json)


@app.command("freshness")
def freshness(as_json: JsonOption = False) -> None:
    """How old the facts are that rollups are made of, against dbt's bounds; exit 1 where one is too old.

    What no feed ever wrote is told of, and is not too old.
    """
    from sentinet_dagster.runtime import rollups

    with _database() as (url, home):
        found = rollups.freshness(url, home)
    sources = [
        {
            "relation": source.relation,
            "status": "never" if source.loaded_at is None else source.status,
            "loaded_at": source.loaded_at and source.loaded_at.isoformat(),
        }
        for source in found
    ]
    if as_json:
        print_json({"sources": sources})
    else:
        for row in sources:
            typer.echo(f"{row['relation']:<24} {row['status']:<6} {row['loaded_at'] or ''}".rstrip())
    if any(row["status"] == "error" for row in sources):
        raise typer.Exit(1)


@app.command("docs")
def docs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write; made if it is not there.")],
    as_json: JsonOption = False,
) -> None:
    """Write dbt's documentation of the models, with lineage, as one page that needs no server."""
    from sentinet_dagster.runtime import rollups

    with _database() as (url, home):
        page = rollups.document(url, home, folder.absolute())
    if as_json:
        print_json({"page": str(page)})
    else:
        typer.echo(f"Open {page} in a browser.")


@contextmanager
def _database() -> Iterator[tuple[str, Path]]:
    """The database's URL and the home, where there is a database that is migrated."""
    from sentinet_dagster.commands.database import is_empty, open_database
    from sentinet_dagster.runtime.database_url import connect, without_password
    from sentinet_dagster.runtime.errors import UserError
    from sentinet_dagster.runtime.home import Home

    with open_database() as url:
        with connect(url, autocommit=True) as connection:
            empty = is_empty(connection)
        if empty:
            raise UserError(f"{without_password(url)} is empty: run `sentinet migrate`")
        yield url, Home.from_environment(os.environ).path


@contextmanager
def _deployed() -> Iterator[psycopg.Connection[Any]]:
    """A connection to a database with rollups."""
    from sentinet_dagster.runtime.database_url import connect, without_password
    from sentinet_dagster.runtime.errors import UserError

    with _database() as (url, _home), connect(url, autocommit=True) as connection:
        (made,) = connection.execute("select to_regclass('rollup.continuous_aggregates')").fetchone() or (
            None,
        )
        if made is None:
            raise UserError(f"{without_password(url)} has no rollups: run `sentinet migrate`")
        yield connection


def _known(connection: psycopg.Connection[Any], *names: str) -> None:
    from sentinet_dagster.rollups.refreshing import rollups
    from sentinet_dagster.runtime.errors import UserError

    known = rollups(connection)
    for name in names:
        if name not in known:
            raise UserError(f"{name} is no rollup with rows of its own; there are {', '.join(sorted(known))}")


def _report(done: list[Refreshed], as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "rollups": [
                    {"name": each.name, "rows": each.rows, "seconds": round(each.seconds, 3)} for each in done
                ]
            }
        )
        return
    for each in done:
        rows = "by TimescaleDB" if each.rows is None else f"{each.rows:,} rows"
        typer.echo(f"{each.name:<24} {rows:>14} {each.seconds:>8.2f} s")

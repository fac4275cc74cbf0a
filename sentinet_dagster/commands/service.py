"""`sentinet up`, `down`, `status`: a Sentinet that stays."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentinet_dagster.commands.console import EXIT_NO, JsonOption, print_json, say
from sentinet_dagster.commands.recording import RecordOption, record_into

if TYPE_CHECKING:
    from rich.console import Console

    from sentinet_dagster.runtime.home import Home
    from sentinet_dagster.runtime.state import RunState


def up(
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay in the terminal; Ctrl-C stops everything.")
    ] = False,
    with_superset: Annotated[
        bool,
        typer.Option(
            "--with-superset", help="Superset, too: installed if it is missing, with the dashboards."
        ),
    ] = False,
    record: RecordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start the database, the ingest daemon and Dagster, and keep them running."""
    from sentinet_dagster.commands.database import config_directory, configured_instruments
    from sentinet_dagster.runtime import service
    from sentinet_dagster.runtime.home import Home

    record_into(record)
    home = Home.from_environment(os.environ)
    instruments = configured_instruments()  # a wrong configuration is said here, before anything is made

    def report(state: RunState) -> None:
        if as_json:
            print_json({"home": str(home.path), "owner": state.owner, "addresses": state.addresses})
        else:
            typer.echo(f"Sentinet runs in {home.path}. Dagster: {state.addresses['dagster']}")
            if with_superset:
                typer.echo(f"Superset: {_superset_login(home, state)}")

    if foreground:
        from sentinet_dagster.commands.console import log_to_stderr

        log_to_stderr("info")
        service.serve(home, os.environ, config_directory(), instruments, report, with_superset=with_superset)
    else:
        service.check_free(home)
        if with_superset:
            _install_superset(home)
        if sys.stderr.isatty():
            say(f"starting in {home.path}; logs in {home.logs}")
        command = service.foreground_command(with_superset=with_superset)
        report(service.start_detached(home, command, with_superset=with_superset))


def _install_superset(home: Home) -> None:
    """Here and not in the background: it may take a minute, and fails without a network."""
    from sentinet_dagster.runtime import superset_server

    if sys.stderr.isatty():
        say("looking for Superset; it is installed if it is missing")
    superset_server.install(home, os.environ)


def _superset_login(home: Home, state: RunState) -> str:
    from sentinet_dagster.runtime.superset_server import Secrets
    from sentinet_dagster.superset.target import ANALYST_NAME

    password = Secrets.of(home).analyst_password
    return f"{state.addresses['superset']} user {ANALYST_NAME}, password {password}"


def down(as_json: JsonOption = False) -> None:
    """Stop everything that runs in the home, within 10 seconds."""
    from sentinet_dagster.runtime import service
    from sentinet_dagster.runtime.home import Home

    home = Home.from_environment(os.environ)
    stopped = service.stop(home)
    if as_json:
        print_json({"home": str(home.path), "stopped": stopped})
    else:
        typer.echo(f"Stopped what ran in {home.path}." if stopped else f"Nothing runs in {home.path}.")


def status(as_json: JsonOption = False) -> int:
    """Show what runs, where, how much it uses, and how the feeds are; exit 1 if a human must act."""
    from sentinet_dagster.runtime.home import Home

    home = Home.from_environment(os.environ)
    result = _collect(home)
    if as_json:
        print_json(result)
    else:
        _print_status(result)
    return EXIT_NO if result["problems"] else 0


def _collect(home: Home) -> dict[str, Any]:
    from sentinet_dagster.commands.database import is_empty, open_databases
    from sentinet_dagster.runtime import status as reading
    from sentinet_dagster.runtime.database_url import connect

    state = reading.running_state(home)
    free_mb = reading.disk_status(home)
    result: dict[str, Any] = {
        "home": str(home.path),
        "kind": home.kind,
        "phase": state.phase if state else None,
        "problems": reading.problems(state, free_mb),
        "disk_free_mb": free_mb,
        "processes": reading.process_table(state),
        "database": None,
        "storage": None,
        "addresses": state.addresses if state else {},
        "feeds": {},
        "drift": reading.drift_status(state),
        "judging": {},
        "latency": {},
        "dagster": None,
    }
    if home.kind is None and not os.environ.get("SENTINET_DATABASE_URL", "").strip():
        return result
    if not reading.has_database(state):
        return result
    with open_databases() as opened, connect(opened.url, autocommit=True) as connection:
        result["database"] = reading.database_status(connection, opened.url)
        if not is_empty(connection):
            result["storage"] = reading.storage_status(connection)
            result["feeds"] = reading.feed_status(connection)
            result["judging"] = reading.judging_status(connection)
            result["latency"] = reading.latency_status(connection)
        if opened.dagster_url:
            result["dagster"] = reading.dagster_status(home, opened.dagster_url)
    return result


def _print_drift(console: Console, drift: list[dict[str, Any]]) -> None:
    for each in drift:
        change = each["change"].replace("_", " ")
        console.print(
            f"[yellow]format[/yellow]    {each['venue']} {each['channel']}: {change} ",
            end="",
            highlight=False,
        )
        console.print(f"{each['field']}, in {each['frames']} frames looked at", markup=False)


def _print_judging(console: Console, judging: dict[str, Any]) -> None:
    for failed in judging.get("failed_ranges", ()):
        console.print(
            f"[red]cannot be judged[/red]  {failed['range_start']:%Y-%m-%d %H:%M:%S} to "
            f"{failed['range_end']:%H:%M:%S} UTC, {failed['attempts']} attempts: ",
            end="",
        )
        console.print(failed["error"], markup=False)
    late = judging.get("late_hours")
    if late:
        console.print(
            f"[yellow]too late[/yellow]  facts of {len(late)} hours from {late[0]['hour']:%Y-%m-%d %H:%M} to "
            f"{late[-1]['hour']:%Y-%m-%d %H:%M} UTC wait for `sentinet backfill`"
        )


def _print_latency(console: Console, latency: dict[str, Any]) -> None:
    """One line: the delays of the last ten minutes."""
    told = [
        f"{stage.replace('_to_', ' → ')} {delay['p50_s']:.1f} / {delay['p95_s']:.1f} / {delay['max_s']:.1f} s"
        for stage, delay in latency.items()
        if delay is not None
    ]
    if told:
        console.print("delays    p50 / p95 / max of the last 10 min: " + ", ".join(told))


def _print_status(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    console.print(f"home      {result['home']}  ({result['kind'] or 'no home yet'})")
    for problem in result["problems"]:
        console.print("[red]problem[/red]   ", end="")
        console.print(problem, markup=False)
    if result["database"]:
        database = result["database"]
        console.print(f"database  {database['url']}  {database['edition']}, {database['size_mb']} MB")
    if result["storage"]:
        _print_storage(console, result["storage"])
    if result["dagster"]:
        sizes = ", ".join(f"{name.removesuffix('_mb')} {size} MB" for name, size in result["dagster"].items())
        console.print(f"dagster   its own data: {sizes}")
    for name, address in result["addresses"].items():
        console.print(f"{name:<9} {address}")
    _print_drift(console, result["drift"])
    _print_judging(console, result["judging"])
    _print_latency(console, result["latency"])
    if not result["processes"]:
        console.print("Nothing runs. Start it with `sentinet up`.")
        return
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
    for title in ("process", "pid", "state", "restarts", "CPU s", "MB"):
        table.add_column(title, justify="left" if title in ("process", "state") else "right")
    for name, process in result["processes"].items():
        row = (process["pid"], process["state"], process["restarts"], process["cpu_s"], process["rss_mb"])
        table.add_row(name, *("–" if value is None else str(value) for value in row))
    console.print(table)
    for venue, feed in result["feeds"].items():
        console.print(
            f"{venue}: {feed['rows']:,} rows, {feed['rows_per_s']}/s, last {feed['silent_s']} s ago, "
            f"{feed['gaps']} gaps"
        )


def _print_storage(console: Console, storage: dict[str, Any]) -> None:
    able = "hypertables" if storage["hypertables"] else "plain tables"
    packed = "columnstore" if storage["compression"] else "no compression"
    console.print(
        f"storage   {storage['edition']}: {able}, {packed}; "
        f"what is too old is removed by {storage['retention_by']}"
    )
    for name, relation in storage["relations"].items():
        kept = "for ever" if relation["kept_days"] is None else f"{relation['kept_days']:g} days"
        line = f"          {name:<28} {relation['mb']:>10,.1f} MB  kept {kept}"
        if relation["columnstore"]:
            sizes = relation["columnstore"]
            line += f", {sizes['from_mb']:,.1f} MB stored in {sizes['to_mb']:,.1f}"
        console.print(line)
    for name in storage["to_move"]:
        console.print(f"          {name} is no hypertable yet: see `sentinet migrate --to-hypertables`")

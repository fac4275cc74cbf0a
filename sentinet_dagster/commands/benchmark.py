"""`sentinet benchmark`: how fast this machine does a part of the work. Numbers are printed, never judged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sentinet_dagster.commands.console import JsonOption, print_json

app = typer.Typer(help="Measure a part of the work on this machine.", rich_markup_mode=None)


@app.callback()
def _root() -> None:
    """Measure a part of the work on this machine."""


@app.command("parse")
def parse(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILES...]", help="Recordings: `<ns> <raw JSON>` a line, plain or packed."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.001, max=60, help="At least so long for each channel.")
    ] = 0.5,
    as_json: JsonOption = False,
) -> None:
    """Frames a second that one core parses, by protocol and channel.

    Every channel of every dialect is measured: on the recordings given, and where they have none of it, on
    frames that the venue server makes.
    """
    from sentinet_dagster.runtime.parse_benchmark import measure_parsing

    rates = measure_parsing(files or [], seconds)
    if as_json:
        print_json({"venues": rates})
        return
    for protocol, kinds in rates.items():
        for kind, rate in kinds.items():
            typer.echo(f"{protocol:<16} {kind:<16} {rate['frames_per_s']:>12,.0f} frames/s, {rate['from']}")


@app.command("store")
def store(
    minutes: Annotated[int, typer.Option(min=1, max=120, help="Minutes of simulated market to write.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Rows a second that the store writes, into a database made for it and dropped afterwards."""
    from sentinet_dagster.commands.database import open_database
    from sentinet_dagster.runtime.benchmarks import measure_store

    with open_database(make=True) as url:
        result = measure_store(url, minutes)
    if as_json:
        print_json(result)
    else:
        typer.echo(
            f"{result['rows_per_s']:,.0f} rows/s: {result['rows']:,} rows in {result['batches']} batches, "
            f"{result['seconds']:.2f} s in the store"
        )

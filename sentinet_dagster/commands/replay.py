"""`sentinet replay`: recordings in, through the same parser and the same writer as live."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from sentinet_dagster.commands.console import JsonOption, print_json, say


def replay(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES...",
            help="Recordings, or folders of them: `<ns> <raw JSON>` a line, plain, gzip or zstd.",
        ),
    ],
    speed: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Recorded seconds a second; without it as fast as possible.", show_default=False
        ),
    ] = None,
    venue: Annotated[
        str | None,
        typer.Option(
            metavar="PROTOCOL",
            help="What files speak that do not say it; without it they are recognised.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write recordings into the database. What is there already is counted and left alone."""
    from sentinet_dagster.commands.database import config_directory, open_database
    from sentinet_dagster.runtime.history import take_in, venues_by_protocol

    venues = venues_by_protocol(config_directory())
    with open_database(make=True) as url:
        _migrate_if_empty(url)
        with _told_if_short_lived(url), _shown_progress() as progress:
            report = take_in(url, files, venues, protocol=venue, speed=speed, progress=progress)
    streams = {
        name: {
            "frames": stream.frames,
            "rows": stream.rows,
            "duplicates": stream.duplicates,
            "gaps": stream.gaps,
            "refused": stream.refused,
        }
        for name, stream in sorted(report.streams.items())
    }
    for cut in report.cuts:
        say(f"sentinet: {cut.path}: {cut.reason}; {cut.lines:,} lines of it are read")
    if report.missed:
        say(f"sentinet: {report.missed:,} lines are missing: the daemon could not record them")
    if as_json:
        cuts = [{"path": cut.path, "lines": cut.lines, "reason": cut.reason} for cut in report.cuts]
        print_json({"streams": streams, "cuts": cuts, "missed": report.missed})
    else:
        _print_table(streams)


def _migrate_if_empty(url: str) -> None:
    from sentinet_dagster.commands.database import config_directory, configured_instruments, is_empty
    from sentinet_dagster.runtime import database
    from sentinet_dagster.runtime.database_url import connect, without_password

    instruments = configured_instruments()
    with connect(url, autocommit=True) as connection:
        empty = is_empty(connection)
    if empty:
        say(f"{without_password(url)} is empty: migrating it first")
        database.migrate(url, database.read_storage(config_directory()))
    database.watch(url, instruments)


@contextmanager
def _told_if_short_lived(url: str) -> Iterator[None]:
    """After the block, a line if it brought facts that are too old to stay."""
    from sentinet_dagster.runtime import readings
    from sentinet_dagster.runtime.database_url import connect

    with connect(url, autocommit=True) as connection:
        before = readings.last_batch(connection)
        yield
        found = readings.short_lived(connection, before)
    if found is not None:
        removal = (
            "the server removes them at any time"
            if found.removed_by == "policy"
            else "maintain_storage_daily removes them"
        )
        say(
            f"sentinet: facts from {found.first_fact:%Y-%m-%d %H:%M} UTC on are older than the "
            f"{found.keep.days} days that storage.yaml keeps facts, and {removal}: to keep them, set "
            "retention.facts to forever and run `sentinet migrate`"
        )


@contextmanager
def _shown_progress() -> Iterator[Callable[[int], None] | None]:
    """A line on stderr that counts, where stderr is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("reading")
        began = time.monotonic()

        def tell(rows: int) -> None:
            rate = rows / max(time.monotonic() - began, 0.001)
            shown.update(task, description=f"{rows:,} rows, {rate:,.0f}/s")

        yield tell


def _print_table(streams: Mapping[str, Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
    counts = ("frames", "rows", "duplicates", "gaps", "refused")
    table.add_column("stream")
    for title in counts:
        table.add_column(title, justify="right")
    for name, stream in streams.items():
        table.add_row(name, *(f"{stream[count]:,}" for count in counts))
    Console(file=sys.stdout, highlight=False).print(table)

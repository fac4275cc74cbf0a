"""`sentinet benchmark`: how fast this machine does a part of the work. Numbers are printed, never judged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from sentinet_dagster.commands.console import JsonOption, parse_duration, print_json, say
from sentinet_dagster.runtime.errors import UserError

LEAST_S = 60.0

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
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Rounds by each way.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Rows a second that the store writes, beside raw binary COPY of the same rows.

    In a database made for it and dropped afterwards.
    """
    from sentinet_dagster.commands.database import open_database
    from sentinet_dagster.runtime.store_benchmark import measure_store

    with open_database(make=True) as url:
        result = measure_store(url, minutes, rounds)
    if as_json:
        print_json(result)
        return
    typer.echo(
        f"{result['rows_per_s']:,.0f} rows/s by the store, {result['raw_copy_rows_per_s']:,.0f} by raw COPY: "
        f"{result['ratio']:.2f} of it, over {result['rows']:,} rows in {result['batches']} batches"
    )


@app.command("ingest")
def ingest(
    seconds: Annotated[float, typer.Option(min=0.2, max=60, help="For how long each rate is tried.")] = 4.0,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="Rounds at 10 000 frames a second.")] = 3,
    probes: Annotated[int, typer.Option(min=1, max=20, help="Rates to try for the highest.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """From a venue's socket to the commit: the highest rate that is kept up, the delay at 10,000 frames/s.

    In a database made for it and dropped afterwards; the daemon runs with the settings it is shipped with.
    """
    from sentinet_dagster.commands.database import open_database
    from sentinet_dagster.runtime.ingest_benchmark import Options, measure_ingest

    with open_database(make=True) as url:
        result = measure_ingest(url, Options(seconds, rounds, most_probes=probes))
    if as_json:
        print_json(result)
        return
    steady = result["at_10k"]
    typer.echo(
        f"{result['sustained_frames_per_s']:,.0f} frames/s kept up; at 10,000 frames/s from the venue to the "
        f"commit p50 {steady['p50_ms']:g} ms, p99 {steady['p99_ms']:g} ms; "
        f"{result['cpu_us_per_frame']:g} µs of CPU a frame, {result['rss_mb']:g} MB"
    )


@app.command("check")
def check(
    minutes: Annotated[int, typer.Option(min=3, max=55, help="Minutes of simulated market to check.")] = 3,
    batches: Annotated[int, typer.Option(min=1, max=100, help="Micro-batches to measure.")] = 20,
    events_per_second: Annotated[float, typer.Option(min=1, help="Frames a second of that market.")] = 2000,
    as_json: JsonOption = False,
) -> None:
    """CPU of the checks inside a micro-batch beside the batch itself, and of the full pass by row."""
    from sentinet_dagster.commands.checking_cost import measure_checks
    from sentinet_dagster.commands.database import open_databases

    with open_databases(make=True) as opened:
        result = measure_checks(opened.url, opened.pid, minutes, batches, events_per_second)
    if as_json:
        print_json(result)
        return
    batch, full = result["micro_batch"], result["full_pass"]
    typer.echo(
        f"micro-batch of {batch['windows_s']} s and {batch['facts']:,.0f} facts: {batch['cpu_s']:.3f} CPU s, "
        f"{batch['checks_cpu_s']:.3f} of them checks ({batch['checks_share']:.0%})"
    )
    typer.echo(
        f"full pass: {full['cpu_s_per_million_rows']:.2f} CPU s per million rows, over {full['rows']:,} "
        f"rows; and {full['fixed_cpu_s']:.2f} once"
    )


@app.command("judge")
def judge(
    hours: Annotated[int, typer.Option(min=1, max=24, help="Hours of the day that is judged.")] = 24,
    instruments: Annotated[int, typer.Option(min=2, max=500, help="Instruments of the market.")] = 100,
    events_per_second: Annotated[
        float, typer.Option(min=0.1, help="Trades and quotes of an instrument, from facts to findings.")
    ] = 20.0,
    trades: Annotated[int, typer.Option(min=1000, help="Trades that become windows.")] = 5_000_000,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="Rounds; the fastest counts.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """Events a second from facts to findings on one core, beside a deque an instrument and numpy over it.

    In memory; no database. Also a day of all instruments, and one micro-batch by step and detector.
    """
    from sentinet_dagster.runtime.judge_benchmark import Options, measure_judging

    result = measure_judging(Options(instruments, trades, events_per_second, hours, rounds))
    if as_json:
        print_json(result)
        return
    batch = result["micro_batch"]
    steps = ", ".join(f"{name} {ms:g}" for name, ms in batch["steps_ms"].items())
    typer.echo(f"{result['windows_trades_per_s']:,} trades/s into windows")
    typer.echo(
        f"{result['events_per_s']:,} events/s from facts to findings, "
        f"{result['ratio_to_deque']:g} times the way one by one"
    )
    typer.echo(f"{hours} h of {instruments} instruments in {result['day_100_instruments_s']:g} s")
    typer.echo(f"micro-batch {batch['ms']:g} ms: {steps}")
    for name, ms in sorted(batch["detectors_ms"].items(), key=lambda each: -each[1]):
        typer.echo(f"{name:<24} {ms:>8.2f} ms")


@app.command("microbatch")
def microbatch(
    run_for: Annotated[
        str,
        typer.Option(
            "--for",
            help="Measured time: half with the sensor, a quarter with push, a quarter as Dagster comes.",
        ),
    ] = "10m",
    instruments: Annotated[int, typer.Option(help="Instruments of the simulated market, from 12.")] = 20,
    events_per_second: Annotated[float, typer.Option(min=1, help="Frames a second, of all of them.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the market and the script.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Delay and price of a micro-batch: a whole Sentinet under load on this machine, nothing else of it kept.

    `sentinet_dagster/runtime/microbatch.py` says what the numbers mean.
    """
    from sentinet_dagster.runtime.microbatch import Options, measure_microbatch

    duration = parse_duration(run_for)
    if duration.total_seconds() < LEAST_S:
        raise UserError(f"--for {run_for}: write {LEAST_S:g}s or more, such as 10m")
    result = measure_microbatch(Options(duration, instruments, events_per_second, seed), os.environ)
    if as_json:
        print_json(result)
        return
    for name, measured in (
        ("sensor", result),
        ("push", result["push"]),
        ("default", result["default_setup"]),
    ):
        typer.echo(_sentence(name, measured))


def _sentence(name: str, measured: dict[str, Any]) -> str:
    delays = measured["row_to_alert_s"]
    told = " / ".join("–" if delays[key] is None else f"{delays[key]:.1f}" for key in ("p50", "p95", "max"))
    return (
        f"{name:<8} {measured['runs']} runs, {measured['failed']} failed; "
        f"row to alert {told} s (p50 / p95 / max); "
        f"{measured['cpu_s_per_batch']['total']:.2f} CPU s a batch, "
        f"{measured['dagster_mb_per_day']:g} MB of Dagster's data a day"
    )


@app.command("storage")
def storage(
    trades: Annotated[
        int,
        typer.Option(
            min=100_000, max=1_000_000_000, help="Trades to make, over thirty days; 200 bytes each and 3 GB."
        ),
    ] = 5_000_000,
    as_json: JsonOption = False,
) -> None:
    """Bytes a trade, and how fast the database sums, answers and hands out that many trades.

    In a database made for it and dropped afterwards; refused where the disk has too little room.
    """
    from sentinet_dagster.commands.database import open_databases
    from sentinet_dagster.runtime.home import Home
    from sentinet_dagster.runtime.signals import interrupted_once
    from sentinet_dagster.runtime.storage_benchmark import measure_storage

    home = Home.from_environment(os.environ)
    # SIGTERM, too, lets the database be dropped.
    with interrupted_once(), open_databases(make=True) as opened:
        # The embedded server's disk is one of this machine's.
        disk = None if opened.pid is None else (home.postgres / "cluster").resolve()
        result = measure_storage(opened.url, trades, home.path, disk=disk, tell=_tell)
    if as_json:
        print_json(result)
        return
    size = result["bytes_per_trade"]
    typer.echo(f"{size['before']} bytes a trade; in the columnstore {size['after'] or size['reason']}")
    for name, taken in result["rollups"].items():
        typer.echo(f"{name:<32} rebuilt in {taken['rebuild_s']} s, an hour more in {taken['refresh_s']} s")
    for name, taken in result["queries"].items():
        typer.echo(f"{name:<32} {taken['ms']} ms, {taken['rows']} rows")
    for driver in ("adbc", "psycopg"):
        typer.echo(f"read by {driver:<24} {result['reading'][driver]['rows_per_s']:,} rows/s")


@app.command("dashboards")
def dashboards(
    analysts: Annotated[int, typer.Option(min=1, max=200, help="Browsers, each with one tab open.")] = 20,
    every: Annotated[str, typer.Option(help="How often each dashboard refreshes itself, from 6s.")] = "10s",
    run_for: Annotated[str, typer.Option("--for", help="For how long, 10m at most.")] = "2m",
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="Where Superset answers; else the one of the home."),
    ] = None,
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="Allow a Superset that is not on this machine.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Chart queries of many analysts at once, against a Superset that runs; it ends by itself.

    `sentinet_dagster/runtime/dashboard_load.py` says what the numbers mean.
    """
    from sentinet_dagster.commands.dashboards import find_target
    from sentinet_dagster.runtime.dashboard_load import Options, measure_dashboards
    from sentinet_dagster.runtime.home import Home

    options = Options(
        analysts, parse_duration(every).total_seconds(), parse_duration(run_for).total_seconds()
    )
    target = find_target(Home.from_environment(os.environ), url)
    result = measure_dashboards(target, options, elsewhere=elsewhere)
    if as_json:
        print_json(result)
        return
    took = result["chart_query_s"]
    told = " / ".join("–" if took[key] is None else f"{took[key]:.2f}" for key in ("p50", "p95", "max"))
    typer.echo(
        f"{result['analysts']} analysts, {result['charts']} charts: {result['requests']} queries, "
        f"{result['failed']} failed; a query {told} s (p50 / p95 / max)"
    )
    for told_reason, count in result["failures"].items():
        typer.echo(f"{count} × {told_reason}")


def _tell(line: str) -> None:
    say(f"sentinet: {line}")

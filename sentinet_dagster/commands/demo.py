"""`sentinet demo`: the simulated market, live, in the terminal."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from sentinet_dagster.commands.console import (
    EXIT_NO,
    JsonOption,
    log_to_file,
    parse_duration,
    print_json,
    say,
    to_json,
)
from sentinet_dagster.commands.recording import RecordOption, record_into
from sentinet_dagster.runtime.errors import UserError


def demo(
    run_for: Annotated[
        str | None,
        typer.Option(
            "--for",
            help="Stop by itself after 150s, 2m …, counted from the live part on.",
            show_default=False,
        ),
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the summary there, as JSON.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the market and the script.")] = 0,
    no_view: Annotated[
        bool, typer.Option("--no-view", help="Plain lines instead of the live screen.")
    ] = False,
    record: RecordOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show a simulated market with scripted abuse, live. Exit 0 only if all that had time to be found was."""
    duration = parse_duration(run_for) if run_for else None
    if duration is not None and not duration:
        raise UserError("--for 0: write a duration above 0, such as 150s")
    if summary is not None and not summary.absolute().parent.is_dir():
        raise UserError(f"--summary {summary}: there is no folder {summary.absolute().parent}")

    record_into(record)
    from sentinet_dagster.runtime.demo import DemoOptions, run_demo
    from sentinet_dagster.runtime.home import Home

    home = Home.from_environment(os.environ)
    log_to_file(home.log_file("demo"))
    outcome = run_demo(home, os.environ, DemoOptions(seed, duration, view=not no_view))
    if summary is not None:
        summary.write_text(to_json(outcome.json) + "\n")
    if as_json:
        print_json(outcome.json)
    else:
        _print_outcome(outcome.json)
    for objection in outcome.objections:
        say(f"sentinet: {objection}")
    return EXIT_NO if outcome.objections else 0


def _print_outcome(result: dict[str, Any]) -> None:
    episodes, runs, delay = result["episodes"], result["runs"], result["row_to_alert_s"]
    typer.echo(
        f"{result['live_s']:.0f} s live: {result['frames']:,} frames, {result['rows']:,} rows, "
        f"{runs['succeeded']} runs succeeded, {runs['failed']} failed"
    )
    typer.echo(
        f"alerts: {json.dumps(result['alerts'])}; row to alert p50 {delay['p50']} s, p95 {delay['p95']} s"
    )
    typer.echo(f"episodes: {episodes['found']} found of {episodes['scripted']} that had time to be found")
    for episode in episodes["list"]:
        typer.echo(f"  {episode['kind']:<17} {' '.join(episode['instruments']):<50} {_fate(episode)}")


def _fate(episode: dict[str, Any]) -> str:
    if episode["found_by"]:
        return f"found by {episode['found_by']} after {episode['delay_s']:.1f} s"
    return "not found" if episode["had_time"] else "had no time to be found"

"""`sentinet calibrate`: what other thresholds would have raised, and which keep a budget."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sentinet_dagster.commands.console import JsonOption, print_json
from sentinet_dagster.runtime.errors import UserError


def calibrate(
    detectors: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DETECTORS...]", help="Without any, all that are enabled."),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(help="Which of the detector's is moved; without it the first.", show_default=False),
    ] = None,
    span: Annotated[
        str,
        typer.Option("--range", metavar="START/END", help="History: 2026-01-31T12:00Z/2026-02-01T12:00Z."),
    ] = "24h/0s",
    budget: Annotated[
        float | None,
        typer.Option(min=0, help="Alerts a day, of all together: thresholds that keep it are proposed."),
    ] = None,
    folds: Annotated[
        int,
        typer.Option(min=1, max=50, help="Parts of the history: a choice is tried on time it has not seen."),
    ] = 4,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the proposal there, as YAML.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Sweep thresholds over stored history: alerts a day of each value, and precision and recall where people
    have closed alerts as true or false.

    With --budget, a fragment of config/surveillance.yaml is proposed. Nothing is changed: that is for you.
    """
    if output is not None and budget is None:
        raise UserError("--output needs --budget N: without it nothing is proposed")
    from sentinet_dagster.commands.check import parse_range
    from sentinet_dagster.commands.database import config_directory, open_database
    from sentinet_dagster.runtime.calibration import Question, calibrate

    start, end = (_window(moment) for moment in parse_range(span, datetime.now(UTC)))
    question = Question(start, end, detectors or [], threshold, budget, folds)
    with open_database() as url:
        result = calibrate(url, config_directory(), question)
    if output is not None:
        output.write_text(result["proposal"], encoding="utf-8")
    if as_json:
        print_json(result)
    else:
        _print(result)


def _window(moment: datetime) -> datetime:
    from sentinet_dagster.surveillance.grid import aligned

    return aligned(moment)


def _print(result: dict[str, Any]) -> None:
    for name, swept in result["detectors"].items():
        typer.echo(f"{name}.{swept['threshold']}")
        for row in swept["values"]:
            marks = [
                mark
                for key, mark in (("current", "in force"), ("proposed", "proposed"))
                if swept.get(key) == row["value"]
            ]
            judged = "".join(
                f"  {key} {row[key]:.0%}" for key in ("precision", "recall") if row[key] is not None
            )
            typer.echo(
                f"  {row['value']:>10g} {row['alerts']:>6} alerts {row['per_day']:>9.2f} a day{judged}"
                f"{'  ' if marks else ''}{', '.join(marks)}"
            )
        if "proposed" in swept and not swept["keeps_budget"]:
            typer.echo(f"  no value keeps {swept['budget_per_day']:g} a day")
    if result["budget_per_day"] is not None:
        typer.echo("\n" + (result["proposal"] or "what is in force keeps the budget best: nothing to change"))

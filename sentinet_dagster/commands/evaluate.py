"""`sentinet evaluate`: how good the judgement is where the truth is known."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentinet_dagster.commands.console import JsonOption, print_json

if TYPE_CHECKING:
    from sentinet_dagster.surveillance.evaluation import PumpScore, ScoredEvent

app = typer.Typer(help="Score the judgement where the truth is known.", rich_markup_mode=None)


@app.callback()
def _root() -> None:
    """Score the judgement where the truth is known."""


@app.command("pump-events")
def pump_events(
    directory: Annotated[Path, typer.Argument(help="A folder of labels.csv and one parquet file an event.")],
    as_json: JsonOption = False,
) -> None:
    """Recall, delay and false alerts per symbol-day of `pump_and_dump` on labelled pump events."""
    from sentinet_dagster.runtime.pump_events import score_pump_events
    from sentinet_dagster.surveillance.evaluation import summarise

    scored = score_pump_events(directory)
    score = summarise(scored)
    if as_json:
        print_json(asdict(score) | {"per_event": [_row(one) for one in scored]})
    else:
        _print(score, scored)


def _row(one: ScoredEvent) -> dict[str, Any]:
    return {
        "event": one.event.name,
        "symbol": one.event.symbol,
        "start": one.event.start,
        "hit": one.delay_s is not None,
        "delay_s": one.delay_s,
        "false_alerts": one.false_alerts,
        "symbol_days": one.symbol_days,
        "alerts": list(one.alerts),
    }


def _print(score: PumpScore, scored: list[ScoredEvent]) -> None:
    missed = ", ".join(one.event.name for one in scored if one.delay_s is None)
    typer.echo(f"events               {score.events}")
    if score.recall is not None:
        typer.echo(f"hits                 {score.hits} ({score.recall:.1%}), {score.within_60s} within 60 s")
    if score.delay_p50_s is not None:
        typer.echo(f"median delay         {score.delay_p50_s:.0f} s")
    if score.false_per_symbol_day is not None:
        typer.echo(
            f"false alerts         {score.false_alerts} in {score.symbol_days:.1f} symbol-days "
            f"({score.false_per_symbol_day:.4f} a day)"
        )
    if missed:
        typer.echo(f"missed               {missed}")

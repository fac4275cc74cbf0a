"""`sentinet evaluate`: how good the judgement is where the truth is known."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentinet_dagster.commands.console import JsonOption, log_to_stderr, print_json

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

    log_to_stderr()
    scored = score_pump_events(directory)
    score = summarise(scored)
    if as_json:
        print_json(asdict(score) | {"per_event": [_row(one) for one in scored]})
    else:
        _print(score, scored)


@app.command("injected")
def injected(
    recordings: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RECORDINGS...]",
            help="Played on these, too: `<ns> <raw JSON>` a line, or folders of it.",
        ),
    ] = None,
    short: Annotated[
        bool, typer.Option("--short", help="One seed, half the instruments, the greater sizes: what CI runs.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Recall, delay and false alerts of each detector on abuse injected into calm markets.

    Markets are simulated from fixed seeds, and recorded where recordings of watched instruments are given.
    """
    from sentinet_dagster.runtime.injected import FULL, SHORT, evaluate_injected

    log_to_stderr()
    result = evaluate_injected(SHORT if short else FULL, recordings or [])
    command = "sentinet evaluate injected" + (" --short" if short else "")
    if as_json:
        print_json({"made_at": datetime.now(UTC), "made_by": command} | result)
    else:
        _print_injected(result)


def _print_injected(result: dict[str, Any]) -> None:
    typer.echo(
        f"{'injected':<20} {'size':>8} {'found':>9} {'95 % interval':>15} {'delay p50':>10} {'p95':>8}"
    )
    for name, scored in result["injected"].items():
        for each in scored["by_size"]:
            low, high = each["recall_from"], each["recall_to"]
            typer.echo(
                f"{name:<20} {each['size']:>8g} {each['found']:>4}/{each['episodes']:<4} "
                f"{f'{low:.0%} to {high:.0%}':>15} {_seconds(each['delay_p50_s']):>10} "
                f"{_seconds(each['delay_p95_s']):>8}"
            )
    typer.echo(
        f"\n{'in calm':<20} {'alerts':>8} {'symbol-days':>12} {'a symbol-day':>13} {'95 % interval':>17}"
    )
    for name, calm in result["calm"].items():
        low, high = calm["per_symbol_day_from"], calm["per_symbol_day_to"]
        typer.echo(
            f"{name:<20} {calm['alerts']:>8} {calm['symbol_days']:>12.3f} {calm['per_symbol_day']:>13.2f} "
            f"{f'{low:.2f} to {high:.2f}':>17}"
        )


def _seconds(delay: float | None) -> str:
    return "–" if delay is None else f"{delay:.1f} s"


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

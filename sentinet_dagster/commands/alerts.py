"""`sentinet alerts`: what was found, newest first, with its evidence."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from sentinet_dagster.commands.console import JsonOption, parse_time, print_json


class Severity(StrEnum):
    """How much an alert matters, the words of `surveillance.alerts.severity`."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


def alerts(
    detector: Annotated[str | None, typer.Option(help="Only this detector: spoofing, decoupling …")] = None,
    instrument: Annotated[str | None, typer.Option(help="Only this symbol, or venue/symbol.")] = None,
    severity: Annotated[Severity | None, typer.Option(help="Only this severity.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only raised since: 2026-01-31T12:00Z, or 2h (ago).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List alerts, newest first, with their evidence."""
    from sentinet_dagster.commands.database import open_connection
    from sentinet_dagster.runtime import readings

    moment = parse_time(since, datetime.now(UTC)) if since else None
    word = severity.value if severity else None
    with open_connection() as connection:
        found = readings.alerts(connection, readings.AlertFilter(detector, instrument, word, moment, limit))
    if as_json:
        print_json({"alerts": found})
    else:
        _print_alerts(found)


def _print_alerts(found: Sequence[dict[str, Any]]) -> None:
    """Three lines an alert: when and what, the sentence, the evidence."""
    from rich.console import Console
    from rich.text import Text

    from sentinet_dagster.runtime.evidence import evidence_line
    from sentinet_dagster.runtime.view import SEVERITY_STYLES

    console = Console(file=sys.stdout, highlight=False)
    if not found:
        console.print("No alert fits.")
    for alert in found:
        console.print(
            Text.assemble(
                (f"{alert['raised_at'].astimezone(UTC):%Y-%m-%d %H:%M:%S}Z ", "dim"),
                (f" {alert['severity']} ", SEVERITY_STYLES[alert["severity"]]),
                (f" {alert['detector']} ", "bold"),
                f"{alert['venue']}/{alert['instrument']}",
                (f"  {alert['state']}, data {alert['completeness']:.0%} whole", "dim"),
            ),
            soft_wrap=True,
        )
        console.print(f"    {alert['summary']}", soft_wrap=True)
        console.print(Text(f"    {evidence_line(alert['evidence'])}", "dim"), soft_wrap=True)

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
        _print_table(found)


def _print_table(found: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from sentinet_dagster.runtime.evidence import evidence_line
    from sentinet_dagster.runtime.view import SEVERITY_STYLES

    console = Console(file=sys.stdout)
    if not found:
        console.print("No alert fits.")
        return
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("raised (UTC)", "severity", "detector", "instrument"):
        table.add_column(title, no_wrap=True)
    table.add_column("what, and its evidence", ratio=1)
    for alert in found:
        table.add_row(
            f"{alert['raised_at'].astimezone(UTC):%m-%d %H:%M:%S}",
            Text(alert["severity"], SEVERITY_STYLES[alert["severity"]]),
            alert["detector"],
            f"{alert['venue']}/{alert['instrument']}",
            Text.assemble(alert["summary"], "\n", (evidence_line(alert["evidence"]), "dim")),
        )
    console.print(table)

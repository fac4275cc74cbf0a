"""`sentinet alerts`: what was found, and what people make of it."""

from __future__ import annotations

import getpass
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from sentinet_dagster.commands.console import JsonOption, parse_duration, parse_time, print_json

_AROUND = timedelta(minutes=5)
_WINDOW = timedelta(seconds=5)

app = typer.Typer(
    help="List alerts, newest first, with their evidence; and take them through their life.",
    rich_markup_mode=None,
)


class Severity(StrEnum):
    """How much an alert matters, the words of `surveillance.alerts.severity`."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class State(StrEnum):
    """Where an alert is in its life, the words of `surveillance.alerts.state`."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    ESCALATED = "escalated"
    CLOSED = "closed"
    RETRACTED = "retracted"


class Disposition(StrEnum):
    """As what an alert is closed."""

    TRUE = "true"
    FALSE = "false"
    BENIGN = "benign"
    DUPLICATE = "duplicate"


IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Its id, or the first characters of it.")]
NoteOption = Annotated[str, typer.Option("--note", help="Why; kept with the alert.")]
ByOption = Annotated[
    str | None, typer.Option("--by", help="Who; without it who is logged in here.", show_default=False)
]


@app.callback(invoke_without_command=True)
def alerts(
    context: typer.Context,
    detector: Annotated[str | None, typer.Option(help="Only this detector: spoofing, decoupling …")] = None,
    instrument: Annotated[str | None, typer.Option(help="Only this symbol, or venue/symbol.")] = None,
    severity: Annotated[Severity | None, typer.Option(help="Only this severity.")] = None,
    state: Annotated[State | None, typer.Option(help="Only this state.")] = None,
    incident: Annotated[
        str | None, typer.Option(help="Only this incident, by its id or the beginning.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only raised since: 2026-01-31T12:00Z, or 2h (ago).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List alerts, newest first, with their evidence; and take them through their life."""
    if context.invoked_subcommand is not None:
        return
    from sentinet_dagster.commands.database import open_connection
    from sentinet_dagster.runtime import readings

    wanted = readings.AlertFilter(
        detector,
        instrument,
        severity.value if severity else None,
        parse_time(since, datetime.now(UTC)) if since else None,
        limit,
        state.value if state else None,
        incident=incident,
    )
    with open_connection() as connection:
        found = readings.alerts(connection, wanted)
    if as_json:
        print_json({"alerts": found})
    else:
        _print_alerts(found)


@app.command("show")
def show(
    wanted: IdArgument,
    around: Annotated[str, typer.Option(help="So much before and after it is drawn.")] = "5m",
    png: Annotated[
        Path | None, typer.Option(help="Save the picture as this file.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show one alert: its evidence, its life, and price, spread and imbalance around it."""
    from sentinet_dagster.commands.database import open_connection
    from sentinet_dagster.runtime import alert_life, alert_plot, readings

    span = parse_duration(around)
    with open_connection() as connection:
        alert = alert_life.find(connection, wanted)
        events = readings.alert_life(connection, str(alert["alert_id"]))
        start, end = alert["window_start"] - span, alert["last_window_start"] + _WINDOW + span
        rows = readings.alert_chart(connection, alert["instrument_id"], start, end)
    fired = alert["window_start"], alert["last_window_start"]
    if png is not None:
        alert_plot.save_png(rows, alert["summary"], *fired, png)
    if as_json:
        print_json({"alert": alert, "life": events, "windows": rows})
        return
    _print_alerts([alert])
    _print_more(alert, events)
    if png is not None:
        typer.echo(f"picture: {png}")
    else:
        width = shutil.get_terminal_size((100, 24)).columns
        typer.echo(alert_plot.draw(rows, *fired, width, colour=sys.stdout.isatty()))


@app.command("ack")
def ack(wanted: IdArgument, note: NoteOption = "", by: ByOption = None, as_json: JsonOption = False) -> None:
    """Take an alert up: somebody looks at it."""
    _step(wanted, "acknowledged", note, by, None, as_json)


@app.command("escalate")
def escalate(
    wanted: IdArgument, note: NoteOption = "", by: ByOption = None, as_json: JsonOption = False
) -> None:
    """Pass an alert on to those who decide."""
    _step(wanted, "escalated", note, by, None, as_json)


@app.command("close")
def close(
    wanted: IdArgument,
    disposition: Annotated[
        Disposition,
        typer.Option("--as", help="true or false of what it says; benign: true, and no abuse; duplicate."),
    ],
    note: NoteOption = "",
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close an alert, and say as what."""
    _step(wanted, "closed", note, by, disposition.value, as_json)


@app.command("snooze")
def snooze(
    detector: Annotated[str, typer.Argument(help="The detector: spoofing, decoupling …")],
    instrument: Annotated[str, typer.Argument(help="The symbol, or venue/symbol.")],
    duration: Annotated[str, typer.Option("--for", help="For how long: 30m, 8h. 0 ends it now.")],
    note: NoteOption = "",
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the alerts of a detector on an instrument that are raised until then wait for nobody."""
    from sentinet_dagster.commands.database import open_connection
    from sentinet_dagster.runtime import alert_life
    from sentinet_dagster.runtime.errors import UserError
    from sentinet_dagster.surveillance.detectors import DETECTORS

    if detector not in DETECTORS:
        raise UserError(f"{detector} is no detector; there are {', '.join(sorted(DETECTORS))}")
    ends_at = datetime.now(UTC) + parse_duration(duration)
    with open_connection() as connection:
        numbers = alert_life.snooze(connection, detector, instrument, ends_at, by or getpass.getuser(), note)
    if as_json:
        print_json({"detector": detector, "instruments": numbers, "ends_at": ends_at})
    else:
        typer.echo(f"{detector} on {instrument} is snoozed until {ends_at:%Y-%m-%d %H:%M:%S}Z")


@app.command("replay")
def replay(
    wanted: IdArgument,
    speed: Annotated[
        float | None,
        typer.Option(min=0.001, help="Market seconds a second; without it at once.", show_default=False),
    ] = None,
    around: Annotated[str, typer.Option(help="So much before and after it, too.")] = "10s",
    limit: Annotated[int, typer.Option(min=1, help="At most so many events.")] = 10_000,
    as_json: JsonOption = False,
) -> None:
    """Play the trades and quotes around an alert, those of its windows marked."""
    import time

    from sentinet_dagster.commands.database import open_connection
    from sentinet_dagster.runtime import alert_life, alert_replay, readings
    from sentinet_dagster.runtime.errors import UserError

    span = parse_duration(around)
    with open_connection() as connection:
        alert = alert_life.find(connection, wanted)
        first, last_end = alert["window_start"], alert["last_window_start"] + _WINDOW
        events = readings.events_around(
            connection, alert["instrument_id"], first - span, last_end + span, limit
        )
    if as_json:
        print_json({"alert_id": alert["alert_id"], "events": events})
        return
    if not events:
        raise UserError(f"no fact around {first:%Y-%m-%d %H:%M:%S}Z is kept any more (config/storage.yaml)")
    for event in alert_replay.paced(events, speed, time.sleep):
        typer.echo(alert_replay.event_line(event, first, last_end))


def _step(wanted: str, step: str, note: str, by: str | None, disposition: str | None, as_json: bool) -> None:
    from sentinet_dagster.commands.database import open_connection
    from sentinet_dagster.runtime import alert_life

    with open_connection() as connection:
        alert = alert_life.change(connection, wanted, step, by or getpass.getuser(), note, disposition)
    if as_json:
        print_json({"alert": alert})
    else:
        typer.echo(f"{alert['alert_id']} {alert['detector']} {alert['instrument']}: {alert['state']}")


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
                (f"  {_standing(alert)}, data {alert['completeness']:.0%} whole", "dim"),
                (f"  {str(alert['alert_id'])[:8]}", "dim"),
            ),
            soft_wrap=True,
        )
        console.print(f"    {alert['summary']}", soft_wrap=True)
        console.print(Text(f"    {evidence_line(alert['evidence'])}", "dim"), soft_wrap=True)


def _standing(alert: dict[str, Any]) -> str:
    """Its state in words: `open, 4 windows, still growing, snoozed`."""
    words = [alert["state"] + (f" as {alert['disposition']}" if alert["disposition"] else "")]
    if alert["windows_fired"] > 1:
        words.append(f"{alert['windows_fired']} windows")
    if not alert["is_over"] and alert["state"] != "retracted":
        words.append("still growing")
    if alert["snoozed_until"] is not None:
        words.append("snoozed")
    return ", ".join(words)


def _print_more(alert: dict[str, Any], events: Sequence[dict[str, Any]]) -> None:
    """What the list leaves out: span, peak, incident, life."""
    first, last_end, peak = (
        f"{moment.astimezone(UTC):%H:%M:%S}"
        for moment in (
            alert["window_start"],
            alert["last_window_start"] + _WINDOW,
            alert["peak_window_start"],
        )
    )
    typer.echo(
        f"    {alert['windows_fired']} windows fired from {first} to {last_end}, peak score "
        f"{alert['peak_score']:.4g} (threshold {alert['threshold']:.4g}) at {peak}"
    )
    if alert["superseded_by"] is not None:
        typer.echo(f"    its windows belong to {alert['superseded_by']} now")
    if alert["incident_id"] is not None and alert["incident_alerts"] > 1:
        short = str(alert["incident_id"])[:8]
        others = alert["incident_alerts"] - 1
        typer.echo(f"    with {others} more in incident {short}: sentinet alerts --incident {short}")
    for event in events:
        whose = "" if event["alert_id"] == alert["alert_id"] else f" ({str(event['alert_id'])[:8]})"
        note = f": {event['note']}" if event["note"] else ""
        when = event["occurred_at"].astimezone(UTC)
        typer.echo(f"    {when:%Y-%m-%d %H:%M:%S}Z {event['event']}{whose} by {event['actor']}{note}")

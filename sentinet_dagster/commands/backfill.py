"""`sentinet backfill`: judge whole hours again, by the same assets as live."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from sentinet_dagster.commands.console import EXIT_NO, JsonOption, parse_time, print_json, say
from sentinet_dagster.runtime.errors import UserError

HOUR = timedelta(hours=1)
MOST_HOURS = 24 * 366
PART_HOURS = 24  # judged by one run; measured: 24 runs of an hour take half as long again


def backfill(
    start: Annotated[
        str, typer.Option("--from", help="First moment: 2026-01-31T12:00Z, or 2h (ago).", show_default=False)
    ],
    end: Annotated[
        str | None, typer.Option("--to", help="Moment after the last; without it, now.", show_default=False)
    ] = None,
    instrument: Annotated[
        list[str] | None,
        typer.Option(
            "--instrument",
            help="Build the windows of this one alone: BTC-USDT or binance/BTC-USDT; may be repeated. "
            "What is judged from windows is judged for all: they are held against one another.",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for Dagster to finish (without `sentinet up`: always).")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on: leave out the days that the same backfill has judged.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Judge the hours that [--from, --to) touches, again or for the first time, a day at a time."""
    now = datetime.now(UTC)
    hours = hours_between(parse_time(start, now), parse_time(end, now) if end else now)
    result = _judge(hours, tuple(instrument or ()), wait or resume, resume)
    if as_json:
        print_json(result)
    else:
        typer.echo(_sentence(result))
    return EXIT_NO if result["runs"]["failed"] else 0


def hours_between(start: datetime, end: datetime) -> list[datetime]:
    """The starts of the hours, UTC, that [start, end) touches.

    Raises:
        UserError: it touches none, or more than a year of them.

    >>> hours = hours_between(datetime(2026, 1, 1, 0, 30, tzinfo=UTC), datetime(2026, 1, 1, 2, tzinfo=UTC))
    >>> [hour.hour for hour in hours]
    [0, 1]
    """
    if start >= end:
        raise UserError(f"--from {start:%Y-%m-%dT%H:%MZ} does not lie before --to {end:%Y-%m-%dT%H:%MZ}")
    first = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    count = -((first - end) // HOUR)
    if count > MOST_HOURS:
        raise UserError(f"{count} hours are more than a year: backfill them in parts")
    return [first + number * HOUR for number in range(count)]


def days(hours: Sequence[datetime]) -> list[Sequence[datetime]]:
    """The hours in parts that one run judges, cut at midnight UTC: the same parts wherever one begins.

    >>> [len(part) for part in days(hours_between(datetime(2026, 1, 1, 22), datetime(2026, 1, 3, 2)))]
    [2, 24, 2]
    """
    parts: dict[datetime, list[datetime]] = {}
    for hour in hours:
        parts.setdefault(hour - hour.hour % PART_HOURS * HOUR, []).append(hour)
    return list(parts.values())


def _judge(hours: Sequence[datetime], wanted: Sequence[str], wait: bool, resume: bool) -> dict[str, Any]:
    from sentinet_dagster.commands import backfilling
    from sentinet_dagster.runtime.home import Home
    from sentinet_dagster.runtime.status import running_state

    state = running_state(Home.from_environment(os.environ))
    by_dagster = state is not None and "dagster" in state.addresses
    instruments = backfilling.numbers_of(wanted) if wanted else None
    opened = (
        backfilling.through_dagster(state.addresses["dagster"])  # type: ignore[union-attr]
        if by_dagster
        else backfilling.in_this_process()
    )
    with opened as judge:
        if by_dagster and not wait:
            done = backfilling.ask(judge, hours, instruments)
        else:
            done = backfilling.judge_in_order(judge, days(hours), instruments, resume, say)
    return {"hours": [f"{hour:%Y-%m-%d-%H:%M}" for hour in hours], "instruments": instruments, **done}


def _sentence(result: dict[str, Any]) -> str:
    count = len(result["hours"])
    hours = f"{'1 hour' if count == 1 else f'{count} hours'} from {result['hours'][0]}"
    if result["status"] == "REQUESTED":
        return f"Dagster judges {hours}: backfill {result['backfill_ids'][0]}."
    runs = result["runs"]
    skipped = f", {result['skipped']} left out" if result["skipped"] else ""
    if runs["failed"]:
        return f"{runs['succeeded']} days of {hours} were judged, then one failed. After mending: --resume."
    return f"Judged {hours}: {runs['succeeded']} runs succeeded{skipped}."

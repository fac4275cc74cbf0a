"""`sentinet backfill`: judge whole hours again, by the same assets as live."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentinet_dagster.commands.console import EXIT_NO, JsonOption, parse_time, print_json, say
from sentinet_dagster.runtime.errors import UserError

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from sentinet_dagster.runtime.dagster_api import Backfill

HOUR = timedelta(hours=1)
MOST_HOURS = 24 * 366
TAGS = {"sentinet/asked_by": "sentinet backfill"}
_POLL_S = 1.0

Progress = Callable[[int, int], None]  # succeeded, failed


def backfill(
    start: Annotated[
        str, typer.Option("--from", help="First moment: 2026-01-31T12:00Z, or 2h (ago).", show_default=False)
    ],
    end: Annotated[
        str | None, typer.Option("--to", help="Moment after the last; without it, now.", show_default=False)
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for Dagster to finish (without `sentinet up`: always).")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Judge the hours that [--from, --to) touches, again or for the first time."""
    now = datetime.now(UTC)
    hours = hours_between(parse_time(start, now), parse_time(end, now) if end else now)

    def report(succeeded: int, failed: int) -> None:
        say(f"{_count(hours)}: {succeeded} runs succeeded, {failed} failed")

    result = _judge(hours, wait, report)
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


def _judge(hours: Sequence[datetime], wait: bool, report: Progress) -> dict[str, Any]:
    from sentinet_dagster.runtime.home import Home
    from sentinet_dagster.runtime.status import running_state

    state = running_state(Home.from_environment(os.environ))
    if state is not None and "dagster" in state.addresses:
        return _through_dagster(state.addresses["dagster"], hours, wait, report)
    return _in_process(hours, report)


def _through_dagster(url: str, hours: Sequence[datetime], wait: bool, report: Progress) -> dict[str, Any]:
    """Ask the Dagster that runs."""
    from sentinet_dagster.assets.surveillance import SURVEILLANCE_ASSETS
    from sentinet_dagster.partitions import partition_key
    from sentinet_dagster.runtime.dagster_api import Backfill, DagsterApi

    keys = [partition_key(hour) for hour in hours]
    paths = [key.path for asset in SURVEILLANCE_ASSETS for key in asset.keys]
    with DagsterApi(url) as dagster:
        backfill_id = dagster.launch_backfill(paths, keys, TAGS)
        standing = _follow(dagster.backfill, backfill_id, report) if wait else Backfill("REQUESTED", 0, 0)
    failed = standing.failed + (0 if standing.status in ("REQUESTED", "COMPLETED_SUCCESS") else 1)
    return {
        "hours": keys,
        "by": "dagster",
        "backfill_id": backfill_id,
        "status": standing.status,
        "runs": {"succeeded": standing.succeeded, "failed": failed},
    }


def _follow(ask: Callable[[str], Backfill], backfill_id: str, report: Progress) -> Backfill:
    told = None
    while True:
        standing = ask(backfill_id)
        if (standing.succeeded, standing.failed) != told:
            told = (standing.succeeded, standing.failed)
            report(*told)
        if standing.is_over:
            return standing
        time.sleep(_POLL_S)


def _in_process(hours: Sequence[datetime], report: Progress) -> dict[str, Any]:
    """Without a running Dagster: run the same job here, hour by hour, and record the runs in its database."""
    with _instance() as instance:
        # Settings and resources are read at import: after `_instance` has set the environment.
        from sentinet_dagster.definitions import defs
        from sentinet_dagster.partitions import partition_key

        job = defs.resolve_job_def("judge_windows")
        keys = [partition_key(hour) for hour in hours]
        outcomes = []
        for key in keys:
            run = job.execute_in_process(
                instance=instance, partition_key=key, raise_on_error=False, tags=TAGS
            )
            outcomes.append(run.success)
            report(outcomes.count(True), outcomes.count(False))
    failed = outcomes.count(False)
    return {
        "hours": keys,
        "by": "this process",
        "backfill_id": None,
        "status": "COMPLETED_FAILED" if failed else "COMPLETED_SUCCESS",
        "runs": {"succeeded": outcomes.count(True), "failed": failed},
    }


@contextmanager
def _instance() -> Iterator[DagsterInstance]:
    """Dagster's instance in the home, on a database that is there for as long as the block."""
    from sentinet_dagster.commands.database import config_directory, open_databases
    from sentinet_dagster.runtime.home import Home
    from sentinet_dagster.runtime.parts import dagster_environment, lay_out_dagster_home

    home = Home.from_environment(os.environ)
    with open_databases() as database:
        if not database.dagster_url:
            raise UserError("SENTINET_DAGSTER_DATABASE_URL is not set: Dagster needs a database of its own")
        lay_out_dagster_home(home)
        os.environ.update(dagster_environment(home, database, config_directory()))
        from dagster import DagsterInstance

        with DagsterInstance.get() as instance:
            yield instance


def _sentence(result: dict[str, Any]) -> str:
    hours = f"{_count(result['hours'])} from {result['hours'][0]}"
    if result["status"] == "REQUESTED":
        return f"Dagster judges {hours}: backfill {result['backfill_id']}."
    runs = result["runs"]
    return f"Judged {hours}: {runs['succeeded']} runs succeeded, {runs['failed']} failed."


def _count(hours: Sequence[object]) -> str:
    return "1 hour" if len(hours) == 1 else f"{len(hours)} hours"

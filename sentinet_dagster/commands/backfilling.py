"""How `sentinet backfill` has hours judged: by the Dagster that runs, or in this process.

What lives here: asking for a part, waiting for it, the order of parts. What never does: judging, printing.

Parts are judged in order, and a part that fails is the last: the first hours of each look back on the one
before. A part is known by what it is about and by what judges it: code and thresholds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from sentinet_dagster.runtime.errors import UserError

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from sentinet_dagster.runtime.dagster_api import DagsterApi

ASKED_BY_TAG, PART_TAG = "sentinet/asked_by", "sentinet/part"
_POLL_S = 1.0

Tags = Mapping[str, str]


class Judge(Protocol):
    """Whoever judges hours."""

    by: str

    def has_judged(self, tags: Tags) -> bool:
        """Whether a run with these tags has succeeded."""

    def ask(self, keys: Sequence[str], tags: Tags) -> str:
        """Have partitions judged; the id under which to wait for it."""

    def wait(self, part: str) -> bool:
        """Wait for what was asked for; whether it succeeded."""


def numbers_of(wanted: Sequence[str]) -> list[int]:
    """The numbers of the instruments named: symbols or venue/symbol, in any case.

    Raises:
        UserError: one is not in the database.
    """
    from sentinet_dagster.commands.database import open_connection
    from sentinet_dagster.runtime import readings

    with open_connection() as connection:
        found = {name: readings.instrument_numbers(connection, name) for name in wanted}
    for name, numbers in found.items():
        if not numbers:
            raise UserError(f"--instrument {name} is none: write BTC-USDT or binance/BTC-USDT")
    return sorted({number for numbers in found.values() for number in numbers})


def ask(judge: Judge, hours: Sequence[datetime], instruments: Sequence[int] | None) -> dict[str, Any]:
    """Have all hours judged by one run, and do not wait."""
    backfill_id = judge.ask(*_part(hours, instruments))
    return _result(judge, "REQUESTED", [backfill_id], 0, 0, 0)


def judge_in_order(
    judge: Judge,
    parts: Sequence[Sequence[datetime]],
    instruments: Sequence[int] | None,
    resume: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Have the parts judged one after the other, and say how far it is; the first that fails is the last."""
    asked: list[str] = []
    skipped = 0
    for number, hours in enumerate(parts, start=1):
        keys, tags = _part(hours, instruments)
        # Left out only while all before it are: a part that is judged anew has the next one judged anew.
        if resume and not asked and judge.has_judged(tags):
            skipped += 1
            continue
        asked.append(judge.ask(keys, tags))
        if not judge.wait(asked[-1]):
            return _result(judge, "COMPLETED_FAILED", asked, len(asked) - 1, 1, skipped)
        say(f"judged to {keys[-1]}, part {number} of {len(parts)}")
    return _result(judge, "COMPLETED_SUCCESS", asked, len(asked), 0, skipped)


def _part(hours: Sequence[datetime], instruments: Sequence[int] | None) -> tuple[list[str], dict[str, str]]:
    """The partitions, and the tags of the run that judges them."""
    from sentinet_dagster.assets.surveillance import CODE_HASH
    from sentinet_dagster.commands.database import config_directory
    from sentinet_dagster.partitions import INSTRUMENTS_TAG, partition_key
    from sentinet_dagster.resources import SurveillanceConfig

    keys = [partition_key(hour) for hour in hours]
    settings = SurveillanceConfig(directory=str(config_directory())).load()
    numbers = "all" if instruments is None else ",".join(map(str, instruments))
    part = f"{keys[0]} to {keys[-1]} of {numbers} by {CODE_HASH[:12]} with {settings.config_hash[:12]}"
    tags = {ASKED_BY_TAG: "sentinet backfill", PART_TAG: part}
    return keys, tags if instruments is None else tags | {INSTRUMENTS_TAG: numbers}


def _result(
    judge: Judge, status: str, asked: Sequence[str], succeeded: int, failed: int, skipped: int
) -> dict[str, Any]:
    return {
        "by": judge.by,
        "backfill_ids": list(asked),
        "status": status,
        "runs": {"succeeded": succeeded, "failed": failed},
        "skipped": skipped,
    }


class _Dagster:
    """The Dagster that runs."""

    by = "dagster"

    def __init__(self, api: DagsterApi) -> None:
        self._api = api

    def has_judged(self, tags: Tags) -> bool:
        return self._api.count_succeeded({PART_TAG: tags[PART_TAG]}) > 0

    def ask(self, keys: Sequence[str], tags: Tags) -> str:
        from sentinet_dagster.assets.surveillance import SURVEILLANCE_ASSETS

        paths = [key.path for asset in SURVEILLANCE_ASSETS for key in asset.keys]
        return self._api.launch_backfill(paths, keys, tags)

    def wait(self, part: str) -> bool:
        while not (standing := self._api.backfill(part)).is_over:
            time.sleep(_POLL_S)
        return standing.status == "COMPLETED_SUCCESS"


@contextmanager
def through_dagster(url: str) -> Iterator[Judge]:
    """The Dagster that runs, by its web server."""
    from sentinet_dagster.runtime.dagster_api import DagsterApi

    with DagsterApi(url) as api:
        yield _Dagster(api)


class _ThisProcess:
    """The same job, here; its runs are recorded in Dagster's database."""

    by = "this process"

    def __init__(self, instance: DagsterInstance) -> None:
        self._instance = instance
        self._succeeded: dict[str, bool] = {}

    def has_judged(self, tags: Tags) -> bool:
        from dagster import DagsterRunStatus, RunsFilter

        wanted = RunsFilter(tags={PART_TAG: tags[PART_TAG]}, statuses=[DagsterRunStatus.SUCCESS])
        return self._instance.get_runs_count(wanted) > 0

    def ask(self, keys: Sequence[str], tags: Tags) -> str:
        # Settings and resources are read at import: after `_instance` has set the environment.
        from sentinet_dagster.definitions import defs
        from sentinet_dagster.partitions import range_tags

        job = defs.resolve_job_def("judge_windows")
        run = job.execute_in_process(
            instance=self._instance, raise_on_error=False, tags={**tags, **range_tags(keys[0], keys[-1])}
        )
        self._succeeded[run.run_id] = run.success
        return run.run_id

    def wait(self, part: str) -> bool:
        return self._succeeded[part]


@contextmanager
def in_this_process() -> Iterator[Judge]:
    """This process, on a database that is there for as long as the block."""
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
            yield _ThisProcess(instance)

"""Dagster's runs by Dagster's own interface: which have ended, which are no longer kept, deleting these.

What lives here: reading runs, rules by job, the choice, the deleting. What never does: statements on
Dagster's tables, anything of one project but the names its rules are given.

Dagster keeps every run for ever: its `retention:` is about ticks. With a run, its events and its logs go, and
its materializations with them. So the newest success of each job and partition stays, however old it is: the
asset's page goes on to say that the partition is there, and since when.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunRecord, RunsFilter

__all__ = ["FAILURES_KEPT", "Ended", "Pruned", "ended_runs", "prune"]

FAILURES_KEPT: Final = timedelta(days=7)
"""Of every job: somebody may want to know why, and there are few."""

_PAGE: Final = 500
_LONGEST_PAUSE_S: Final = 0.5
_PARTITION_TAG: Final = "dagster/partition"
# A backfill is of many partitions at once: it is the newest of some for long.
_BACKFILL_TAGS: Final = ("dagster/backfill", "dagster/asset_partition_range_start")
_UNSUCCESSFUL: Final = (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


class Ended(NamedTuple):
    """A run that has ended. Times have an offset; `started_at` is None where it never started."""

    job: str
    status: str  # success, failure or canceled
    made_at: datetime
    started_at: datetime | None
    ended_at: datetime


class Pruned(NamedTuple):
    """What was deleted of a job's runs, and how many of those looked at stay."""

    successes: int
    failures: int
    kept: int


def ended_runs(instance: DagsterInstance, since: datetime) -> Iterator[Ended]:
    """The runs of any job that ended from `since` on, which has an offset; the newest made first."""
    statuses = [DagsterRunStatus.SUCCESS, *_UNSUCCESSFUL]
    # A run's last change is its end or later. The filter leaves out what changed at the very moment, and an
    # offset, too: Dagster's own times are UTC.
    earlier = since.astimezone(UTC) - timedelta(seconds=1)
    for record in _records(instance, RunsFilter(statuses=statuses, updated_after=earlier)):
        run, ended_at = record.dagster_run, _moment(record.end_time)
        if ended_at is not None and ended_at >= since:
            yield Ended(
                job=run.job_name,
                status=run.status.value.lower(),
                made_at=record.create_timestamp,
                started_at=_moment(record.start_time),
                ended_at=ended_at,
            )


def prune(
    instance: DagsterInstance, rules: Mapping[str, timedelta], now: datetime, since: datetime
) -> dict[str, Pruned]:
    """Delete what the rules no longer keep; job → what went.

    Half of the time at most is ours: after each run, others have Dagster's database for as long as it took.

    Args:
        instance: Dagster's.
        rules: job → for how long successes are kept after their end. Runs of other jobs, and of backfills,
            stay.
        now: ages are counted from here; with an offset.
        since: runs made before were pruned earlier: of these there is nothing left but what stays.
    """
    pruned = {}
    for job, keep in rules.items():
        gone: list[DagsterRun] = []
        kept = 0
        seen: set[str | None] = set()
        for record in _records(instance, RunsFilter(job_name=job, created_after=since)):
            run = record.dagster_run
            partition = run.tags.get(_PARTITION_TAG)
            age = now - (_moment(record.end_time) or record.create_timestamp)
            if _is_kept(run, age, keep, partition not in seen):
                kept += 1
            else:
                gone.append(run)
            if run.is_success:
                seen.add(partition)
        for run in gone:
            _delete(instance, run.run_id)
        failures = sum(run.is_failure_or_canceled for run in gone)
        pruned[job] = Pruned(len(gone) - failures, failures, kept)
    return pruned


def _is_kept(run: DagsterRun, age: timedelta, keep: timedelta, is_newest: bool) -> bool:
    if run.status in _UNSUCCESSFUL:
        return age <= FAILURES_KEPT
    is_of_backfill = any(tag in run.tags for tag in _BACKFILL_TAGS)
    return not run.is_success or is_newest or is_of_backfill or age <= keep


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _records(instance: DagsterInstance, wanted: RunsFilter) -> Iterator[RunRecord]:
    """The runs that are wanted, newest first. Nothing may be deleted meanwhile: the cursor is a run."""
    cursor = None
    while page := instance.get_run_records(wanted, limit=_PAGE, cursor=cursor):
        yield from page
        cursor = page[-1].dagster_run.run_id


def _delete(instance: DagsterInstance, run_id: str) -> None:
    began = time.perf_counter()
    # Logs first: interrupted in between, the run is found and deleted by the next pruning.
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    instance.delete_run(run_id)
    time.sleep(min(time.perf_counter() - began, _LONGEST_PAUSE_S))

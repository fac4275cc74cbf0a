"""Whether a run of a job is underway, for schedules that want one at a time.

What lives here: that question. What never does: what to do about it.
"""

from __future__ import annotations

from typing import Final

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

__all__ = ["is_underway"]

_UNDERWAY: Final = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def is_underway(instance: DagsterInstance, job: str) -> bool:
    """Whether a run of the job was made that has not ended."""
    return bool(instance.get_run_records(RunsFilter(job_name=job, statuses=_UNDERWAY), limit=1))

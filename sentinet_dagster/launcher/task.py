"""What a process forked from the warm worker does: execute one run, or settle a run whose process died.

This is the only file that knows how Dagster executes a run. It asks for no private function: it runs the
module `dagster` as `python -m dagster api execute_run …` does, which is the contract of Dagster's Docker
and Kubernetes launchers. The worker loop and what it imported are not used here.
"""

from __future__ import annotations

import json
import logging
import os
import runpy
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass

from dagster import DagsterInstance
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._serdes import deserialize_value

from .channel import RunRequest

TASK_VARIABLE = "DAGSTER_WARM_WORKER_TASK"
ORPHAN_GRACE_SECONDS = 20.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, told apart from a later one of the same number by when it began (clock ticks since boot)."""

    pid: int
    began: int

    @staticmethod
    def of(pid: int) -> ProcessId:
        """The process that has this number now; `began` is -1 when there is none."""
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:  # noqa: PTH123
                # The name, in brackets, can hold anything; the 22nd field is the start.
                return ProcessId(pid, int(stat.read().rpartition(")")[2].split()[19]))
        except OSError:
            return ProcessId(pid, -1)

    @property
    def alive(self) -> bool:
        """Whether this very process still exists."""
        return self.began >= 0 and ProcessId.of(self.pid) == self


@dataclass(frozen=True, slots=True)
class Task:
    """A run to execute, or, if `reason` is set, to settle: it can not go on because of that reason.

    `orphan` is a process of a dead worker that may still be busy with the run; `patience` is for how many
    seconds to try when Dagster's storage is away.
    """

    request: RunRequest
    instance_ref: str
    reason: str | None = None
    orphan: ProcessId | None = None
    patience: float = 60.0

    def to_json(self) -> str:
        """The task as text; `from_json` reads it."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Task:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        fields["request"] = RunRequest(**fields["request"])
        fields["orphan"] = ProcessId(**fields["orphan"]) if fields["orphan"] else None
        return Task(**fields)


def perform(task: Task) -> int:
    """Do the task in this process; its exit code. 0 means the run has ended and Dagster knows how."""
    return _execute(task.request) if task.reason is None else _settle(task)


def _execute(request: RunRequest) -> int:
    """Execute a run as `python -m dagster api execute_run` would, without the imports."""
    sys.argv = ["dagster", "api", request.command, request.arguments]
    try:
        runpy.run_module("dagster", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 -- an interpreter would print it and exit with 1, whatever it is
        traceback.print_exc()
        return 1
    return 0


def _settle(task: Task) -> int:
    """Tell Dagster that a run will not go on; again and again while its storage is away."""
    if task.orphan is not None:
        _outlive(task.orphan)
    deadline = time.monotonic() + task.patience
    reference = deserialize_value(task.instance_ref, InstanceRef)
    while True:
        try:
            with DagsterInstance.from_ref(reference) as instance:
                settle_run(instance, task.request.run_id, task.reason or "")
        except Exception:
            # Any storage may stand behind the instance, with errors of its own.
            if time.monotonic() > deadline:
                logger.exception("Cannot report the end of a run: %s", task.request.run_id)
                return 1
            time.sleep(1.0)
        else:
            return 0


def _outlive(orphan: ProcessId) -> None:
    """Wait for a dead worker's run: interrupted with its worker, it reports that itself, or is killed."""
    deadline = time.monotonic() + ORPHAN_GRACE_SECONDS
    while orphan.alive and time.monotonic() < deadline:
        time.sleep(0.05)
    if orphan.alive:
        with suppress(ProcessLookupError):
            os.killpg(orphan.pid, signal.SIGKILL)


def settle_run(instance: DagsterInstance, run_id: str, reason: str) -> None:
    """Give a run whose process is gone its end: canceled if asked for, left to be resumed, or failed."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return
    if run.status == DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, message=reason)
        return
    instance.report_engine_event(reason, run)
    resumes = instance.run_monitoring_enabled and instance.run_monitoring_max_resume_run_attempts > 0
    if run.status == DagsterRunStatus.STARTED and resumes:
        return  # Run monitoring finds it without a worker and resumes it.
    failure = JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION)
    instance.report_run_failed(run, message=reason, job_failure_data=failure)

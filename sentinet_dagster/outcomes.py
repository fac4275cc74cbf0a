"""What became of runs, asked of Dagster's instance in the words of the plan.

What lives here: run keys → outcomes and reasons. What never does: launching, deciding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter

from sentinet_dagster.claims import RunFailure
from sentinet_dagster.planning import Outcome

__all__ = ["RUN_KEY_TAG", "run_failures", "run_outcomes"]

RUN_KEY_TAG: Final = "dagster/run_key"
_LONGEST_ERROR: Final = 2000  # characters: a line or two for an operator; the run's log has the rest
_OUTCOMES: Final = {
    DagsterRunStatus.SUCCESS: Outcome.SUCCEEDED,
    DagsterRunStatus.FAILURE: Outcome.FAILED,
    DagsterRunStatus.CANCELED: Outcome.FAILED,
}


def run_outcomes(instance: DagsterInstance, run_keys: Sequence[str]) -> Mapping[str, Outcome]:
    """Run key → outcome, of those runs that were launched. One that is only created may never be."""
    if not run_keys:
        return {}
    runs = instance.get_runs(RunsFilter(tags={RUN_KEY_TAG: run_keys}))
    return {
        run.tags[RUN_KEY_TAG]: _OUTCOMES.get(run.status, Outcome.RUNNING)
        for run in runs
        if run.status is not DagsterRunStatus.NOT_STARTED
    }


def run_failures(instance: DagsterInstance, run_keys: Sequence[str]) -> Mapping[str, RunFailure]:
    """Run key → the run and what it says of its end, of those runs that Dagster knows."""
    runs = instance.get_runs(RunsFilter(tags={RUN_KEY_TAG: run_keys}))
    return {run.tags[RUN_KEY_TAG]: RunFailure(run.run_id, _error(instance, run.run_id)) for run in runs}


def _error(instance: DagsterInstance, run_id: str) -> str:
    """The error of the step that failed first, else of the run: the innermost cause says most."""
    ends = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE, DagsterEventType.RUN_CANCELED}
    entries = instance.all_logs(run_id, of_type=ends)
    for entry in sorted(
        entries, key=lambda each: each.dagster_event_type is not DagsterEventType.STEP_FAILURE
    ):
        event = entry.dagster_event
        assert event is not None
        error = event.step_failure_data.error if event.is_step_failure else None
        while error is not None and error.cause is not None:
            error = error.cause
        text = error.message if error is not None else event.message
        if text:
            return " ".join(text.split())[:_LONGEST_ERROR]
    return "the run ended without a word"

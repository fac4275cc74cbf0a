"""Sensors: what is due by data. They ask the database, let `planning.py` decide, and turn its answer into
Dagster's.

What lives here: reading the ledger, looking up runs, translating. What never does: deciding which windows are
due. A database that is away is a skipped tick: the cursor stays, the next tick reads what this one could not.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of decorated functions as objects.

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import psycopg
from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from psycopg.rows import DictRow

from sentinet_dagster.automation import judge_windows, retrain_models_daily
from sentinet_dagster.partitions import (
    RANGE_END_TAG,
    RANGE_START_TAG,
    RULES,
    in_microseconds,
    moment,
    partition_key,
)
from sentinet_dagster.planning import News, Outcome, Request, decode_state, encode_state, plan
from sentinet_dagster.resources import SurveillanceConfig, Timescale
from sentinet_dagster.surveillance.models import ISOLATION_FOREST

__all__ = ["SENSORS", "on_missing_model", "on_new_batches"]

RUN_KEY_TAG: Final = "dagster/run_key"
LEAST_TO_LEARN_FROM: Final = timedelta(minutes=20)
_OUTCOMES: Final = {
    DagsterRunStatus.SUCCESS: Outcome.SUCCEEDED,
    DagsterRunStatus.FAILURE: Outcome.FAILED,
    DagsterRunStatus.CANCELED: Outcome.FAILED,
}


# The sensor daemon looks every 5 s and skips a sensor whose interval is not quite over: asked for every 5 s,
# it would tick every 5 or 10. Asked for every second, it ticks every 5.0.
@sensor(
    job=judge_windows,
    minimum_interval_seconds=1,
    default_status=DefaultSensorStatus.RUNNING,
    description="New batches in the ledger → one run for each hour with closed windows that they concern.",
)
def on_new_batches(context: SensorEvaluationContext, timescale: Timescale) -> SensorResult | SkipReason:
    """The rule is the docstring of `planning.py`. Reset the cursor and everything is judged anew."""
    state = decode_state(context.cursor)
    try:
        (ledger,) = timescale.fetch("ledger_since", horizon=str(state.horizon))
    except psycopg.OperationalError as error:
        return SkipReason(f"The database is away: {error}")
    run_keys = [flight.run_key for flight in state.flights.values()]
    outcomes = run_outcomes(context.instance, run_keys)
    state, requests = plan(state, _news(ledger), outcomes, in_microseconds(ledger["clock"]), RULES)
    return SensorResult(
        run_requests=[_run_request(request) for request in requests],
        skip_reason=None if requests else SkipReason("No closed window is waiting."),
        cursor=encode_state(state),
    )


@sensor(
    job=retrain_models_daily,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="No model is stored and there is enough to learn from → train without waiting for the night.",
)
def on_missing_model(
    context: SensorEvaluationContext, timescale: Timescale, surveillance_config: SurveillanceConfig
) -> RunRequest | SkipReason:
    """Each attempt wants twice as much to learn from as the one before: one that fails is not repeated at
    once."""
    try:
        (need,) = timescale.fetch("model_need", model=ISOLATION_FOREST)
    except psycopg.OperationalError as error:
        return SkipReason(f"The database is away: {error}")
    if need["is_stored"]:
        return SkipReason("A model is stored.")
    attempts = int(context.cursor or 0)
    samples = surveillance_config.load().isolation_forest.min_samples * 2**attempts
    span = LEAST_TO_LEARN_FROM * 2**attempts
    if need["samples"] < samples or need["last_window"] - need["first_window"] < span:
        return SkipReason(f"{need['samples']} windows are warm; {samples} over {span} are wanted.")
    context.update_cursor(str(attempts + 1))
    return RunRequest(run_key=f"first-{ISOLATION_FOREST}-{need['last_window'].isoformat()}")


def run_outcomes(instance: DagsterInstance, run_keys: Sequence[str]) -> Mapping[str, Outcome]:
    """Run key → outcome, of those runs that Dagster knows."""
    if not run_keys:
        return {}
    runs = instance.get_runs(RunsFilter(tags={RUN_KEY_TAG: run_keys}))
    return {run.tags[RUN_KEY_TAG]: _OUTCOMES.get(run.status, Outcome.RUNNING) for run in runs}


def _news(ledger: DictRow) -> News:
    return News(
        horizon=int(ledger["horizon"]),
        touched=[(in_microseconds(span.lower), in_microseconds(span.upper)) for span in ledger["touched"]],
        received_until=_optional(ledger["received_until"]),
        committed_at=_optional(ledger["committed_at"]),
    )


def _optional(time: datetime | None) -> int:
    return 0 if time is None else in_microseconds(time)


def _run_request(request: Request) -> RunRequest:
    return RunRequest(
        run_key=request.run_key,
        partition_key=partition_key(moment(request.hour)),
        tags={
            RANGE_START_TAG: moment(request.start).isoformat(),
            RANGE_END_TAG: moment(request.end).isoformat(),
            "sentinet/attempt": str(request.attempt),
        },
    )


SENSORS: Final = [on_new_batches, on_missing_model]

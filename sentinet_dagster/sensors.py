"""Sensors: what is due by data. They ask the database, let `planning.py` decide, and turn its answer into
Dagster's.

What lives here: reading the ledger, looking up runs, translating. What never does: deciding which windows are
due. A database that is away is a skipped tick: the cursor stays, the next tick reads what this one could not.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of decorated functions as objects.

import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Final

import psycopg
from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    DagsterInstance,
    DefaultSensorStatus,
    RunRequest,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from sentinet_dagster.automation import judge_windows, retrain_models_daily
from sentinet_dagster.checks import no_range_keeps_failing
from sentinet_dagster.claims import Turn, glance, take_turn
from sentinet_dagster.notifier import Notifier
from sentinet_dagster.outcomes import RUN_KEY_TAG, run_failures, run_outcomes
from sentinet_dagster.pacing import closing_at, next_turn_at
from sentinet_dagster.partitions import (
    RANGE_END_TAG,
    RANGE_START_TAG,
    RULES,
    TOUCHED_TAG,
    moment,
    partition_key,
    pieces_text,
)
from sentinet_dagster.planning import Request
from sentinet_dagster.resources import SurveillanceConfig, Timescale
from sentinet_dagster.settings import SETTINGS
from sentinet_dagster.surveillance.models import ISOLATION_FOREST

__all__ = ["SENSORS", "on_missing_model", "on_new_batches", "run_tags", "verdicts"]

PARTITION_NAME_TAG: Final = "dagster/partition"
LEAST_PAUSE_S: Final = 0.1
LEAST_TO_LEARN_FROM: Final = timedelta(minutes=20)


# The sensor daemon looks every 5 s and skips a sensor whose interval is not quite over: asked for every 5 s,
# it would tick every 5 or 10. Asked for every second, it ticks every 5.0.
@sensor(
    job=judge_windows,
    minimum_interval_seconds=1,
    default_status=DefaultSensorStatus.RUNNING,
    description="New batches in the ledger → one run for each hour with closed windows that they concern.",
)
def on_new_batches(
    context: SensorEvaluationContext, timescale: Timescale, notifier: Notifier
) -> SensorResult | SkipReason:
    """The rule is the docstring of `planning.py`. Reset the cursor and everything is judged anew.

    A tick waits for the window that closes next, if it does within what the tick may last: where the ticks,
    one every 5 s, fall between the ends of windows is chance, and would cost up to 5 s.
    """
    news: list[AssetCheckEvaluation] = []
    try:
        for turn in _turns(context.instance, timescale, anew=not context.cursor):
            notifier.announce(turn, RULES.patience)
            news += verdicts(turn)
            if requests := [*turn.unlaunched, *turn.requests]:
                break
    except psycopg.OperationalError as error:
        return SkipReason(f"The database is away: {error}")
    return SensorResult(
        run_requests=[_run_request(request) for request in requests],
        skip_reason=None if requests else SkipReason("No closed window is waiting."),
        cursor=str(turn.state.horizon),
        asset_events=news,
    )


def _turns(instance: DagsterInstance, timescale: Timescale, *, anew: bool) -> Iterator[Turn]:
    """A turn on the plan, and more as long as a window is about to close and the tick may last."""
    outcomes, explain = partial(run_outcomes, instance), partial(run_failures, instance)
    began = time.monotonic()
    deadline = began + SETTINGS.tick_wait.total_seconds()
    seen = glance(timescale.connection)
    closing = closing_at(seen.state, seen.received_until, seen.committed_at, seen.now, RULES)
    # Even where a window is closed already: without this, a tick that once came late would find each window
    # late, for ever.
    if closing is not None and began + (closing - seen.now) / 1e6 < deadline:
        time.sleep((closing - seen.now) / 1e6)
    while True:
        turn = take_turn(timescale.connection, outcomes, RULES, explain=explain, anew=anew)
        # Without a memory (the database is another, or was emptied) everything is judged anew as well.
        anew = turn is None
        if turn is not None:
            yield turn
            due = next_turn_at(turn.state, turn.now, RULES)
            pause = LEAST_PAUSE_S if due is None else max((due - turn.now) / 1e6, LEAST_PAUSE_S)
            if due is None or time.monotonic() + pause > deadline:
                return
            time.sleep(pause)


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


def verdicts(turn: Turn) -> Iterator[AssetCheckEvaluation]:
    """The asset check after the turn, where the turn has changed it: nobody waits for the hourly job."""
    (key,) = no_range_keeps_failing.check_keys
    for reported in [*turn.failed, *turn.resolved]:
        yield AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=reported in turn.resolved,
            severity=AssetCheckSeverity.ERROR,
            metadata={
                "hour": reported.hour.isoformat(),
                "attempts": reported.attempts,
                "error": reported.error,
                "run_id": reported.run_id or "",
            },
        )


def _run_request(request: Request) -> RunRequest:
    tags = run_tags(request)
    return RunRequest(run_key=tags.pop(RUN_KEY_TAG), partition_key=tags.pop(PARTITION_NAME_TAG), tags=tags)


def run_tags(request: Request) -> dict[str, str]:
    """All that a run of `judge_windows` is told, as Dagster's tags."""
    return {
        RUN_KEY_TAG: request.run_key,
        PARTITION_NAME_TAG: partition_key(moment(request.hour)),
        RANGE_START_TAG: moment(request.start).isoformat(),
        RANGE_END_TAG: moment(request.end).isoformat(),
        TOUCHED_TAG: pieces_text(request.touched),
        "sentinet/attempt": str(request.attempt),
    }


SENSORS: Final = [on_new_batches, on_missing_model]

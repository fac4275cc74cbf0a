"""Jobs and schedules: which assets a run makes, where it runs, when it is due by the clock.

What lives here: selections, executors, tags, cron. What never does: what is due by data (`sensors.py`,
`planning.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from dagster import (
    AssetSelection,
    DefaultScheduleStatus,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    define_asset_job,
    in_process_executor,
    schedule,
)

from sentinet_dagster.assets.dagster_runs import DAGSTER_ASSETS
from sentinet_dagster.assets.dashboards import DASHBOARD_ASSETS
from sentinet_dagster.assets.models import MODEL_ASSETS
from sentinet_dagster.assets.rollups import ROLLUP_CHECKS
from sentinet_dagster.assets.soundness import (
    CHECKED_ALONE,
    ENGINE_TAG,
    FULL,
    SOUNDNESS,
    suite_check_key,
)
from sentinet_dagster.assets.storage import STORAGE_ASSETS
from sentinet_dagster.assets.surveillance import SURVEILLANCE_ASSETS
from sentinet_dagster.partitions import HOUR, RANGE_END_TAG, RANGE_START_TAG
from sentinet_dagster.runs import is_underway

__all__ = [
    "JOBS",
    "SCHEDULES",
    "check_judgement_hourly",
    "check_quality_daily",
    "judge_windows",
    "maintain_storage_daily",
    "prune_runs",
    "publish_dashboards",
    "retrain_models_daily",
]

# They belong to the asset's own step: nobody can run them without it, nor it without them.
_CHECKS_OF_RUNS: Final = AssetSelection.checks(*(spec.key for spec in SOUNDNESS))

# One process for the six steps: a process each would cost more than the judging. No max_retries: the sensor
# knows what a failed run has left dirty and requests it again, merged with what came since. A run whose
# process vanished (the machine went down) is failed by run monitoring after max_runtime, and so requested
# again.
judge_windows = define_asset_job(
    "judge_windows",
    selection=AssetSelection.assets(*SURVEILLANCE_ASSETS).without_checks() | _CHECKS_OF_RUNS,
    executor_def=in_process_executor,
    run_tags={"dagster/max_runtime": "900", "dagster/max_retries": "0"},
    description="Judge the closed windows of an hour, or the range in the run's tags.",
)

retrain_models_daily = define_asset_job(
    "retrain_models_daily",
    selection=AssetSelection.assets(*MODEL_ASSETS).without_checks(),
    executor_def=in_process_executor,
    run_tags={"dagster/max_runtime": "3600"},
    description="Fit the models on the last day of features; they judge from the next windows on.",
)

check_judgement_hourly = define_asset_job(
    "check_judgement_hourly",
    selection=AssetSelection.all_asset_checks() - _CHECKS_OF_RUNS - AssetSelection.checks(*ROLLUP_CHECKS),
    executor_def=in_process_executor,
    description="Check facts and judgement of the range in the tags, without one of the last full hour.",
)

check_quality_daily = define_asset_job(
    "check_quality_daily",
    selection=AssetSelection.checks(*(suite_check_key(suite) for suite in CHECKED_ALONE)),
    executor_def=in_process_executor,
    run_tags={"dagster/max_runtime": "21600", ENGINE_TAG: FULL},
    description="Great Expectations over the range in the tags, else the last full hour; Data Docs.",
)

maintain_storage_daily = define_asset_job(
    "maintain_storage_daily",
    selection=AssetSelection.assets(*STORAGE_ASSETS).without_checks(),
    executor_def=in_process_executor,
    run_tags={"dagster/max_runtime": "21600"},
    description="Remove what is older than config/storage.yaml keeps it, where the server does not do so.",
)


prune_runs = define_asset_job(
    "prune_runs",
    selection=AssetSelection.assets(*DAGSTER_ASSETS).without_checks(),
    executor_def=in_process_executor,
    run_tags={"dagster/max_runtime": "3600"},
    description="Count runs and sizes; delete old runs of micro-batches, with events and logs, but each"
    " partition's newest.",
)


# By hand or by whoever deploys: a dashboard changes when the repository does, and no clock knows when.
publish_dashboards = define_asset_job(
    "publish_dashboards",
    selection=AssetSelection.assets(*DASHBOARD_ASSETS).without_checks(),
    executor_def=in_process_executor,
    run_tags={"dagster/max_runtime": "900"},
    description="Make the Superset that SENTINET_SUPERSET_URL names show the dashboards of this version.",
)


@schedule(
    job=check_judgement_hourly,
    cron_schedule="5 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Five minutes past the hour, for the hour before.",
)
def check_judgement_hourly_schedule(context: ScheduleEvaluationContext) -> Iterator[RunRequest]:
    """Name the hour, so that a late or repeated run checks the same one."""
    end = context.scheduled_execution_time.replace(minute=0, second=0, microsecond=0)
    yield RunRequest(
        run_key=end.isoformat(),
        tags={RANGE_START_TAG: (end - HOUR).isoformat(), RANGE_END_TAG: end.isoformat()},
    )


@schedule(
    job=check_quality_daily,
    cron_schedule="20 2 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Twenty past two at night UTC, for the day before.",
)
def check_quality_daily_schedule(context: ScheduleEvaluationContext) -> Iterator[RunRequest]:
    """Name the day, so that a late or repeated run checks the same one."""
    end = context.scheduled_execution_time.replace(hour=0, minute=0, second=0, microsecond=0)
    yield RunRequest(
        run_key=end.isoformat(),
        tags={RANGE_START_TAG: (end - timedelta(days=1)).isoformat(), RANGE_END_TAG: end.isoformat()},
    )


retrain_models_daily_schedule = ScheduleDefinition(
    job=retrain_models_daily,
    cron_schedule="10 0 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Ten past midnight UTC.",
)


@schedule(
    job=prune_runs,
    cron_schedule="5-59/10 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Every ten minutes, one run at a time: what an operator sees of runs and storage is as old.",
)
def prune_runs_schedule(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
    """After a time away there may be more to delete than ten minutes do."""
    if is_underway(context.instance, prune_runs.name):
        return SkipReason("The run before is still at it.")
    return RunRequest(run_key=context.scheduled_execution_time.isoformat())


maintain_storage_daily_schedule = ScheduleDefinition(
    job=maintain_storage_daily,
    cron_schedule="40 1 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Twenty to two at night UTC, when the models are trained.",
)

JOBS: Final = [
    judge_windows,
    retrain_models_daily,
    check_judgement_hourly,
    check_quality_daily,
    prune_runs,
    maintain_storage_daily,
    publish_dashboards,
]
SCHEDULES: Final = [
    retrain_models_daily_schedule,
    check_judgement_hourly_schedule,
    check_quality_daily_schedule,
    prune_runs_schedule,
    maintain_storage_daily_schedule,
]

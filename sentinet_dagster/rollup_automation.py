"""When rollups are refreshed and tested: each minute where facts came, each hour.

What lives here: jobs, cron, whether a tick has anything to do. What never does: how (`assets/rollups.py`).
"""

# No `from __future__ import annotations`: Dagster reads the annotations of decorated functions as objects.

from typing import Final

import psycopg
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

from sentinet_dagster.assets.rollups import CONTINUOUS, ROLLUP_CHECKS
from sentinet_dagster.resources import Timescale
from sentinet_dagster.runs import is_underway

__all__ = ["ROLLUP_JOBS", "ROLLUP_SCHEDULES", "check_rollups_hourly", "refresh_rollups_minutely"]

refresh_rollups_minutely = define_asset_job(
    "refresh_rollups_minutely",
    selection=AssetSelection.assets(*(spec.key for spec in CONTINUOUS)).without_checks(),
    executor_def=in_process_executor,
    run_tags={"dagster/max_runtime": "3600", "dagster/max_retries": "0"},
    description="Make the buckets anew that facts were committed to since the last refresh.",
)

check_rollups_hourly = define_asset_job(
    "check_rollups_hourly",
    selection=AssetSelection.checks(*ROLLUP_CHECKS),
    executor_def=in_process_executor,
    run_tags={"dagster/max_runtime": "900"},
    description="Run the data tests of the dbt project.",
)


@schedule(
    job=refresh_rollups_minutely,
    cron_schedule="* * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Each minute in which there is something to refresh, one run at a time.",
)
def refresh_rollups_minutely_schedule(
    context: ScheduleEvaluationContext, timescale: Timescale
) -> RunRequest | SkipReason:
    """A run that is skipped loses nothing: what is stale stays so until a run has seen it."""
    try:
        (news,) = timescale.fetch("rollups_are_stale")
    except psycopg.OperationalError as error:
        return SkipReason(f"The database is away: {error}")
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege) as error:
        return SkipReason(f"No rollups are deployed, `sentinet migrate` does it: {error}")
    if not news["are_stale"]:
        return SkipReason("No facts came.")
    if is_underway(context.instance, refresh_rollups_minutely.name):
        return SkipReason("The run before is still at it.")
    return RunRequest(run_key=context.scheduled_execution_time.isoformat())


check_rollups_hourly_schedule = ScheduleDefinition(
    job=check_rollups_hourly,
    cron_schedule="20 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Twenty past the hour.",
)

ROLLUP_JOBS: Final = [refresh_rollups_minutely, check_rollups_hourly]
ROLLUP_SCHEDULES: Final = [refresh_rollups_minutely_schedule, check_rollups_hourly_schedule]

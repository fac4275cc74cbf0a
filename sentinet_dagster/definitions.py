"""The code location: everything Dagster loads, put together. What never lives here: a decision."""

from __future__ import annotations

from dagster import Definitions, EnvVar, in_process_executor

from sentinet_dagster.assets.dagster_runs import DAGSTER_ASSETS
from sentinet_dagster.assets.dashboards import DASHBOARD_ASSETS
from sentinet_dagster.assets.market import MARKET_ASSETS
from sentinet_dagster.assets.models import MODEL_ASSETS
from sentinet_dagster.assets.rollups import ROLLUP_ASSETS, ROLLUP_CHECKS
from sentinet_dagster.assets.storage import STORAGE_ASSETS
from sentinet_dagster.assets.surveillance import SURVEILLANCE_ASSETS
from sentinet_dagster.automation import JOBS, SCHEDULES
from sentinet_dagster.checks import CHECKS
from sentinet_dagster.notifier import Notifier
from sentinet_dagster.resources import NamedSuperset, SurveillanceConfig, Timescale
from sentinet_dagster.rollup_automation import ROLLUP_JOBS, ROLLUP_SCHEDULES
from sentinet_dagster.sensors import SENSORS
from sentinet_dagster.settings import SETTINGS

__all__ = ["defs"]

defs = Definitions(
    assets=[
        *MARKET_ASSETS,
        *SURVEILLANCE_ASSETS,
        *MODEL_ASSETS,
        *ROLLUP_ASSETS,
        *STORAGE_ASSETS,
        *DAGSTER_ASSETS,
        *DASHBOARD_ASSETS,
    ],
    asset_checks=[*CHECKS, *ROLLUP_CHECKS],
    jobs=[*JOBS, *ROLLUP_JOBS],
    schedules=[*SCHEDULES, *ROLLUP_SCHEDULES],
    sensors=SENSORS,
    # A backfill from the UI is a run of no job of ours: it too is one process, not one for each asset.
    executor=in_process_executor,
    resources={
        "timescale": Timescale(url=EnvVar("SENTINET_DATABASE_URL")),
        "dagster_database": Timescale(url=EnvVar("SENTINET_DAGSTER_DATABASE_URL")),
        "superset": NamedSuperset(),
        "notifier": Notifier(url=SETTINGS.notify_url),
        "surveillance_config": SurveillanceConfig(directory=str(SETTINGS.config_dir)),
    },
)

"""The code location as Dagster runs one that says nothing of launching: what the benchmark compares with.

What lives here: the product's own assets, sensor and resources, and a job without an executor of its own, so
that Dagster takes its default, a process for each step. What never does: anything that the product uses.
"""

from __future__ import annotations

import warnings

from dagster import BetaWarning, Definitions, EnvVar, define_asset_job

from sentinet_dagster.assets.market import MARKET_ASSETS
from sentinet_dagster.assets.surveillance import SURVEILLANCE_ASSETS
from sentinet_dagster.automation import judge_windows
from sentinet_dagster.checks import CHECKS
from sentinet_dagster.notifier import Notifier
from sentinet_dagster.resources import SurveillanceConfig, Timescale
from sentinet_dagster.sensors import on_new_batches
from sentinet_dagster.settings import SETTINGS

__all__ = ["defs"]

_judge_windows = define_asset_job(judge_windows.name, selection=judge_windows.selection)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", BetaWarning)  # of owners, which the copy passes on
    _on_new_batches = on_new_batches.with_updated_job(_judge_windows)

defs = Definitions(
    assets=[*MARKET_ASSETS, *SURVEILLANCE_ASSETS],
    asset_checks=CHECKS,
    jobs=[_judge_windows],
    sensors=[_on_new_batches],
    resources={
        "timescale": Timescale(url=EnvVar("SENTINET_DATABASE_URL")),
        "notifier": Notifier(url=SETTINGS.notify_url),
        "surveillance_config": SurveillanceConfig(directory=str(SETTINGS.config_dir)),
    },
)

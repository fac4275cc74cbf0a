"""The code location as Dagster runs one that says nothing of launching: what the benchmark compares with.

What lives here: the product's own assets and sensor, and a job without an executor of its own, so that
Dagster takes its default: a process for each step. What never does: anything that the product uses.
"""

from __future__ import annotations

from dagster import AssetSelection, Definitions, define_asset_job

from sentinet_dagster import definitions
from sentinet_dagster.assets.surveillance import SURVEILLANCE_ASSETS
from sentinet_dagster.automation import judge_windows
from sentinet_dagster.sensors import on_new_batches

_judge_windows = define_asset_job(
    judge_windows.name, selection=AssetSelection.assets(*SURVEILLANCE_ASSETS).without_checks()
)

defs = Definitions(
    assets=definitions.defs.assets,
    jobs=[_judge_windows],
    sensors=[on_new_batches.with_updated_job(_judge_windows)],
    resources=definitions.defs.resources,
)

DAGSTER_YAML = """\
storage:
  postgres:
    postgres_url:
      env: SENTINET_DAGSTER_DATABASE_URL
telemetry:
  enabled: false
"""

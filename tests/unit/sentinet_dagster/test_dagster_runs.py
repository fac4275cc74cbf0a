"""Every job that comes at least hourly has its runs pruned, and none that does not exist."""

from __future__ import annotations

from datetime import timedelta

from sentinet_dagster.assets.dagster_runs import KEPT
from sentinet_dagster.definitions import defs

DAILY = {"retrain_models_daily", "maintain_storage_daily", "check_quality_daily"}
BY_HAND = {"publish_dashboards"}


def test_every_job_that_runs_often_is_pruned() -> None:
    jobs = {job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__")}
    assert set(KEPT) == jobs - DAILY - BY_HAND


def test_no_run_goes_before_its_hour_was_counted_whole() -> None:
    """Each pruning counts first, the newest hour again: a run that goes must have ended in an earlier one."""
    assert min(KEPT.values()) >= timedelta(hours=1)

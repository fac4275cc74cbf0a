"""Publishing as a run: it fails where it cannot, says why, and disturbs nothing else."""

from __future__ import annotations

import pytest
from dagster import DagsterInstance

from sentinet_dagster.definitions import defs

PUBLISH = "publish_dashboards"


def why_it_failed(**environ: str) -> str:
    with DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
        for name in ("SENTINET_SUPERSET_URL", "SENTINET_SUPERSET_PASSWORD"):
            patch.delenv(name, raising=False)
        patch.setenv("SENTINET_DATABASE_URL", "postgresql://127.0.0.1:1/nothing")
        for name, value in environ.items():
            patch.setenv(name, value)
        run = defs.resolve_job_def(PUBLISH).execute_in_process(instance=instance, raise_on_error=False)
    assert not run.success
    (failed,) = run.get_step_failure_events()
    return str(failed.step_failure_data.user_failure_data.description)


def test_without_a_superset_the_run_says_what_to_set() -> None:
    assert why_it_failed() == "no Superset is named: set SENTINET_SUPERSET_URL, such as http://host:8088"


def test_a_wrong_setting_fails_the_run_and_not_the_location() -> None:
    assert why_it_failed(SENTINET_SUPERSET_URL="superset") == (
        "superset is no address of a Superset: want http://host:port or https://host"
    )


def test_only_publishing_makes_dashboards() -> None:
    """No micro-batch, no schedule."""
    for job in defs.resolve_all_job_defs():
        made = {key.path[0] for key in job.asset_layer.executable_asset_keys}
        if job.name != PUBLISH and not job.name.startswith("__"):
            assert "superset" not in made, job.name
    scheduled = {schedule.job_name for schedule in defs.get_repository_def().schedule_defs}
    assert PUBLISH not in scheduled

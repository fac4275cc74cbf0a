"""Backfills wait in line, everything else starts at once: real runs, Dagster's own queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterRunStatus
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from tests.integration.test_launcher import Deployment, deploy, serve_code, until

pytestmark = pytest.mark.integration

COORDINATOR = {
    "module": "sentinet_dagster.run_coordinator",
    "class": "BackfillQueue",
    "config": {
        "max_concurrent_runs": -1,
        "tag_concurrency_limits": [{"key": "dagster/backfill", "limit": 1}],
    },
}
BACKFILL = {"dagster/backfill": "b"}


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with (
        serve_code(tmp_path / "code") as address,
        deploy(tmp_path / "home", tmp_path / "code", address, {}, run_coordinator=COORDINATOR) as opened,
    ):
        yield opened


def dequeue(deployment: Deployment) -> None:
    with QueuedRunCoordinatorDaemon(interval_seconds=1) as daemon:
        assert not any(daemon.run_iteration(deployment.workspace))  # it yields errors


def test_one_backfill_runs_the_next_waits_and_a_micro_batch_passes_them(deployment: Deployment) -> None:
    first, second = (deployment.launch_waiting(name, **BACKFILL) for name in ("first", "second"))
    assert [deployment.status(each.run_id) for each in (first, second)] == [DagsterRunStatus.QUEUED] * 2
    dequeue(deployment)
    until(lambda: first.started.exists(), "the first backfill")
    dequeue(deployment)
    assert deployment.status(second.run_id) == DagsterRunStatus.QUEUED

    micro_batch = deployment.launch_waiting("micro")
    micro_batch.go.touch()
    assert deployment.end(micro_batch.run_id) == DagsterRunStatus.SUCCESS
    assert deployment.status(second.run_id) == DagsterRunStatus.QUEUED

    first.go.touch()
    second.go.touch()
    assert deployment.end(first.run_id) == DagsterRunStatus.SUCCESS
    dequeue(deployment)
    assert deployment.end(second.run_id) == DagsterRunStatus.SUCCESS

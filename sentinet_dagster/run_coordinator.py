"""Backfills wait in Dagster's queue, everything else starts at once. General: nothing of Sentinet in it.

Dagster's queue costs each run a poll of its daemon, two seconds and more, which a micro-batch cannot pay;
without the queue a large backfill takes every slot of the launcher, and micro-batches wait behind it. In
`dagster.yaml`:

    run_coordinator:
      module: sentinet_dagster.run_coordinator
      class: BackfillQueue
      config:
        max_concurrent_runs: -1
        tag_concurrency_limits: [{key: dagster/backfill, limit: 1}]

Configured like `QueuedRunCoordinator`. To go back: use that one, or `DefaultRunCoordinator`.
"""

from __future__ import annotations

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext

__all__ = ["BackfillQueue"]

BACKFILL_TAG = "dagster/backfill"


class BackfillQueue(QueuedRunCoordinator[DagsterInstance]):
    """Queue runs of backfills; launch others as `DefaultRunCoordinator` does."""

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Queue or launch."""
        run = context.dagster_run
        if BACKFILL_TAG in run.tags or run.status is not DagsterRunStatus.NOT_STARTED:
            return super().submit_run(context)
        self._instance.launch_run(run.run_id, context.workspace)
        launched = self._instance.get_run_by_id(run.run_id)
        assert launched is not None
        return launched

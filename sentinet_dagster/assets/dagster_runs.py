"""`ops/dagster_runs`: Dagster's own data, which a micro-batch every five seconds makes grow, kept small.

What lives here: for how long the runs of each job are kept, and the report with sizes. What never does: the
choice among runs (`pruning.py`). Ticks are kept as `retention:` of dagster.yaml says.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of decorated functions as objects.

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from dagster import AssetExecutionContext, AssetKey, DagsterInstance, MaterializeResult, asset

from sentinet_dagster.pruning import FAILURES_KEPT, prune
from sentinet_dagster.resources import Timescale

__all__ = ["DAGSTER_ASSETS", "KEPT"]

KEPT: Final[Mapping[str, timedelta]] = {
    "judge_windows": timedelta(hours=1),
    "refresh_rollups_minutely": timedelta(hours=1),
    "check_judgement_hourly": timedelta(days=7),
    "check_rollups_hourly": timedelta(days=7),
    "prune_runs_hourly": timedelta(days=1),
}
"""For how long a job's successful runs are kept; its newest, and that of each partition, for ever. The daily
jobs' runs stay."""

_ALL: Final = datetime(1970, 1, 1, tzinfo=UTC)


@asset(
    key=AssetKey(["ops", "dagster_runs"]),
    description="Old runs of the jobs that run often, deleted with events and logs; and what Dagster's data "
    "takes.",
    kinds={"postgres"},
    owners=["team:surveillance"],
    group_name="ops",
)
def dagster_runs(context: AssetExecutionContext, dagster_database: Timescale) -> MaterializeResult[None]:
    """Prune; metadata: runs deleted by job, sizes in MB."""
    began = time.perf_counter()
    instance, now = context.instance, datetime.now(UTC)
    last = instance.get_latest_materialization_event(context.asset_key)
    since = _ALL if last is None else datetime.fromtimestamp(last.timestamp, UTC) - 2 * FAILURES_KEPT
    pruned = prune(instance, KEPT, now, since)
    return MaterializeResult(
        metadata={
            **{f"{job} deleted": each.successes + each.failures for job, each in pruned.items()},
            **{f"{job} kept": each.kept for job, each in pruned.items()},
            **{f"{name}_mb": size for name, size in _sizes(instance, dagster_database).items()},
            "seconds": round(time.perf_counter() - began, 3),
        }
    )


def _sizes(instance: DagsterInstance, dagster_database: Timescale) -> dict[str, float]:
    (sizes,) = dagster_database.fetch("dagster_sizes")
    files = Path(instance.storage_directory()).rglob("*")
    sizes["files"] = sum(file.stat().st_blocks * 512 for file in files if file.is_file())
    return {name: round(size / 2**20, 2) for name, size in sizes.items()}


DAGSTER_ASSETS: Final = [dagster_runs]

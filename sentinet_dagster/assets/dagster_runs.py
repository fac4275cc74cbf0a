"""`ops/dagster_runs`: Dagster's own data, which a micro-batch every five seconds makes grow, kept small, and
what an operator asks of runs and of what is on the disk.

What lives here: for how long the runs of each job are kept, what is remembered of those that go
(`ops.runs_1h`), sizes (`ops.sizes_1h`). What never does: the choice among runs (`pruning.py`), percentiles
(`queries.sql`). Ticks are kept as `retention:` of dagster.yaml says.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of decorated functions as objects.

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from dagster import AssetExecutionContext, AssetKey, DagsterInstance, MaterializeResult, asset

from sentinet_dagster.pruning import FAILURES_KEPT, Ended, ended_runs, prune
from sentinet_dagster.resources import Timescale

__all__ = ["DAGSTER_ASSETS", "KEPT"]

KEPT: Final[Mapping[str, timedelta]] = {
    "judge_windows": timedelta(hours=1),
    "refresh_rollups_minutely": timedelta(hours=1),
    "check_judgement_hourly": timedelta(days=7),
    "check_rollups_hourly": timedelta(days=7),
    "prune_runs": timedelta(days=1),
}
"""For how long a job's successful runs are kept after their end; its newest, and that of each partition, for
ever. The daily jobs' runs stay. At least an hour: what goes then ended in an hour that was counted whole.
"""

_ALL: Final = datetime(1970, 1, 1, tzinfo=UTC)


@asset(
    key=AssetKey(["ops", "dagster_runs"]),
    description="How many runs of each job ended in each hour, how and how fast, and what is on the disk."
    " Then old runs of the jobs that run often are deleted, with events and logs.",
    metadata={"dagster/table_name": "ops.runs_1h", "also written": "ops.sizes_1h"},
    kinds={"postgres"},
    owners=["team:surveillance"],
    group_name="ops",
)
def dagster_runs(
    context: AssetExecutionContext, timescale: Timescale, dagster_database: Timescale
) -> MaterializeResult[None]:
    """Count, then prune; metadata: runs counted, deleted by job, sizes in MB."""
    began = time.perf_counter()
    instance, now = context.instance, datetime.now(UTC)
    counted = _count(instance, timescale)
    last = instance.get_latest_materialization_event(context.asset_key)
    since = _ALL if last is None else datetime.fromtimestamp(last.timestamp, UTC) - 2 * FAILURES_KEPT
    pruned = prune(instance, KEPT, now, since)
    sizes = _sizes(instance, dagster_database)
    of_dagster = {name: sizes[name] for name in ("database", "files")}
    timescale.fetch("note_sizes", dagster=json.dumps(of_dagster))
    return MaterializeResult(
        metadata={
            "counted": counted,
            **{f"{job} deleted": each.successes + each.failures for job, each in pruned.items()},
            **{f"{job} kept": each.kept for job, each in pruned.items()},
            **{f"{name}_mb": round(size / 2**20, 2) for name, size in sizes.items()},
            "seconds": round(time.perf_counter() - began, 3),
        }
    )


def _count(instance: DagsterInstance, timescale: Timescale) -> int:
    """Keep what there is to say of the runs that ended in the last hours counted, or since; how many they
    are."""
    (counted,) = timescale.fetch("runs_counted_from")
    runs = [_as_counted(run) for run in ended_runs(instance, counted["since"])]
    timescale.fetch("count_runs", runs=json.dumps(runs))
    return len(runs)


def _as_counted(run: Ended) -> dict[str, str | float | None]:
    return {
        "job": run.job,
        "status": run.status,
        "ended_at": run.ended_at.isoformat(),
        "waited_s": (run.started_at - run.made_at).total_seconds() if run.started_at else None,
        "ran_s": (run.ended_at - run.started_at).total_seconds() if run.started_at else None,
    }


def _sizes(instance: DagsterInstance, dagster_database: Timescale) -> dict[str, int]:
    """Bytes."""
    (sizes,) = dagster_database.fetch("dagster_sizes")
    sizes["files"] = sum(map(_on_disk, Path(instance.storage_directory()).rglob("*")))
    return sizes


def _on_disk(file: Path) -> int:
    """Bytes; none where a run's end has just taken it away."""
    try:
        return file.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0


DAGSTER_ASSETS: Final = [dagster_runs]

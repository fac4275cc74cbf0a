"""`ops/storage`: the promise of config/storage.yaml kept, where the server has no policies to keep it.

What lives here: the loop over what is expired, small step by small step, and its report. What never does: the
rule (it is in ops.storage, as `sentinet migrate` applied it) and the statements (`sql/storage.sql`).

Live goes first: each step is a transaction of its own, over in moments; after each, the database has as long
for others as the step took; a step that would wait for a lock gives up, and the rest is left to the next run.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of decorated functions as objects.

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

import psycopg
from dagster import AssetExecutionContext, AssetKey, MaterializeResult, asset

from sentinet_dagster.assets.market import MARKET_ASSETS
from sentinet_dagster.resources import Timescale

__all__ = ["STORAGE_ASSETS"]

PAGES: Final = 1024  # 8 MB: some 80,000 trades a step
_LONGEST_PAUSE_S: Final = 1.0

T = TypeVar("T")


@asset(
    key=AssetKey(["ops", "storage"]),
    deps=[spec.key for spec in MARKET_ASSETS],
    description="What was removed because it is older than config/storage.yaml keeps it.",
    metadata={"dagster/table_name": "ops.storage"},
    kinds={"postgres", "timescale"},
    owners=["team:ingest"],
    group_name="ops",
)
def storage(context: AssetExecutionContext, timescale: Timescale) -> MaterializeResult[None]:
    """Remove what is expired: whole chunks where there are, else rows. Metadata: relation → what went."""
    removed: dict[str, Any] = {}
    postponed = []
    for relation in timescale.fetch("expiring"):
        name = relation["relation"]
        if relation["removed_by"] == "policy" or relation["before"] is None:
            continue
        remove = _drop_chunks if relation["removed_by"] == "chunks" else _delete_rows
        try:
            removed |= {f"{name} {unit}": count for unit, count in remove(timescale, name).items()}
        except psycopg.errors.LockNotAvailable:
            context.log.warning("Somebody holds %s: the rest of it is left to the next run.", name)
            postponed.append(name)
    return MaterializeResult(metadata={**removed, "postponed": postponed})


def _drop_chunks(timescale: Timescale, relation: str) -> dict[str, int]:
    chunks = size = 0
    while dropped := _politely(partial(timescale.fetch, "drop_expired_chunk", relation=relation)):
        chunks += 1
        size += dropped[0]["bytes"]
    return {"chunks": chunks, "bytes": size}


def _delete_rows(timescale: Timescale, relation: str) -> dict[str, int]:
    rows = 0
    for found in timescale.fetch("expired_blocks", relation=relation, pages=PAGES):
        on_stretch = partial(timescale.fetch, relation=relation, block=found["block"], pages=PAGES)
        rows += _politely(partial(on_stretch, "delete_expired"))[0]["deleted"]
        _politely(partial(on_stretch, "summarize_again"))
    return {"rows": rows}


def _politely(step: Callable[[], T]) -> T:
    """Half of the time at most is ours."""
    began = time.perf_counter()
    result = step()
    time.sleep(min(time.perf_counter() - began, _LONGEST_PAUSE_S))
    return result


STORAGE_ASSETS: Final = [storage]

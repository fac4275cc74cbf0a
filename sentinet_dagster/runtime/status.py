"""What runs in a home and how it is: processes, database, feeds, addresses. Reads only.

What lives here: putting together what the supervisor, the operating system and the database say.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sentinet_dagster.runtime import readings
from sentinet_dagster.runtime.cpu_meter import use_of
from sentinet_dagster.runtime.database_url import connect, without_password
from sentinet_dagster.runtime.disk import free_bytes, used_bytes
from sentinet_dagster.runtime.home import Home
from sentinet_dagster.runtime.ingest_metrics import fetch_counts
from sentinet_dagster.runtime.state import ProcessState, RunState, read_state
from sentinet_dagster.storage import STORED

RATE_SPAN = timedelta(seconds=30)
LATENCY_SPAN = timedelta(minutes=10)
STAGES = ("tick_to_row", "row_to_window", "window_to_alert", "row_to_alert")
LITTLE_ROOM_MB = 1024.0
_CHUNKED = tuple(stored.relation for stored in STORED if stored.chunks)


def running_state(home: Home) -> RunState | None:
    """What the one who runs in `home` says, or None if nobody does."""
    owner = home.owner()
    state = read_state(home) if owner is not None else None
    return state if state is not None and state.owner == owner else None


def process_table(state: RunState | None) -> dict[str, dict[str, Any]]:
    """Process → pid, state, restarts, and CPU seconds and resident memory of it and all it started."""
    if state is None:
        return {}
    table = {}
    for name, process in state.processes.items():
        use = None if process.pid is None else use_of(process.pid)
        table[name] = {
            "pid": process.pid,
            "state": process.state,
            "restarts": process.restarts,
            "cpu_s": None if use is None else round(use.cpu_s, 2),
            "rss_mb": None if use is None else round(use.rss_mb, 1),
        }
    return table


def disk_status(home: Home) -> dict[str, float]:
    """Megabytes that are left on the home's disk, and on that of its database where there is one."""
    cluster = home.postgres / "cluster"
    places = {"home": home.path} | ({"database": cluster.resolve()} if cluster.exists() else {})
    return {name: round(free_bytes(place) / 2**20, 1) for name, place in places.items()}


def problems(state: RunState | None, free_mb: Mapping[str, float]) -> list[str]:
    """What a human must act on, a line each."""
    found = [f"{name} is down: {process.failure}" for name, process in _failed(state).items()]
    for place, left in free_mb.items():
        if left < LITTLE_ROOM_MB:
            found.append(f"the disk of the {place} has {left:,.0f} MB left: make room")
    return found


def has_database(state: RunState | None) -> bool:
    """Whether to ask the database: not where the one who runs here knows why it is down."""
    return "postgres" not in _failed(state)


def _failed(state: RunState | None) -> dict[str, ProcessState]:
    processes = {} if state is None else state.processes
    return {name: process for name, process in processes.items() if process.failure is not None}


def database_status(connection: readings.Connection, url: str) -> dict[str, Any]:
    """The database: its address without the password, what it is, its size."""
    server = readings.server(connection)
    return {"url": without_password(url), "edition": server.name, "size_mb": round(server.size_mb, 1)}


def storage_status(connection: readings.Connection) -> dict[str, Any]:
    """What the edition means for what is stored: compression, who removes what is too old, sizes."""
    edition = readings.server(connection).edition
    stored = readings.storage(connection)
    return {
        "edition": edition.value,
        "hypertables": edition.has_hypertables,
        "compression": edition.has_policies,
        "retention_by": "policies of the server" if edition.has_policies else "maintain_storage_daily",
        "to_move": [
            relation
            for relation in _CHUNKED
            if edition.has_hypertables and relation in stored and stored[relation].removed_by == "rows"
        ],
        "relations": {
            relation: {
                "mb": round(size.mb, 1),
                "kept_days": None if size.keep is None else round(size.keep / timedelta(days=1), 2),
                "removed_by": size.removed_by,
                "columnstore": None
                if size.rowstore_mb is None or size.columnstore_mb is None
                else {"from_mb": round(size.rowstore_mb, 1), "to_mb": round(size.columnstore_mb, 1)},
            }
            for relation, size in stored.items()
        },
    }


def drift_status(state: RunState | None) -> list[dict[str, Any]]:
    """Fields of venues' frames that are new, missing or of another type since the daemon began."""
    url = None if state is None else state.addresses.get("ingest")
    counts = None if url is None else fetch_counts(url, time.monotonic())
    names = ("venue", "channel", "field", "change")
    return [
        {**dict(zip(names, key, strict=True)), "frames": frames}
        for key, frames in ({} if counts is None else counts.drift).items()
    ]


def feed_status(connection: readings.Connection) -> dict[str, dict[str, Any]]:
    """Venue → rows in all, rows a second lately, seconds since the last commit, gaps on record."""
    return {
        feed.venue: {
            "rows": feed.rows,
            "rows_per_s": round(feed.rows_per_s, 1),
            "silent_s": None if feed.silent_s is None else round(feed.silent_s, 1),
            "gaps": feed.gaps,
        }
        for feed in readings.feeds(connection, RATE_SPAN)
    }


def judging_status(connection: readings.Connection) -> dict[str, Any]:
    """How far judging is behind; what does not judge itself: ranges that fail, hours left to a backfill."""
    behind = readings.behind_s(connection)
    return {
        "behind_s": None if behind is None else round(behind, 1),
        "failed_ranges": readings.failed_ranges(connection),
        "late_hours": readings.late_hours(connection),
    }


def latency_status(connection: readings.Connection) -> dict[str, dict[str, Any] | None]:
    """Stage → delays of live judging in the last ten minutes; None: nothing came through it."""
    found = readings.latency(connection, LATENCY_SPAN)
    return {
        stage: {
            "samples": found[stage].samples,
            "p50_s": round(found[stage].p50_s, 3),
            "p95_s": round(found[stage].p95_s, 3),
            "max_s": round(found[stage].max_s, 3),
        }
        if stage in found
        else None
        for stage in STAGES
    }


def dagster_status(home: Home, url: str) -> dict[str, float]:
    """MB of Dagster's own data: its database at `url`, and of that events, runs, ticks; files in `home`."""
    with connect(url, autocommit=True) as connection:
        sizes = readings.dagster_sizes(connection)
    sizes["files"] = used_bytes(home.dagster / "storage") / 2**20
    return {f"{name}_mb": round(size, 1) for name, size in sizes.items()}

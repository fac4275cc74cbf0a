"""What runs in a home and how it is: processes, database, feeds, addresses. Reads only.

What lives here: putting together what the supervisor, the operating system and the database say.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sentinet_dagster.runtime import readings
from sentinet_dagster.runtime.cpu_meter import use_of
from sentinet_dagster.runtime.database_url import without_password
from sentinet_dagster.runtime.home import Home
from sentinet_dagster.runtime.state import RunState, read_state

RATE_SPAN = timedelta(seconds=30)


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


def database_status(connection: readings.Connection, url: str) -> dict[str, Any]:
    """The database: its address without the password, what it is, its size."""
    edition = readings.edition(connection)
    return {"url": without_password(url), "edition": edition.name, "size_mb": round(edition.size_mb, 1)}


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
    """What does not judge itself: ranges that keep failing, hours that wait for a backfill."""
    return {
        "failed_ranges": readings.failed_ranges(connection),
        "late_hours": readings.late_hours(connection),
    }

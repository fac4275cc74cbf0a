"""What a demo came to, as the summary's JSON. What never lives here: waiting, drawing, exit codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ingest_daemon.replay import ReplayReport
from sentinet_dagster.runtime import readings
from sentinet_dagster.runtime.dagster_api import Runs
from sentinet_dagster.runtime.ingest_metrics import IngestCounts, median_delay_s
from sentinet_dagster.runtime.scorecard import Scripted, Verdict, judge
from sentinet_dagster.runtime.watch import raised
from sentinet_dagster.surveillance.evaluation import percentile

MOST_ALERTS = 100_000


@dataclass(frozen=True, slots=True)
class Summary:
    """The outcome: its JSON, and what stands against a success, a line each."""

    json: dict[str, Any]
    objections: tuple[str, ...]


def summarise(
    connection: readings.Connection,
    episodes: Sequence[Scripted],
    runs: Runs,
    script_at: datetime,
    now: datetime,
    history: ReplayReport,
    counts: IngestCounts | None,
    start_s: float,
) -> Summary:
    """What the live part from `script_at` to `now` came to. `frames` and `rows` include the history."""
    wanted = readings.AlertFilter(since=script_at, limit=MOST_ALERTS)
    alerts = readings.alerts(connection, wanted)
    verdicts = judge(episodes, raised(readings.firings(connection, script_at)))
    had_time = [verdict for verdict in verdicts if verdict.episode.had_time(now)]
    delays = readings.row_to_alert_seconds(connection, script_at)
    history_frames = sum(stream.frames for stream in history.streams.values())
    live_frames = counts.all_frames if counts else 0
    frame_to_row = median_delay_s({}, counts.delay_buckets) if counts else None
    result = {
        "frames": history_frames + live_frames,
        "rows": sum(feed.rows for feed in readings.feeds(connection, timedelta(seconds=1))),
        "runs": {"succeeded": runs.succeeded, "failed": runs.failed},
        "alerts": dict(sorted(Counter(alert["detector"] for alert in alerts).items())),
        "episodes": {
            "scripted": len(had_time),
            "found": sum(verdict.found_by is not None for verdict in had_time),
            "begun": len(verdicts),
            "list": [verdict.as_json(now) for verdict in verdicts],
        },
        "row_to_alert_s": _percentiles(delays),
        "frame_to_row_s": {"p50": None if frame_to_row is None else round(frame_to_row, 4)},
        "live_s": round((now - script_at).total_seconds(), 1),
        "start_s": round(start_s, 1),
        "history": {
            "frames": history_frames,
            "rows": sum(stream.rows for stream in history.streams.values()),
            "duplicates": sum(stream.duplicates for stream in history.streams.values()),
            "refused": sum(stream.refused for stream in history.streams.values()),
        },
    }
    return Summary(result, tuple(_objections(had_time, runs)))


def _percentiles(delays: Sequence[float]) -> dict[str, float | None]:
    values = {"p50": percentile(delays, 0.5), "p95": percentile(delays, 0.95)}
    return {name: None if value is None else round(value, 3) for name, value in values.items()}


def _objections(had_time: Sequence[Verdict], runs: Runs) -> list[str]:
    missed = [verdict.episode for verdict in had_time if verdict.found_by is None]
    lines = [
        f"not found: {episode.kind} on {' and '.join('/'.join(leg) for leg in episode.instruments)} "
        f"from {episode.starts_at:%H:%M:%S} to {episode.ends_at:%H:%M:%S}"
        for episode in missed
    ]
    if runs.failed:
        lines.append(f"{runs.failed} runs failed: Dagster's UI and logs say why")
    return lines

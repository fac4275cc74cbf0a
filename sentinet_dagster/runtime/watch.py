"""Looks at a running Sentinet: database, daemon, Dagster → `Snapshot`, once a second, in a thread of its own.

What lives here: when what is asked, and putting the answers together. What never does: drawing, deciding.
Whoever does not answer is left as last seen: a view must not fall over because what it watches does.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import structlog

from sentinet_dagster.runtime import readings
from sentinet_dagster.runtime.dagster_api import DagsterApi, DagsterError, Runs
from sentinet_dagster.runtime.evidence import evidence_line
from sentinet_dagster.runtime.ingest_metrics import IngestCounts, fetch_counts, median_delay_s, rate
from sentinet_dagster.runtime.scorecard import Raised
from sentinet_dagster.runtime.snapshot import AlertState, FeedState, Flow, InstrumentState
from sentinet_dagster.surveillance.evaluation import percentile

LOOK_EVERY_S = 1.0
RATE_SPAN = timedelta(seconds=5)
CHART = timedelta(minutes=4)
FRESH = timedelta(seconds=30)  # an instrument with an alert this young is marked
SHOWN_ALERTS = 100
_RUNS_EVERY = 3  # looks
_COUNTS_KEPT = 6
_DAGSTER_TIMEOUT_S = 2.0
_JOIN_S = 1.0  # a thread that hangs in a request dies with the process

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen at one look."""

    flow: Flow = field(default_factory=Flow)
    instruments: tuple[InstrumentState, ...] = ()
    feeds: tuple[FeedState, ...] = ()
    alerts: tuple[AlertState, ...] = ()
    raised: tuple[Raised, ...] = ()  # the live windows that fired, as they are held against the ground truth
    runs: Runs = field(default_factory=Runs)


class Watch:
    """Looks until it is stopped. `sight` is the newest look.

    Args:
        url: the database.
        ingest_url: where the daemon tells its metrics.
        dagster_url: Dagster's web server; it may not be up yet.
        since: alerts of windows from here on count as live.
    """

    def __init__(
        self, url: str, ingest_url: str, dagster_url: str, since: Callable[[], datetime | None]
    ) -> None:
        self.sight = Sight()
        self._url = url
        self._ingest_url = ingest_url
        self._dagster_url = dagster_url
        self._since = since
        self._counts: deque[IngestCounts] = deque(maxlen=_COUNTS_KEPT)
        self._runs = Runs()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_JOIN_S)

    def runs_now(self) -> Runs:
        """The runs as Dagster counts them now; as it counted them last where it does not answer."""
        self._count_runs()
        return self._runs

    def counts_now(self) -> IngestCounts | None:
        """The daemon's counts now; the last ones where it does not answer."""
        return fetch_counts(self._ingest_url, time.monotonic()) or (
            self._counts[-1] if self._counts else None
        )

    def _watch(self) -> None:
        looks = 0
        while not self._stop.wait(LOOK_EVERY_S if looks else 0):
            try:
                with psycopg.connect(self._url, autocommit=True, connect_timeout=2) as connection:
                    while not self._stop.is_set():
                        if looks % _RUNS_EVERY == 0:
                            self._count_runs()
                        self.sight = self._look(connection)
                        looks += 1
                        self._stop.wait(LOOK_EVERY_S)
            except psycopg.Error as error:
                looks += 1
                log.warning("database not seen", error=str(error).splitlines()[0])

    def _count_runs(self) -> None:
        try:
            with DagsterApi(self._dagster_url, _DAGSTER_TIMEOUT_S) as dagster:
                self._runs = dagster.runs()
        except (httpx.HTTPError, DagsterError):
            return  # not up yet, or busy: the last count stands

    def _look(self, connection: readings.Connection) -> Sight:
        now = datetime.now(UTC)
        written = readings.feeds(connection, RATE_SPAN)
        alerts = readings.alerts(connection, readings.AlertFilter(limit=SHOWN_ALERTS))
        market = readings.market_state(connection, now - CHART)
        since = self._since()
        counts = fetch_counts(self._ingest_url, time.monotonic())
        if counts is not None:
            self._counts.append(counts)
        return Sight(
            flow=self._flow(connection, written),
            instruments=_instruments(market, alerts, now),
            feeds=self._feeds(written),
            alerts=tuple(_alert(alert) for alert in alerts),
            raised=raised(readings.firings(connection, since)) if since else (),
            runs=self._runs,
        )

    def _flow(self, connection: readings.Connection, written: Sequence[readings.Feed]) -> Flow:
        since = self._since()
        delays = readings.row_to_alert_seconds(connection, since) if since else []
        flow = Flow(
            rows=sum(feed.rows for feed in written),
            rows_per_s=sum(feed.rows_per_s for feed in written),
            row_to_alert_s=percentile(delays, 0.5),
            runs_succeeded=self._runs.succeeded,
            runs_failed=self._runs.failed,
            runs_under_way=self._runs.under_way,
        )
        if len(self._counts) < 2:
            return flow
        first, last = self._counts[0], self._counts[-1]
        frames = rate(first.frames, last.frames, last.taken_at - first.taken_at)
        delay = median_delay_s(first.delay_buckets, last.delay_buckets)
        return replace(
            flow,
            frames=last.all_frames,
            frames_per_s=sum(frames.values()),
            frame_to_row_ms=None if delay is None else delay * 1000,
        )

    def _feeds(self, written: Sequence[readings.Feed]) -> tuple[FeedState, ...]:
        by_venue = {feed.venue: feed for feed in written}
        if not self._counts:
            return tuple(FeedState(feed.venue, False, None, feed.silent_s, feed.gaps) for feed in written)
        first, last = self._counts[0], self._counts[-1]
        span = last.taken_at - first.taken_at
        rates = rate(first.frames, last.frames, span) if span else {}
        states = []
        for venue, live in last.live.items():
            feed = by_venue.get(venue)
            silent, gaps = (feed.silent_s, feed.gaps) if feed else (None, 0)
            states.append(FeedState(venue, live, rates.get(venue), silent, gaps))
        return tuple(states)


def raised(firings: Sequence[Mapping[str, Any]]) -> tuple[Raised, ...]:
    """Windows that fired, as `readings.firings` gives them, as they are held against the ground truth."""
    return tuple(
        Raised(
            firing["detector"],
            (firing["venue"], firing["instrument"]),
            firing["window_end"],
            firing["seen_at"],
        )
        for firing in firings
    )


def _instruments(
    market: Sequence[Mapping[str, Any]], alerts: Sequence[Mapping[str, Any]], now: datetime
) -> tuple[InstrumentState, ...]:
    alerting = {
        (alert["venue"], alert["instrument"]) for alert in alerts if alert["changed_at"] > now - FRESH
    }
    return tuple(
        InstrumentState(
            symbol=row["symbol"],
            price=row["price"],
            spread_bps=row["spread_bps_mean"],
            price_z=row["price_z"],
            completeness=row["completeness"],
            prices=tuple(row["prices"] or ()),
            alerting=(row["venue"], row["symbol"]) in alerting,
        )
        for row in market
    )


def _alert(alert: Mapping[str, Any]) -> AlertState:
    return AlertState(
        raised_at=alert["raised_at"].astimezone(UTC),
        detector=alert["detector"],
        severity=alert["severity"],
        summary=alert["summary"],
        evidence=evidence_line(alert["evidence"]),
    )

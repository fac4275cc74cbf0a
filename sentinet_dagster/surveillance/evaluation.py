"""How good alerts are on events whose time is known: hits, delay, false alerts per symbol-day.

What lives here: the arithmetic of a scorecard. What never does: reading files, judging a market.

The protocol for pump events: an alert's time is the end of the window that raised it. Alerts of one symbol
within 30 minutes of the first of them count as one. A *hit* is an alert from 60 s before to 300 s after the
labelled start. A *false* alert is one outside [start - 1 h, start + 2 h]; the time outside is what it is
counted over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final

__all__ = ["LabelledEvent", "PumpScore", "ScoredEvent", "score_event", "summarise"]

JOINED: Final = timedelta(minutes=30)
HIT_FROM: Final = timedelta(seconds=-60)
HIT_UNTIL: Final = timedelta(seconds=300)
PROMPT: Final = timedelta(seconds=60)
OUTSIDE_BEFORE: Final = timedelta(hours=1)
OUTSIDE_AFTER: Final = timedelta(hours=2)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class LabelledEvent:
    """One event and the data around it, all UTC."""

    name: str
    symbol: str
    start: datetime
    data_from: datetime
    data_until: datetime


@dataclass(frozen=True, slots=True)
class ScoredEvent:
    """What the alerts of one event come to."""

    event: LabelledEvent
    alerts: tuple[datetime, ...]  # joined
    delay_s: float | None  # of the first hit, from the labelled start; None: a miss
    false_alerts: int
    symbol_days: float


@dataclass(frozen=True, slots=True)
class PumpScore:
    """The scorecard of many events. A share is None where there is nothing to divide by."""

    events: int
    hits: int
    recall: float | None
    within_60s: int
    delay_p50_s: float | None
    false_alerts: int
    symbol_days: float
    false_per_symbol_day: float | None
    precision: float | None  # hits / (hits + false alerts)


def score_event(event: LabelledEvent, raised_at: Iterable[datetime]) -> ScoredEvent:
    """Hits and false alerts of one event's symbol.

    >>> from datetime import UTC
    >>> start = datetime(2020, 5, 1, 17, tzinfo=UTC)
    >>> event = LabelledEvent("x", "X-BTC", start, start - timedelta(days=3), start + timedelta(days=1))
    >>> scored = score_event(event, [start + timedelta(seconds=10), start - timedelta(hours=9)])
    >>> scored.delay_s, scored.false_alerts, scored.symbol_days
    (10.0, 1, 3.875)
    """
    outside_from, outside_until = event.start - OUTSIDE_BEFORE, event.start + OUTSIDE_AFTER
    alerts = _joined(raised_at)
    hits = [alert for alert in alerts if HIT_FROM <= alert - event.start <= HIT_UNTIL]
    false_alerts = sum(not outside_from <= alert <= outside_until for alert in alerts)
    inside = min(outside_until, event.data_until) - max(outside_from, event.data_from)
    outside = event.data_until - event.data_from - max(inside, timedelta(0))
    return ScoredEvent(
        event=event,
        alerts=alerts,
        delay_s=(hits[0] - event.start).total_seconds() if hits else None,
        false_alerts=false_alerts,
        symbol_days=outside / _DAY,
    )


def summarise(scored: Sequence[ScoredEvent]) -> PumpScore:
    """The scorecard of these events."""
    delays = [one.delay_s for one in scored if one.delay_s is not None]
    hits, false_alerts = len(delays), sum(one.false_alerts for one in scored)
    symbol_days = sum(one.symbol_days for one in scored)
    return PumpScore(
        events=len(scored),
        hits=hits,
        recall=hits / len(scored) if scored else None,
        within_60s=sum(delay <= PROMPT.total_seconds() for delay in delays),
        delay_p50_s=median(delays) if delays else None,
        false_alerts=false_alerts,
        symbol_days=symbol_days,
        false_per_symbol_day=false_alerts / symbol_days if symbol_days else None,
        precision=hits / (hits + false_alerts) if hits + false_alerts else None,
    )


def _joined(raised_at: Iterable[datetime]) -> tuple[datetime, ...]:
    alerts: list[datetime] = []
    for moment in sorted(raised_at):
        if not alerts or moment - alerts[-1] > JOINED:
            alerts.append(moment)
    return tuple(alerts)

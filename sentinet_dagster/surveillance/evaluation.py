"""How good alerts are where the truth is known: hits, delay, false alerts per symbol-day.

What lives here: the arithmetic of a scorecard. What never does: reading files, judging a market.

The protocol for pump events: an alert's time is the end of the window that raised it. Alerts of one symbol
within 30 minutes of the first of them count as one. A *hit* is an alert from 60 s before to 300 s after the
labelled start. A *false* alert is one outside [start - 1 h, start + 2 h]; the time outside is what it is
counted over.

Injected episodes are scored apart (`RecallAtSize`, `CalmAlerts`): an episode is found by a window of its
detector and instrument that fires and ends after its start and no later than GRACE after its end; alerts are
false that are raised on the same data without any episode. Shares and rates come with their 95 % interval:
of a share Wilson's, of a count that of Poisson's distribution in Byar's approximation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, sqrt
from statistics import median
from typing import Final

__all__ = [
    "CalmAlerts",
    "InjectedEpisode",
    "LabelledEvent",
    "PumpScore",
    "RecallAtSize",
    "ScoredEvent",
    "calm_alerts",
    "percentile",
    "recall_at_size",
    "score_event",
    "summarise",
]

JOINED: Final = timedelta(minutes=30)
HIT_FROM: Final = timedelta(seconds=-60)
HIT_UNTIL: Final = timedelta(seconds=300)
PROMPT: Final = timedelta(seconds=60)
OUTSIDE_BEFORE: Final = timedelta(hours=1)
OUTSIDE_AFTER: Final = timedelta(hours=2)
_DAY: Final = timedelta(days=1)
_Z: Final = 1.959963984540054  # of the normal distribution, 95 % within


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


@dataclass(frozen=True, slots=True)
class InjectedEpisode:
    """One episode and whether its detector found it."""

    detector: str
    size: float
    market: str
    instrument: str
    delay_s: float | None  # from its start to the end of the first window that fired; None: missed


@dataclass(frozen=True, slots=True)
class RecallAtSize:
    """What became of the episodes of one size."""

    size: float
    episodes: int
    found: int
    recall: float | None
    recall_from: float | None
    recall_to: float | None
    delay_p50_s: float | None
    delay_p95_s: float | None


@dataclass(frozen=True, slots=True)
class CalmAlerts:
    """What a detector raised where nothing was done."""

    alerts: int
    symbol_days: float
    per_symbol_day: float | None
    per_symbol_day_from: float | None
    per_symbol_day_to: float | None


def recall_at_size(size: float, episodes: Sequence[InjectedEpisode]) -> RecallAtSize:
    """The score of these episodes, all of one size.

    >>> found = InjectedEpisode("spoofing", 8.0, "a", "b", 10.0)
    >>> score = recall_at_size(8.0, [found] * 9 + [InjectedEpisode("spoofing", 8.0, "a", "b", None)])
    >>> score.recall, round(score.recall_from, 3), round(score.recall_to, 3), score.delay_p50_s
    (0.9, 0.596, 0.982, 10.0)
    """
    delays = [each.delay_s for each in episodes if each.delay_s is not None]
    low, high = _share_interval(len(delays), len(episodes))
    return RecallAtSize(
        size=size,
        episodes=len(episodes),
        found=len(delays),
        recall=len(delays) / len(episodes) if episodes else None,
        recall_from=low,
        recall_to=high,
        delay_p50_s=percentile(delays, 0.5),
        delay_p95_s=percentile(delays, 0.95),
    )


def calm_alerts(alerts: int, symbol_days: float) -> CalmAlerts:
    """A count over so many days of one symbol, as a rate.

    >>> calm = calm_alerts(0, 2.0)
    >>> calm.per_symbol_day, calm.per_symbol_day_from, round(calm.per_symbol_day_to, 2)
    (0.0, 0.0, 1.83)
    """
    low, high = _count_interval(alerts)
    days = symbol_days if symbol_days > 0 else None
    return CalmAlerts(
        alerts=alerts,
        symbol_days=symbol_days,
        per_symbol_day=alerts / days if days else None,
        per_symbol_day_from=low / days if days else None,
        per_symbol_day_to=high / days if days else None,
    )


def percentile(values: Iterable[float], share: float) -> float | None:
    """The least value that `share` of the values do not exceed; None of none.

    >>> percentile([3.0, 1.0, 2.0], 0.5), percentile([], 0.5)
    (2.0, None)
    """
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else None


def _share_interval(part: int, whole: int) -> tuple[float, float] | tuple[None, None]:
    """Wilson, "Probable inference", 1927."""
    if not whole:
        return None, None
    share, square = part / whole, _Z**2 / whole
    middle = (share + square / 2) / (1 + square)
    half = _Z / (1 + square) * sqrt(share * (1 - share) / whole + square / (4 * whole))
    return max(0.0, middle - half), min(1.0, middle + half)


def _count_interval(count: int) -> tuple[float, float]:
    """Breslow, Day, "Statistical Methods in Cancer Research" II, 1987, p. 69."""
    above = count + 1
    high = above * (1 - 1 / (9 * above) + _Z / (3 * sqrt(above))) ** 3
    low = count * (1 - 1 / (9 * count) - _Z / (3 * sqrt(count))) ** 3 if count else 0.0
    return low, high


def _joined(raised_at: Iterable[datetime]) -> tuple[datetime, ...]:
    alerts: list[datetime] = []
    for moment in sorted(raised_at):
        if not alerts or moment - alerts[-1] > JOINED:
            alerts.append(moment)
    return tuple(alerts)

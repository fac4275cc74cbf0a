"""Thresholds from history: what each value of a threshold would have raised, and which one keeps a budget.

What lives here: the values that are tried, what their firings come to, the choice, and its test on time that
it has not seen. What never does: reading history or config, changing either: a proposal is for a person.

One threshold of a detector is moved at a time, in the scope `default`; what venues, kinds and instruments set
for themselves stays. A value is chosen for all of the history; how well such a choice holds is told by
choosing on all folds of the history but one and counting on that one, for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import log
from typing import Any, Final

import polars as pl
from pydantic import ValidationError

from sentinet_dagster.surveillance.alerts import build_sessions
from sentinet_dagster.surveillance.detectors import Detector

__all__ = [
    "Candidate",
    "Choice",
    "Span",
    "choose",
    "held_out_per_day",
    "shared",
    "tried_values",
    "weighed",
]

_FACTORS: Final = (0.4, 0.5, 0.63, 0.8, 0.9, 1.1, 1.25, 1.6, 2.0, 2.5, 4.0)
_DAY: Final = timedelta(days=1)
_FALSE: Final = ("false", "benign")


@dataclass(frozen=True, slots=True)
class Span:
    """The history, [start, end)."""

    start: datetime
    end: datetime

    @property
    def days(self) -> float:
        """How long it is."""
        return (self.end - self.start) / _DAY

    def folds(self, count: int) -> list[Span]:
        """Parts of equal length, in their order."""
        step = (self.end - self.start) / count
        return [Span(self.start + number * step, self.start + (number + 1) * step) for number in range(count)]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value and what it would have raised. Precision and recall are None where nobody has judged."""

    value: float
    opened_at: tuple[datetime, ...]  # of its alerts, ascending
    precision: float | None
    recall: float | None

    def per_day(self, spans: Sequence[Span]) -> float:
        """Alerts a day over these spans."""
        inside = sum(span.start <= moment < span.end for span in spans for moment in self.opened_at)
        return inside / sum(span.days for span in spans)


@dataclass(frozen=True, slots=True)
class Choice:
    """The value that a budget asks for."""

    value: float
    per_day: float
    fits: bool  # False: no value keeps the budget, and this one raises least


def tried_values(detector: Detector, name: str, current: float) -> list[float]:
    """Multiples of the current value that the threshold accepts, ascending; the current one is among them.

    >>> from sentinet_dagster.surveillance.detectors import DETECTORS
    >>> tried_values(DETECTORS["spoofing"], "imbalance", 0.6)
    [0.24, 0.3, 0.378, 0.48, 0.54, 0.6, 0.66, 0.75, 0.96]
    """
    others = [float(f"{current * factor:.4g}") for factor in _FACTORS]
    return [value for value in sorted({*others, current}) if _accepts(detector, name, value)]


def _accepts(detector: Detector, name: str, value: float) -> bool:
    try:
        detector.thresholds.model_validate({name: value})
    except ValidationError:
        return False
    return True


def weighed(value: float, firings: pl.DataFrame, cool_downs: pl.DataFrame, judged: pl.DataFrame) -> Candidate:
    """What the firings of one value come to.

    Args:
        value: of the threshold.
        firings: schema.FIRINGS, of one detector.
        cool_downs: as for `build_sessions`.
        judged: the alerts of this detector that people have closed: instrument_id, window_start,
            last_window_start, disposition. One is raised again by an alert that overlaps it.
    """
    sessions = build_sessions(firings, cool_downs)
    told = judged.filter(pl.col("disposition").is_in(["true", *_FALSE]))
    again = told.join(
        sessions.select("instrument_id", began="window_start", ended="last_window_start"), on="instrument_id"
    ).filter(pl.col("began") <= pl.col("last_window_start"), pl.col("ended") >= pl.col("window_start"))
    raised = again.unique(["instrument_id", "window_start"])
    true, true_again = (frame.filter(pl.col("disposition") == "true").height for frame in (told, raised))
    return Candidate(
        value=value,
        opened_at=tuple(sessions["window_start"].sort().to_list()),
        precision=true_again / raised.height if raised.height else None,
        recall=true_again / true if true else None,
    )


def choose(candidates: Sequence[Candidate], current: float, budget: float, spans: Sequence[Span]) -> Choice:
    """The value that finds most within the budget.

    Of those that keep it: the greatest recall, if any is known; then the most alerts, which is the most
    sensitive; then the one nearest to the current value. If none keeps it: the one that raises least.

    Args:
        candidates: at least one.
        current: the value in force.
        budget: alerts a day.
        spans: what is counted.
    """
    rates = {candidate.value: candidate.per_day(spans) for candidate in candidates}
    fitting = [candidate for candidate in candidates if rates[candidate.value] <= budget]
    if not fitting:
        least = min(candidates, key=lambda each: (rates[each.value], abs(log(each.value / current))))
        return Choice(least.value, rates[least.value], fits=False)
    best = max(
        fitting, key=lambda each: (each.recall or 0.0, rates[each.value], -abs(log(each.value / current)))
    )
    return Choice(best.value, rates[best.value], fits=True)


def held_out_per_day(
    candidates: Sequence[Candidate], current: float, budget: float, folds: Sequence[Span]
) -> float | None:
    """Alerts a day of the values chosen without the fold on which they are counted; None with one fold.

    Recall is that of the whole history: people judge too few alerts to cut them into folds.
    """
    if len(folds) < 2:
        return None
    by_value = {candidate.value: candidate for candidate in candidates}
    rates = []
    for fold in folds:
        seen = [other for other in folds if other is not fold]
        rates.append(by_value[choose(candidates, current, budget, seen).value].per_day([fold]))
    return sum(rates) / len(rates)


def shared(budget: float, wanted: Mapping[str, float]) -> dict[str, float]:
    """A budget for each: who wants less than an equal share leaves the rest to the others.

    >>> shared(10.0, {"a": 1.0, "b": 20.0, "c": 30.0})
    {'a': 1.0, 'b': 4.5, 'c': 4.5}
    """
    given: dict[str, float] = {}
    left = budget
    for number, name in enumerate(sorted(wanted, key=lambda each: (wanted[each], each))):
        given[name] = min(wanted[name], left / (len(wanted) - number))
        left -= given[name]
    return given


def proposal(changes: Mapping[str, tuple[str, float, float, str]]) -> str:
    """A fragment of config/surveillance.yaml: the thresholds that change, and what they were.

    Args:
        changes: detector → (threshold, value, the value in force, a remark).

    >>> print(proposal({"spoofing": ("imbalance", 0.75, 0.6, "3 alerts a day")}), end="")
    detectors:
      default:
        spoofing: {imbalance: 0.75}  # 0.6 before; 3 alerts a day
    """
    if not changes:
        return ""
    lines = [
        f"    {name}: {{{threshold}: {value:g}}}  # {before:g} before; {remark}"
        for name, (threshold, value, before, remark) in changes.items()
    ]
    return "\n".join(["detectors:", "  default:", *lines]) + "\n"


def as_json(candidate: Candidate, span: Span) -> dict[str, Any]:
    """A row of the sweep."""
    return {
        "value": candidate.value,
        "alerts": len(candidate.opened_at),
        "per_day": round(candidate.per_day([span]), 3),
        "precision": candidate.precision,
        "recall": candidate.recall,
    }

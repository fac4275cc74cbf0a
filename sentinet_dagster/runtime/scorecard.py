"""Which scripted episodes were found: ground truth against alerts. Pure.

An episode is found by a window in which a detector fires that is expected to notice its kind, on an
instrument it shows on, and which ends between its start and `GRACE` after its end: two episodes within the
cool-down of a detector are one alert, of which both have windows. It had time to be found if its end and the
grace lie before the moment of asking. The grace is what the way from a fact to an alert may take: a window
(5 s), late data (2 s), the sensor's tick (5 s) and the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

GRACE = timedelta(seconds=15)

# Strict on purpose: the isolation forest finds most of these too, but says only that something is unusual.
EXPECTED: Mapping[str, frozenset[str]] = {
    "volatility_spike": frozenset({"volatility_spike"}),
    "spoofing": frozenset({"spoofing"}),
    "decoupling": frozenset({"decoupling"}),
    "spread_blow_out": frozenset({"spread_stress"}),
    "pump_and_dump": frozenset({"pump_and_dump"}),
}

Instrument = tuple[str, str]  # venue, symbol


@dataclass(frozen=True, slots=True)
class Scripted:
    """One scripted episode: the ground truth. Of a decoupling, the instruments are the legs."""

    kind: str
    instruments: tuple[Instrument, ...]
    starts_at: datetime
    ends_at: datetime

    def had_time(self, now: datetime) -> bool:
        """Whether it could have been found by `now`."""
        return self.ends_at + GRACE <= now


@dataclass(frozen=True, slots=True)
class Raised:
    """What of a window that fired matters here. `raised_at`, its end, is market time, `created_at` when it
    was first on record."""

    detector: str
    instrument: Instrument
    raised_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """An episode and the first window that found it, if one did."""

    episode: Scripted
    found_by: Raised | None = None

    @property
    def delay_s(self) -> float | None:
        """Seconds from the episode's start to the row that found it."""
        if self.found_by is None:
            return None
        return (self.found_by.created_at - self.episode.starts_at).total_seconds()

    def as_json(self, now: datetime) -> dict[str, Any]:
        """For the summary."""
        return {
            "kind": self.episode.kind,
            "instruments": ["/".join(instrument) for instrument in self.episode.instruments],
            "starts_at": self.episode.starts_at,
            "ends_at": self.episode.ends_at,
            "had_time": self.episode.had_time(now),
            "found_by": self.found_by.detector if self.found_by else None,
            "delay_s": None if self.delay_s is None else round(self.delay_s, 3),
        }


def judge(episodes: Sequence[Scripted], alerts: Iterable[Raised]) -> list[Verdict]:
    """A verdict an episode, in their order; of several windows the one written first."""
    by_creation = sorted(alerts, key=lambda alert: (alert.created_at, alert.detector))
    return [
        Verdict(episode, next((alert for alert in by_creation if finds(alert, episode)), None))
        for episode in episodes
    ]


def finds(alert: Raised, episode: Scripted) -> bool:
    """Whether `alert` finds `episode`; the module says when."""
    return (
        alert.detector in EXPECTED[episode.kind]
        and alert.instrument in episode.instruments
        and episode.starts_at <= alert.raised_at <= episode.ends_at + GRACE
    )

"""What the live view shows, as plain values: one moment of a running Sentinet.

What lives here: frozen values. What never does: queries, sockets, clocks, rendering.
`watch.py` fills them, `view.py` draws them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

EpisodeOutcome = Literal["to come", "running", "found", "not yet", "missed"]
StepState = Literal["waiting", "running", "done"]


@dataclass(frozen=True, slots=True)
class Flow:
    """The stream as a whole. None: not measured yet."""

    frames: int = 0  # since the start
    rows: int = 0
    frames_per_s: float | None = None
    rows_per_s: float | None = None
    frame_to_row_ms: float | None = None  # median of the last batches
    row_to_alert_s: float | None = None  # median of the live alerts
    runs_succeeded: int = 0
    runs_failed: int = 0
    runs_under_way: int = 0


@dataclass(frozen=True, slots=True)
class InstrumentState:
    """The last judged window of one instrument. Spread in basis points; `prices` oldest first."""

    symbol: str
    price: float | None = None
    spread_bps: float | None = None
    price_z: float | None = None
    completeness: float | None = None
    prices: tuple[float, ...] = ()
    alerting: bool = False  # an alert in the last half minute


@dataclass(frozen=True, slots=True)
class FeedState:
    """One venue's feed as the ingest daemon tells it."""

    venue: str
    connected: bool
    frames_per_s: float | None = None
    silent_s: float | None = None  # since the last frame
    gaps: int = 0  # rows of market.feed_gaps


@dataclass(frozen=True, slots=True)
class AlertState:
    """An alert in one line. `summary` begins with the instrument; `evidence` is its numbers."""

    raised_at: datetime
    detector: str
    severity: str
    summary: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Episode:
    """A scripted abuse and whether a detector found it."""

    kind: str
    instrument: str
    starts_in_s: float  # negative: it has begun
    state: EpisodeOutcome
    found_by: str | None = None
    delay_s: float | None = None  # from its start to the alert's row


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the start-up."""

    title: str
    state: StepState = "waiting"
    seconds: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment. `steps` is shown until the start-up is over (`elapsed_s` is None until then)."""

    title: str
    now: datetime
    elapsed_s: float | None = None
    for_s: float | None = None
    dagster_url: str | None = None
    flow: Flow = field(default_factory=Flow)
    instruments: tuple[InstrumentState, ...] = ()
    feeds: tuple[FeedState, ...] = ()
    alerts: tuple[AlertState, ...] = ()  # newest first
    episodes: tuple[Episode, ...] = ()
    steps: tuple[Step, ...] = ()
    note: str = ""

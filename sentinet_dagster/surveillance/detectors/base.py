"""What a detector is: the protocol, what it is given, and the shape of what it answers.

What lives here: the seam. What never does: a rule about a market, and a decision to raise an alert. A
detector says of each window how far it is from ordinary and whether its conditions hold; `alerts.py`
decides what comes of it.

A detector is an immutable value in a file of its own, entered in `DETECTORS`. Its module says what it looks
for, on which evidence level, when it is blind, with an example, and the source of the rule. Detectors do
not import detectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

import polars as pl
from pydantic import BaseModel

from sentinet_dagster.surveillance.grid import Grid
from sentinet_dagster.surveillance.rolling import Flags
from sentinet_dagster.surveillance.schema import FINDINGS

__all__ = ["Detector", "Evidence", "EvidenceLevel", "Inputs", "Thresholds", "findings", "limit"]

EvidenceLevel = Literal["trades", "L1", "L2", "derived"]
"""What a verdict rests on: executions, the best bid and ask, the book, or other judgements."""

Evidence = Mapping[str, Any]  # JSON values: what a row of the struct column `evidence` holds


class Thresholds(BaseModel, frozen=True, extra="forbid"):
    """What config/surveillance.yaml may set for a detector; a detector's own class adds its numbers."""

    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Inputs:
    """The past. Every frame covers [start - the detector's look-back, end), as far as there are rows."""

    windows: pl.DataFrame  # schema.WINDOWS
    features: pl.DataFrame  # schema.FEATURES
    correlations: pl.DataFrame  # schema.CORRELATIONS
    scores: pl.DataFrame  # schema.SCORES
    instruments: pl.DataFrame  # schema.INSTRUMENTS
    start: datetime
    end: datetime
    completeness_floor: float

    def judged(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of the windows that are to be judged: those in [start, end)."""
        return frame.filter(pl.col("window_start").is_between(self.start, self.end, closed="left"))

    def grid(self, lookback: timedelta) -> Grid:
        """The grid of all instruments that have windows over [start - lookback, end)."""
        return Grid.spanning(self.windows["instrument_id"], self.start - lookback, self.end)

    def broken(self, grid: Grid) -> Flags:
        """Where there is no window, or one less whole than the floor: nothing before it is anybody's past."""
        values, present = grid.matrices(self.windows, ["completeness"])
        return ~present | (values["completeness"] < self.completeness_floor)


class Detector(Protocol):
    """One rule. `version` grows when its meaning does: an alert's identity includes it."""

    @property
    def name(self) -> str:
        """The abuse or break, as in config/surveillance.yaml and `surveillance.alerts.detector`."""

    @property
    def version(self) -> int:
        """1, 2, …"""

    @property
    def evidence_level(self) -> EvidenceLevel:
        """What a verdict rests on."""

    @property
    def lookback(self) -> timedelta:
        """How far before a window its verdict depends on the frames of `Inputs`."""

    @property
    def thresholds(self) -> type[Thresholds]:
        """The class of its thresholds, with their defaults and meaning."""

    def detect(self, inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
        """What it says of the windows of [inputs.start, inputs.end).

        A verdict on a window depends on nothing outside [window - lookback, window], and not on inputs.start.

        Args:
            inputs: the judged past.
            thresholds: one row an instrument for which the detector is enabled: instrument_id, and a column
                `limit(name)` for each threshold.

        Returns:
            `findings(...)`: at most one row an instrument and window. A window of which nothing can be said
            (warming up, nothing traded) has no row; one that is in order may have none.
        """

    def summary(self, symbol: str, finding: Evidence) -> str:
        """One sentence with the numbers that fired.

        Args:
            symbol: the instrument's canonical symbol.
            finding: score, threshold, and the fields of `evidence`.
        """


def limit(name: str) -> str:
    """The column of a threshold in the frame a detector is given.

    >>> limit("price_z")
    'limit:price_z'
    """
    return f"limit:{name}"


def findings(
    frame: pl.DataFrame,
    *,
    score: pl.Expr,
    threshold: pl.Expr,
    severity: pl.Expr,
    fires: pl.Expr,
    evidence: pl.Expr,
) -> pl.DataFrame:
    """`schema.FINDINGS` and a struct column `evidence`, from a frame with instrument_id and window_start.

    Rows without a score are left out; a condition that cannot be told does not hold.
    """
    said = frame.select(
        "instrument_id",
        "window_start",
        score.alias("score"),
        threshold.alias("threshold"),
        severity.alias("severity"),
        fires.fill_null(False).alias("fires"),
        evidence.alias("evidence"),
    ).filter(pl.col("score").is_not_null())
    return FINDINGS.conform(said).with_columns(said["evidence"])

"""What a detector is, what it is given, and the shape of what it answers.

What lives here: the seam. What never does: a rule about a market, and a decision to raise an alert. A
detector says of each window how far it is from ordinary and whether its conditions hold; `findings.py` and
`alerts.py` decide what comes of it.

A detector is an immutable value in a file of its own, entered in `DETECTORS`. Its module says what it looks
for, on which evidence level, when it is blind, with an example, and the source of the rule. Detectors do
not import detectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, Field

from sentinet_dagster.surveillance.grid import Grid, Sheet, ending
from sentinet_dagster.surveillance.rolling import Flags, Floats, unbroken
from sentinet_dagster.surveillance.schema import VERDICTS

__all__ = [
    "Detector",
    "Evidence",
    "EvidenceLevel",
    "Inputs",
    "Lookback",
    "Thresholds",
    "graded",
    "limit",
    "limits",
    "strongest",
    "verdicts",
]

EvidenceLevel = Literal["trades", "L1", "L2", "derived", "feed"]
"""What a verdict rests on: executions, best bid and ask, book, other judgements, or how data arrives."""

Evidence = Mapping[str, Any]  # JSON values: what a row of the struct column `evidence` holds


class Thresholds(BaseModel, frozen=True, extra="forbid"):
    """What config/surveillance.yaml may set for a detector; a detector's own class adds its numbers."""

    enabled: bool = True
    cool_down_s: float = Field(default=300.0, ge=5, le=1800)
    """Windows that fire no further apart are one alert."""

    @classmethod
    def numbers(cls) -> tuple[str, ...]:
        """The names of the detector's own thresholds."""
        return tuple(name for name in cls.model_fields if name not in Thresholds.model_fields)


@dataclass(frozen=True, slots=True)
class Lookback:
    """How far before a window a verdict depends on each relation; zero: on the rows of the window itself.

    It bounds what a micro-batch reads, and how far late facts have windows judged again: of correlations,
    which are wide and look back for 23 minutes themselves, take little; of windows what the rule needs.
    """

    windows: timedelta = timedelta(0)
    features: timedelta = timedelta(0)
    correlations: timedelta = timedelta(0)
    scores: timedelta = timedelta(0)

    def wider(self, other: Lookback) -> Lookback:
        """What covers both.

        >>> Lookback(windows=timedelta(hours=1)).wider(Lookback(scores=timedelta(seconds=5))).windows
        datetime.timedelta(seconds=3600)
        """
        return Lookback(
            max(self.windows, other.windows),
            max(self.features, other.features),
            max(self.correlations, other.correlations),
            max(self.scores, other.scores),
        )


@dataclass(frozen=True)
class Inputs:
    """The past. Each frame covers [start - its part of the look-back, end), as far as there are rows.

    Two dozen detectors ask for the same of it: that is made once.
    """

    windows: pl.DataFrame  # schema.WINDOWS; of those before start, what schema.PAST_WINDOWS has
    features: pl.DataFrame  # schema.FEATURES
    correlations: pl.DataFrame  # schema.CORRELATIONS
    scores: pl.DataFrame  # schema.SCORES
    instruments: pl.DataFrame  # schema.INSTRUMENTS
    start: datetime
    end: datetime
    completeness_floor: float

    @cached_property
    def judged_windows(self) -> pl.DataFrame:
        """The windows that are to be judged: those in [start, end)."""
        return self.judged(self.windows)

    @cached_property
    def judged_features(self) -> pl.DataFrame:
        """Their features."""
        return self.judged(self.features)

    @cached_property
    def judged_pairs(self) -> pl.DataFrame:
        """Their correlations, one row a pair and window."""
        return self.judged(self.correlations).explode(
            "instrument_a", "instrument_b", "correlation", "correlation_slow"
        )

    def judged(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of the windows that are to be judged."""
        return frame.filter(self._is_judged)

    def grid(self, lookback: timedelta) -> Grid:
        """The grid of all instruments that have windows over [start - lookback, end), of one relation's
        look-back."""
        return self._judged_grid.over(self.start - lookback, self.end)

    def of_windows(self, grid: Grid, names: Sequence[str]) -> Mapping[str, Floats]:
        """Columns of the windows as matrices of a grid of `grid()`, read-only: other detectors share them."""
        return {name: self._window_sheet.column(name, grid.columns) for name in names}

    def of_features(self, grid: Grid, names: Sequence[str]) -> Mapping[str, Floats]:
        """Columns of the features, likewise."""
        return {name: self._feature_sheet.column(name, grid.columns) for name in names}

    def broken(self, grid: Grid) -> Flags:
        """Where there is no window, or one less whole than the floor: nothing before it is anybody's past."""
        return ending(self._broken, grid.columns, True)

    def unbroken(self, grid: Grid, length: int, columns: int) -> Flags:
        """Of the last `columns` windows: whether none of it and the `length` - 1 before it is broken."""
        return unbroken(self.broken(grid), length, columns)

    @cached_property
    def _is_judged(self) -> pl.Expr:
        return pl.col("window_start").is_between(self.start, self.end, closed="left")

    @cached_property
    def _judged_grid(self) -> Grid:
        return Grid.spanning(self.windows["instrument_id"], self.start, self.end)

    @cached_property
    def _window_sheet(self) -> Sheet:
        return Sheet(self.windows, self._reach(self.windows))

    @cached_property
    def _feature_sheet(self) -> Sheet:
        return Sheet(self.features, self._reach(self.features))

    @cached_property
    def _broken(self) -> Flags:
        columns = self._reach(self.windows).columns
        less_whole = self._window_sheet.column("completeness", columns) < self.completeness_floor
        return ~self._window_sheet.present(columns) | less_whole

    def _reach(self, frame: pl.DataFrame) -> Grid:
        """The grid as far back as the frame goes."""
        first = frame["window_start"].min()
        assert first is None or isinstance(first, datetime)
        return self._judged_grid.over(self.end if first is None else min(first, self.end), self.end)


@dataclass(frozen=True, slots=True)
class Detector:
    """One rule: what it is called and needs, what it says of windows, and how it says it to people."""

    name: str
    """The abuse or break, as in config/surveillance.yaml and `surveillance.alerts.detector`."""
    version: int
    """1, 2, … It grows when the rule's meaning does: an alert's identity includes it."""
    evidence_level: EvidenceLevel
    """What a verdict rests on."""
    thresholds: type[Thresholds]
    """The class of its thresholds, with their defaults and meaning."""
    detect: Callable[[Inputs, pl.DataFrame], pl.DataFrame]
    """What it says of the windows of [inputs.start, inputs.end): `verdicts(...)`.

    It is given the judged past, and its thresholds: one row an instrument for which it is enabled, with
    instrument_id and a column `limit(name)` for each. It answers with at most one row an instrument and
    window. A window of which nothing can be said (warming up, nothing traded) has no row; one that is in
    order may have none. A verdict depends on nothing outside [window - lookback, window] of each relation,
    and not on inputs.start.
    """
    summary: Callable[[str, Evidence], str]
    """One sentence with the numbers that fired, of the instrument's canonical symbol and the finding: score,
    threshold, and the fields of `evidence`."""
    lookback: Lookback = Lookback()
    """How far before a window its verdict depends on the frames of `Inputs`, each by itself."""


def limit(name: str) -> str:
    """The column of a threshold in the frame a detector is given.

    >>> limit("price_z")
    'limit:price_z'
    """
    return f"limit:{name}"


def limits(thresholds: pl.DataFrame, grid: Grid, name: str) -> Floats:
    """A threshold as a column over the instruments of the grid; NaN where the detector is switched off."""
    rows = grid.rows_of(thresholds["instrument_id"].to_numpy())
    own = np.full((len(grid.instrument_ids), 1), np.nan)
    own[rows[rows >= 0], 0] = thresholds[limit(name)].to_numpy()[rows >= 0]
    return own


def strongest(frame: pl.DataFrame, fires: pl.Expr, size: pl.Expr, tie: str) -> pl.DataFrame:
    """Of several rows an instrument and window that one which fires and is the greatest.

    Args:
        frame: with window_start and instrument_id.
        fires: a condition that cannot be told does not hold.
        size: what is compared among those that fire, and else among all.
        tie: the column of which the least is taken where sizes are equal.

    Returns:
        The rows, with a column `fires`.
    """
    by = ["window_start", "instrument_id"]
    return (
        frame.with_columns(fires.fill_null(False).alias("fires"))
        .sort(*by, "fires", size, tie, descending=[False, False, True, True, False], nulls_last=True)
        .unique(by, keep="first", maintain_order=True)
    )


def graded(critical: pl.Expr | str) -> pl.Expr:
    """The severity of a rule with two steps: critical where the condition holds, else a warning."""
    return pl.when(critical).then(pl.lit("critical")).otherwise(pl.lit("warning"))


def verdicts(
    frame: pl.DataFrame,
    *,
    score: pl.Expr,
    threshold: pl.Expr,
    severity: pl.Expr,
    fires: pl.Expr,
    evidence: pl.Expr,
) -> pl.DataFrame:
    """`schema.VERDICTS` and a struct column `evidence`, from a frame with instrument_id and window_start.

    Rows without a score are left out; a condition that cannot be told does not hold. The peak of an alert is
    its greatest score: of a measure that is grave where it is small, give how far it falls short.
    """
    said = frame.select(
        "instrument_id",
        "window_start",
        score.cast(pl.Float64).fill_nan(None).alias("score"),
        threshold.alias("threshold"),
        severity.alias("severity"),
        fires.fill_null(False).alias("fires"),
        evidence.alias("evidence"),
    ).filter(pl.col("score").is_not_null())
    return VERDICTS.conform(said).hstack([said["evidence"]])

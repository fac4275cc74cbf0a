"""systemic_decoupling: the market no longer moves as one.

What: of the matrix of correlations, the share of its greatest eigenvalue has fallen below half of what it
    is in the matrix of slow averages, which was above 0.5; in three windows running, over at least five
    instruments. The finding is of the instrument that usually carries most of the common movement.
Evidence level: derived (correlations of the mids of L1 quotes).
Blind: for 14 minutes after a start or a gap; with fewer than five instruments; to one instrument that leaves
    (`decoupling`).
Example: the common movement of 12 coins explains 71 % of theirs, and within minutes 22 %.
Source: Kritzman, Li, Page, Rigobon, "Principal Components as a Measure of Systemic Risk", 2011.

>>> numbers = {"share": 0.22, "usual_share": 0.71, "instruments": 12}
>>> SYSTEMIC_DECOUPLING.summary("BTC-USDT", numbers)
'BTC-USDT and 11 others: their common movement explains 22 % of the whole, usually 71 %'
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl
from pydantic import Field

from sentinet_dagster.surveillance.detectors.base import (
    Detector,
    Evidence,
    Inputs,
    Lookback,
    Thresholds,
    limit,
    verdicts,
)
from sentinet_dagster.surveillance.rolling import Floats
from sentinet_dagster.surveillance.schema import TIME, WINDOW

__all__ = ["SYSTEMIC_DECOUPLING"]

_HELD: Final = 3
_ROUNDING: Final = 1e-9
_LOOKBACK: Final = Lookback(correlations=(_HELD - 1) * WINDOW)


class SystemicDecouplingThresholds(Thresholds, frozen=True):
    """Of the instrument that carries most of the common movement."""

    usual_share: float = Field(default=0.5, gt=0, lt=1)
    fall: float = Field(default=0.5, gt=0, lt=1)
    """What of the usual share must be gone."""
    instruments: float = Field(default=5, ge=3)


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    """One row a window that may have fallen. The score is the share of the usual share that is gone."""
    enabled = thresholds["instrument_id"].sort().to_numpy()
    since = inputs.start - _LOOKBACK.correlations
    seen = inputs.correlations.filter(pl.col("window_start").is_between(since, inputs.end, closed="left"))
    pairs = [seen[name] for name in ("instrument_a", "instrument_b", "correlation", "correlation_slow")]
    least = _Least.of(thresholds)
    rows = [
        _market(start, [each[number].to_numpy() for each in pairs], enabled, least)
        for number, start in enumerate(seen["window_start"])
    ]
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "window_start": TIME, "instrument_id": pl.Int16, "instruments": pl.Int64,
        "share": pl.Float64, "usual_share": pl.Float64,
    }  # fmt: skip
    market = pl.DataFrame([row for row in rows if row], schema=schema, orient="row").sort("window_start")
    fallen = 1 - pl.col("share") / pl.col("usual_share")
    held = market.with_columns(fallen=fallen).with_columns(
        # The least of the last three windows, if there is one for each.
        held=pl.when(
            pl.col("window_start") - pl.col("window_start").shift(_HELD - 1) == (_HELD - 1) * WINDOW
        ).then(pl.col("fallen").rolling_min(_HELD))
    )
    return verdicts(
        inputs.judged(held).join(thresholds, on="instrument_id"),
        score=pl.col("held"),
        threshold=pl.col(limit("fall")),
        severity=pl.lit("critical"),
        fires=(pl.col("held") > pl.col(limit("fall")))
        & (pl.col("usual_share") > pl.col(limit("usual_share")))
        & (pl.col("instruments") >= pl.col(limit("instruments"))),
        evidence=pl.struct("share", "usual_share", "instruments"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    return (
        f"{symbol} and {finding['instruments'] - 1} others: their common movement explains "
        f"{100 * finding['share']:.0f} % of the whole, usually {100 * finding['usual_share']:.0f} %"
    )


@dataclass(frozen=True, slots=True)
class _Least:
    """What the most sensitive of the instruments asks for: with less than this none of them fires."""

    usual_share: float
    fall: float
    instruments: float

    @classmethod
    def of(cls, thresholds: pl.DataFrame) -> _Least:
        """Over everybody's thresholds."""
        return cls(*thresholds.select(pl.col(limit(name)).min() for name in cls.__slots__).row(0))

    def may_be_met(self, now: Floats, slow: Floats, instruments: int) -> bool:
        """Whether a matrix of these pairs may have lost so much: told without its eigenvalues.

        The greatest is at least what all pairs have in common on the mean, and at most the root of the sum
        of the matrix's squares. Most windows are told by that, at a fortieth of the price.
        """
        share_now = (instruments + 2 * now.sum()) / instruments**2
        usual_share = np.sqrt(instruments + 2 * np.square(slow).sum()) / instruments
        return bool(
            instruments >= self.instruments
            and usual_share > self.usual_share - _ROUNDING
            and share_now < (1 - self.fall) * usual_share + _ROUNDING
        )


def _market(
    start: datetime, pairs: list[np.ndarray], enabled: np.ndarray, least: _Least
) -> tuple[Any, ...] | None:
    """(window_start, who carries most, instruments, share now, usual share).

    None if a pair is not known, or if the market cannot have fallen.
    """
    a, b, now, slow = pairs
    known = ~(np.isnan(now) | np.isnan(slow)) & np.isin(a, enabled) & np.isin(b, enabled)
    ids = np.unique(np.concatenate([a[known], b[known]]))
    if len(ids) < 2 or np.count_nonzero(known) < len(ids) * (len(ids) - 1) // 2:
        return None
    if not least.may_be_met(now[known], slow[known], len(ids)):
        return None
    rows, columns = np.searchsorted(ids, a[known]), np.searchsorted(ids, b[known])
    matrices = np.broadcast_to(np.eye(len(ids)), (2, len(ids), len(ids))).copy()
    for matrix, values in zip(matrices, (now[known], slow[known]), strict=True):
        matrix[rows, columns] = matrix[columns, rows] = values
    values, vectors = np.linalg.eigh(matrices[1])
    carrier = int(ids[np.argmax(np.abs(vectors[:, -1]).round(9))])
    return start, carrier, len(ids), _greatest_share(matrices[0]), float(values[-1]) / len(ids)


def _greatest_share(matrix: Floats) -> float:
    return float(np.linalg.eigvalsh(matrix)[-1]) / len(matrix)


SYSTEMIC_DECOUPLING = Detector(
    name="systemic_decoupling",
    version=1,
    evidence_level="derived",
    lookback=_LOOKBACK,
    thresholds=SystemicDecouplingThresholds,
    detect=_detect,
    summary=_summary,
)

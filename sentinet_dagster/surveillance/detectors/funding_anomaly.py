"""funding_anomaly: holding a perpetual costs far more than it should, or than it just did.

What: the funding rate is beyond 0.1 % an interval (critical: 0.3 %) in either direction, or has moved by more
    than 0.05 % from its mean of the 20 minutes before.
Evidence level: derived (the venue's own rate).
Blind: in the first five minutes after a start or a gap, to a move; where no reference prices are taken; a
    venue may cap its rate below the limit.
Example: the funding rate of DOGE-USDT-PERP goes from 0.01 % to 0.14 % within minutes.
Source: exchanges' funding rules (an ordinary interval is 0.01 %); issue 6.

>>> FUNDING_ANOMALY.summary("DOGE-USDT-PERP", {"funding_rate": 0.0014, "usual_rate": 0.0001})
'DOGE-USDT-PERP funding rate 0.140 %, usually 0.010 %'
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from pydantic import Field

from sentinet_dagster.surveillance.detectors.base import (
    Detector,
    Evidence,
    Inputs,
    Lookback,
    Thresholds,
    graded,
    limit,
    verdicts,
)
from sentinet_dagster.surveillance.rolling import carry_forward, lagged_moments
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["FUNDING_ANOMALY"]

_PAST: Final = 240
_CARRY: Final = 12
_MIN_SAMPLES: Final = 30
_LOOKBACK: Final = Lookback(windows=(_PAST + _CARRY) * WINDOW)


class FundingAnomalyThresholds(Thresholds, frozen=True):
    """Fractions an interval."""

    rate: float = Field(default=0.001, gt=0)
    critical_rate: float = Field(default=0.003, gt=0)
    move: float = Field(default=0.0005, gt=0)


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    grid = inputs.grid(_LOOKBACK.windows)
    columns = grid.columns - _PAST - _CARRY
    broken = inputs.broken(grid)
    said = inputs.of_windows(grid, ["funding_rate"])["funding_rate"]
    rate = carry_forward(said, broken, _CARRY, columns + _PAST)
    past = lagged_moments(rate, broken[:, _CARRY:], _PAST, columns)
    usual = np.where(past.samples >= _MIN_SAMPLES, past.mean, np.nan)
    frame = grid.frame({"funding_rate": rate[:, _PAST:], "usual_rate": usual}, columns)
    size, move = pl.col("funding_rate").abs(), (pl.col("funding_rate") - pl.col("usual_rate")).abs()
    moved = (move > pl.col(limit("move"))).fill_null(False)
    high = size > pl.col(limit("rate"))
    critical = size > pl.col(limit("critical_rate"))
    return verdicts(
        frame.join(thresholds, on="instrument_id"),
        score=pl.when(high).then(size).otherwise(move).fill_null(size),
        threshold=pl.when(high | ~moved).then(limit("rate")).otherwise(limit("move")),
        severity=graded(critical),
        fires=high | moved,
        evidence=pl.struct("funding_rate", "usual_rate"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    usual = finding["usual_rate"]
    told = "" if usual is None else f", usually {100 * usual:.3f} %"
    return f"{symbol} funding rate {100 * finding['funding_rate']:.3f} %{told}"


FUNDING_ANOMALY = Detector(
    name="funding_anomaly",
    version=1,
    evidence_level="derived",
    lookback=_LOOKBACK,
    thresholds=FundingAnomalyThresholds,
    detect=_detect,
    summary=_summary,
)

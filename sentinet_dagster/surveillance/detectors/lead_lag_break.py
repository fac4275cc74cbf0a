"""lead_lag_break: of two markets of one asset, one comes later than it used to, or no longer leads.

What: two instruments of one base asset (two venues, or spot and perpetual) usually move the same way at a
    certain lag, 0 if both move in the same 5 s; in the last three minutes they do so at another lag, and
    hardly any more at the usual one. Moves are compared by direction alone, so that one large jump which
    happens to lie across two windows says nothing. The finding is of the instrument that now comes later.
Evidence level: derived (5 s returns of the mids of L1 quotes).
Blind: in the first 19 minutes after a start or a gap; to a lag that changes by less than 5 s, which is most
    of what arbitrage leaves, and to one of more than 30 s; to instruments that stand still in half of the
    windows.
Example: the quotes of BTC-USDT-PERP have followed spot within 5 s all day, and follow it after 15 s now: the
    venue is late, or somebody trades against those who look at it.
Source: Hoffmann, Rosenbaum, Yoshida, "Estimation of the Lead-Lag Parameter", 2013; Huth, Abergel, "High
    Frequency Lead/Lag Relationships", 2014; quadrant correlation: Blomqvist, 1950.

>>> numbers = {"mate": 1, "lag_s": 15, "usual_lag_s": 0, "agreement": 0.72, "usual_lag_agreement": 0.05}
>>> LEAD_LAG_BREAK.summary("BTC-USDT-PERP", numbers)
'BTC-USDT-PERP moves with instrument 1 15 s after it (agreement 0.72), usually at the same time (0.05 now)'
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
    limit,
    strongest,
    verdicts,
)
from sentinet_dagster.surveillance.detectors.pairs import pair_frame
from sentinet_dagster.surveillance.grid import Grid
from sentinet_dagster.surveillance.rolling import Floats, Ints, divided, lagged_sums
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["LEAD_LAG_BREAK"]

_NOW: Final = 36  # windows: three minutes
_USUAL: Final = 180  # 15 minutes, which end where the three begin
_MOST: Final = 6  # windows that one may come after the other
_LAGS: Final = np.arange(-_MOST, _MOST + 1)
_LOOKBACK: Final = Lookback(features=(_NOW + _USUAL + _MOST) * WINDOW)


class LeadLagBreakThresholds(Thresholds, frozen=True):
    """For a pair, those of the lesser instrument_id hold. Agreement: 1 always the same way, 0 by chance."""

    usual_agreement: float = Field(default=0.5, gt=0, lt=1)
    """At the usual lag, over 15 minutes."""
    agreement: float = Field(default=0.5, gt=0, lt=1)
    """At the new lag, over three minutes."""
    drop: float = Field(default=0.4, gt=0, lt=2)
    """What the usual lag's agreement of these minutes must fall short of the new one's."""


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    """Only windows of an instrument that has a mate have a row.

    The score is by how much the new lag's agreement exceeds the usual one's, in the last three minutes.
    """
    grid = inputs.grid(_LOOKBACK.features)
    pairs = _pairs(inputs, thresholds, grid)
    score = pl.col("agreement") - pl.col("usual_lag_agreement")
    known = _measured(inputs, grid, pairs).join(thresholds, left_on="instrument_a", right_on="instrument_id")
    warm = known.filter(pl.col("usual_agreement").is_not_null())
    moved = (
        (pl.col("lag_s") != pl.col("usual_lag_s"))
        & (pl.col("usual_agreement") > pl.col(limit("usual_agreement")))
        & (pl.col("agreement") > pl.col(limit("agreement")))
        & (score > pl.col(limit("drop")))
    )
    return verdicts(
        strongest(warm, moved, score, "mate"),
        score=score,
        threshold=pl.col(limit("drop")),
        severity=pl.lit("warning"),
        fires=pl.col("fires"),
        evidence=pl.struct(
            "mate", "lag_s", "usual_lag_s", "agreement", "usual_lag_agreement", "usual_agreement"
        ),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    return (
        f"{symbol} moves with instrument {finding['mate']} {_said(finding['lag_s'])} (agreement "
        f"{finding['agreement']:.2f}), usually {_said(finding['usual_lag_s'])} "
        f"({finding['usual_lag_agreement']:.2f} now)"
    )


def _said(lag_s: int) -> str:
    return "at the same time" if lag_s == 0 else f"{abs(lag_s)} s {'after' if lag_s > 0 else 'before'} it"


def _pairs(inputs: Inputs, thresholds: pl.DataFrame, grid: Grid) -> pl.DataFrame:
    """The rows (a, b) of two instruments of one base for which the detector is enabled; a before b."""
    there = pl.DataFrame({"instrument_id": grid.instrument_ids.astype(np.int16)}).with_row_index("row")
    known = inputs.instruments.join(there, on="instrument_id").join(
        thresholds, on="instrument_id", how="semi"
    )
    own = known.select("base", pl.col("row").cast(pl.Int64))
    return own.join(own, on="base", suffix="_b").filter(pl.col("row") < pl.col("row_b")).sort("row", "row_b")


def _measured(inputs: Inputs, grid: Grid, pairs: pl.DataFrame) -> pl.DataFrame:
    """One row a pair and window: the lags at which it moves together now and usually, and how much so."""
    a, b = pairs["row"].to_numpy(), pairs["row_b"].to_numpy()
    columns = grid.columns - _NOW - _USUAL - _MOST
    direction = np.sign(inputs.of_features(grid, ["return_bps"])["return_bps"])
    agreements = [_agreement(direction[a], direction[b], lag, columns) for lag in _LAGS.tolist()]
    now, usual = (np.stack(each) for each in zip(*agreements, strict=True))
    new, old = _best(now), _best(usual)
    # A positive lag says that b comes after a. Of the two that one is late whose place is later than it was.
    b_is_late = new > old
    own = np.where(b_is_late, 1, -1) * WINDOW.seconds
    said = {
        "lag_s": own * _LAGS[new],
        "usual_lag_s": own * _LAGS[old],
        "agreement": _at(now, new),
        "usual_lag_agreement": _at(now, old),
        "usual_agreement": _at(usual, old),
    }
    return pair_frame(grid, a, b, b_is_late, said)


def _best(agreement: Floats) -> Ints:
    """The place among the lags with the most agreement; of several that nearest to 0."""
    order = np.argsort(np.abs(_LAGS), kind="stable")
    known = np.where(np.isnan(agreement), -np.inf, agreement)[order]
    place: Ints = order[np.argmax(known, axis=0)]
    return place


def _at(agreement: Floats, place: Ints) -> Floats:
    taken: Floats = np.take_along_axis(agreement, place[None], axis=0)[0]
    return taken


def _agreement(a: Floats, b: Floats, lag: int, columns: int) -> tuple[Floats, Floats]:
    """How often b moves the way that a did `lag` windows before: in the last three minutes, and before them.

    NaN where a return is missing, or where one of the two stood still in half of the windows or more.
    """
    width = columns + _NOW + _USUAL
    later, earlier = _ended(b, max(-lag, 0), width), _ended(a, max(lag, 0), width)
    both, moves_a, moves_b = earlier * later, np.abs(earlier), np.abs(later)

    def over(length: int, until: int) -> Floats:
        sums = [lagged_sums(each[:, :until], length, columns) for each in (both, moves_a, moves_b)]
        enough = np.minimum(sums[1], sums[2]) > length / 2
        return np.where(enough, divided(sums[0], np.sqrt(sums[1] * sums[2])), np.nan)

    return over(_NOW, width), over(_USUAL, width - _NOW)


def _ended(values: Floats, lag: int, width: int) -> Floats:
    """The `width` columns that end `lag` columns before the last."""
    stop = values.shape[1] - lag
    return values[:, stop - width : stop]


LEAD_LAG_BREAK = Detector(
    name="lead_lag_break",
    version=1,
    evidence_level="derived",
    lookback=_LOOKBACK,
    thresholds=LeadLagBreakThresholds,
    detect=_detect,
    summary=_summary,
)

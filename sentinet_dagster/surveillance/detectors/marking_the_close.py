"""marking_the_close: a rush in the last minute, which moves the price that others will be settled at.

What: in the minute before the close more than three times the usual minute of the 20 before is traded, at
    least 70 % of it on one side, and the price moves that way by at least 20 bps and four standard deviations
    of what a minute usually does. The close is a time of day in a place, for each venue or instrument; where
    trading never ends, the end of the day by which others value: midnight UTC.
Evidence level: trades
Blind: in the first ten minutes after a start or a gap; to a close that is an auction; to holidays, on which a
    venue may close earlier; to a mark that is set over more than a minute.
Example: in the 40 s before midnight UTC AVAX-USDT is bought 6 times as much as usual and rises by 45 bps.
Source: ESMA, MAR indicators; Comerton-Forde and Putnins, "Measuring Closing Price Manipulation", 2011.

>>> numbers = {"move_bps": 45.0, "volume_ratio": 6.2, "side_share": 0.88, "close": "00:00 UTC"}
>>> MARKING_THE_CLOSE.summary("AVAX-USDT", numbers)
'AVAX-USDT moved by +45 bps in the minute before 00:00 UTC, on 6.2 times its usual volume, 88 % on one \
side: consistent with marking the close'
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from pydantic import Field

from sentinet_dagster.surveillance.closes import CLOSE_FORM, closes_between
from sentinet_dagster.surveillance.detectors.base import (
    Detector,
    Evidence,
    Inputs,
    Lookback,
    Thresholds,
    limit,
    verdicts,
)
from sentinet_dagster.surveillance.rolling import (
    carry_forward,
    divided,
    lagged_moments,
    lagged_sums,
    unbroken,
)
from sentinet_dagster.surveillance.schema import TIME, WINDOW

__all__ = ["MARKING_THE_CLOSE"]

_MINUTE: Final = 12
_PAST: Final = 240
_CARRY: Final = 12
_MIN_SAMPLES: Final = 120
_LOOKBACK: Final = Lookback(windows=(_MINUTE + _PAST + _CARRY) * WINDOW)


class MarkingTheCloseThresholds(Thresholds, frozen=True):
    """All must hold."""

    close: str = Field(default="00:00 UTC", pattern=CLOSE_FORM)
    """A time of day and a time zone, such as 16:00 America/New_York."""
    volume_ratio: float = Field(default=3.0, gt=1)
    side_share: float = Field(default=0.7, gt=0.5, lt=1)
    move_bps: float = Field(default=20.0, gt=0)
    move_sigmas: float = Field(default=4.0, gt=0)


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    """Only windows that end in the minute before a close have a row."""
    near = _near(inputs, thresholds)
    frame = _measured(inputs, near["instrument_id"]).join(near, on=["instrument_id", "window_start"])
    size = pl.col("move_bps").abs()
    return verdicts(
        frame.join(thresholds, on="instrument_id"),
        score=size,
        threshold=pl.col(limit("move_bps")),
        severity=pl.lit("warning"),
        fires=(size >= pl.col(limit("move_bps")))
        & (pl.col("move_sigmas") >= pl.col(limit("move_sigmas")))
        & (pl.col("volume_ratio") > pl.col(limit("volume_ratio")))
        & (pl.col("side_share") >= pl.col(limit("side_share"))),
        evidence=pl.struct("move_bps", "move_sigmas", "volume_ratio", "side_share", "close"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    return (
        f"{symbol} moved by {finding['move_bps']:+.0f} bps in the minute before {finding['close']}, on "
        f"{finding['volume_ratio']:.1f} times its usual volume, "
        f"{100 * finding['side_share']:.0f} % on one "
        "side: consistent with marking the close"
    )


def _near(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    """The windows of each instrument that end in the minute before a close."""
    rows = []
    for close in thresholds[limit("close")].unique().sort():
        for moment in closes_between(close, inputs.start, inputs.end + _MINUTE * WINDOW):
            rows += [(close, moment - number * WINDOW) for number in range(1, _MINUTE + 1)]
    # The grid of windows divides every time of day that a clock can show.
    windows = pl.DataFrame(rows, schema={limit("close"): pl.String, "window_start": TIME}, orient="row")
    near = thresholds.select("instrument_id", limit("close")).join(windows, on=limit("close"))
    return near.rename({limit("close"): "close"}).unique(["instrument_id", "window_start"])


def _measured(inputs: Inputs, instrument_ids: pl.Series) -> pl.DataFrame:
    """Of the instruments that have a close to come: most of the day there is none."""
    everybody = inputs.grid(_LOOKBACK.windows)
    rows = np.flatnonzero(np.isin(everybody.instrument_ids, instrument_ids.to_numpy()))
    grid = everybody.of(rows)
    columns = grid.columns - _MINUTE - _PAST - _CARRY
    seen = inputs.of_windows(everybody, ["close", "volume", "buy_volume", "sell_volume"])
    seen = {name: matrix[rows] for name, matrix in seen.items()}
    broken = inputs.broken(everybody)[rows]
    price = np.log(carry_forward(seen["close"], broken, _CARRY, columns + _MINUTE + _PAST))
    move = np.where(
        unbroken(broken, _MINUTE, columns),
        price[:, -columns:] - price[:, -columns - _MINUTE : -_MINUTE],
        np.nan,
    )
    early = slice(None, -_MINUTE)
    returns = np.diff(price, prepend=np.nan)
    past = lagged_moments(returns[:, early], broken[:, _CARRY:][:, early], _PAST, columns)
    usual = lagged_moments(seen["volume"][:, early], broken[:, early], _PAST, columns)
    sigma = np.where(past.samples >= _MIN_SAMPLES, past.deviation, np.nan) * np.sqrt(_MINUTE)
    volume, bought, sold = (
        lagged_sums(np.nan_to_num(seen[name]), _MINUTE, columns)
        for name in ("volume", "buy_volume", "sell_volume")
    )
    taken, usual_volume = np.where(move > 0, bought, sold), _MINUTE * usual.mean
    return grid.frame(
        {
            "move_bps": 1e4 * move,
            "move_sigmas": divided(np.abs(move), sigma),
            "volume_ratio": divided(volume, usual_volume),
            "side_share": divided(taken, bought + sold),
        },
        columns,
    )


MARKING_THE_CLOSE = Detector(
    name="marking_the_close",
    version=1,
    evidence_level="trades",
    lookback=_LOOKBACK,
    thresholds=MarkingTheCloseThresholds,
    detect=_detect,
    summary=_summary,
)

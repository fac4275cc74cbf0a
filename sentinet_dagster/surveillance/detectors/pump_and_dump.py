"""pump_and_dump: a rush of market orders walks the book upwards, most often at a full or half hour.

What: the price stands well above its mean of the five minutes before, and many buying orders of the last
    minute were so large that each took several resting orders at once (a *rush order*, seen as several
    executions in one millisecond). Organised pumps are announced for a full or half hour: within a minute of
    one less is asked for, and a jump far above every price of the hour before needs a single rush order only,
    because a coin that nobody quotes is lifted by few. At any other time the minute's buying must be several
    times that of any minute of the hour before as well.
Evidence level: trades
Blind: in the first five minutes after a start or a gap; to a pump that creeps over many minutes; to one that
    is bought with resting orders; on a feed that sums executions over time. Good news looks the same: the
    evidence says what happened, not why.
Example: 33 orders walk the book of VIA-BTC in the 20 s after 17:00:00, and it trades 12 % above its mean.
Source: La Morgia, Mei, Sassi, Stefa, "Pump and Dumps in the Bitcoin Era", 2020: the rush order is the
    strongest feature, and the clock one of them; Kamps, Kleinberg, "To the moon", 2018: price and volume
    beyond their own recent past. Thresholds: of the 126 labelled events of 2018 to 2020, cross-validated by
    time (docs/adr/0008-pump-and-dump.md).

>>> numbers = {"rise_bps": 1182.0, "buy_sweeps": 33.0, "buy_share": 0.93}
>>> PUMP_AND_DUMP.summary("LNB-USDT", numbers)
'LNB-USDT 1182 bps above its five-minute mean, 33 buying orders walked the book in a minute, 93 % bought: \
consistent with a pump'
"""

from __future__ import annotations

from datetime import timedelta
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
from sentinet_dagster.surveillance.rolling import (
    Flags,
    Floats,
    carry_forward,
    divided,
    lagged_greatest,
    lagged_moments,
    lagged_sums,
)
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["PUMP_AND_DUMP"]

_RUSH: Final = 12  # windows in which rush orders and buying are counted: a minute
_JUMP: Final = 3  # windows of the jump: 15 s
_MEAN: Final = 60  # windows of the price's mean before the jump: five minutes
_HOUR: Final = 720  # windows that price and buying are held against, and that a last price is good for
_MIN_PRICES: Final = 60  # the whole of the mean: a coin that is seen for the first time has no past
_MINUTE: Final = timedelta(minutes=1)
_LOOKBACK: Final = Lookback(windows=(_HOUR + _JUMP + _MEAN) * WINDOW)


class PumpAndDumpThresholds(Thresholds, frozen=True):
    """When a rush is more than ordinary."""

    rise_bps: float = Field(default=180.0, gt=0)
    """Price above its five-minute mean, always."""
    sweeps: float = Field(default=20, ge=1)
    """Rush orders in a minute, at any time of the hour."""
    volume_ratio: float = Field(default=4.0, ge=1)
    """That minute's buying over the greatest of any minute of the hour before, at any time."""
    scheduled_sweeps: float = Field(default=11, ge=1)
    """Rush orders in a minute, within a minute of a full or half hour."""
    scheduled_jump_bps: float = Field(default=350.0, gt=0)
    """Price above every one of the hour before, which a single rush order is enough for, likewise."""
    critical_rise_bps: float = Field(default=1000.0, gt=0)


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    rise, sweeps = pl.col("rise_bps"), pl.col("buy_sweeps")
    outbought = pl.col("buy_volume") > pl.col(limit("volume_ratio")) * pl.col("greatest_buy_volume")
    rushed = sweeps >= pl.col(limit("scheduled_sweeps"))
    jumped = (pl.col("jump_bps") > pl.col(limit("scheduled_jump_bps"))) & (sweeps > 0)
    scheduled = pl.col("is_scheduled") & (rushed | jumped)
    return verdicts(
        _measured(inputs).join(thresholds, on="instrument_id"),
        score=rise,
        threshold=pl.col(limit("rise_bps")),
        severity=graded(rise > pl.col(limit("critical_rise_bps"))),
        fires=(rise > pl.col(limit("rise_bps")))
        & (scheduled | ((sweeps >= pl.col(limit("sweeps"))) & outbought)),
        evidence=pl.struct(
            "rise_bps",
            "jump_bps",
            "buy_sweeps",
            "buy_share",
            "buy_volume",
            "greatest_buy_volume",
            "is_scheduled",
        ),
    )


def _measured(inputs: Inputs) -> pl.DataFrame:
    grid = inputs.grid(_LOOKBACK.windows)
    columns = grid.columns - _HOUR - _JUMP - _MEAN
    values = inputs.of_windows(grid, ["close", "buy_volume", "sell_volume", "buy_sweep_count"])
    close, broken = values["close"], inputs.broken(grid)
    price = carry_forward(close, broken, _HOUR, columns + _JUMP + _MEAN)
    highest = lagged_greatest(close[:, :-_JUMP], _HOUR - _JUMP, columns)
    bought = lagged_sums(values["buy_volume"], _RUSH, columns + _HOUR)
    now, sold = bought[:, -columns:], lagged_sums(values["sell_volume"], _RUSH, columns)
    frame = grid.frame(
        {
            "rise_bps": 1e4 * _rise(price, broken, columns),
            "jump_bps": 1e4 * (price[:, -columns:] / highest - 1),
            "buy_sweeps": lagged_sums(np.nan_to_num(values["buy_sweep_count"]), _RUSH, columns),
            "buy_share": divided(now, now + sold),
            "buy_volume": now,
            "greatest_buy_volume": lagged_greatest(bought[:, :-_RUSH], _HOUR - _RUSH, columns),
        },
        columns,
    )
    ends = pl.col("window_start") + WINDOW
    near = (ends - ends.dt.round("30m")).abs() <= _MINUTE
    return frame.with_columns(near.alias("is_scheduled"))


def _summary(symbol: str, finding: Evidence) -> str:
    return (
        f"{symbol} {finding['rise_bps']:.0f} bps above its five-minute mean, {finding['buy_sweeps']:.0f} "
        f"buying orders walked the book in a minute, {100 * finding['buy_share']:.0f} % bought: "
        "consistent with a pump"
    )


def _rise(price: Floats, broken: Flags, columns: int) -> Floats:
    """The last price over the mean of the five minutes before the jump, less 1."""
    broken = broken[:, -price.shape[1] :]
    past = lagged_moments(price[:, : 1 - _JUMP], broken[:, : 1 - _JUMP], _MEAN, columns)
    mean = np.where(past.samples >= _MIN_PRICES, past.mean, np.nan)
    rise: Floats = price[:, -columns:] / mean - 1
    return rise


PUMP_AND_DUMP = Detector(
    name="pump_and_dump",
    version=4,
    evidence_level="trades",
    lookback=_LOOKBACK,
    thresholds=PumpAndDumpThresholds,
    detect=_detect,
    summary=_summary,
)

"""wash_trading: volume that undoes itself and moves nothing.

What: of the volume of the last minute more than 60 % is in pairs of equal size and opposite sides, at most a
    second apart, 20 trades at least; that is more than twice the usual share of the 20 minutes before; and
    the price has moved by less than 5 bps.
Evidence level: trades
Blind: in the first ten minutes after a start or a gap; to partners that vary their sizes or take their time;
    to a coin that is washed all the time, whose usual share is high; trades of round sizes pair by chance,
    which the usual share accounts for. A feed is anonymous: it never says who.
Example: 140 trades of KSB-USDT in a minute, 96 % of the volume sold and bought again, price unchanged.
Source: Cong, Li, Tang, Yang, "Crypto Wash Trading", 2023; ESMA, MAR indicators of wash trades.

>>> numbers = {"matched_share": 0.93, "usual_share": 0.05, "matched_trades": 140.0, "move_bps": 0.4}
>>> WASH_TRADING.summary("KSB-USDT", numbers)
'KSB-USDT 93 % of a minute in pairs that undo each other (140 trades, usually 5 %), price moved 0.4 bps: \
consistent with wash trading'
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
    verdicts,
)
from sentinet_dagster.surveillance.rolling import divided, lagged_range, lagged_sums
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["WASH_TRADING"]

_MINUTE: Final = 12
_PAST: Final = 240
_LOOKBACK: Final = Lookback(windows=(_MINUTE + _PAST) * WINDOW)


class WashTradingThresholds(Thresholds, frozen=True):
    """All must hold."""

    matched_share: float = Field(default=0.6, gt=0, lt=1)
    matched_trades: float = Field(default=20, ge=2)
    share_ratio: float = Field(default=2.0, ge=1)
    """Over the usual share."""
    move_bps: float = Field(default=5.0, gt=0)
    """The price's range over the minute must be less."""


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    grid = inputs.grid(_LOOKBACK.windows)
    columns = grid.columns - _MINUTE - _PAST
    seen = inputs.of_windows(grid, ["volume", "matched_volume", "matched_count", "close"])
    broken = inputs.broken(grid)
    whole = ~broken & ~np.isnan(seen["volume"])
    volume = np.where(whole, seen["volume"], 0.0)
    matched = np.where(whole, seen["matched_volume"], 0.0)
    minute, in_pairs = lagged_sums(volume, _MINUTE, columns), lagged_sums(matched, _MINUTE, columns)
    early = slice(None, -_MINUTE)
    past = lagged_sums(volume[:, early], _PAST, columns)
    past_share = divided(lagged_sums(matched[:, early], _PAST, columns), past)
    # Ten minutes must have been seen: of less nobody knows what is usual.
    is_known = lagged_sums(whole[:, early].astype(np.float64), _PAST, columns) >= _PAST / 2
    close, moved = seen["close"], lagged_range(seen["close"], broken, _MINUTE, columns)
    frame = grid.frame(
        {
            "matched_share": divided(in_pairs, minute),
            "usual_share": np.where(is_known, np.nan_to_num(past_share), np.nan),
            "matched_trades": lagged_sums(np.nan_to_num(seen["matched_count"]), _MINUTE, columns),
            "move_bps": 1e4 * moved / close[:, -columns:],
        },
        columns,
    )
    share = pl.col("matched_share")
    return verdicts(
        frame.join(thresholds, on="instrument_id"),
        score=pl.when(pl.col("usual_share").is_not_null()).then(share),
        threshold=pl.col(limit("matched_share")),
        severity=pl.lit("warning"),
        fires=(share > pl.col(limit("matched_share")))
        & (share > pl.col(limit("share_ratio")) * pl.col("usual_share"))
        & (pl.col("matched_trades") >= pl.col(limit("matched_trades")))
        & (pl.col("move_bps") < pl.col(limit("move_bps"))),
        evidence=pl.struct("matched_share", "usual_share", "matched_trades", "move_bps"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    return (
        f"{symbol} {100 * finding['matched_share']:.0f} % of a minute in pairs that undo each other "
        f"({finding['matched_trades']:.0f} trades, usually {100 * finding['usual_share']:.0f} "
        "%), price moved "
        f"{finding['move_bps']:.1f} bps: consistent with wash trading"
    )


WASH_TRADING = Detector(
    name="wash_trading",
    version=1,
    evidence_level="trades",
    lookback=_LOOKBACK,
    thresholds=WashTradingThresholds,
    detect=_detect,
    summary=_summary,
)

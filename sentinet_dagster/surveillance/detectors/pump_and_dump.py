"""pump_and_dump: a rush of buying lifts the price out of the instrument's own past.

What: over the last 15 seconds takers buy far more than they sell, trade several times what they traded in
    the five minutes before, and the price is up by more than its own wandering in those minutes explains.
    That past is measured by medians, so that an earlier pump does not make the next one ordinary.
Evidence level: trades (with the mid of the quotes as the price).
Blind: in the first 2.5 minutes after a start or a gap; to a pump that creeps over many minutes; to one
    that is bought with resting orders. Good news looks the same: the evidence says what happened, not
    why.
Example: LNB-USDT is bought at fourteen times its usual rate and rises by 5 % in half a minute.
Source: La Morgia, Mei, Sassi, Stefa, "Pump and Dumps in the Bitcoin Era", 2020: volume and price against
    their own moving past; Kamps, Kleinberg, "To the moon", 2018.

>>> PUMP_AND_DUMP.summary("LNB-USDT", {"rise_bps": 182.0, "buy_share": 0.93, "volume_ratio": 11.4})
'LNB-USDT up 182 bps in 15 s on 11.4 times its usual volume, 93 % of it bought: consistent with a pump'
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from pydantic import Field

from sentinet_dagster.surveillance.detectors.base import (
    Evidence,
    EvidenceLevel,
    Inputs,
    Lookback,
    Thresholds,
    limit,
    verdicts,
)
from sentinet_dagster.surveillance.rolling import Flags, Floats, lagged_medians, lagged_moments, lagged_sums
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["PUMP_AND_DUMP"]

_RUSH = 3  # windows: 15 s
_PAST = 60  # windows before those: 5 minutes
_MIN_PAST = 30
_MEDIAN_TO_SIGMA = 1.4826  # of |x|, where x is normal
_LEAST_SIGMA_BPS = 1.0  # a price that hardly ever changes is not infinitely surprised by a tick


class PumpAndDumpThresholds(Thresholds, frozen=True):
    """All must be exceeded."""

    buy_share: float = Field(default=0.7, gt=0.5, lt=1)
    volume_ratio: float = Field(default=3.0, gt=1)
    """Volume of the 15 s over that of 15 s at the median rate of the five minutes before."""
    rise_bps: float = Field(default=50.0, gt=0)
    rise_sigmas: float = Field(default=6.0, gt=0)
    """The rise over the standard deviation of 15 s, from the median of the returns before."""
    critical_rise_bps: float = Field(default=300.0, gt=0)


@dataclass(frozen=True, slots=True)
class PumpAndDump:
    """The detector; see the module."""

    name: str = "pump_and_dump"
    version: int = 1
    evidence_level: EvidenceLevel = "trades"
    lookback: Lookback = Lookback(windows=(_RUSH + _PAST) * WINDOW, features=(_RUSH + _PAST) * WINDOW)
    thresholds: type[Thresholds] = PumpAndDumpThresholds

    def detect(self, inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
        """See `Detector`."""
        rise = pl.col("rise_bps")
        severity = pl.when(rise > pl.col(limit("critical_rise_bps"))).then(pl.lit("critical"))
        return verdicts(
            self._measured(inputs).join(thresholds, on="instrument_id"),
            score=rise,
            threshold=pl.col(limit("rise_bps")),
            severity=severity.otherwise(pl.lit("warning")),
            fires=(pl.col("buy_share") > pl.col(limit("buy_share")))
            & (pl.col("volume_ratio") > pl.col(limit("volume_ratio")))
            & (rise > pl.col(limit("rise_bps")))
            & (pl.col("rise_sigmas") > pl.col(limit("rise_sigmas"))),
            evidence=pl.struct(
                "rise_bps", "rise_sigmas", "buy_share", "volume_ratio", "buy_volume", "sell_volume"
            ),
        )

    def _measured(self, inputs: Inputs) -> pl.DataFrame:
        grid = inputs.grid(self.lookback.windows)
        columns = grid.columns - _RUSH - _PAST
        traded, _ = grid.matrices(inputs.windows, ["volume", "buy_volume", "sell_volume"])
        priced, _ = grid.matrices(inputs.features, ["return_bps"])
        bought = lagged_sums(traded["buy_volume"], _RUSH, columns)
        sold = lagged_sums(traded["sell_volume"], _RUSH, columns)
        rise = lagged_sums(priced["return_bps"], _RUSH, columns)
        # The past ends where the rush begins, two windows before the one that is judged.
        before = slice(None), slice(None, 1 - _RUSH)
        broken = inputs.broken(grid)[before]
        usual = _RUSH * _typical(traded["volume"][before], broken, columns)
        sigma = (
            np.sqrt(_RUSH)
            * _MEDIAN_TO_SIGMA
            * _typical(np.abs(priced["return_bps"][before]), broken, columns)
        )
        total, volume = bought + sold, lagged_sums(traded["volume"], _RUSH, columns)
        measured = {
            "rise_bps": np.where(np.isnan(sigma), np.nan, rise),
            "rise_sigmas": rise / np.maximum(sigma, _LEAST_SIGMA_BPS),
            "buy_share": np.divide(bought, total, out=np.full(total.shape, np.nan), where=total > 0),
            "volume_ratio": np.divide(volume, usual, out=np.full(usual.shape, np.nan), where=usual > 0),
            "buy_volume": bought,
            "sell_volume": sold,
        }
        return grid.frame(measured, columns)

    def summary(self, symbol: str, finding: Evidence) -> str:
        """See `Detector`."""
        return (
            f"{symbol} up {finding['rise_bps']:.0f} bps in 15 s on {finding['volume_ratio']:.1f} times its "
            f"usual volume, {100 * finding['buy_share']:.0f} % of it bought: consistent with a pump"
        )


def _typical(values: Floats, broken: Flags, columns: int) -> Floats:
    """The median of the past; its mean where most of it is 0, as between the rare trades of a small coin."""
    median = lagged_medians(values, broken, _PAST, _MIN_PAST, columns)
    mean = lagged_moments(values, broken, _PAST, columns).mean
    return np.where(median == 0, mean, median)


PUMP_AND_DUMP = PumpAndDump()

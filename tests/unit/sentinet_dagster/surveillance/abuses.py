"""A calm market with one abuse or break in its windows, for each detector that no script plays it for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any, Final

import numpy as np
import polars as pl

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.correlation import build_correlations
from sentinet_dagster.surveillance.features import build_features
from sentinet_dagster.surveillance.schema import TIME, WINDOW
from tests.unit.sentinet_dagster.surveillance.facts import START
from tests.unit.sentinet_dagster.surveillance.simulation import CALM_FROM, Judged, instruments, windows

__all__ = ["ABUSES", "AT", "UNTIL", "Scene", "judged"]

AT: Final = START + timedelta(minutes=66)
"""When each of them begins."""
UNTIL: Final = AT + timedelta(minutes=21)

_MINUTE: Final = timedelta(minutes=1)
_OWN: Final = 1  # the instrument of the scene, if nothing else is said
_PRICES: Final = ("open", "high", "low", "close", "vwap", "mid_close")
_QUOTED: Final = ("mid_close", "spread_bps_mean", "spread_bps_min", "spread_bps_max", "imbalance_mean")
_Change = Mapping[str, pl.Expr | float | int | None]


def _as_it_is(frame: pl.DataFrame) -> pl.DataFrame:
    return frame


@dataclass(frozen=True)
class Scene:
    """What differs from the calm market, and where it must be found."""

    usual: _Change = field(default_factory=dict)
    """In all windows of `instrument_ids`, before the abuse too."""
    abuse: _Change = field(default_factory=dict)
    lasts: timedelta = _MINUTE
    instrument_ids: tuple[int, ...] = (_OWN,)
    found_on: tuple[int, ...] = (_OWN,)
    found_within: timedelta = 2 * _MINUTE
    settings: Mapping[str, Any] = field(default_factory=dict)
    rewrite: Callable[[pl.DataFrame], pl.DataFrame] = _as_it_is
    """What cannot be said column by column."""
    known: Callable[[pl.DataFrame], pl.DataFrame] = _as_it_is
    """The instruments, if they must differ."""

    def windows(self) -> pl.DataFrame:
        """From CALM_FROM to UNTIL."""
        calm = windows().filter(pl.col("window_start").is_between(CALM_FROM, UNTIL, closed="left"))
        own = pl.col("instrument_id").is_in(self.instrument_ids)
        now = own & pl.col("window_start").is_between(AT, AT + self.lasts, closed="left")
        return _changed(self.rewrite(_changed(calm, own, self.usual)), now, self.abuse)

    def instruments(self) -> pl.DataFrame:
        """schema.INSTRUMENTS."""
        return self.known(instruments())


def judged(windows: pl.DataFrame, of_pairs: bool = False) -> Judged:
    """Windows of [CALM_FROM, UNTIL) through features and, if asked, correlations."""
    features = build_features(windows, CALM_FROM, UNTIL)
    correlations = build_correlations(features, CALM_FROM, UNTIL) if of_pairs else schema.CORRELATIONS.empty()
    return Judged(windows, features, correlations, schema.SCORES.empty())


def _changed(frame: pl.DataFrame, where: pl.Expr, change: _Change) -> pl.DataFrame:
    return frame.with_columns(
        pl.when(where)
        .then(value if isinstance(value, pl.Expr) else pl.lit(value))
        .otherwise(pl.col(name))
        .cast(frame.schema[name])
        .alias(name)
        for name, value in change.items()
    )


def _times(factor: pl.Expr | float, names: tuple[str, ...] = _PRICES) -> dict[str, pl.Expr]:
    return {name: pl.col(name) * factor for name in names}


def _since() -> pl.Expr:
    """Windows since the abuse began."""
    return (pl.col("window_start") - pl.lit(AT, dtype=TIME)) / WINDOW


def _traded(factor: float) -> dict[str, pl.Expr]:
    return _times(factor, ("volume", "buy_volume", "sell_volume", "notional", "trade_count"))


def _three_venues(known: pl.DataFrame) -> pl.DataFrame:
    """Instruments 1 to 4 are one, at four venues."""
    first = known.filter(instrument_id=1)
    same = pl.col("instrument_id") <= 4
    return known.with_columns(
        *(
            pl.when(same).then(pl.lit(first[name][0])).otherwise(name).alias(name)
            for name in ("kind", "base", "quote")
        ),
        pl.when(same).then(pl.format("venue{}", "instrument_id")).otherwise("venue").alias("venue"),
    )


def _same_prices(frame: pl.DataFrame) -> pl.DataFrame:
    """Instruments 2 to 4 have the prices of the first."""
    first = frame.filter(instrument_id=1).select(
        "window_start", *(pl.col(name).alias(f"{name}_1") for name in _PRICES)
    )
    same = pl.col("instrument_id").is_between(2, 4)
    return (
        frame.join(first, on="window_start", how="left", maintain_order="left")
        .with_columns(pl.when(same).then(f"{name}_1").otherwise(name).alias(name) for name in _PRICES)
        .drop(f"{name}_1" for name in _PRICES)
    )


def _each_its_own_way(frame: pl.DataFrame) -> pl.DataFrame:
    """From AT on every instrument wanders by itself."""
    random = np.random.default_rng(7)
    after = pl.col("window_start") >= AT
    ordered = {"order_by": "window_start"}
    own = pl.col("mid_close").filter(~after).last().over("instrument_id", **ordered)
    factor = (1 + pl.col("step")).cum_prod().over("instrument_id", **ordered)
    stepped = frame.with_columns(
        step=pl.when(after).then(pl.Series(random.normal(0, 1e-3, len(frame)))).otherwise(0.0)
    )
    return stepped.with_columns(mid_close=pl.when(after).then(own * factor).otherwise("mid_close")).drop(
        "step"
    )


@cache
def _number(symbol: str) -> int:
    return instruments().filter(symbol=symbol)["instrument_id"][0]


def _fifteen_seconds_late(frame: pl.DataFrame) -> pl.DataFrame:
    """From AT on the perpetual quotes what it quoted three windows before."""
    late = (pl.col("instrument_id") == _number("BTC-USDT-PERP")) & (pl.col("window_start") >= AT)
    before = pl.col("mid_close").shift(3).over("instrument_id", order_by="window_start")
    return frame.with_columns(mid_close=pl.when(late).then(before).otherwise("mid_close"))


_BOOK: Final = {
    "flow_seconds": 5,
    "bid_depth_10bps": 1e6,
    "ask_depth_10bps": 1e6,
    "bid_traded_near": 0.0,
    "ask_traded_near": 0.0,
    "bid_layers": 0,
    "ask_layers": 0,
    "bid_withdrawn_max": 0.0,
    "ask_withdrawn_max": 0.0,
    "bid_layered_max": 0.0,
    "ask_layered_max": 0.0,
}


ABUSES: Final[Mapping[str, Scene]] = {
    "basis_stress": Scene(
        abuse=_times(1.005),
        lasts=4 * _MINUTE,
        instrument_ids=(_number("BTC-USDT-PERP"),),
        found_on=(_number("BTC-USDT-PERP"),),
        found_within=4 * _MINUTE,
    ),
    "book_spoofing": Scene(
        usual=_BOOK,
        abuse={
            "bid_withdrawn_max": 4e5 / pl.col("mid_close"),
            "bid_withdrawn_life_s": 1.8,
            "ask_traded_near": 3.0,
        },
    ),
    "crossed_market": Scene(abuse={"spread_bps_min": -4.0}),
    "depth_stress": Scene(usual=_BOOK, abuse={"bid_depth_10bps": 4e4, "ask_depth_10bps": 6e4}),
    "favourable_execution": Scene(
        usual={"spread_bps_mean": 20.0, "spread_bps_std": 3.0, "imbalance_mean": 0.0},
        abuse={"spread_bps_mean": 3.0, "spread_bps_std": 0.5},
        lasts=2 * _MINUTE,
    ),
    "feed_gap": Scene(
        abuse={"gap_seconds": 5.0, "completeness": 0.0, "trade_completeness": 0.0, "book_completeness": 0.0}
    ),
    "feed_latency": Scene(abuse={"latency_ms_mean": pl.col("latency_ms_mean") + 600.0}),
    "flash_crash": Scene(abuse=_times(0.94)),
    "funding_anomaly": Scene(usual={"funding_rate": 1e-4}, abuse={"funding_rate": 2e-3}),
    "layering": Scene(
        usual=_BOOK,
        abuse={"ask_layered_max": 5e5 / pl.col("mid_close"), "ask_layers": 5, "bid_traded_near": 3.0},
    ),
    "lead_lag_break": Scene(
        rewrite=_fifteen_seconds_late,
        found_on=(_number("BTC-USDT-PERP"),),
        found_within=4 * _MINUTE,
    ),
    "marking_the_close": Scene(
        abuse={
            **_times(1 + 0.0003 * (_since() + 1)),
            **_traded(8.0),
            "buy_volume": 7.5 * pl.col("volume"),
            "sell_volume": 0.5 * pl.col("volume"),
        },
        settings={"close": (AT + _MINUTE).strftime("%H:%M UTC")},
        usual={"close": pl.col("mid_close")},
    ),
    "momentum_ignition": Scene(
        abuse={
            **_times(1 + 0.0015 * (_since() + 1)),
            "buy_volume": 20 * pl.col("volume") + 1,
            "sell_volume": 0.0,
            "buy_sweep_count": 4,
        },
        lasts=3 * WINDOW,
    ),
    "pair_divergence": Scene(abuse=_times(1.012), found_on=(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)),
    "price_spike": Scene(abuse=_times(1.08)),
    "quote_stuffing": Scene(abuse={"quote_count": 60 * pl.col("quote_count") + 500}),
    "ramping": Scene(
        usual={"close": pl.col("mid_close")},
        abuse={
            **_times(1 + 0.0001 * _since()),
            "buy_volume": 0.9 * pl.col("volume") + 1,
            "sell_volume": 0.1 * pl.col("volume"),
            "trade_count": 5,
        },
        lasts=21 * _MINUTE,
        found_within=21 * _MINUTE,
    ),
    "rsi_extreme": Scene(abuse=_times(1 + 0.0002 * _since()), lasts=16 * _MINUTE, found_within=16 * _MINUTE),
    "stale_quotes": Scene(abuse={**dict.fromkeys(_QUOTED), "quote_count": 0, "trade_count": 4}),
    "systemic_decoupling": Scene(
        rewrite=_each_its_own_way, found_on=tuple(range(1, 13)), found_within=6 * _MINUTE
    ),
    "venue_divergence": Scene(
        rewrite=_same_prices, known=_three_venues, instrument_ids=(2,), found_on=(2,), abuse=_times(1.006)
    ),
    "volume_spike": Scene(abuse=_traded(30.0), lasts=2 * _MINUTE),
    "wash_trading": Scene(
        usual={"close": pl.col("mid_close")},
        abuse={
            "close": pl.col("close").first().over("instrument_id"),
            "volume": 10.0,
            "matched_volume": 9.4,
            "matched_count": 12,
            "trade_count": 14,
        },
        lasts=2 * _MINUTE,
    ),
}

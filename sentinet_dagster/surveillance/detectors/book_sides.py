"""Orders that were placed near the touch and withdrawn untraded, while the other side of the book traded.

What lives here: what rules on such orders share: the two sides of a window, and the conditions on size and on
who traded. What never does: which orders a rule is about, and what else it asks of them.

Market makers place and withdraw all the time: on Binance nearly every window of BTC has an order of a fifth
of its side that lives for less than a second. So orders, and what is executed meanwhile, are held against
what is usual there: a decile of the windows of the five minutes before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl
from pydantic import Field

from sentinet_dagster.surveillance.detectors.base import (
    Inputs,
    Lookback,
    Thresholds,
    limit,
    strongest,
    verdicts,
)
from sentinet_dagster.surveillance.rolling import lagged_deciles
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["ORDER_LOOKBACK", "OrderThresholds", "judge_orders"]

_OF_A_SIDE = ("traded_near", "withdrawn_max", "withdrawn_life_s", "layered_max", "layers")
_SIDES = (("bid", "ask"), ("ask", "bid"))
_PAST: Final = 60  # windows
_MIN_SAMPLES: Final = 30

ORDER_LOOKBACK: Final = Lookback(windows=_PAST * WINDOW)
"""Of a detector that asks `judge_orders`."""


class OrderThresholds(Thresholds, frozen=True):
    """All must hold."""

    depth_share: float = Field(default=0.2, gt=0)
    """Of what rests on that side within 10 bps, mean over the window."""
    notional: float = Field(default=10_000.0, ge=0)
    opposite_ratio: float = Field(default=2.0, ge=1)
    """Executed against the other side, over executed against the orders' own."""


def judge_orders(
    inputs: Inputs,
    thresholds: pl.DataFrame,
    orders: str,
    past: Mapping[str, Sequence[int]],
    more: pl.Expr,
    shown: Sequence[str | pl.Expr],
) -> pl.DataFrame:
    """Verdicts on a window's orders: on those of the side with the most, where there are any.

    The score is the orders' share of their side's depth. Where nothing rests within 10 bps of the mid, as
    where the spread is wide, there is no share, and nothing is said.

    Args:
        thresholds: of a class that inherits from OrderThresholds.
        orders: the column with their size, base units: withdrawn_max or layered_max.
        past: columns of a side, each with the deciles of its past that are asked for; 10 is the greatest.
        more: what else must hold of them.
        shown: the columns that are evidence: side, withdrawn_max, withdrawn_life_s (seconds), layered_max,
            layers, notional, depth_share, traded_near and opposite_traded (base units executed near the touch
            against this side, and against the other); and of each name and decile of `past` name_d<decile>
            of this side and opposite_name_d<decile> of the other, null while it warms up.
    """
    usual = _usual(inputs, past)
    measured = (
        _sides(inputs.judged_windows.join(usual, on=["instrument_id", "window_start"]), past)
        .filter(pl.col(orders) > 0, pl.col("depth") > 0)
        .with_columns(notional=pl.col(orders) * pl.col("mid"))
        .with_columns(depth_share=pl.col("notional") / pl.col("depth"))
        .join(thresholds, on="instrument_id")
    )
    own = pl.col("traded_near").fill_null(0.0)
    fires = (
        (pl.col("depth_share") >= pl.col(limit("depth_share")))
        & (pl.col("notional") >= pl.col(limit("notional")))
        & (pl.col("opposite_traded") > pl.col(limit("opposite_ratio")) * own)
        & more
    )
    return verdicts(
        strongest(measured, fires, pl.col("depth_share"), "side"),
        score=pl.col("depth_share"),
        threshold=pl.col(limit("depth_share")),
        severity=pl.lit("warning"),
        fires=pl.col("fires"),
        evidence=pl.struct(*shown),
    )


def _usual(inputs: Inputs, past: Mapping[str, Sequence[int]]) -> pl.DataFrame:
    """What is usual at each side, in each window that is to be judged: <side>_<name>_d<decile>."""
    grid = inputs.grid(ORDER_LOOKBACK.windows)
    columns = grid.columns - _PAST
    broken = inputs.broken(grid)
    of_a_side = {f"{side}_{name}": deciles for side, _ in _SIDES for name, deciles in past.items()}
    seen = inputs.of_windows(grid, list(of_a_side))
    usual = {
        f"{name}_d{decile}": values
        for name, deciles in of_a_side.items()
        for decile, values in zip(
            deciles,
            lagged_deciles(seen[name], broken, _PAST, _MIN_SAMPLES, columns, deciles),
            strict=True,
        )
    }
    return grid.frame(usual, columns)


def _sides(windows: pl.DataFrame, past: Mapping[str, Sequence[int]]) -> pl.DataFrame:
    """Two rows a window whose book was seen whole for a second at least, and whose mid is known."""
    usual = [f"{name}_d{decile}" for name, deciles in past.items() for decile in deciles]
    seen = windows.filter(pl.col("flow_seconds") > 0, pl.col("mid_close") > 0)
    return pl.concat(
        seen.select(
            "instrument_id",
            "window_start",
            pl.lit(side).alias("side"),
            pl.col("mid_close").alias("mid"),
            *(pl.col(f"{side}_{name}").cast(pl.Float64).alias(name) for name in _OF_A_SIDE),
            pl.col(f"{side}_depth_10bps").alias("depth"),
            pl.col(f"{other}_traded_near").fill_null(0.0).alias("opposite_traded"),
            *(pl.col(f"{side}_{name}").alias(name) for name in usual),
            *(pl.col(f"{other}_{name}").alias(f"opposite_{name}") for name in usual),
        )
        for side, other in _SIDES
    )

"""Orders that were placed near the touch and withdrawn untraded, while the other side of the book traded.

What lives here: what rules on such orders share: the two sides of a window, and the conditions on size and on
who traded. What never does: which orders a rule is about, and what else it asks of them.

Market makers place and withdraw all the time: on Binance nearly every window of BTC has an order of a fifth
of its side that lives for less than a second. So orders are held against what is usual there.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from sentinet_dagster.surveillance.rolling import lagged_medians
from sentinet_dagster.surveillance.schema import WINDOW

__all__ = ["ORDER_LOOKBACK", "OrderThresholds", "judge_orders"]

_OF_A_SIDE = ("traded_near", "withdrawn_max", "withdrawn_life_s", "layered_max", "layers", "usual")
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
    usual_ratio: float = Field(default=3.0, ge=1)
    """Over the median of what was withdrawn so in the windows of the five minutes before."""


def judge_orders(
    inputs: Inputs, thresholds: pl.DataFrame, orders: str, more: pl.Expr, shown: Sequence[str]
) -> pl.DataFrame:
    """Verdicts on a window's orders: on those of the side with the most, where there are any.

    The score is the orders' share of their side's depth. Where nothing rests within 10 bps of the mid, as
    where the spread is wide, there is no share, and nothing is said.

    Args:
        thresholds: of a class that inherits from OrderThresholds.
        orders: the column with their size, base units: withdrawn_max or layered_max.
        more: what else must hold of them.
        shown: the columns that are evidence: side, withdrawn_max, withdrawn_life_s (seconds), layered_max,
            layers, notional, depth_share, usual (base units, the median that orders are held against),
            traded_near and opposite_traded (base units executed near the touch against this side, and against
            the other).
    """
    measured = (
        _sides(inputs.judged_windows.join(_usual(inputs, orders), on=["instrument_id", "window_start"]))
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
        & (pl.col(orders) > pl.col(limit("usual_ratio")) * pl.col("usual"))
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


def _usual(inputs: Inputs, orders: str) -> pl.DataFrame:
    """What is usual at each side, in each window that is to be judged: bid_usual and ask_usual, null while it
    warms up."""
    grid = inputs.grid(ORDER_LOOKBACK.windows)
    columns = grid.columns - _PAST
    broken = inputs.broken(grid)
    seen = inputs.of_windows(grid, [f"{side}_{orders}" for side, _ in _SIDES])
    usual = {
        f"{side}_usual": lagged_medians(seen[f"{side}_{orders}"], broken, _PAST, _MIN_SAMPLES, columns)
        for side, _ in _SIDES
    }
    return grid.frame(usual, columns)


def _sides(windows: pl.DataFrame) -> pl.DataFrame:
    """Two rows a window whose book was seen whole for a second at least, and whose mid is known."""
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
        )
        for side, other in _SIDES
    )

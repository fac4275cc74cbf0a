"""What happened at each side of the book, one row an instrument, window and side, for rules on orders.

What lives here: the shape that such rules share. What never does: a rule.
"""

from __future__ import annotations

import polars as pl

__all__ = ["book_sides"]

_OF_A_SIDE = ("cancelled_near", "traded_near", "withdrawn_max", "withdrawn_life_s", "layered_max", "layers")
_SIDES = (("bid", "ask"), ("ask", "bid"))


def book_sides(windows: pl.DataFrame) -> pl.DataFrame:
    """Two rows a window whose book was seen whole for a second at least, and whose mid is known.

    Args:
        windows: schema.WINDOWS.

    Returns:
        instrument_id, window_start, side ("bid" or "ask"), mid; of that side cancelled_near, traded_near,
        withdrawn_max, withdrawn_life_s, layered_max (base units, seconds) and layers; depth (quote currency
        within 10 bps); opposite_traded (base units executed near the touch against the other side).
    """
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

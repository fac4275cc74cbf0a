"""Book flows → columns of windows: what orders did near the touch, a side.

What lives here: the sums of `market.book_flows` over a window. What never does: telling what is placed,
withdrawn or traded (the ingest daemon did, at the book), thresholds.

A second that was seen in part counts in partial_flow_seconds and nowhere else: its cancellations may be
trades that were not seen. A second with both kinds of rows was seen whole by another session, and is whole.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from sentinet_dagster.surveillance.rolling import Flags, Floats, Ints, Runs, divided

__all__ = ["FLOW_ORDER", "flow_columns"]

FLOW_ORDER: Final = (10_000 * pl.col("side") + pl.col("distance_bps")).cast(pl.Int64)
"""What orders the flows of one second, as an id orders other facts of one time."""

_NEAR_BPS: Final = 10
_SECOND_US: Final = 1_000_000
_SIDES: Final = (("bid", 1), ("ask", -1))
_Columns = dict[str, npt.NDArray[Any]]


def flow_columns(flows: pl.DataFrame, places: Ints, size: int) -> _Columns:
    """The flow columns of `size` windows.

    Args:
        flows: schema.BOOK_FLOWS by (instrument_id, time, FLOW_ORDER).
        places: the window of each row.
        size: windows.

    Returns:
        By name of schema.WINDOWS; NaN where a window has no whole second with a flow of that side.
    """
    partial = flows["is_partial"].to_numpy()
    whole, of_whole = flows.filter(pl.Series(~partial)), places[~partial]
    columns: _Columns = _second_columns(flows["time"].to_physical().to_numpy(), partial, places, size)
    changes = whole["adds"].cast(pl.Int64).to_numpy() + whole["cancels"].cast(pl.Int64).to_numpy()
    columns["flow_changes"] = Runs(of_whole, size).total(changes)
    near = whole["distance_bps"].to_numpy() < _NEAR_BPS
    side = whole["side"].to_numpy()
    for name, number in _SIDES:
        mine = near & (side == number)
        columns |= {
            column.format(name): values
            for column, values in _side_columns(whole.filter(pl.Series(mine)), of_whole[mine], size).items()
        }
    return columns


def _second_columns(times: Ints, partial: Flags, places: Ints, size: int) -> _Columns:
    # Of one window a second has one number: five windows of five seconds never share one.
    seconds = places * 5 + times // _SECOND_US % 5
    whole = np.unique(seconds[~partial])
    cut = np.setdiff1d(seconds[partial], whole)
    return {
        "flow_seconds": np.bincount(whole // 5, minlength=size),
        "partial_flow_seconds": np.bincount(cut // 5, minlength=size),
    }


def _side_columns(flows: pl.DataFrame, places: Ints, size: int) -> _Columns:
    runs = Runs(places, size)

    def total(name: str) -> Floats:
        return np.where(runs.count() > 0, runs.total(flows[name].to_numpy()), np.nan)

    removed, cancelled = total("removed"), total("cancelled")
    withdrawn, life = _greatest_and(flows, "withdrawn", "withdrawn_life_us", runs, places)
    layered, layers = _greatest_and(flows, "layered", "layers", runs, places)
    return {
        "{}_added_near": total("added"),
        "{}_cancelled_near": cancelled,
        "{}_traded_near": total("traded"),
        "{}_cancel_share": divided(cancelled, removed),
        "{}_fleeting_near": total("fleeting"),
        "{}_withdrawn_max": withdrawn,
        "{}_withdrawn_life_s": life / 1e6,
        "{}_layered_max": layered,
        "{}_layers": layers,
    }


def _greatest_and(
    flows: pl.DataFrame, name: str, with_it: str, runs: Runs, places: Ints
) -> tuple[Floats, Floats]:
    """The greatest of a column a window, and the least of another in the rows that have it."""
    values = flows[name].to_numpy()
    greatest = runs.greatest(values)
    beside = flows[with_it].cast(pl.Float64).fill_null(np.inf).to_numpy()
    least = runs.least(np.where(values == greatest[places], beside, np.inf))
    return greatest, np.where(np.isinf(least), np.nan, least)

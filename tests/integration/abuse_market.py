"""Every detector's abuse in one market, as windows: over midnight, on instruments of its own.

The simulated market with its script, and beside it a copy of the instruments of each scene of `abuses.py`.
All of it is moved in time so that the scenes' first minute ends at midnight, where an hour ends and the usual
close of a day is.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Final

import numpy as np
import polars as pl

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.models import ModelInForce
from tests.unit.sentinet_dagster.surveillance import abuses, simulation

SHIFT: Final = timedelta(hours=12, minutes=53)
START: Final = simulation.START + SHIFT
AT: Final = abuses.AT + SHIFT
END: Final = simulation.END + SHIFT

_SYSTEMIC: Final = simulation.START + timedelta(minutes=21), simulation.START + timedelta(minutes=26)
_MATES: Final[Mapping[str, tuple[int, ...]]] = {
    "basis_stress": (1, 2),
    "lead_lag_break": (1, 2),
    "venue_divergence": (1, 2, 3, 4),
}
"""The instruments that a scene needs; else the first."""


@cache
def market() -> tuple[pl.DataFrame, pl.DataFrame]:
    """schema.INSTRUMENTS and schema.WINDOWS of [START, END)."""
    known, frames = [simulation.instruments()], [simulation.windows()]
    for name, scene in sorted(abuses.ABUSES.items()):
        if name == "systemic_decoupling":  # which needs all of them
            continue
        own, first = _MATES.get(name, (1,)), sum(map(len, known)) + 1
        numbers = dict(zip(own, range(first, first + len(own)), strict=True))
        known.append(_renamed(scene.instruments(), numbers, name))
        frames.append(_renumbered(_with_calm(scene.windows()), numbers))
    moved = pl.concat(frames).with_columns(pl.col("window_start") + SHIFT)
    windows = _each_its_own_way(moved, *(moment + SHIFT for moment in _SYSTEMIC))
    return pl.concat(known), schema.WINDOWS.conform(windows.sort("window_start", "instrument_id"))


@cache
def model() -> ModelInForce:
    """The model of the simulated instruments."""
    return simulation.model()


def _with_calm(scene: pl.DataFrame) -> pl.DataFrame:
    """A scene's windows, and before and after them what the simulated market was."""
    times = scene["window_start"].implode()
    return pl.concat([simulation.windows().filter(~pl.col("window_start").is_in(times)), scene])


def _renumbered(frame: pl.DataFrame, numbers: Mapping[int, int]) -> pl.DataFrame:
    own = frame.filter(pl.col("instrument_id").is_in(list(numbers)))
    return own.with_columns(pl.col("instrument_id").replace_strict(numbers, return_dtype=pl.Int16))


def _renamed(known: pl.DataFrame, numbers: Mapping[int, int], name: str) -> pl.DataFrame:
    """An asset of the scene's own, so that no other scene's instruments are held against it."""
    return _renumbered(known, numbers).with_columns(
        pl.format("{}-{}", pl.lit(name), "symbol").alias("symbol"),
        pl.format("{}-{}", pl.lit(name), "venue_symbol").alias("venue_symbol"),
        pl.format("{}-{}", pl.lit(name), "base").alias("base"),
    )


def _each_its_own_way(frame: pl.DataFrame, start: object, end: object) -> pl.DataFrame:
    """In [start, end) every price is its own noise, five basis points a window."""
    factor = 1 + 5e-4 * np.random.default_rng(7).standard_normal(len(frame))
    inside = pl.col("window_start").is_between(start, end, closed="left")
    noisy = pl.when(inside).then(pl.col("mid_close") * pl.Series(factor)).otherwise("mid_close")
    return frame.with_columns(mid_close=noisy)

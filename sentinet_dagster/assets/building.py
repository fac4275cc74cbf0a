"""Facts → windows of a range: what is read, which windows there are, one instrument alone.

What lives here: reading in parts, silence, and building the windows of some instruments beside those of the
others. What never does: arithmetic on market data (`surveillance/windows.py`), writing, deciding what is due.

A window exists only within SILENCE of a moment at which anything was heard of any instrument. So the windows
of one instrument depend on the others' in one way: whether they exist. Where this says no, or the others' are
not there, all are built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import polars as pl

from sentinet_dagster.partitions import SILENCE, slices
from sentinet_dagster.resources import Timescale
from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.windows import build_windows

__all__ = ["READ_AT_ONCE", "Built", "build", "build_for"]

READ_AT_ONCE: Final = timedelta(minutes=10)
"""Bounds the memory of a whole hour, millions of facts, and for how long live judgement waits for a
backfill."""


@dataclass(frozen=True, slots=True)
class Built:
    """Windows of a range, schema.WINDOWS; of all instruments, or of those that say so."""

    frame: pl.DataFrame
    instruments: Sequence[int] | None = None


def build(timescale: Timescale, start: datetime, end: datetime) -> Built:
    """The windows of [start, end), one query a relation for every ten minutes.

    Where nothing is heard at the start, the SILENCE before it is read as well: did anybody speak there?
    """
    frame = _windows(timescale, start, end)
    if start not in _heard(frame):
        frame = pl.concat([_windows(timescale, start - SILENCE, start), frame])
    return Built(_without_silence(frame).filter(pl.col("window_start") >= start))


def build_for(timescale: Timescale, instruments: Sequence[int], start: datetime, end: datetime) -> Built:
    """The windows of these instruments, from their facts and the stored windows of the others; or of all."""
    listed = timescale.read(schema.INSTRUMENTS, "instruments")
    mine = listed.filter(pl.col("instrument_id").is_in(instruments))
    stored = timescale.read(schema.WINDOWS, "windows", start=start - SILENCE, end=end)
    theirs = stored.filter(~pl.col("instrument_id").is_in(instruments))
    found = pl.concat([_windows(timescale, start - SILENCE, end, mine), theirs])
    judged = pl.col("window_start") >= start
    there = _without_silence(found).filter(judged)
    others = listed.filter(pl.col("is_active"))["instrument_id"].unique().to_list()
    others = [each for each in others if each not in instruments]
    kept = there.filter(pl.col("instrument_id").is_in(others))
    if (
        kept.height != there["window_start"].n_unique() * len(others)
        or kept.height != theirs.filter(judged).height
    ):
        return build(timescale, start, end)
    return Built(there.filter(pl.col("instrument_id").is_in(instruments)), instruments)


def _windows(
    timescale: Timescale, start: datetime, end: datetime, instruments: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Every window of [start, end), heard or not, of all instruments or of some."""
    wanted = timescale.read(schema.INSTRUMENTS, "instruments") if instruments is None else instruments
    ids = None if instruments is None else instruments["instrument_id"].to_list()
    parts = []
    for low, high in slices(start, end, READ_AT_ONCE):
        read = partial(timescale.read, start=low, end=high)
        parts.append(
            build_windows(
                read(schema.TRADES, "trades", instruments=ids),
                read(schema.QUOTES, "quotes", instruments=ids),
                read(schema.BOOKS, "books", instruments=ids),
                read(schema.BOOK_FLOWS, "book_flows", instruments=ids),
                read(schema.REFERENCE_PRICES, "reference_prices", instruments=ids),
                read(schema.FEED_GAPS, "feed_gaps"),
                read(schema.REJECTED_FRAMES, "rejected_frames"),
                wanted,
                low,
                high,
            )
        )
    return pl.concat(parts)


def _heard(frame: pl.DataFrame) -> pl.Series:
    """The starts of the windows in which anything is known to have happened, a gap included, ascending."""
    counts = pl.col("trade_count") + pl.col("quote_count") + pl.col("book_count") + pl.col("refused_frames")
    known = (counts > 0) | (pl.col("book_completeness") < 1)
    return frame.filter(known)["window_start"].unique().sort()


def _without_silence(frame: pl.DataFrame) -> pl.DataFrame:
    """The windows at most SILENCE after one in which anything was heard: while nobody feeds us there is
    nothing to judge.

    It depends on the facts of the last SILENCE alone, so that a backfill of the hour leaves out the same
    windows.
    """
    heard = _heard(frame).to_frame("heard_at")
    return (
        frame.sort("window_start", "instrument_id")
        .join_asof(heard, left_on="window_start", right_on="heard_at", strategy="backward", tolerance=SILENCE)
        .filter(pl.col("heard_at").is_not_null())
        .drop("heard_at", strict=False)
    )

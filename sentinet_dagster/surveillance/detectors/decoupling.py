"""decoupling: two instruments that usually move together no longer do.

What: the slow average of their correlation is above 0.8 and the correlation of the last two minutes below
    0.2. When one instrument leaves several others, every pair breaks; the finding is the instrument's,
    with its pairs as evidence: that one of each pair which broke with more of its mates, and with equally
    many the one that moves least with all of them now, else the lesser instrument_id.
Evidence level: derived (correlations of the mids of L1 quotes).
Blind: for 14 minutes after a start or a gap; to instruments that never moved together; at 5 s, lead and
    lag between venues lower every correlation (Epps effect), so that slow pairs never reach 0.8.
Example: BTC-USDT-PERP moves against BTC-USDT for a minute.
Source: the break of a correlation regime as in pairs trading (Gatev, Goetzmann, Rouwenhorst, 2006).

>>> DECOUPLING.summary("BTC-USDT", {"mates": 3, "correlation": -0.31, "correlation_slow": 0.93})
'BTC-USDT no longer moves with 3 instruments: correlation -0.31, usually 0.93'
"""

from __future__ import annotations

import polars as pl
from pydantic import Field

from sentinet_dagster.surveillance.detectors.base import (
    Detector,
    Evidence,
    Inputs,
    Thresholds,
    limit,
    verdicts,
)

__all__ = ["DECOUPLING"]


class DecouplingThresholds(Thresholds, frozen=True):
    """For a pair, the stricter of its instruments' thresholds hold."""

    correlation_slow: float = Field(default=0.8, gt=0, lt=1)
    correlation: float = Field(default=0.2, gt=-1, lt=1)


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    """Only windows in which a pair broke have a row.

    The score is the drop, usual - now, of the pair that fell furthest.
    """
    pairs = _strong_pairs(inputs.judged_pairs, thresholds)
    broken = _attributed(pairs, pairs.filter("is_broken"))
    fallen = broken.group_by("window_start", "instrument_id").agg(
        pl.len().cast(pl.Int64).alias("mates"),
        pl.col("correlation", "correlation_slow", "least_drop", "drop")
        .sort_by("drop", "mate", descending=[True, False])
        .first(),
        pl.struct("mate", "correlation", "correlation_slow").sort_by("mate").alias("pairs"),
    )
    return verdicts(
        fallen.sort("window_start", "instrument_id"),
        score=pl.col("drop"),
        threshold=pl.col("least_drop"),
        severity=pl.lit("warning"),
        fires=pl.lit(True),
        evidence=pl.struct("mates", "correlation", "correlation_slow", "pairs"),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    mates = finding["mates"]
    return (
        f"{symbol} no longer moves with {mates} instrument{'s' if mates > 1 else ''}: correlation "
        f"{finding['correlation']:.2f}, usually {finding['correlation_slow']:.2f}"
    )


def _strong_pairs(pairs: pl.DataFrame, thresholds: pl.DataFrame) -> pl.DataFrame:
    """Every pair that usually moves together, one row a window, and whether it is broken now."""
    slow, now = limit("correlation_slow"), limit("correlation")
    own = thresholds.select("instrument_id", slow, now)
    return (
        pairs.filter(pl.col("correlation_slow") > pl.lit(own[slow].min()))
        .join(own, left_on="instrument_a", right_on="instrument_id")
        .join(own, left_on="instrument_b", right_on="instrument_id", suffix=":b")
        .with_columns(
            pl.max_horizontal(slow, f"{slow}:b").alias(slow), pl.min_horizontal(now, f"{now}:b").alias(now)
        )
        .filter(pl.col("correlation_slow") > pl.col(slow), pl.col("correlation").is_not_null())
        .select(
            "window_start",
            "instrument_a",
            "instrument_b",
            "correlation",
            "correlation_slow",
            (pl.col("correlation") < pl.col(now)).alias("is_broken"),
            (pl.col("correlation_slow") - pl.col("correlation")).alias("drop"),
            (pl.col(slow) - pl.col(now)).alias("least_drop"),
        )
    )


def _attributed(pairs: pl.DataFrame, broken: pl.DataFrame) -> pl.DataFrame:
    """The broken pairs with the instrument that is thought to have left (`instrument_id`) and its `mate`."""
    members = [
        pairs.select("window_start", "is_broken", "correlation", pl.col(member).alias("instrument_id"))
        for member in ("instrument_a", "instrument_b")
    ]
    # Summed as integers: the last bits of a float sum depend on the order in which threads add.
    closeness = (pl.col("correlation") * 1e9).round().cast(pl.Int64).sum() / pl.len()
    standing = (
        pl.concat(members)
        .group_by("window_start", "instrument_id")
        .agg(pl.col("is_broken").sum().cast(pl.Int64).alias("breaks"), closeness.alias("closeness"))
    )
    a = standing.rename({"instrument_id": "instrument_a", "breaks": "breaks_a", "closeness": "closeness_a"})
    b = standing.rename({"instrument_id": "instrument_b", "breaks": "breaks_b", "closeness": "closeness_b"})
    b_left = (pl.col("breaks_b") > pl.col("breaks_a")) | (
        (pl.col("breaks_b") == pl.col("breaks_a")) & (pl.col("closeness_b") < pl.col("closeness_a"))
    )
    return (
        broken.join(a, on=["window_start", "instrument_a"])
        .join(b, on=["window_start", "instrument_b"])
        .with_columns(
            pl.when(b_left).then("instrument_b").otherwise("instrument_a").alias("instrument_id"),
            pl.when(b_left).then("instrument_a").otherwise("instrument_b").alias("mate"),
        )
    )


DECOUPLING = Detector(
    name="decoupling",
    version=1,
    evidence_level="derived",
    thresholds=DecouplingThresholds,
    detect=_detect,
    summary=_summary,
)

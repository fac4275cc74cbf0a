"""isolation_forest: a window unlike those the model was trained on.

What: the score of the model in force lies above the threshold the model was stored with. It says that
    something is unusual, not what; the evidence lists what the model looked at.
Evidence level: derived (a learnt score over features).
Blind: without a model, to instruments the model has not seen, while features warm up; to what was common
    in the training data, however wrong; weak on slow patterns, since it judges each window by itself.
Example: a window in which the spread is eight times the usual and the rest is calm.
Source: Liu, Ting, Zhou, "Isolation Forest", ICDM 2008.

>>> ISOLATION_FOREST.summary("KSB-USDT", {"score": 0.471, "threshold": 0.406})
'KSB-USDT unlike the training data: score 0.471 over a threshold of 0.406'
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

__all__ = ["ISOLATION_FOREST"]

_SEEN = (
    "rsi_14",
    "volatility_20_bps",
    "volume_change",
    "return_z",
    "spread_bps_mean",
    "spread_bps_z",
    "imbalance_mean",
    "order_trade_ratio",
    "buy_share",
)


class IsolationForestThresholds(Thresholds, frozen=True):
    """On top of the threshold that comes with the model."""

    extra_margin: float = Field(default=0.0, ge=0, lt=1)
    """How far the score must lie above the model's threshold."""


def _detect(inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    scored = inputs.judged(inputs.scores).filter(pl.col("model") == "isolation_forest")
    seen = inputs.judged_features.select("instrument_id", "window_start", *_SEEN)
    threshold = pl.col("threshold") + pl.col(limit("extra_margin"))
    return verdicts(
        scored.join(seen, on=["instrument_id", "window_start"]).join(thresholds, on="instrument_id"),
        score=pl.col("score"),
        threshold=threshold,
        severity=pl.lit("warning"),
        fires=pl.col("score") > threshold,
        evidence=pl.struct("model_id", *_SEEN),
    )


def _summary(symbol: str, finding: Evidence) -> str:
    score, threshold = finding["score"], finding["threshold"]
    return f"{symbol} unlike the training data: score {score:.3f} over a threshold of {threshold:.3f}"


ISOLATION_FOREST = Detector(
    name="isolation_forest",
    version=1,
    evidence_level="derived",
    thresholds=IsolationForestThresholds,
    detect=_detect,
    summary=_summary,
)

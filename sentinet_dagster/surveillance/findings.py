"""Verdicts → findings: which windows fire, how grave each is, and what is shown for it.

What lives here: running the detectors, completeness in the verdict, evidence. What never does: a rule about a
market (`detectors/`), and what findings come to together (`alerts.py`).

Data less whole than the floor is silence: we do not accuse on data we know to be missing. Data that is not
quite whole lowers the severity by one step and says so. Whose completeness counts depends on what the verdict
rests on: a hole in the books says nothing against executions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import reduce
from typing import Any, Final

import polars as pl

from sentinet_dagster.surveillance.correlation import CORRELATION_LOOKBACK
from sentinet_dagster.surveillance.detectors import DETECTORS, WIDEST_LOOKBACK
from sentinet_dagster.surveillance.detectors.base import Detector, EvidenceLevel, Inputs, Lookback
from sentinet_dagster.surveillance.features import FEATURE_LOOKBACK
from sentinet_dagster.surveillance.schema import FINDINGS, WINDOW
from sentinet_dagster.surveillance.settings import SurveillanceSettings

__all__ = ["JUDGE_LOOKBACK", "build_findings", "detector_lookback"]

JUDGE_LOOKBACK: Final[timedelta] = max(
    WIDEST_LOOKBACK.windows,
    FEATURE_LOOKBACK + max(WIDEST_LOOKBACK.features, WIDEST_LOOKBACK.scores),
    FEATURE_LOOKBACK + CORRELATION_LOOKBACK + WIDEST_LOOKBACK.correlations,
)
"""How long after a window it can still matter to a verdict: late ranges are extended forward by it."""

_LOWERED: Final = {"critical": "warning", "warning": "info", "info": "info"}
_COMPLETENESS: Final[Mapping[EvidenceLevel, str]] = {
    "trades": "trade_completeness",
    "L1": "completeness",
    "L2": "book_completeness",
    "derived": "completeness",
    "feed": "completeness",
}
_SHOWN: Final = ("trade_count", "quote_count", "book_count", "gap_seconds", "refused_frames")


def detector_lookback(settings: SurveillanceSettings, instruments: pl.DataFrame) -> Lookback:
    """How far before `start` each frame given to `build_findings` must reach, as far as there are rows.

    Only detectors that are enabled for some instrument are asked.
    """
    enabled = settings.enabled(DETECTORS.values(), instruments)
    return reduce(Lookback.wider, (detector.lookback for detector, _ in enabled), Lookback())


def build_findings(
    windows: pl.DataFrame,
    features: pl.DataFrame,
    correlations: pl.DataFrame,
    scores: pl.DataFrame,
    instruments: pl.DataFrame,
    settings: SurveillanceSettings,
    start: datetime,
    end: datetime,
    code_hash: str,
    detectors: Iterable[Detector] = DETECTORS.values(),
) -> pl.DataFrame:
    """The windows of [start, end) that fire, by every detector on every instrument it is enabled for.

    Args:
        windows, features, correlations, scores: the schemas of these names, each over
            [start - its part of detector_lookback(settings, instruments), end) as far as there are rows. Of
            the windows before start the columns of schema.PAST_WINDOWS are enough.
        instruments: schema.INSTRUMENTS.
        start, end: multiples of 5 s.
        code_hash: of the sources of this package; computed outside, since nothing here reads files.
        detectors: who is asked, where not all are.

    Returns:
        schema.FINDINGS, sorted by (window_start, instrument_id, detector).

    Raises:
        ValueError: start or end is not a multiple of 5 s.
    """
    inputs = Inputs(
        windows, features, correlations, scores, instruments, start, end, settings.completeness_floor
    )
    symbols = dict(instruments.select("instrument_id", "symbol").iter_rows())
    provenance = {"code_hash": code_hash, "config_hash": settings.config_hash}
    rows: list[dict[str, Any]] = []
    for detector, thresholds in settings.enabled(detectors, instruments):
        fired = _fired(detector, inputs, thresholds)
        rows.extend(_finding(detector, row, symbols) | provenance for row in fired.iter_rows(named=True))
    findings = pl.DataFrame(rows, schema=FINDINGS.schema)
    return FINDINGS.conform(findings).sort("window_start", "instrument_id", "detector")


def _fired(detector: Detector, inputs: Inputs, thresholds: pl.DataFrame) -> pl.DataFrame:
    """The verdicts that fire on data that is whole enough, with what is shown of their windows.

    One on the feed itself speaks of data that is not whole.
    """
    fired = detector.detect(inputs, thresholds).filter("fires")
    if fired.is_empty():
        return fired
    whole = pl.col(_COMPLETENESS[detector.evidence_level]).alias("completeness")
    shown = inputs.judged_windows.select("instrument_id", "window_start", whole, *_SHOWN)
    return fired.join(shown, on=["instrument_id", "window_start"]).filter(
        (pl.col("completeness") >= inputs.completeness_floor) | (detector.evidence_level == "feed")
    )


def _finding(detector: Detector, fired: Mapping[str, Any], symbols: Mapping[int, str]) -> dict[str, Any]:
    numbers = dict(fired["evidence"])
    model_id = numbers.pop("model_id", None)
    score = {"score": fired["score"], "threshold": fired["threshold"]}
    completeness, severity = fired["completeness"], fired["severity"]
    is_certain = completeness >= 1 or detector.evidence_level == "feed"
    lowered = f"data {completeness:.1%} whole: {severity} lowered to {_LOWERED[severity]}"
    window_start = fired["window_start"]
    evidence = {
        "numbers": numbers,
        "window": {"start": window_start.isoformat(), "end": (window_start + WINDOW).isoformat()},
        "ticks": {kind: fired[f"{kind}_count"] for kind in ("trade", "quote", "book")},
        "completeness": completeness,
        "gap_seconds": fired["gap_seconds"],
        "refused_frames": fired["refused_frames"],
        "downgraded": None if is_certain else lowered,
    }
    return {
        "detector": detector.name,
        "detector_version": detector.version,
        "instrument_id": fired["instrument_id"],
        "window_start": window_start,
        "severity": severity if is_certain else _LOWERED[severity],
        **score,
        "summary": detector.summary(symbols[fired["instrument_id"]], numbers | score),
        "evidence": json.dumps(evidence, allow_nan=False),
        "evidence_level": detector.evidence_level,
        "completeness": completeness,
        "model_id": model_id,
    }

"""Findings → alerts: which of the windows that fire open one, how grave it is, and what is shown for it.

What lives here: the opening rule, completeness in the verdict, identity, evidence. What never does: a rule
about a market (`detectors/`), and the life of an alert after it opened (the database).

An alert opens at the first window that fires after its detector was silent on the instrument for
`quiet_windows`. Data less whole than the floor is silence: we do not accuse on data we know to be missing.
Data that is not quite whole lowers the severity by one step and says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid5

import polars as pl

from sentinet_dagster.surveillance.correlation import CORRELATION_LOOKBACK
from sentinet_dagster.surveillance.detectors import DETECTORS
from sentinet_dagster.surveillance.detectors.base import Detector, Inputs
from sentinet_dagster.surveillance.features import FEATURE_LOOKBACK
from sentinet_dagster.surveillance.grid import microseconds
from sentinet_dagster.surveillance.schema import ALERTS, WINDOW
from sentinet_dagster.surveillance.settings import MAX_QUIET_WINDOWS, SurveillanceSettings

__all__ = ["JUDGE_LOOKBACK", "alert_id", "alert_lookback", "build_alerts"]

_DETECTOR_LOOKBACK: Final = max((detector.lookback for detector in DETECTORS.values()), default=timedelta(0))

JUDGE_LOOKBACK: Final = (
    FEATURE_LOOKBACK + CORRELATION_LOOKBACK + _DETECTOR_LOOKBACK + MAX_QUIET_WINDOWS * WINDOW
)
"""How long after a window it can still matter to a verdict: late ranges are extended forward by it."""

_NAMESPACE: Final = UUID(
    "6f2a1c7e-3f0b-5a52-9d6c-51f6b5a0c3de"
)  # drawn once; changing it renames every alert
_LOWERED: Final = {"critical": "warning", "warning": "info", "info": "info"}
_SHOWN: Final = ("trade_count", "quote_count", "book_count", "gap_seconds", "refused_frames", "completeness")


def alert_lookback(settings: SurveillanceSettings) -> timedelta:
    """How far before `start` every frame given to `build_alerts` must reach, as far as there are rows."""
    return _DETECTOR_LOOKBACK + settings.quiet_windows * WINDOW


def build_alerts(
    windows: pl.DataFrame,
    features: pl.DataFrame,
    correlations: pl.DataFrame,
    scores: pl.DataFrame,
    instruments: pl.DataFrame,
    settings: SurveillanceSettings,
    start: datetime,
    end: datetime,
    code_hash: str,
) -> pl.DataFrame:
    """The alerts that open in [start, end), by every detector on every instrument it is enabled for.

    Args:
        windows, features, correlations, scores: the schemas of these names, over
            [start - alert_lookback(settings), end) as far as there are rows.
        instruments: schema.INSTRUMENTS.
        start, end: multiples of 5 s.
        code_hash: of the sources of this package; computed outside, since nothing here reads files.

    Returns:
        schema.ALERTS, sorted by (window_start, instrument_id, detector). `raised_at` is the window's end:
        the first moment at which all of it was known.

    Raises:
        ValueError: start or end is not a multiple of 5 s.
    """
    quiet = settings.quiet_windows * WINDOW
    inputs = Inputs(
        windows,
        features,
        correlations,
        scores,
        instruments,
        start - quiet,
        end,
        settings.completeness_floor,
    )
    symbols = dict(instruments.select("instrument_id", "symbol").iter_rows())
    rows: list[dict[str, Any]] = []
    for detector in DETECTORS.values():
        thresholds = settings.thresholds(detector, instruments)
        if thresholds.is_empty():
            continue
        opened = _opened(detector.detect(inputs, thresholds), windows, settings.completeness_floor, quiet)
        judged = opened.filter(pl.col("window_start") >= start).iter_rows(named=True)
        rows.extend(_alert(detector, finding, symbols) for finding in judged)
    provenance = {"code_hash": code_hash, "config_hash": settings.config_hash}
    alerts = pl.DataFrame([row | provenance for row in rows], schema=ALERTS.schema)
    return ALERTS.conform(alerts).sort("window_start", "instrument_id", "detector")


def alert_id(detector: str, version: int, instrument_id: int, window_start: datetime) -> str:
    """The identity of an alert: judging the same window again finds the same alert.

    >>> from datetime import UTC
    >>> alert_id("spoofing", 1, 7, datetime(2024, 8, 8, tzinfo=UTC))
    '196f6ea7-36d5-57a3-bf3c-22162c4f6311'
    """
    name = f"{detector}|{version}|{instrument_id}|{microseconds(window_start)}"
    return str(uuid5(_NAMESPACE, name))


def _opened(findings: pl.DataFrame, windows: pl.DataFrame, floor: float, quiet: timedelta) -> pl.DataFrame:
    """The findings that open an alert, with what is shown of their windows."""
    previous = pl.col("window_start").shift(1).over("instrument_id", order_by="window_start")
    return (
        findings.filter("fires")
        .join(windows.select("instrument_id", "window_start", *_SHOWN), on=["instrument_id", "window_start"])
        .filter(pl.col("completeness") >= floor)
        .filter(previous.is_null() | (pl.col("window_start") - previous > quiet))
    )


def _alert(detector: Detector, finding: Mapping[str, Any], symbols: Mapping[int, str]) -> dict[str, Any]:
    numbers = dict(finding["evidence"])
    model_id = numbers.pop("model_id", None)
    score = {"score": finding["score"], "threshold": finding["threshold"]}
    completeness = finding["completeness"]
    severity = finding["severity"]
    lowered = f"data {completeness:.1%} whole: {severity} lowered to {_LOWERED[severity]}"
    window_start, window_end = finding["window_start"], finding["window_start"] + WINDOW
    evidence = {
        "numbers": numbers,
        "window": {"start": window_start.isoformat(), "end": window_end.isoformat()},
        "ticks": {kind: finding[f"{kind}_count"] for kind in ("trade", "quote", "book")},
        "completeness": completeness,
        "gap_seconds": finding["gap_seconds"],
        "refused_frames": finding["refused_frames"],
        "downgraded": None if completeness >= 1 else lowered,
    }
    return {
        "alert_id": alert_id(detector.name, detector.version, finding["instrument_id"], window_start),
        "detector": detector.name,
        "detector_version": detector.version,
        "instrument_id": finding["instrument_id"],
        "window_start": window_start,
        "window_end": window_end,
        "raised_at": window_end,
        "severity": severity if completeness >= 1 else _LOWERED[severity],
        **score,
        "summary": detector.summary(symbols[finding["instrument_id"]], numbers | score),
        "evidence": json.dumps(evidence, allow_nan=False),
        "evidence_level": detector.evidence_level,
        "completeness": completeness,
        "model_id": model_id,
    }

"""What is said of windows: verdicts, findings, alerts, incidents, and what decides which belong together."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import polars as pl

from sentinet_dagster.surveillance.schema.relation import INSTRUMENT_ID, TIME, WINDOW_START, Column, Relation

__all__ = [
    "ALERTS",
    "ALERT_SPANS",
    "FINDINGS",
    "FIRINGS",
    "INCIDENTS",
    "KNOWN_INCIDENTS",
    "SESSIONS",
    "STANDING",
    "VERDICTS",
]

VERDICTS: Final = Relation(
    "",
    (
        INSTRUMENT_ID,
        WINDOW_START,
        Column("score", pl.Float64, "the number the detector judged; the graver, the greater"),
        Column("threshold", pl.Float64, "what it was held against"),
        Column("severity", pl.String, "info, warning or critical, before completeness is weighed"),
        Column("fires", pl.Boolean, "whether every condition held"),
    ),
)
"""What a detector says of a window, followed by `evidence`: a struct of the detector's own numbers."""

_SEVERITY: Final = Column("severity", pl.String, "info, warning or critical; lowered where data is not whole")
_DETECTOR: Final = (
    Column("detector", pl.String, "a key of DETECTORS"),
    Column("detector_version", pl.Int32, "changes when the detector's meaning does"),
)
_JUDGED: Final = (
    Column("score", pl.Float64, "the number the detector judged; the graver, the greater"),
    Column("threshold", pl.Float64, "what it was held against"),
    Column("summary", pl.String, "one sentence with the numbers"),
    Column("evidence", pl.String, "JSON: numbers, window, ticks, completeness, downgraded"),
    Column("evidence_level", pl.String, "trades, L1, L2 or derived"),
    Column("completeness", pl.Float64, "of the data that the evidence level stands on, 0 to 1"),
    Column("model_id", pl.String, "the model that scored, for learnt detectors", nullable=True),
    Column("code_hash", pl.String, "of this package's sources"),
    Column("config_hash", pl.String, "of the thresholds in force"),
)

FINDINGS: Final = Relation(
    "surveillance.findings",
    (*_DETECTOR, INSTRUMENT_ID, WINDOW_START, _SEVERITY, *_JUDGED),
)
"""A window in which a detector fires."""

FIRINGS: Final = Relation(
    "",
    (
        *_DETECTOR,
        INSTRUMENT_ID,
        WINDOW_START,
        _SEVERITY,
        Column("score", pl.Float64, "as in surveillance.findings"),
        Column("completeness", pl.Float64, "as in surveillance.findings"),
    ),
)
"""Of a finding only what decides to which alert it belongs, and what that comes to."""

_GROWTH: Final = (
    Column("last_window_start", TIME, "start of the last window that fired"),
    Column("closes_at", TIME, "a window that fires joins the alert if it ends no later than this"),
    Column("windows_fired", pl.Int32, "windows that fired, the first included"),
    Column("peak_score", pl.Float64, "the greatest score of these windows"),
    Column("peak_window_start", TIME, "the window that had it; of several the first"),
)

SESSIONS: Final = Relation(
    "",
    (
        *_DETECTOR,
        INSTRUMENT_ID,
        WINDOW_START,
        Column(
            "paused_since",
            TIME,
            "the window that fired before the pause it ends; null: not known, or it follows a full alert",
            nullable=True,
        ),
        _SEVERITY,
        Column("completeness", pl.Float64, "the least of the windows that fired"),
        *_GROWTH,
    ),
)
"""Firings that are one alert: it opens at `window_start`."""

STANDING: Final = Relation(
    "",
    (
        Column("alert_id", pl.String, "as in surveillance.alerts"),
        *_DETECTOR,
        INSTRUMENT_ID,
        WINDOW_START,
        Column("last_window_start", TIME, "as in surveillance.alerts"),
    ),
)
"""Of a stored alert that is not retracted what says whether it is still one."""

_OF_AN_ALERT: Final = {
    "summary": "one sentence with the numbers of the window that had the peak",
    "evidence": "JSON: as in surveillance.findings, of the first window; and `peak`: score, window, numbers",
    "completeness": "the least of the windows that fired",
    "evidence_level": "trades, L1, L2 or derived",
}

ALERTS: Final = Relation(
    "surveillance.alerts",
    (
        Column("alert_id", pl.String, "uuid5 of detector, version, instrument, first window"),
        *_DETECTOR,
        INSTRUMENT_ID,
        Column("window_start", TIME, "start of the first window that fired"),
        Column("window_end", TIME, "end of that window, excluded"),
        Column("raised_at", TIME, "window_end: the first moment at which the window was known"),
        Column("severity", pl.String, "the gravest of the windows that fired"),
        *(
            replace(column, meaning=_OF_AN_ALERT.get(column.name, f"{column.meaning}, of the first window"))
            for column in _JUDGED
        ),
        *_GROWTH,
    ),
)

ALERT_SPANS: Final = Relation(
    "",
    (
        Column("alert_id", pl.String, "as in surveillance.alerts"),
        Column("base", pl.String, "what its instrument buys: BTC, wherever it is traded"),
        Column("venue", pl.String, "where"),
        INSTRUMENT_ID,
        Column("detector", pl.String, "a key of DETECTORS"),
        _SEVERITY,
        WINDOW_START,
        Column("last_window_start", TIME, "as in surveillance.alerts"),
    ),
)
"""Of an alert that is not retracted what says to which incident it belongs."""

INCIDENTS: Final = Relation(
    "surveillance.incidents",
    (
        Column("incident_id", pl.String, "uuid5 of its earliest alert"),
        Column("base", pl.String, "the asset that its alerts have in common"),
        Column("started_at", TIME, "start of the first window that fired"),
        Column("ended_at", TIME, "end of the last"),
        Column("severity", pl.String, "the gravest of its alerts"),
        Column("alert_ids", pl.List(pl.String), "its alerts, the earliest first"),
        Column("detectors", pl.List(pl.String), "who raised them"),
        Column("venues", pl.List(pl.String), "where"),
        Column("instrument_ids", pl.List(pl.Int16), "on what"),
    ),
)

KNOWN_INCIDENTS: Final = Relation("", INCIDENTS.columns[:4])
"""Of a stored incident what says whether it is still one."""

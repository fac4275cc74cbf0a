"""`sentinet calibrate`: thresholds held against stored history.

What lives here: reading windows, features, correlations and scores hour by hour, and asking the detectors of
production with one threshold moved. What never does: the choice (`surveillance/calibration.py`), writing to
the database or to the configuration in force.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl
import yaml

from sentinet_dagster.resources import Timescale
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.calibration import (
    Candidate,
    Span,
    as_json,
    choose,
    held_out_per_day,
    proposal,
    shared,
    tried_values,
    weighed,
)
from sentinet_dagster.surveillance.detectors import DETECTORS, Detector, Lookback
from sentinet_dagster.surveillance.findings import build_findings, detector_lookback
from sentinet_dagster.surveillance.schema import TIME
from sentinet_dagster.surveillance.settings import SettingsError, SurveillanceSettings, load_settings

__all__ = ["Question", "calibrate"]

_HOUR: Final = timedelta(hours=1)
_NO_CODE: Final = ""
_JUDGED: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "detector": pl.String,
    "instrument_id": pl.Int16,
    "window_start": TIME,
    "last_window_start": TIME,
    "disposition": pl.String,
}
_Raw = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked."""

    start: datetime
    end: datetime
    detectors: Sequence[str] = ()  # none: all that are enabled
    threshold: str | None = None  # none: the first of each detector
    budget: float | None = None  # alerts a day, of all together
    folds: int = 4


@dataclass(frozen=True, slots=True)
class _Swept:
    """One threshold of one detector, and the settings for each value of it."""

    detector: Detector
    threshold: str
    current: float
    settings: Mapping[float, SurveillanceSettings]


def calibrate(url: str, config_directory: Path, question: Question) -> dict[str, Any]:
    """Each value of each threshold with its alerts, and the values that keep the budget, as YAML.

    Raises:
        UserError: a detector or threshold is not known or not a number, nothing is stored of the time, or
            config/surveillance.yaml is wrong.
    """
    path = config_directory / "surveillance.yaml"
    try:
        raw: _Raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        load_settings(raw)  # says what is wrong with it
        swept = [_swept(DETECTORS[name], raw, question.threshold) for name in _names(raw, question)]
    except (OSError, yaml.YAMLError, SettingsError) as error:
        raise UserError(f"{path}: {error}") from error
    timescale = Timescale(url=url)
    try:
        candidates = _weighed(timescale, swept, question)
    finally:
        timescale.close()
    return _answer(swept, candidates, question)


def _names(raw: _Raw, question: Question) -> list[str]:
    for name in question.detectors:
        if name not in DETECTORS:
            raise UserError(f"{name} is no detector; there are {', '.join(sorted(DETECTORS))}")
    if question.detectors:
        return list(question.detectors)
    if question.threshold is not None:
        raise UserError(f"--threshold {question.threshold}: name the detector that it is of")
    switched_off = {
        name
        for name, said in raw.get("detectors", {}).get("default", {}).items()
        if said.get("enabled", True) is False
    }
    return [
        name for name, detector in DETECTORS.items() if name not in switched_off and _numbers(detector, raw)
    ]


def _numbers(detector: Detector, raw: _Raw) -> dict[str, float]:
    """The thresholds that can be multiplied, as they are in the scope `default`."""
    said = raw.get("detectors", {}).get("default", {}).get(detector.name, {})
    own = detector.thresholds.model_validate(said).model_dump()
    return {
        name: float(own[name])
        for name in detector.thresholds.numbers()
        if isinstance(own[name], int | float) and own[name] > 0
    }


def _swept(detector: Detector, raw: _Raw, threshold: str | None) -> _Swept:
    numbers = _numbers(detector, raw)
    name = threshold or next(iter(numbers), "")
    if name not in numbers:
        raise UserError(
            f"{detector.name} has no threshold {name or 'above 0'} to multiply; "
            f"there are {', '.join(numbers) or 'none'}"
        )
    settings = {}
    for value in tried_values(detector, name, numbers[name]):
        changed = copy.deepcopy(raw)
        own = changed.setdefault("detectors", {}).setdefault("default", {}).setdefault(detector.name, {})
        own[name] = value
        settings[value] = load_settings(changed)
    return _Swept(detector, name, numbers[name], settings)


def _weighed(timescale: Timescale, swept: Sequence[_Swept], question: Question) -> dict[str, list[Candidate]]:
    instruments = timescale.read(schema.INSTRUMENTS, "instruments")
    judged = pl.DataFrame(
        timescale.fetch("judged_alerts", start=question.start, end=question.end), schema=_JUDGED
    )
    firings: defaultdict[tuple[str, float], list[pl.DataFrame]] = defaultdict(list)
    for each, value, found in _firings(timescale, swept, instruments, question):
        firings[each.detector.name, value].append(found)
    if not firings:
        raise UserError(
            f"no windows are stored of {question.start:%Y-%m-%d %H:%M} to {question.end:%Y-%m-%d %H:%M} UTC"
        )
    return {
        each.detector.name: [
            weighed(
                value,
                pl.concat(firings[each.detector.name, value]),
                settings.cool_downs([each.detector.name], instruments),
                judged.filter(pl.col("detector") == each.detector.name),
            )
            for value, settings in each.settings.items()
        ]
        for each in swept
    }


def _firings(
    timescale: Timescale, swept: Sequence[_Swept], instruments: pl.DataFrame, question: Question
) -> Iterator[tuple[_Swept, float, pl.DataFrame]]:
    """What fires, hour by hour: the memory of an hour and its look-back, however long the history."""
    any_settings = next(iter(swept[0].settings.values()))
    lookback = detector_lookback(any_settings, instruments)
    start = question.start
    while start < question.end:
        end = min(start + _HOUR, question.end)
        frames = _frames(timescale, lookback, start, end)
        if frames[0].filter(pl.col("window_start") >= start).height:
            for each in swept:
                for value, settings in each.settings.items():
                    found = build_findings(
                        *frames, instruments, settings, start, end, _NO_CODE, [each.detector]
                    )
                    yield each, value, found.select(schema.FIRINGS.names)
        start = end


def _frames(
    timescale: Timescale, lookback: Lookback, start: datetime, end: datetime
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Windows, features, correlations and scores, each with its look-back."""
    return (
        timescale.read(schema.WINDOWS, "windows", start=start - lookback.windows, end=end),
        timescale.read(schema.FEATURES, "features", start=start - lookback.features, end=end),
        timescale.read(schema.CORRELATIONS, "correlations", start=start - lookback.correlations, end=end),
        timescale.read(schema.SCORES, "scores", start=start - lookback.scores, end=end),
    )


def _answer(
    swept: Sequence[_Swept], candidates: Mapping[str, Sequence[Candidate]], question: Question
) -> dict[str, Any]:
    span = Span(question.start, question.end)
    most = {name: max(each.per_day([span]) for each in rows) for name, rows in candidates.items()}
    budgets = shared(question.budget, most) if question.budget is not None else {}
    detectors, changes = {}, {}
    for each in swept:
        name = each.detector.name
        rows = candidates[name]
        told: dict[str, Any] = {
            "threshold": each.threshold,
            "current": each.current,
            "values": [as_json(row, span) for row in rows],
        }
        if name in budgets:
            choice = choose(rows, each.current, budgets[name], [span])
            held_out = held_out_per_day(rows, each.current, budgets[name], span.folds(question.folds))
            told |= {
                "budget_per_day": round(budgets[name], 3),
                "proposed": choice.value,
                "keeps_budget": choice.fits,
                "per_day": round(choice.per_day, 3),
                "held_out_per_day": None if held_out is None else round(held_out, 3),
            }
            if choice.value != each.current:
                remark = f"{choice.per_day:.3g} alerts a day" + (
                    "" if held_out is None else f", {held_out:.3g} on time held out"
                )
                changes[name] = (each.threshold, choice.value, each.current, remark)
        detectors[name] = told
    return {
        "start": question.start,
        "end": question.end,
        "days": round(span.days, 4),
        "budget_per_day": question.budget,
        "detectors": detectors,
        "proposal": proposal(changes),
    }

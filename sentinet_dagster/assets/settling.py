"""Findings of a range → surveillance.alerts and incidents: what is read, and how far beyond the range.

What lives here: reading under the lock, asking again with more, recording. What never does: which firings are
one alert, and which alerts one incident (`surveillance/alerts.py`, `incidents.py`), SQL.

One transaction, one at a time in the whole database: an alert may lie over several hours, and of two runs
that judge neighbouring hours the later one must see what the earlier one made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from sentinet_dagster.resources import Timescale, Value
from sentinet_dagster.surveillance import incidents, schema
from sentinet_dagster.surveillance.alerts import (
    LONGEST,
    REACH,
    Settlement,
    build_alerts,
    reaching,
    settle,
)
from sentinet_dagster.surveillance.findings import JUDGE_LOOKBACK
from sentinet_dagster.surveillance.schema import WINDOW
from sentinet_dagster.surveillance.settings import LONGEST_COOL_DOWN, SurveillanceSettings

__all__ = ["settle_alerts"]

_ACTOR: Final = "sentinet"
_MICROSECOND: Final = timedelta(microseconds=1)


def settle_alerts(
    timescale: Timescale,
    settings: SurveillanceSettings,
    note: str,
    code_hash: str,
    start: datetime,
    end: datetime,
) -> pl.DataFrame:
    """Make alerts agree with the findings of [start, end); the alerts that these belong to.

    Args:
        note: on the events of the alerts that change: which run did it.
    """
    with timescale.transaction():
        timescale.fetch("lock_alerts")
        span = LONGEST
        while not (settled := _settled(timescale, settings, start, end, end + span)).is_complete:
            span *= 2
        alerts = _with_evidence(timescale, settled.sessions)
        if settled.withdrawn or not alerts.is_empty():
            changes = _record(timescale, settled, alerts, note, code_hash, settings.config_hash)
            if changes["written"] or changes["retracted"]:
                _regroup(timescale, alerts, settled)
    return alerts


def _settled(
    timescale: Timescale, settings: SurveillanceSettings, start: datetime, end: datetime, until: datetime
) -> Settlement:
    standing = timescale.read(schema.STANDING, "standing_alerts", start=start - REACH, end=until)
    still_open = reaching(standing, start)
    firings = timescale.read(schema.FIRINGS, "firings", start=start, end=until, reaching=_json(still_open))
    if firings.is_empty():
        cool_downs = settings.cool_downs((), schema.INSTRUMENTS.empty())
    else:
        instruments = timescale.read(schema.INSTRUMENTS, "instruments")
        cool_downs = settings.cool_downs(firings["detector"].unique(), instruments)
    return settle(firings, standing, cool_downs, start, end, until)


def _with_evidence(timescale: Timescale, sessions: pl.DataFrame) -> pl.DataFrame:
    """The alerts of these sessions. Read whole is only what is shown: the first window and the peak."""
    if sessions.is_empty():
        return schema.ALERTS.empty()
    shown = [
        sessions.select("detector", "instrument_id", pl.col(name).alias("window_start"))
        for name in ("window_start", "peak_window_start")
    ]
    wanted = _json(pl.concat(shown).unique().sort(pl.all()))
    return build_alerts(sessions, _few(timescale, schema.FINDINGS, "findings_of", wanted=wanted))


def _record(
    timescale: Timescale,
    settled: Settlement,
    alerts: pl.DataFrame,
    note: str,
    code_hash: str,
    config_hash: str,
) -> Mapping[str, int]:
    """Open, grow, reopen, retract: never delete. How many of each, and how many rows were written."""
    rows = [{**row, "evidence": json.loads(row["evidence"])} for row in alerts.iter_rows(named=True)]
    gone = [
        {"alert_id": withdrawn.alert_id, "superseded_by": withdrawn.superseded_by}
        for withdrawn in settled.withdrawn
    ]
    (counts,) = timescale.fetch(
        "record_alerts",
        alerts=json.dumps(rows, default=datetime.isoformat),
        withdrawn=json.dumps(gone),
        actor=_ACTOR,
        note=note,
        lookback=f"{JUDGE_LOOKBACK // _MICROSECOND} microseconds",
        cool_down=f"{LONGEST_COOL_DOWN // _MICROSECOND} microseconds",
        code_hash=code_hash,
        config_hash=config_hash,
    )
    return counts


def _regroup(timescale: Timescale, alerts: pl.DataFrame, settled: Settlement) -> None:
    """Make incidents agree with the alerts that may have changed."""
    spans = [
        frame.select("instrument_id", "window_start", "last_window_start")
        for frame in (alerts, settled.moved)
    ]
    moved = pl.concat(spans)
    instruments = timescale.read(schema.INSTRUMENTS, "instruments")
    known_bases = instruments.filter(pl.col("instrument_id").is_in(moved["instrument_id"].implode()))
    bases = known_bases["base"].unique().sort().to_list()
    low, high = moved["window_start"].min(), moved["last_window_start"].max()
    assert isinstance(low, datetime)
    assert isinstance(high, datetime)
    span = incidents.REACH
    while not (found := _regrouped(timescale, bases, low, high, high + WINDOW + span)).is_complete:
        span *= 2
    timescale.fetch("record_incidents", incidents=_json(found.incidents), gone=list(found.gone))


def _regrouped(
    timescale: Timescale, bases: Sequence[str], low: datetime, high: datetime, until: datetime
) -> incidents.Regrouping:
    since = low - incidents.REACH
    known = _few(timescale, schema.KNOWN_INCIDENTS, "known_incidents", start=since, end=until, bases=bases)
    begun_before = incidents.begun_before(known, low)
    since = min([low, *begun_before.values()])
    spans = _few(timescale, schema.ALERT_SPANS, "alert_spans", start=since, end=until, bases=bases)
    begun = pl.col("base").replace_strict(begun_before, default=low, return_dtype=schema.TIME)
    return incidents.regroup(spans.filter(pl.col("window_start") >= begun), known, low, high + WINDOW, until)


def _few(timescale: Timescale, relation: schema.Relation, query: str, **parameters: Value) -> pl.DataFrame:
    """Few rows as a frame, by the connection of the transaction: what it has written is among them."""
    rows = timescale.fetch(query, **parameters)
    return relation.conform(pl.DataFrame(rows, schema=relation.schema))


def _json(frame: pl.DataFrame) -> str:
    return json.dumps(frame.to_dicts(), default=datetime.isoformat)

"""Findings of a range → surveillance.alerts: what is read, and how far beyond the range it goes.

What lives here: reading under the lock, asking again with more, recording. What never does: which firings are
one alert (`surveillance/alerts.py`), SQL.

One transaction, one at a time in the whole database: an alert may lie over several hours, and of two runs
that judge neighbouring hours the later one must see what the earlier one made.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from sentinet_dagster.resources import Timescale
from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.alerts import (
    LONGEST,
    REACH,
    Settlement,
    build_alerts,
    reaching,
    settle,
)
from sentinet_dagster.surveillance.findings import JUDGE_LOOKBACK
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
        settled, span = None, LONGEST
        while settled is None or not settled.is_complete:
            settled = _settled(timescale, settings, start, end, end + span)
            span *= 2
        alerts = _with_evidence(timescale, settled.sessions)
        if settled.withdrawn or not alerts.is_empty():
            _record(timescale, settled, alerts, note, code_hash, settings.config_hash)
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
    rows = timescale.fetch("findings_of", wanted=_json(pl.concat(shown).unique().sort(pl.all())))
    findings = schema.FINDINGS.conform(pl.DataFrame(rows, schema=schema.FINDINGS.schema))
    return build_alerts(sessions, findings)


def _record(
    timescale: Timescale,
    settled: Settlement,
    alerts: pl.DataFrame,
    note: str,
    code_hash: str,
    config_hash: str,
) -> None:
    """Open, grow, reopen, retract: never delete."""
    rows = [{**row, "evidence": json.loads(row["evidence"])} for row in alerts.iter_rows(named=True)]
    gone = [
        {"alert_id": withdrawn.alert_id, "superseded_by": withdrawn.superseded_by}
        for withdrawn in settled.withdrawn
    ]
    timescale.fetch(
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


def _json(frame: pl.DataFrame) -> str:
    return json.dumps(frame.to_dicts(), default=datetime.isoformat)

"""Alerts → incidents: what several detectors say at several venues of one asset at one time is one cause.

What lives here: which alerts belong together, identity, and which stored incidents a change of alerts moves.
What never does: which findings are an alert (`alerts.py`), and what people make of either.

Alerts of one base asset belong together if their spans overlap or lie no further apart than `APART`. An
incident takes alerts for at most `LONGEST`; what opens later begins the next one. An incident begins with its
earliest alert, and is named after it: so as with alerts, a change cannot move an incident that began before
it, and after it nothing changes from the first incident on that begins as it did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid5

import polars as pl

from sentinet_dagster.surveillance.schema import INCIDENTS, WINDOW

__all__ = ["LONGEST", "REACH", "Regrouping", "begun_before", "build_incidents", "incident_id", "regroup"]

APART: Final = timedelta(seconds=60)
LONGEST: Final = timedelta(hours=6)

REACH: Final = LONGEST + timedelta(hours=1) + APART
"""How long after it began an incident can still be told from the next one: its last alert, and the pause."""

_NAMESPACE: Final = UUID("0b7c53a4-5b3b-5a0e-8f43-6a3c1c6b9d52")  # drawn once; changing it renames them all
_SEVERITIES: Final = ("info", "warning", "critical")


@dataclass(frozen=True, slots=True)
class Regrouping:
    """What a change of alerts comes to."""

    incidents: pl.DataFrame  # schema.INCIDENTS: to be stored, new or known
    gone: Sequence[str]  # incidents that are no more
    is_complete: bool  # False: alerts from `until` on may belong to one of them: ask with a later `until`


def incident_id(alert_id: str) -> str:
    """The identity of the incident whose earliest alert this is.

    >>> incident_id("196f6ea7-36d5-57a3-bf3c-22162c4f6311")
    '200297dd-6a92-5ac1-b1cf-78bc2c1bf344'
    """
    return str(uuid5(_NAMESPACE, alert_id))


def build_incidents(alerts: pl.DataFrame) -> pl.DataFrame:
    """Which alerts belong together. The earliest alert of each asset begins an incident.

    Args:
        alerts: schema.ALERT_SPANS, in any order.

    Returns:
        schema.INCIDENTS, sorted by base and start.
    """
    found: list[dict[str, Any]] = []
    ordered = alerts.sort("base", "window_start", "alert_id")
    for (_,), of_base in ordered.group_by("base", maintain_order=True):
        found.extend(_incident(members) for members in _groups(of_base.to_dicts()))
    return INCIDENTS.conform(pl.DataFrame(found, schema=INCIDENTS.schema))


def _groups(alerts: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    members: list[dict[str, Any]] = []
    for alert in alerts:
        if members:
            ended_at = max(each["last_window_start"] for each in members) + WINDOW
            began_at = members[0]["window_start"]
            if alert["window_start"] > ended_at + APART or alert["window_start"] >= began_at + LONGEST:
                yield members
                members = []
        members.append(alert)
    if members:
        yield members


def _incident(members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "incident_id": incident_id(members[0]["alert_id"]),
        "base": members[0]["base"],
        "started_at": members[0]["window_start"],
        "ended_at": max(each["last_window_start"] for each in members) + WINDOW,
        "severity": max((each["severity"] for each in members), key=_SEVERITIES.index),
        "alert_ids": [each["alert_id"] for each in members],
        "detectors": sorted({each["detector"] for each in members}),
        "venues": sorted({each["venue"] for each in members}),
        "instrument_ids": sorted({each["instrument_id"] for each in members}),
    }


def begun_before(known: pl.DataFrame, changed_from: datetime) -> dict[str, datetime]:
    """Base → start of the latest incident that a change from `changed_from` on may move, and that stays.

    Args:
        known: schema.KNOWN_INCIDENTS, of starts from changed_from - REACH on.
    """
    reaching = known.filter(pl.col("started_at") < changed_from, pl.col("ended_at") + APART >= changed_from)
    return dict(reaching.group_by("base").agg(pl.col("started_at").max()).iter_rows())


def regroup(
    alerts: pl.DataFrame,
    known: pl.DataFrame,
    changed_from: datetime,
    changed_until: datetime,
    until: datetime,
) -> Regrouping:
    """What becomes of incidents now that alerts changed whose spans lie in [changed_from, changed_until).

    Args:
        alerts: schema.ALERT_SPANS of the assets concerned: those that opened in [changed_from, until), and
            before that since `begun_before(known, changed_from)`.
        known: schema.KNOWN_INCIDENTS of these assets, of starts in [changed_from - REACH, until).
        changed_from, changed_until, until: `until` is at least REACH after changed_until.
    """
    incidents = build_incidents(alerts)
    unchanged = (
        incidents.filter(pl.col("started_at") >= changed_until)
        .join(known, on="incident_id", how="semi")
        .group_by("base")
        .agg(pl.col("started_at").min().alias("unchanged_from"))
    )
    in_doubt = pl.col("unchanged_from").is_null() | (pl.col("started_at") < pl.col("unchanged_from"))
    kept = incidents.join(unchanged, on="base", how="left").filter(in_doubt).select(INCIDENTS.names)
    gone = (
        known.filter(pl.col("started_at") >= changed_from)
        .join(unchanged, on="base", how="left")
        .filter(in_doubt)
        .join(kept, on="incident_id", how="anti")
    )
    return Regrouping(
        incidents=kept,
        gone=gone["incident_id"].sort().to_list(),
        is_complete=kept.filter(pl.col("started_at") + REACH > until).is_empty(),
    )

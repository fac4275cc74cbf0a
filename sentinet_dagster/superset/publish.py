"""Making a Superset show what the bundle says. Again changes nothing; what was edited by hand is as it was.

What lives here: the order, and what an import leaves out: annotation layers, themes, roles. What never does:
HTTP (`client.py`), the bundle's form (`bundle.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from sentinet_dagster.superset import access
from sentinet_dagster.superset.bundle import Bundle, Chart, identifier
from sentinet_dagster.superset.client import Superset
from sentinet_dagster.superset.target import ANALYST_NAME, Target, for_superset

__all__ = ["Published", "publish"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Published:
    """What is there now: dashboard's slug → its address."""

    dashboards: Mapping[str, str]
    charts: int
    datasets: int


def publish(target: Target, bundle: Bundle, venues: Iterable[str]) -> Published:
    """Publish the whole bundle; one publish at a time.

    Args:
        target: the Superset.
        bundle: one in which nothing is broken: of a broken one Superset says no more than that.
        venues: those that there are rows of; each gets a role.

    Raises:
        SupersetUnavailable: it is not there.
        SupersetRefused: it lets us not in, or refuses something. What was imported before stays.
    """
    known = sorted(venues)
    uri, password = for_superset(target.database_url)
    archive = bundle.to_zip(dict.fromkeys(bundle.databases, uri), {"DAGSTER_URL": target.dagster_url})
    with Superset(target.url, target.user, target.password) as session:
        session.import_assets(archive, dict.fromkeys(bundle.databases, password) if password else {})
        charts = _numbers(session, "chart", bundle.charts)
        dashboards = _numbers(session, "dashboard", bundle.dashboards)
        _annotate(session, bundle, charts)
        _paint(session, bundle, dashboards)
        access.grant(session, bundle, _numbers(session, "dataset", bundle.datasets), known)
        if target.analyst_password:
            access.make_user(session, ANALYST_NAME, target.analyst_password, known)
    log.info("dashboards published", dashboards=len(dashboards), charts=len(charts))
    addresses = {slug: f"{target.url}/superset/dashboard/{slug}/" for slug in dashboards}
    return Published(addresses, len(bundle.charts), len(bundle.datasets))


def _numbers(session: Superset, kind: str, slugs: Iterable[str]) -> dict[str, int]:
    there = session.ids(kind)
    return {slug: there[identifier(kind, slug)] for slug in slugs}


def _annotate(session: Superset, bundle: Bundle, charts: Mapping[str, int]) -> None:
    """Put the layers back that the import took away. What analysts wrote into one is in none of this."""
    there = {str(row["name"]): int(row["id"]) for row in session.rows("annotation_layer/")}
    numbers = {}
    for slug, document in bundle.annotation_layers.items():
        name = document["name"]
        numbers[slug] = (
            there[name] if name in there else int(session.post("annotation_layer/", document)["id"])
        )
    for slug, chart in bundle.charts.items():
        if chart.annotation_layers:
            params = json.loads(session.get(f"chart/{charts[slug]}")["result"]["params"])
            params["annotation_layers"] = _layers(chart, charts, numbers)
            session.put(f"chart/{charts[slug]}", {"params": json.dumps(params)})


def _layers(chart: Chart, charts: Mapping[str, int], layers: Mapping[str, int]) -> list[dict[str, Any]]:
    """All layers of a chart as Superset keeps them: by number."""
    found = []
    for layer in chart.document["params"]["annotation_layers"]:
        if layer.get("annotationType") == "FORMULA":
            found.append(layer)
        else:
            source = layers if layer.get("sourceType") == "NATIVE" else charts
            found.append(layer | {"value": source[layer["value"]]})
    return found


def _paint(session: Superset, bundle: Bundle, dashboards: Mapping[str, int]) -> None:
    there = {str(row["theme_name"]): int(row["id"]) for row in session.rows("theme/")}
    numbers = {}
    for slug, document in bundle.themes.items():
        name = document["theme_name"]
        theme = {"theme_name": name, "json_data": json.dumps(document["json_data"])}
        if name in there:
            session.put(f"theme/{there[name]}", theme)
            numbers[slug] = there[name]
        else:
            numbers[slug] = int(session.post("theme/", theme)["id"])
    for slug, dashboard in bundle.dashboards.items():
        if dashboard.theme is not None:
            session.put(f"dashboard/{dashboards[slug]}", {"theme_id": numbers[dashboard.theme]})

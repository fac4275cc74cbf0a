"""`superset/*`: one asset a dashboard, downstream of the relations that its charts read.

What lives here: the lineage, and publishing as a run. What never does: the dashboards and how they are
published (`sentinet_dagster.superset`), when: no schedule and no micro-batch makes them (`automation.py`).

An import is of the whole bundle, so that the assets are made together.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of decorated functions as objects.

from collections.abc import Iterator
from typing import Any, Final

import psycopg
from dagster import AssetKey, AssetSpec, Failure, MaterializeResult, MetadataValue, ResourceParam, multi_asset

from sentinet_dagster.resources import NamedSuperset, Timescale
from sentinet_dagster.rollups.project import DbtFailed, RollupProject
from sentinet_dagster.settings import SETTINGS
from sentinet_dagster.superset.bundle import BundleError, read_bundle
from sentinet_dagster.superset.client import SupersetError
from sentinet_dagster.superset.release import release
from sentinet_dagster.superset.target import TargetError

__all__ = ["DASHBOARD_ASSETS"]

_BUNDLE: Final = read_bundle()
_SPECS: Final = [
    AssetSpec(
        AssetKey(["superset", slug]),
        deps=[AssetKey(relation) for relation in _BUNDLE.relations(slug)],
        description=dashboard.document.get("description") or dashboard.title,
        kinds={"superset"},
        owners=["team:surveillance"],
        group_name="superset",
    )
    for slug, dashboard in _BUNDLE.dashboards.items()
]


@multi_asset(name="dashboards", specs=_SPECS)
def dashboards(
    timescale: Timescale, superset: ResourceParam[NamedSuperset]
) -> Iterator[MaterializeResult[Any]]:
    """YAML → a Superset, if nothing in it is broken."""
    try:
        target = superset.target()
        with psycopg.connect(timescale.url, autocommit=True) as connection:
            published = release(target, connection, RollupProject(SETTINGS.home))
    except (BundleError, DbtFailed, SupersetError, TargetError) as error:
        # It stays wrong until somebody changes something.
        raise Failure(str(error), allow_retries=False) from None
    for slug, address in published.dashboards.items():
        yield MaterializeResult(
            asset_key=AssetKey(["superset", slug]),
            metadata={"address": MetadataValue.url(address), "charts": len(_BUNDLE.dashboards[slug].charts)},
        )


DASHBOARD_ASSETS: Final = [dashboards]

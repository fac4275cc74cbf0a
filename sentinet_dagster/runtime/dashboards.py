"""Checking and publishing the dashboards, for commands and for the start of a service.

What lives here: opening the database, one line for what went wrong. What never does: the checks and the API
(`superset/`).
"""

from __future__ import annotations

from pathlib import Path

from sentinet_dagster.rollups.project import DbtFailed, RollupProject
from sentinet_dagster.runtime.database_url import connect, outages_told
from sentinet_dagster.runtime.errors import ProcessFailed, UserError
from sentinet_dagster.superset import release
from sentinet_dagster.superset.bundle import BundleError, read_bundle
from sentinet_dagster.superset.client import SupersetError, SupersetUnavailable
from sentinet_dagster.superset.publish import Published
from sentinet_dagster.superset.target import Target

__all__ = ["problems", "publish"]


def problems(database_url: str, home: Path) -> list[str]:
    """What is wrong with the bundle; each line begins with its path.

    Raises:
        UserError: the database cannot be asked, or the dbt project cannot be read.
    """
    try:
        with outages_told(database_url), connect(database_url, autocommit=True) as connection:
            return release.check(read_bundle(), connection, RollupProject(home))
    except BundleError as error:
        return [str(error)]
    except DbtFailed as error:
        raise UserError(str(error)) from None


def publish(target: Target, database_url: str, home: Path) -> Published:
    """Publish what was checked.

    Raises:
        UserError: Superset is not there, the database cannot be asked, or the bundle is broken.
        ProcessFailed: Superset refuses.
    """
    try:
        with outages_told(database_url), connect(database_url, autocommit=True) as connection:
            return release.release(target, connection, RollupProject(home))
    except (BundleError, DbtFailed, SupersetUnavailable) as error:
        raise UserError(str(error)) from None
    except SupersetError as error:
        raise ProcessFailed("superset", str(error)) from None

"""Publishing what was checked: the bundle against the live schema and dbt's manifest, then to Superset.

What lives here: that nothing unchecked is published. What never does: the checks (`validate.py`), publishing
(`publish.py`), where the database and the Superset are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg

from sentinet_dagster.rollups.project import RollupProject
from sentinet_dagster.superset.bundle import TREE, Bundle, BundleError, read_bundle
from sentinet_dagster.superset.publish import Published, publish
from sentinet_dagster.superset.target import Target
from sentinet_dagster.superset.validate import check_bundle, check_database

__all__ = ["check", "release"]

Connection = psycopg.Connection[Any]


def check(bundle: Bundle, connection: Connection, project: RollupProject) -> list[str]:
    """What is wrong with the bundle, in itself or in this database; each line begins with its path.

    Raises:
        DbtFailed: dbt's manifest cannot be had.
    """
    marts = {
        model.name: frozenset(column.name for column in model.columns) for model in project.catalogue().models
    }
    return check_bundle(bundle) or check_database(bundle, connection, marts)


def release(target: Target, connection: Connection, project: RollupProject, tree: Path = TREE) -> Published:
    """Read, check, publish.

    Args:
        target: the Superset.
        connection: to the product's database, in autocommit mode.
        project: whose models the marts are.
        tree: the bundle's folder.

    Raises:
        BundleError: something is wrong with the bundle; all of it is said, nothing was published.
        SupersetError: Superset is not there or refuses.
    """
    bundle = read_bundle(tree)
    problems = check(bundle, connection, project)
    if problems:
        raise BundleError("; ".join(problems))
    found = connection.execute("select distinct venue from market.instruments").fetchall()
    return publish(target, bundle, [str(row[0]) for row in found])

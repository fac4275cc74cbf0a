"""The dbt project in Dagster's terms, by dagster-dbt: `python -m <this module> TARGET`.

What lives here: the only place that imports dbt and dagster-dbt, run as a process of its own when the
project has changed (`project.py`). What never does: running models or tests.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final

from dagster import AssetKey, AssetSpec, TableSchema

from sentinet_dagster.rollups.catalogue import Catalogue, Column, Model, Test, encode

with warnings.catch_warnings():
    # dagster-dbt asks for sqlglot[rs], which says of itself that nobody needs it any more.
    warnings.filterwarnings("ignore", "sqlglotrs is deprecated", DeprecationWarning)
    from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings
    from dagster_dbt.asset_utils import DAGSTER_DBT_UNIQUE_ID_METADATA_KEY, build_dbt_specs

__all__ = ["main", "translate"]

_CONTINUOUS: Final = "continuous_aggregate"


class _Translator(DagsterDbtTranslator):
    """Names and owners as everywhere in Sentinet. Sources carry the names of the assets they are."""

    def __init__(self) -> None:
        # Two sources may be of one asset: alerts and the events of their life.
        super().__init__(DagsterDbtTranslatorSettings(enable_duplicate_source_asset_keys=True))

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> AssetKey:
        """schema/name, for a source too, unless its `meta` says which asset it is."""
        if dbt_resource_props["resource_type"] == "source":
            return super().get_asset_key(dbt_resource_props)
        return AssetKey([dbt_resource_props["schema"], dbt_resource_props["name"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The folder: staging, rollups, marts."""
        folder: str = dbt_resource_props["fqn"][1]
        return folder

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """The model's, without its SQL."""
        description: str = dbt_resource_props["description"]
        return description

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> Sequence[str] | None:  # noqa: ARG002
        """Analysts own sums."""
        return ["team:analytics"]


def translate(manifest: Mapping[str, Any]) -> Catalogue:
    """The models and tests of dbt's manifest."""
    specs, checks = build_dbt_specs(
        translator=_Translator(),
        manifest=manifest,
        select="fqn:*",
        exclude="",
        selector="",
        io_manager_key=None,
        project=None,
    )
    by_key = {spec.key: _model(spec, manifest["nodes"][_unique_id(spec.metadata)]) for spec in specs}
    order = TopologicalSorter({model.key: model.parents for model in by_key.values()}).static_order()
    return Catalogue(
        models=tuple(by_key[AssetKey(list(key))] for key in order if AssetKey(list(key)) in by_key),
        tests=tuple(
            Test(
                check.name,
                _unique_id(check.metadata),
                tuple(check.asset_key.path),
                tuple(sorted(tuple(dep.asset_key.path) for dep in check.additional_deps)),
            )
            for check in sorted(checks, key=lambda check: (check.asset_key, check.name))
        ),
    )


def _model(spec: AssetSpec, node: Mapping[str, Any]) -> Model:
    is_continuous = node["config"]["materialized"] == _CONTINUOUS
    schema = spec.metadata.get("dagster/column_schema")  # of the columns that the project's YAML names
    described = schema.columns if isinstance(schema, TableSchema) else ()
    return Model(
        name=node["name"],
        key=tuple(spec.key.path),
        parents=tuple(sorted(tuple(dep.asset_key.path) for dep in spec.deps)),
        group=spec.group_name or "",
        description=spec.description or "",
        kinds=tuple(sorted(spec.kinds | {"table" if is_continuous else "view"})),
        owners=tuple(spec.owners),
        code_version=spec.code_version and spec.code_version[:12],
        columns=tuple(Column(column.name, column.description or "") for column in described),
        is_continuous=is_continuous,
    )


def _unique_id(metadata: Mapping[str, Any]) -> str:
    found: str = metadata[DAGSTER_DBT_UNIQUE_ID_METADATA_KEY]
    return found


def main(arguments: Sequence[str]) -> int:
    """Parse the project that DBT_PROJECT_DIR names; leave manifest.json and catalogue.json in TARGET."""
    from dbt.cli.main import dbtRunner

    (target,) = map(Path, arguments)
    result = dbtRunner().invoke(["--quiet", "--warn-error", "parse", "--target-path", str(target)])
    if not result.success:
        sys.stderr.write(f"{result.exception}\n")
        return 1
    manifest = json.loads((target / "manifest.json").read_bytes())
    (target / "catalogue.json").write_bytes(encode(translate(manifest)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

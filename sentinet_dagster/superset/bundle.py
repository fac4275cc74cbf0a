"""The tree `bundle/` as values, and as the ZIP that Superset imports.

What lives here: reading, references by slug, identifiers, the ZIP. What never does: the database, the
network, whether what is named exists (`validate.py`).

A slug is a file's stem, and the only name by which files refer to each other. Superset's own identifiers are
made of it: UUIDs as uuid5 of kind and slug, so that every publish meets what the last one made; and numbers,
which hold within one ZIP and which Superset replaces by its own.

    metadata.yaml
    databases/<slug>.yaml
    datasets/<database>/<slug>.yaml     a relation of that database
    charts/<slug>.yaml                  `dataset: <slug>`
    dashboards/<slug>.yaml              CHART nodes: `meta.chart: <slug>`; filters: `dataset: <slug>`;
                                        scopes: slugs of charts; `theme: <slug>`
    themes/<slug>.yaml, annotation_layers/<slug>.yaml    made by `publish.py`: no ZIP carries them
"""

from __future__ import annotations

import copy
import io
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

__all__ = [
    "TREE",
    "Bundle",
    "BundleError",
    "Chart",
    "Dashboard",
    "Dataset",
    "Document",
    "identifier",
    "read_bundle",
]

TREE: Final = Path(__file__).parent / "bundle"
VERSION: Final = "1.0.0"
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://sentinet.invalid/superset")
_ROOT: Final = "bundle"
# So that the same tree is the same ZIP, byte for byte.
_MOMENT: Final = (2026, 1, 1, 0, 0, 0)

Document = dict[str, Any]


class BundleError(ValueError):
    """The tree is not what it must be. The message names the file, what is wrong and what is accepted."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A relation that charts read."""

    slug: str
    path: str  # in the tree
    database: str
    document: Document

    @property
    def relation(self) -> str:
        """`schema.table`."""
        return f"{self.document['schema']}.{self.document['table_name']}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The relation's own columns, without calculated ones."""
        return tuple(each["column_name"] for each in self.document["columns"] if not each.get("expression"))


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture of one dataset."""

    slug: str
    path: str
    dataset: str
    document: Document

    @property
    def title(self) -> str:
        """What its head says."""
        return str(self.document["slice_name"])

    @property
    def annotation_layers(self) -> list[Document]:
        """Those that an import leaves out: all but formulas."""
        layers = self.document.get("params", {}).get("annotation_layers") or []
        return [layer for layer in layers if layer.get("annotationType") != "FORMULA"]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Charts on a page."""

    slug: str
    path: str
    theme: str | None
    document: Document

    @property
    def title(self) -> str:
        """What its head says."""
        return str(self.document["dashboard_title"])

    @property
    def charts(self) -> tuple[str, ...]:
        """The slugs of its charts, in the order of the file."""
        return tuple(node["meta"]["chart"] for node in _chart_nodes(self.document))


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything, by slug."""

    metadata: Document
    databases: Mapping[str, Document]
    datasets: Mapping[str, Dataset]
    charts: Mapping[str, Chart]
    dashboards: Mapping[str, Dashboard]
    themes: Mapping[str, Document]
    annotation_layers: Mapping[str, Document]

    def relations(self, dashboard: str) -> tuple[tuple[str, str], ...]:
        """(schema, table) of what a dashboard's charts read, sorted."""
        read = [self.datasets[self.charts[chart].dataset] for chart in self.dashboards[dashboard].charts]
        return tuple(sorted({(each.document["schema"], each.document["table_name"]) for each in read}))

    def to_zip(self, database_uris: Mapping[str, str], variables: Mapping[str, str]) -> bytes:
        """What `POST /api/v1/assets/import/` takes; equal input gives equal bytes.

        Args:
            database_uris: slug → where Superset finds that database, without its password.
            variables: `${NAME}` in any text of a chart or dashboard becomes the value.
        """
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, document in self._files(database_uris):
                text = yaml.dump(_filled(document, variables), sort_keys=False, Dumper=_Dumper)
                archive.writestr(zipfile.ZipInfo(f"{_ROOT}/{path}", _MOMENT), text)
        return buffer.getvalue()

    def _files(self, database_uris: Mapping[str, str]) -> Iterator[tuple[str, Document]]:
        yield "metadata.yaml", self.metadata
        for slug, document in self.databases.items():
            named = {"sqlalchemy_uri": database_uris[slug]}
            yield f"databases/{slug}.yaml", document | _identity("database", slug) | named
        for dataset in self.datasets.values():
            its = {"database_uuid": identifier("database", dataset.database)}
            yield dataset.path, dataset.document | _identity("dataset", dataset.slug) | its
        for chart in self.charts.values():
            its = {"dataset_uuid": identifier("dataset", chart.dataset)}
            yield chart.path, _without(chart.document, "dataset") | _identity("chart", chart.slug) | its
        numbers = {slug: number for number, slug in enumerate(self.charts, start=1)}
        for dashboard in self.dashboards.values():
            yield dashboard.path, _as_imported(dashboard, numbers)


def identifier(kind: str, slug: str) -> str:
    """The UUID of an object; kind is database, dataset, chart or dashboard.

    >>> identifier("chart", "candles") == identifier("chart", "candles") != identifier("dataset", "candles")
    True
    """
    return str(uuid.uuid5(_NAMESPACE, f"{kind}/{slug}"))


def read_bundle(tree: Path = TREE) -> Bundle:
    """The tree, with every reference between its files resolved.

    Raises:
        BundleError: a file is not YAML, lacks a key, or names what is not there.
    """
    if not tree.is_dir():
        raise BundleError(
            f"{tree}: there is no such folder; a bundle has metadata.yaml, databases/, datasets/, …"
        )
    databases = {
        slug: document for slug, _, document in _read(tree, "databases", ("database_name", "sqlalchemy_uri"))
    }
    bundle = Bundle(
        metadata=_load(tree / "metadata.yaml", tree, ("version", "type")),
        databases=databases,
        datasets=dict(_datasets(tree, databases)),
        charts={
            slug: Chart(slug, path, document["dataset"], document)
            for slug, path, document in _read(tree, "charts", ("slice_name", "viz_type", "dataset", "params"))
        },
        dashboards={
            slug: Dashboard(slug, path, document.get("theme"), document)
            for slug, path, document in _read(tree, "dashboards", ("dashboard_title", "position", "metadata"))
        },
        themes={slug: document for slug, _, document in _read(tree, "themes", ("theme_name", "json_data"))},
        annotation_layers={
            slug: document for slug, _, document in _read(tree, "annotation_layers", ("name",))
        },
    )
    _check_references(bundle)
    return bundle


def _datasets(tree: Path, databases: Mapping[str, Document]) -> Iterator[tuple[str, Dataset]]:
    seen: dict[str, str] = {}
    for folder in sorted(path for path in (tree / "datasets").glob("*") if path.is_dir()):
        if folder.name not in databases:
            raise BundleError(f"datasets/{folder.name}: there is no databases/{folder.name}.yaml")
        for slug, path, document in _read(
            tree, f"datasets/{folder.name}", ("table_name", "schema", "columns")
        ):
            if document.get("sql"):
                raise BundleError(
                    f"{path}: sql: a dataset is a relation of the database: make it a view there"
                )
            if slug in seen:
                raise BundleError(f"{path}: the slug {slug} is taken by {seen[slug]}")
            seen[slug] = path
            yield slug, Dataset(slug, path, folder.name, document)


def _check_references(bundle: Bundle) -> None:
    for chart in bundle.charts.values():
        _known(chart.dataset, bundle.datasets, f"{chart.path}: dataset")
        for layer in chart.annotation_layers:
            known = bundle.annotation_layers if layer.get("sourceType") == "NATIVE" else bundle.charts
            _known(layer.get("value"), known, f"{chart.path}: annotation_layers.{layer.get('name')}.value")
    for dashboard in bundle.dashboards.values():
        for key, node in dashboard.document["position"].items():
            if isinstance(node, dict) and node.get("type") == "CHART":
                place = f"{dashboard.path}: position.{key}.meta.chart"
                _known((node.get("meta") or {}).get("chart"), bundle.charts, place)
        for filtered, place in _filters(dashboard):
            for target in filtered.get("targets") or []:
                if "dataset" in target:
                    _known(target["dataset"], bundle.datasets, f"{place}.targets.dataset")
        if dashboard.theme is not None:
            _known(dashboard.theme, bundle.themes, f"{dashboard.path}: theme")
        _as_imported(dashboard, dict.fromkeys(bundle.charts, 0))  # says which slug of a scope is none


def _known(slug: object, there: Mapping[str, object], place: str) -> None:
    if slug not in there:
        raise BundleError(f"{place}: {slug!r} is not there; there are {', '.join(sorted(there)) or 'none'}")


def _filters(dashboard: Dashboard) -> Iterator[tuple[Document, str]]:
    for each in dashboard.document["metadata"].get("native_filter_configuration") or []:
        yield each, f"{dashboard.path}: metadata.native_filter_configuration.{each.get('name')}"


def _chart_nodes(document: Document) -> Iterator[Document]:
    for node in document["position"].values():
        if isinstance(node, dict) and node.get("type") == "CHART":
            yield node


def _as_imported(dashboard: Dashboard, numbers: Mapping[str, int]) -> Document:
    """The dashboard as Superset's import reads it: UUIDs, and numbers in the place of slugs."""
    document = copy.deepcopy(_without(dashboard.document, "theme"))

    def number(slug: object, place: str) -> int:
        _known(slug, numbers, f"{dashboard.path}: {place}")
        return numbers[str(slug)]

    for node in _chart_nodes(document):
        slug = node["meta"].pop("chart")
        node["meta"] |= {"uuid": identifier("chart", slug), "chartId": number(slug, "position")}
    metadata = document["metadata"]
    for each in metadata.get("native_filter_configuration") or []:
        for target in each.get("targets") or []:
            if "dataset" in target:
                target["datasetUuid"] = identifier("dataset", target.pop("dataset"))
        _number_scope(each, "native_filter_configuration", number)
    if "timed_refresh_immune_slices" in metadata:
        immune = metadata["timed_refresh_immune_slices"]
        metadata["timed_refresh_immune_slices"] = [
            number(slug, "timed_refresh_immune_slices") for slug in immune
        ]
    _number_scope(metadata.get("global_chart_configuration") or {}, "global_chart_configuration", number)
    configured = {}
    for slug, each in (metadata.get("chart_configuration") or {}).items():
        its = number(slug, "chart_configuration")
        _number_scope(each.get("crossFilters") or {}, "chart_configuration", number)
        configured[str(its)] = each | {"id": its}
    metadata["chart_configuration"] = configured
    return document | {"slug": dashboard.slug} | _identity("dashboard", dashboard.slug)


def _number_scope(scoped: Document, place: str, number: Any) -> None:
    for holder, key in ((scoped, "chartsInScope"), (scoped.get("scope") or {}, "excluded")):
        if key in holder:
            holder[key] = [number(slug, f"{place}.{key}") for slug in holder[key]]


def _identity(kind: str, slug: str) -> Document:
    return {"uuid": identifier(kind, slug), "version": VERSION}


def _without(document: Document, key: str) -> Document:
    return {name: value for name, value in document.items() if name != key}


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for name, text in variables.items():
            value = value.replace(f"${{{name}}}", text)
        return value
    if isinstance(value, dict):
        return {key: _filled(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, variables) for each in value]
    return value


def _read(tree: Path, folder: str, keys: tuple[str, ...]) -> Iterator[tuple[str, str, Document]]:
    for path in sorted((tree / folder).glob("*.yaml")):
        yield path.stem, path.relative_to(tree).as_posix(), _load(path, tree, keys)


def _load(path: Path, tree: Path, keys: tuple[str, ...]) -> Document:
    name = path.relative_to(tree).as_posix()
    try:
        # libyaml's: the code location reads some hundred files when it starts.
        document = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    except FileNotFoundError:
        raise BundleError(f"{name}: there is no such file") from None
    except yaml.YAMLError as error:
        raise BundleError(f"{name}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise BundleError(f"{name}: want keys and values, such as `{keys[0]}: …`")
    for key in keys:
        if key not in document:
            raise BundleError(f"{name}: {key} is missing")
    for key in ("uuid", "dataset_uuid", "database_uuid"):
        if key in document:
            raise BundleError(f"{name}: {key}: identifiers are made of slugs: leave it out")
    return document


class _Dumper(yaml.CSafeDumper):
    """Writes each value out: Superset's importer gets no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True

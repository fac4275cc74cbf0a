from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sentinet_dagster.superset.bundle import BundleError, identifier, read_bundle
from tests.unit.sentinet_dagster.superset.trees import write_tree

URIS = {"market": "postgresql+psycopg2://ana@db/market"}
VARIABLES = {"DAGSTER_URL": "http://dagster"}


def unzipped(archive: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: yaml.safe_load(opened.read(name)) for name in opened.namelist()}


def test_the_zip_has_what_superset_imports(tmp_path: Path) -> None:
    files = unzipped(read_bundle(write_tree(tmp_path)).to_zip(URIS, VARIABLES))
    assert set(files) == {
        "bundle/metadata.yaml",
        "bundle/databases/market.yaml",
        "bundle/datasets/market/prices.yaml",
        "bundle/charts/line.yaml",
        "bundle/charts/list.yaml",
        "bundle/dashboards/shop.yaml",
    }
    database, dataset = files["bundle/databases/market.yaml"], files["bundle/datasets/market/prices.yaml"]
    chart = files["bundle/charts/line.yaml"]
    assert database["sqlalchemy_uri"] == URIS["market"]
    assert dataset["database_uuid"] == database["uuid"] == identifier("database", "market")
    assert chart["dataset_uuid"] == dataset["uuid"]
    assert "dataset" not in chart
    assert files["bundle/charts/list.yaml"]["params"]["link"] == "http://dagster/runs"
    assert {each["version"] for name, each in files.items() if name != "bundle/metadata.yaml"} == {"1.0.0"}


def test_a_dashboard_names_charts_by_uuid_and_number(tmp_path: Path) -> None:
    dashboard = unzipped(read_bundle(write_tree(tmp_path)).to_zip(URIS, VARIABLES))[
        "bundle/dashboards/shop.yaml"
    ]
    nodes = {key: dashboard["position"][key]["meta"] for key in ("CHART-1", "CHART-2")}
    assert nodes["CHART-1"] == {"width": 6, "uuid": identifier("chart", "line"), "chartId": 1}
    assert nodes["CHART-2"]["chartId"] == 2
    metadata = dashboard["metadata"]
    (venue,) = metadata["native_filter_configuration"]
    assert venue["targets"] == [{"column": {"name": "venue"}, "datasetUuid": identifier("dataset", "prices")}]
    assert venue["scope"]["excluded"] == metadata["timed_refresh_immune_slices"] == [2]
    assert metadata["chart_configuration"] == {"1": {"crossFilters": {"chartsInScope": [2]}, "id": 1}}
    assert dashboard["slug"] == "shop"
    assert "theme" not in dashboard


def test_the_same_tree_is_the_same_zip(tmp_path: Path) -> None:
    one, other = (
        read_bundle(write_tree(tmp_path / name)).to_zip(URIS, VARIABLES) for name in ("one", "other")
    )
    assert one == other


def test_a_dashboard_knows_its_relations(tmp_path: Path) -> None:
    bundle = read_bundle(write_tree(tmp_path))
    assert bundle.relations("shop") == (("shop", "prices"),)
    assert [layer["name"] for layer in bundle.charts["line"].annotation_layers] == ["notes"]


def change(*path: Any, to: Any) -> Callable[[Any], None]:
    def apply(document: Any) -> None:
        *way, last = path
        for step in way:
            document = document[step]
        document[last] = to

    return apply


SLICED = ("metadata", "native_filter_configuration", 0)


@pytest.mark.parametrize(
    ("file", "wrong", "message"),
    [
        ("metadata", None, "metadata.yaml: there is no such file"),
        ("databases__market", None, "datasets/market: there is no databases/market.yaml"),
        (
            "charts__line",
            change("dataset", to="price"),
            "charts/line.yaml: dataset: 'price' is not there; there are prices",
        ),
        ("charts__line", ["a"], "charts/line.yaml: want keys and values, such as `slice_name: …`"),
        (
            "charts__line",
            change("uuid", to="x"),
            "charts/line.yaml: uuid: identifiers are made of slugs: leave it out",
        ),
        (
            "datasets__market__prices",
            change("sql", to="select 1"),
            "datasets/market/prices.yaml: sql: a dataset is",
        ),
        ("themes__night", None, "dashboards/shop.yaml: theme: 'night' is not there; there are none"),
        (
            "annotation_layers__notes",
            None,
            "charts/line.yaml: annotation_layers.notes.value: 'notes' is not there",
        ),
        (
            "dashboards__shop",
            change("position", "CHART-1", "meta", "chart", to="pie"),
            "dashboards/shop.yaml: position.CHART-1.meta.chart: 'pie' is not there; there are line, list",
        ),
        (
            "dashboards__shop",
            change("metadata", "timed_refresh_immune_slices", to=["pie"]),
            "dashboards/shop.yaml: timed_refresh_immune_slices: 'pie' is not there",
        ),
        (
            "dashboards__shop",
            change(*SLICED, "scope", "excluded", to=["pie"]),
            "dashboards/shop.yaml: native_filter_configuration.excluded: 'pie' is not there",
        ),
        (
            "dashboards__shop",
            change(*SLICED, "targets", 0, "dataset", to="x"),
            "dashboards/shop.yaml: metadata.native_filter_configuration.Venue.targets.dataset: 'x' is",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_file(tmp_path: Path, file: str, wrong: Any, message: str) -> None:
    with pytest.raises(BundleError) as failure:
        read_bundle(write_tree(tmp_path, **{file: wrong}))
    assert str(failure.value).startswith(message)


def test_what_is_no_yaml_is_named(tmp_path: Path) -> None:
    (write_tree(tmp_path) / "charts" / "line.yaml").write_text("a: [")
    with pytest.raises(BundleError, match=r"^charts/line\.yaml: not YAML: "):
        read_bundle(tmp_path)


def test_two_datasets_of_one_slug_are_refused(tmp_path: Path) -> None:
    tree = write_tree(
        tmp_path, databases__other={"database_name": "Other", "sqlalchemy_uri": "postgresql://"}
    )
    (tree / "datasets" / "other").mkdir()
    (tree / "datasets/other/prices.yaml").write_text((tree / "datasets/market/prices.yaml").read_text())
    with pytest.raises(
        BundleError, match=r"^datasets/other/prices\.yaml: the slug prices is taken by datasets/market"
    ):
        read_bundle(tree)


def test_no_folder_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no such folder"):
        read_bundle(tmp_path / "nowhere")

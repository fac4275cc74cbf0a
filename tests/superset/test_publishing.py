"""What publishing does to a Superset that is there already, and what an analyst may do in it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml

from sentinet_dagster.rollups.project import RollupProject
from sentinet_dagster.superset import release
from sentinet_dagster.superset.access import ANALYST, make_user, venue_role
from sentinet_dagster.superset.bundle import TREE, identifier, read_bundle
from sentinet_dagster.superset.client import Superset, SupersetRefused, SupersetUnavailable
from sentinet_dagster.superset.target import Target
from tests.superset.conftest import Sentinet

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

KINDS = ("database", "dataset", "chart", "dashboard")
CHART = "markets"
LAYER = {
    "name": "Venue's notices",
    "annotationType": "EVENT",
    "sourceType": "NATIVE",
    "value": "notices",
    "show": True,
}


@pytest.fixture(scope="module")
def admin(sentinet: Sentinet) -> Iterator[Superset]:
    with Superset(sentinet.addresses["superset"], "admin", sentinet.secrets.admin_password) as session:
        yield session


@pytest.fixture(scope="module")
def target(sentinet: Sentinet) -> Target:
    secrets, addresses = sentinet.secrets, sentinet.addresses
    return Target(
        addresses["superset"], "admin", secrets.admin_password, sentinet.reading_url, addresses["dagster"],
        secrets.analyst_password,
    )  # fmt: skip


def number_of(session: Superset, kind: str, slug: str) -> int:
    return session.ids(kind)[identifier(kind, slug)]


def chart(session: Superset, slug: str = CHART) -> dict[str, Any]:
    found: dict[str, Any] = session.get(f"chart/{number_of(session, 'chart', slug)}")["result"]
    return found


def release_tree(sentinet: Sentinet, target: Target, tree: Path) -> None:
    with psycopg.connect(sentinet.database_url, autocommit=True) as connection:
        release.release(target, connection, RollupProject(sentinet.home.path), tree)


def names(session: Superset, path: str, key: str = "name") -> list[str]:
    return sorted(row[key] for row in session.rows(path))


def test_every_link_leads_somewhere(sentinet: Sentinet) -> None:
    assert sentinet.ask("dashboards", "validate") == {"problems": []}


def test_publishing_twice_changes_no_id(sentinet: Sentinet, admin: Superset) -> None:
    def all_there_is() -> Any:
        ids = {kind: admin.ids(kind) for kind in KINDS}
        others = [names(admin, path) for path in ("security/roles/", "rowlevelsecurity/")]
        return ids, others, names(admin, "theme/", "theme_name"), names(admin, "security/users/", "username")

    before = all_there_is()
    published = sentinet.ask("dashboards", "publish")
    assert set(published["dashboards"]) == set(read_bundle().dashboards)
    assert all_there_is() == before
    assert {ANALYST, venue_role("simulated"), venue_role("simulated_usdm")} <= set(before[1][0])


def test_a_chart_that_was_edited_by_hand_is_restored(sentinet: Sentinet, admin: Superset) -> None:
    before = chart(admin)
    params = json.loads(before["params"]) | {"row_limit": 1}
    edited = {"slice_name": "Mine", "params": json.dumps(params)}
    admin.put(f"chart/{before['id']}", edited)
    assert chart(admin)["slice_name"] == "Mine"
    sentinet.ask("dashboards", "publish")
    after = chart(admin)
    assert (after["id"], after["slice_name"]) == (before["id"], before["slice_name"])
    assert json.loads(after["params"]) == json.loads(before["params"])


def test_an_annotation_layer_survives(
    sentinet: Sentinet, admin: Superset, target: Target, tmp_path: Path
) -> None:
    tree = tmp_path / "bundle"
    shutil.copytree(TREE, tree)
    file = tree / "charts" / f"{CHART}.yaml"
    document = yaml.safe_load(file.read_text())
    document["params"]["annotation_layers"] = [LAYER]
    file.write_text(yaml.safe_dump(document))
    (tree / "annotation_layers").mkdir(exist_ok=True)
    (tree / "annotation_layers" / "notices.yaml").write_text("name: Notices\n")

    release_tree(sentinet, target, tree)
    (layer,) = json.loads(chart(admin)["params"])["annotation_layers"]
    assert layer == LAYER | {"value": layer["value"]}
    halt = {
        "short_descr": "Trading halt",
        "start_dttm": "2026-01-01T00:00:00",
        "end_dttm": "2026-01-01T00:05:00",
    }
    admin.post(f"annotation_layer/{layer['value']}/annotation/", halt)

    release_tree(sentinet, target, tree)
    assert json.loads(chart(admin)["params"])["annotation_layers"] == [layer]
    assert names(admin, f"annotation_layer/{layer['value']}/annotation/", "short_descr") == ["Trading halt"]


def test_a_broken_link_is_said_with_its_path_and_nothing_is_published(
    sentinet: Sentinet, admin: Superset, target: Target, tmp_path: Path
) -> None:
    tree = tmp_path / "bundle"
    shutil.copytree(TREE, tree)
    slug = read_bundle().charts[CHART].dataset
    (file,) = (tree / "datasets").rglob(f"{slug}.yaml")
    document = yaml.safe_load(file.read_text())
    document["columns"].append({"column_name": "no_such_column"})
    document["metrics"] = [
        *(document.get("metrics") or []),
        {"metric_name": "m", "expression": "sum(nothing)"},
    ]
    file.write_text(yaml.safe_dump(document))
    before = chart(admin)["changed_on_delta_humanized"], admin.ids("dataset")
    with pytest.raises(release.BundleError) as failure:
        release_tree(sentinet, target, tree)
    relation = read_bundle().datasets[slug].relation
    assert f"datasets/sentinet/{slug}.yaml: no column no_such_column in {relation}" in str(failure.value)
    assert str(failure.value).startswith("dashboards/")
    assert admin.ids("dataset") == before[1]


def test_dagster_publishes_as_well(sentinet: Sentinet) -> None:
    sentinet.run("publish_dashboards")


@pytest.fixture(scope="module")
def of_one_venue(admin: Superset, sentinet: Sentinet) -> Iterator[Superset]:
    """An analyst who has one venue's role."""
    make_user(admin, "spot", "spot-password", ["simulated"])
    with Superset(sentinet.addresses["superset"], "spot", "spot-password") as session:
        yield session


def test_an_analyst_sees_the_rows_of_their_venues(of_one_venue: Superset, admin: Superset) -> None:
    bundle = read_bundle()
    asked = {slug for slug, dataset in bundle.datasets.items() if "venue" in dataset.columns}
    assert len(asked) > 5

    def venues(session: Superset, slug: str) -> set[str]:
        query = {"columns": ["venue"], "metrics": [], "row_limit": 1000, "filters": [], "extras": {}}
        source = {"id": number_of(admin, "dataset", slug), "type": "table"}
        answer = session.post("chart/data", {"datasource": source, "queries": [query], "result_type": "full"})
        return {row["venue"] for row in answer["result"][0]["data"]} - {None}

    seen_by_all = {slug: venues(admin, slug) for slug in asked}
    assert {"simulated", "simulated_usdm"} in seen_by_all.values()
    for slug, seen in seen_by_all.items():
        assert venues(of_one_venue, slug) == seen & {"simulated"}, slug


def test_an_analyst_changes_nothing(of_one_venue: Superset, admin: Superset) -> None:
    dashboard = number_of(admin, "dashboard", next(iter(read_bundle().dashboards)))
    number = number_of(admin, "chart", CHART)
    for path, body in (
        (f"chart/{number}", {"slice_name": "Mine"}),
        (f"dashboard/{dashboard}", {"dashboard_title": "Mine"}),
        (
            f"dataset/{number_of(admin, 'dataset', read_bundle().charts[CHART].dataset)}",
            {"description": "Mine"},
        ),
    ):
        with pytest.raises(SupersetRefused, match=r"40[34]"):
            of_one_venue.put(path, body)
    with pytest.raises(SupersetRefused, match=r"40[34]"):
        of_one_venue.post("sqllab/execute/", {"database_id": 1, "sql": "select 1"})


def test_what_is_taken_from_a_role_is_soon_refused_and_comes_back(
    sentinet: Sentinet, of_one_venue: Superset, admin: Superset
) -> None:
    (analyst,) = [row["id"] for row in admin.rows("security/roles/") if row["name"] == ANALYST]
    permissions = f"security/roles/{analyst}/permissions"
    kept = [row["id"] for row in admin.get(f"{permissions}/")["result"]]
    body = {
        "datasource": {"id": number_of(admin, "dataset", "market_overview"), "type": "table"},
        "queries": [{"columns": ["symbol"], "metrics": [], "row_limit": 1, "filters": [], "extras": {}}],
        "result_type": "full",
        "force": True,
    }

    def may() -> bool:
        try:
            of_one_venue.post("chart/data", body)
        except SupersetRefused:
            return False
        return True

    assert may()
    admin.post(permissions, {"permission_view_menu_ids": kept[:1]})
    try:
        sentinet.until_so(lambda: not may(), "an analyst without rights is refused")
    finally:
        admin.post(permissions, {"permission_view_menu_ids": kept})
    sentinet.until_so(may, "an analyst who has them again is answered")


def test_what_a_role_may_do_is_what_superset_itself_says_of_it(
    superset_folder: Path, sentinet: Sentinet
) -> None:
    """Every answer of our manager beside the one it is made from, for all rights and people there are."""
    script = Path(__file__).with_name("rights.py")
    done = subprocess.run(
        [superset_folder / "bin" / "python", script],
        env=sentinet.superset_environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    asked, granted, different = json.loads(done.stdout.splitlines()[-1])
    assert different == []
    assert 0 < granted < asked


def test_superset_reads_under_a_role_that_cannot_write(sentinet: Sentinet, admin: Superset) -> None:
    database = number_of(admin, "database", "sentinet")
    connection = admin.get(f"database/{database}/connection")["result"]
    assert urlsplit(connection["sqlalchemy_uri"]).username == "sentinet_analyst"
    with psycopg.connect(sentinet.reading_url, autocommit=True) as reader:
        assert reader.execute("select from rollup.market_overview").rowcount > 0
        reader.execute("set default_transaction_read_only = off")
        for statement in (
            "delete from surveillance.alerts",
            "insert into surveillance.alert_events default values",
            "create table rollup.mine (number integer)",
            "create table public.mine (number integer)",
            "select * from market.rejected_frames",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement.encode())


def test_what_is_not_there_or_no_superset_is_one_line(sentinet: Sentinet) -> None:
    with pytest.raises(SupersetUnavailable, match=r"^no Superset answers at http://127\.0\.0\.1:1: "):
        Superset("http://127.0.0.1:1", "admin", "x").__enter__()
    with pytest.raises(SupersetRefused, match="does not let admin in"):
        Superset(sentinet.addresses["superset"], "admin", "wrong").__enter__()
    with pytest.raises((SupersetRefused, SupersetUnavailable)) as failure:
        Superset(sentinet.addresses["dagster"], "admin", "x").__enter__()
    assert "\n" not in str(failure.value)


def test_no_secret_is_to_be_seen(sentinet: Sentinet) -> None:
    import psutil

    secrets = sentinet.secrets
    shown = " ".join(
        word for process in psutil.process_iter(["cmdline"]) for word in process.info["cmdline"] or ()
    )
    assert "superset" in shown
    for secret in (
        secrets.session_key, secrets.admin_password, secrets.analyst_password, secrets.database_password,
    ):  # fmt: skip
        assert secret not in shown
        for file in sentinet.home.logs.glob("*.log"):
            assert secret not in file.read_text(errors="replace"), file

"""docker-compose.yml, Dockerfile and .env.example agree with each other and with the code.

There is no Docker engine here: the files are parsed, the images are not built.
"""

from __future__ import annotations

import importlib.util
import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
ENV_EXAMPLE = (ROOT / ".env.example").read_text()
ONE_SHOT = {"migrate"}
VARIABLE = re.compile(r"\$\{(\w+)([^}]*)\}")

every_service = pytest.mark.parametrize("name", SERVICES)


def test_the_services_of_a_whole_sentinet_are_there() -> None:
    assert set(SERVICES) == {
        "timescale", "migrate", "ingest", "code-server", "dagster-daemon", "webserver", "superset",
    }  # fmt: skip


def test_every_variable_is_documented_and_every_documented_one_used() -> None:
    used = {name for name, _ in VARIABLE.findall(TEXT)}
    documented = set(re.findall(r"^(\w+)=", ENV_EXAMPLE, re.MULTILINE))
    assert used == documented


def test_a_missing_variable_stops_compose_with_its_name() -> None:
    for name, rest in VARIABLE.findall(TEXT):
        assert rest == f":?set {name} in .env", name


def test_every_variable_has_a_comment_and_no_password_a_value() -> None:
    for block in ENV_EXAMPLE.strip().split("\n\n"):
        assert block.startswith("# "), block
    for name, value in re.findall(r"^(\w+)=(.*)$", ENV_EXAMPLE, re.MULTILINE):
        assert (value == "") is ("PASSWORD" in name or "SECRET" in name), name


def test_no_password_is_written_down() -> None:
    for line in TEXT.splitlines():
        if "PASSWORD" in line or "SECRET" in line:
            in_url = "${POSTGRES_PASSWORD:?" in line or "${SUPERSET_DATABASE_PASSWORD:?" in line
            assert in_url or re.search(r": \$\{SUPERSET_\w+:\?", line), line


@every_service
def test_images_are_pinned_and_targets_exist(name: str) -> None:
    service = SERVICES[name]
    image, _, tag = service["image"].rpartition(":")
    assert image
    assert re.match(r"\d+\.\d+\.\d+", tag), tag
    if "build" in service:
        assert f" AS {service['build']['target']}\n" in DOCKERFILE
        version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
        assert tag == version


@every_service
def test_it_is_watched_and_starts_after_what_it_needs(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert service["restart"] == "no"
    else:
        assert service["restart"] == "unless-stopped"
        assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
    if name != "timescale":
        assert service["depends_on"]
    for needed, how in service.get("depends_on", {}).items():
        wanted = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
        assert how == {"condition": wanted}


@every_service
def test_its_command_exists(name: str) -> None:
    command = [str(word) for word in SERVICES[name].get("command", [])]
    if name in ("timescale", "superset"):  # their images say it
        assert not command
        return
    program = command[0]
    if program == "python":
        assert command[1] == "-m"
        assert importlib.util.find_spec(f"{command[2]}.__main__") is not None
    else:
        assert program in {script.name for script in entry_points(group="console_scripts")}
    if "--module-name" in command:
        assert importlib.util.find_spec(command[command.index("--module-name") + 1]) is not None


@every_service
def test_files_it_mounts_exist_and_volumes_are_declared(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source = VARIABLE.sub("./config", mount).split(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]


def test_nothing_is_published_beyond_the_address_that_was_chosen() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"ingest", "webserver", "superset"}
    for ports in published.values():
        assert all(re.match(r"\$\{SENTINET_\w+_BIND:\?", port) for port in ports)


def test_containers_do_not_run_as_root() -> None:
    for stage in re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]:
        if re.match(r"base AS (ingest|dagster)\n", stage):
            assert "\nUSER sentinet\n" in stage
        if re.match(r"apache/superset:[\d.]+ AS superset\n", stage):
            assert re.findall(r"^USER (\w+)$", stage, re.MULTILINE)[-1] == "superset"


def test_superset_is_the_same_in_a_container() -> None:
    (pinned,) = re.findall(r"^FROM apache/superset:(\S+) AS superset$", DOCKERFILE, re.MULTILINE)
    requirements = (ROOT / "sentinet_dagster" / "superset" / "requirements.txt").read_text().splitlines()
    assert f"apache-superset=={pinned}" in requirements
    asked = set(SERVICES["superset"]["environment"])
    code = "".join(path.read_text() for path in (ROOT / "sentinet_dagster/superset/server").glob("*.py"))
    assert asked == set(re.findall(r'environ(?:\.get\()?\[?"(SENTINET_SUPERSET_\w+)"', code))


def test_the_base_image_is_pinned() -> None:
    assert re.search(r"^ARG PYTHON_IMAGE=python:\d+\.\d+\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert ":latest" not in DOCKERFILE + TEXT


def test_what_the_images_copy_exists() -> None:
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source

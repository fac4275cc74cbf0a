from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from sentinet_dagster.runtime import superset_server
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.home import Home
from sentinet_dagster.runtime.parts import Database
from sentinet_dagster.runtime.roles import Passwords
from sentinet_dagster.runtime.superset_server import (
    READING,
    Secrets,
    SupersetServer,
    database_url,
    install,
)

PINS = Path(superset_server.__file__).parents[1] / "superset" / "requirements.txt"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.superset.mkdir(parents=True)
    return home


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """What an installed Superset looks like from outside."""
    folder = tmp_path / "kept"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    (folder / ".sentinet").write_text(hashlib.sha256(PINS.read_bytes()).hexdigest())
    return folder


def test_secrets_are_made_once_and_for_the_owner_alone(home: Home) -> None:
    made = Secrets.of(home)
    assert Secrets.of(home) == made
    (file,) = home.superset.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    for secret in (
        made.session_key,
        made.admin_password,
        made.analyst_password,
        made.database_password,
    ):
        assert secret not in repr(made)
        assert len(secret) >= 16


def test_a_broken_file_of_secrets_is_named(home: Home) -> None:
    (home.superset / "secrets.json").write_text("{}")
    with pytest.raises(UserError, match=r"secrets\.json cannot be read .*: put it back, or remove"):
        Secrets.of(home)


def test_the_secrets_of_an_older_version_stay_and_are_completed(home: Home) -> None:
    file = home.superset / "secrets.json"
    older = {"session_key": "key", "admin_password": "admin's", "analyst_password": "analyst's"}
    file.write_text(json.dumps(older))
    found = Secrets.of(home)
    assert asdict(found) == older | {"database_password": found.database_password}
    assert len(found.database_password) >= 16
    assert Secrets.of(home) == found
    assert file.stat().st_mode & 0o777 == 0o600


def test_superset_reads_under_a_role_that_cannot_write() -> None:
    kept = Secrets("key", "admin's", "analyst's", "a/b@c")
    owner = "postgresql://sentinet:owner@127.0.0.1:5432/sentinet"
    reader = "postgresql://sentinet_analyst:a%2Fb%40c@127.0.0.1:5432/sentinet"
    assert database_url(owner, kept, {}, own=True) == reader
    given = {READING: "postgresql://reader:x@db:5432/sentinet"}
    for own in (True, False):
        assert database_url(owner, kept, given, own=own) == given[READING]
    with pytest.raises(UserError, match=r"^SENTINET_SUPERSET_DATABASE_URL is not set: .*sentinet_analyst"):
        database_url(owner, kept, {}, own=False)


def test_without_uv_the_way_to_install_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(home.path / "bin" / "python"))
    with pytest.raises(UserError, match="Superset is not installed, and uv, which installs it, is not there"):
        install(home, {"PATH": str(home.path)})


def test_a_failed_installation_is_one_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = home.path / "requirements.txt"
    wanted.write_text("no-such-package @ file:///nowhere\n")
    monkeypatch.setattr(superset_server, "_REQUIREMENTS", wanted)
    with pytest.raises(UserError, match=r"^Superset cannot be installed: .*nowhere") as failure:
        install(home, {})
    assert "\n" not in str(failure.value)
    assert not (home.superset / "venv" / ".sentinet").exists()


def test_an_environment_that_has_the_pins_is_taken(home: Home, environment: Path) -> None:
    found = install(home, {"SENTINET_SUPERSET_ENV": str(environment), "PATH": ""})
    assert found == environment / "bin" / "python"


def test_no_secret_is_on_the_command_line(home: Home) -> None:
    secrets = Secrets("session-key", "admin-password", "analyst-password", "reader-password")
    server = SupersetServer(
        home,
        home.path / "python",
        1,
        secrets,
        "postgresql://ana:database-password@db/s",
        "postgresql://sentinet_analyst:reader-password@db/s",
        Passwords({"analyst": "reader-password"}),
        2,
    )
    spec = server.spec()
    told = " ".join(spec.argv)
    assert "password" not in told
    assert "session-key" not in told
    assert spec.env["SENTINET_SUPERSET_PASSWORD"] == "admin-password"
    assert "password" not in repr(server)


def test_beside_a_given_database_superset_needs_one_of_its_own(home: Home, environment: Path) -> None:
    with pytest.raises(UserError, match=r"^SENTINET_SUPERSET_METADATA_URL is not set"):
        SupersetServer.lay_out(
            home,
            Database("postgresql://db/s", "postgresql://db/d"),
            {"SENTINET_SUPERSET_ENV": str(environment)},
        )


@pytest.mark.parametrize("workers", ["0", "many", "-1", "65"])
def test_what_is_no_number_of_workers_is_named(home: Home, environment: Path, workers: str) -> None:
    given = {
        "SENTINET_SUPERSET_ENV": str(environment),
        "SENTINET_SUPERSET_WORKERS": workers,
    }
    with pytest.raises(UserError, match="SENTINET_SUPERSET_WORKERS="):
        SupersetServer.lay_out(home, Database("postgresql://db/s", "postgresql://db/d"), given)


def test_no_address_is_among_the_pins() -> None:
    pins = PINS.read_text()
    assert "apache-superset==6.1.0\n" in pins
    for line in pins.splitlines():
        assert line.count("==") == 1, line
        assert "/" not in line

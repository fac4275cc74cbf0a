from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

import pytest

from sentinet_dagster.runtime import postgres_binaries
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.postgres_binaries import Account, programs, service_account

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root switches users")
MYSELF = Account(os.geteuid(), os.getegid(), switch=False)


def test_a_user_runs_it_as_himself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = pwd.getpwnam("daemon").pw_uid
    monkeypatch.setattr(os, "geteuid", lambda: daemon)
    account = service_account(tmp_path)
    assert (account.uid, account.switch) == (daemon, False)


def test_a_user_without_a_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `docker run --user 54321` makes one."""
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(UserError, match="user 54321 has none on this machine"):
        service_account(tmp_path)


@as_root
def test_root_runs_it_as_nobody_or_as_the_owner(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    for data in (tmp_path, tmp_path / "none"):
        assert service_account(data) == Account(nobody.pw_uid, nobody.pw_gid, switch=True)
    os.chown(tmp_path, 1234, 1235)
    assert service_account(tmp_path) == Account(1234, 1235, switch=True)


@as_root
def test_the_account_has_no_rights_of_ours() -> None:
    account = Account(1234, 1235, switch=True)
    said = account.run(["/bin/sh", "-c", "id -u; id -G; pwd"]).stdout.split()
    assert said == ["1234", "1235", "/"]


def test_the_environment_is_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c search_path=evil")
    said = MYSELF.run([sys.executable, "-S", "-c", "import os; print(sorted(os.environ))"]).stdout
    assert "PG" not in said
    assert "LC_ALL" in said


def test_the_wheels_programs_are_found() -> None:
    assert (programs(MYSELF) / "postgres").is_file()


def test_a_missing_wheel_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "WHEEL", "no_such_wheel")
    with pytest.raises(
        UserError, match=r"not installed: pip install 'sentinet\[embedded\]', or set SENTINET_DATABASE_URL"
    ):
        programs(MYSELF)


def test_no_place_for_a_copy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(postgres_binaries, "SHARED_STATE", tmp_path / "file" / "state")
    monkeypatch.setattr(postgres_binaries, "_runs", lambda directory, account: False)
    with pytest.raises(UserError, match=r"cannot reach .*, and a copy in .* fails: Not a directory$"):
        programs(MYSELF)


def test_a_copy_that_does_not_run_either_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "SHARED_STATE", tmp_path / "state")
    monkeypatch.setattr(postgres_binaries, "_runs", lambda directory, account: False)
    with pytest.raises(UserError, match=r"can run it neither in .* nor, copied, in"):
        programs(MYSELF)
    (copy,) = (tmp_path / "state").iterdir()
    assert (copy / postgres_binaries.INSTALLATION / "share").is_dir()
    assert not (copy / postgres_binaries.INSTALLATION / "include").exists()

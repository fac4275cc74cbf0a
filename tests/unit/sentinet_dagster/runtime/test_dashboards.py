"""What `sentinet dashboards screenshot` says where something is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sentinet_dagster.runtime.dashboards import screenshots
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.ports import free_port
from sentinet_dagster.superset.target import Target


def refusal(folder: Path) -> str:
    target = Target(f"http://127.0.0.1:{free_port()}", "admin", "hush", "", "", "")
    with pytest.raises(UserError) as refused:
        list(screenshots(target, folder))
    assert "\n" not in str(refused.value)
    assert not folder.exists()
    return str(refused.value)


@pytest.mark.parametrize("module", ["playwright", "PIL"])
def test_without_its_packages(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("screen", "pictures"):
        monkeypatch.delitem(sys.modules, f"sentinet_dagster.superset.{name}", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    assert refusal(tmp_path / "pictures") == (
        f"pictures need {module}: install the extra, such as by `pip install 'sentinet[screenshots]'`"
    )


def test_without_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install chromium" in refusal(tmp_path / "pictures")


def test_without_a_superset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any browser is started: this one could not be."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "chromium").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(programs))
    assert "127.0.0.1" in refusal(tmp_path / "pictures")

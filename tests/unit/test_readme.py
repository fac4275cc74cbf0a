"""Every command of the README is run, as far as a unit test may.

Each line of a ```console block falls into one class:

    asked        long or changing something: run with `--help`; every option it names must be there
    run          quick and harmless: run as written, in a home of its own
    dry          make: `make --dry-run TARGET`, which fails for a target that is not there
    not here     needs what is not on this machine (Docker); its files are checked by test_compose.py

What the long ones do is shown by tests/e2e: the demo with its options, replay, alerts, backfill, up and down.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from sentinet_dagster.cli import run

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.strip()]
SENTINET = ".venv/bin/sentinet "
NOT_HERE = ("docker compose ", "cp .env.example ")
GROUPS = ("alerts", "benchmark", "dashboards", "rollups")
RUN = {"--help", "--version", "down", "status"}


def words(command: str) -> list[str]:
    return shlex.split(command.removeprefix(SENTINET))


def of_sentinet(*, harmless: bool) -> list[str]:
    ours = [command for command in COMMANDS if command.startswith(SENTINET)]
    return [command for command in ours if (words(command)[0] in RUN) is harmless]


def test_every_command_is_of_a_class_that_is_tested() -> None:
    assert COMMANDS
    for command in COMMANDS:
        assert command.startswith((SENTINET, "make ", *NOT_HERE)), command


@pytest.mark.parametrize("command", of_sentinet(harmless=False))
def test_a_long_command_has_the_options_it_is_shown_with(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = words(command)
    # A group's command is two words: benchmark parse. `alerts` is a command, too.
    is_of_a_group = asked[0] in GROUPS and not asked[1].startswith("-")
    name = asked[: 1 + is_of_a_group]
    assert run([*name, "--help"]) == 0
    told = capsys.readouterr().out
    for option in (word for word in asked if word.startswith("--")):
        assert re.search(rf"{re.escape(option)}\b", told), option


@pytest.mark.parametrize("command", of_sentinet(harmless=True))
def test_a_quick_command_runs(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENTINET_DATABASE_URL", raising=False)
    monkeypatch.setenv("SENTINET_HOME", str(tmp_path / "home"))
    assert run(words(command)) == 0


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make ")])
def test_make_knows_the_target(command: str) -> None:
    done = subprocess.run(
        [*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_command_there_is_stands_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    listed = re.findall(r"^  (\w+)  +\S", capsys.readouterr().out.split("Commands:")[1], re.MULTILINE)
    table = README.split("## Commands")[1].split("\n```")[0]
    assert len(listed) >= 9
    for name in listed:
        assert re.search(rf"\b{name}\b", table), name


def test_files_and_folders_it_names_exist() -> None:
    for path in re.findall(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|yaml|yml|toml|md|txt)|(?:[\w.]+/)+)`", README):
        places = [ROOT / folder / path for folder in ("", "config", "sentinet_dagster", "ingest_daemon")]
        assert any(place.exists() for place in places), path


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_changelog_is_of_this_version_and_tells_of_the_data_contract() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    assert newest.startswith(version)
    assert "\n### Data contract\n" in newest

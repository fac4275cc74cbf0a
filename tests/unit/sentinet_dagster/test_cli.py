"""What the command says when something is wrong, where it says it, and that asking for help is quick."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
import structlog

from ingest_daemon.venues import VENUES
from sentinet_dagster.cli import app, run
from sentinet_dagster.commands.console import parse_duration, parse_time
from sentinet_dagster.runtime.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[3]
COMMANDS = [
    "demo",
    "up",
    "down",
    "status",
    "migrate",
    "replay",
    "alerts",
    "backfill",
    "check",
    "dashboards",
    "benchmark",
    "calibrate",
    "evaluate",
    "venues",
    "rollups",
]
SETTINGS = (
    "SENTINET_HOME", "SENTINET_DATABASE_URL", "SENTINET_DAGSTER_DATABASE_URL", "SENTINET_CONFIG_DIR",
    "SENTINET_DAGSTER_PORT", "SENTINET_POSTGRES_PORT",
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place without a home, and no setting of the caller's."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    place = tmp_path / "home"
    monkeypatch.setenv("SENTINET_HOME", str(place))
    monkeypatch.chdir(tmp_path)
    return place


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run; it must end with 2, one line on stderr and nothing on stdout. The line."""
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("sentinet: ")
    assert "Traceback" not in said.err
    return said.err


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n  {command} " in listed


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_knows_json(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = {
        "benchmark": ["parse"],
        "dashboards": ["publish"],
        "evaluate": ["pump-events"],
        "rollups": ["refresh"],
    }
    inner = groups.get(command, [])
    assert run([command, *inner, "--help"]) == 0
    assert "--json" in capsys.readouterr().out


def test_help_needs_nothing_heavy() -> None:
    code = (
        "import sys; from sentinet_dagster.cli import run; code = run(['--help']); "
        "heavy = {'dagster', 'polars', 'numpy', 'psycopg', 'sqlalchemy', 'sklearn', 'httpx', 'pydantic'}; "
        "sys.exit(f'imported {heavy & set(sys.modules)}' if heavy & set(sys.modules) else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_command_it_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Commands:" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"sentinet {version('sentinet')}\n"


def test_every_command_is_wired() -> None:
    names = {command.name for command in app.registered_commands}
    names |= {group.name for group in app.registered_groups}
    assert names == set(COMMANDS)


@pytest.mark.parametrize("command", ["alerts", "backfill"])
def test_no_database_is_one_line(command: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--from", "1h"] if command == "backfill" else []
    assert f"no database: {home} holds none" in refused(capsys, command, *options)
    assert not home.exists()


def test_status_of_nothing_is_no_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.pop("disk_free_mb")["home"] > 0
    assert told.pop("problems") == []
    assert told == {
        "home": str(home), "kind": None, "phase": None, "processes": {}, "database": None, "storage": None,
        "addresses": {}, "feeds": {}, "drift": [], "judging": {}, "latency": {}, "dagster": None,
    }  # fmt: skip


def test_stdout_belongs_to_the_result_and_logs_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    log = structlog.get_logger("of any module")
    assert run(["venues", "--json"]) == 0
    log.warning("said while a command runs")
    said = capsys.readouterr()
    assert json.loads(said.out).keys() == {"venues"}
    assert "said while a command runs" in said.err


def test_down_of_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["down", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stopped"] is False


@pytest.mark.parametrize("command", ["migrate", "alerts", "status"])
def test_a_wrong_url_is_named(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SENTINET_DATABASE_URL", "mysql://ana:secret@db/market")
    line = refused(capsys, command)
    assert "SENTINET_DATABASE_URL" in line
    assert "postgresql://" in line
    assert "secret" not in line


def test_a_database_that_does_not_answer_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as silent:  # bound and not listening: nobody else can take the port meanwhile
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        monkeypatch.setenv("SENTINET_DATABASE_URL", f"postgresql://ana:secret@127.0.0.1:{port}/market")
        line = refused(capsys, "migrate")
    assert f"127.0.0.1:{port}/market" in line
    assert "secret" not in line


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_port_in_use_starts_nothing(
    command: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--foreground"] if command == "up" else ["--no-view"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        monkeypatch.setenv("SENTINET_DAGSTER_PORT", str(port))
        assert f"port {port} is in use" in refused(capsys, command, *options)
    assert not (home / "postgres" / "cluster").exists()


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_port_that_is_none_is_named(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--foreground"] if command == "up" else ["--no-view"]
    monkeypatch.setenv("SENTINET_DAGSTER_PORT", "web")
    assert "SENTINET_DAGSTER_PORT='web'" in refused(capsys, command, *options)


def test_a_broken_key_in_the_configuration_is_named_before_anything_is_made(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config"
    config.mkdir()
    venues = (REPOSITORY / "config" / "venues.yaml").read_text()
    (config / "venues.yaml").write_text(venues)
    instruments = (REPOSITORY / "config" / "instruments.yaml").read_text()
    (config / "instruments.yaml").write_text(instruments.replace("kind: spot", "kind: spit", 1))
    monkeypatch.setenv("SENTINET_CONFIG_DIR", str(config))
    for command in ("migrate", "up"):
        line = refused(capsys, command)
        assert "kind is 'spit'" in line
        assert "instruments.yaml" in line
    assert not home.exists()


@pytest.mark.parametrize("command", ["up", "demo", "migrate"])
def test_a_home_that_cannot_be_made_is_named(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SENTINET_HOME", str(tmp_path / "file" / "home"))
    assert str(tmp_path / "file") in refused(capsys, command)


def test_a_demo_does_not_move_into_a_service(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.mkdir()
    (home / "kind").write_text("service\n")
    assert "holds a service, not a demo" in refused(capsys, "demo", "--no-view")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("nothing",), "nothing"),
        (("alerts", "--detectr", "spoofing"), "--detectr"),
        (("alerts", "--severity", "loud"), "loud"),
        (("alerts", "--limit", "0"), "--limit"),
        (("alerts", "--since", "yesterday"), "2026-01-31T12:00Z"),
        (("replay",), "FILES"),
        (("backfill",), "--from"),
        (("backfill", "--from", "2026-01-02", "--to", "2026-01-01"), "does not lie before"),
        (("demo", "--for", "soon"), "150s"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: tuple[str, ...], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert named in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("text", "seconds"), [("150s", 150), ("150", 150), ("2m", 120), ("1h30m", 5400), ("0.5s", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "s", "m", "2 weeks", "-5s", "1m2h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="150s"):
        parse_duration(text)


def test_times_are_absolute_or_back_from_now() -> None:
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert parse_time("2h", now) == now - timedelta(hours=2)
    assert parse_time("2026-01-31T10:00", now) == now - timedelta(hours=2)
    assert parse_time("2026-01-31T11:00+01:00", now) == now - timedelta(hours=2)


def test_venues_says_what_each_dialect_gives_and_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["venues", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["venues"]
    assert set(told) == set(VENUES)
    assert told["binance_spot"]["needs"] == []
    assert told["okx"] == {
        "trades": True, "quotes": True, "book_depth": 20, "reference_prices": True, "sequence_check": True,
        "checksum": True, "trade_history": True, "channels": list(VENUES["okx"].channels),
        "transport": "websocket", "needs": [],
    }  # fmt: skip
    assert told["alpaca_iex"]["needs"] == ["key", "secret"]
    assert (told["fmp"]["transport"], told["fmp"]["needs"]) == ("poll", ["key"])


def test_venues_is_a_table_for_a_person(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["venues"]) == 0
    table = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in table.splitlines() if line.strip()}
    assert set(VENUES) < set(rows)
    assert rows["kraken"][1:8] == ["yes", "yes", "20", "–", "–", "yes", "yes"]

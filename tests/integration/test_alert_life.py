"""Alerts in people's hands: `sentinet alerts` on a real database, and what that refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest_daemon.store import Store
from sentinet_dagster.cli import run
from sentinet_dagster.partitions import in_microseconds
from tests.integration.judging import Desk, open_desk
from tests.integration.market_facts import batch, events

pytestmark = pytest.mark.integration

HOUR = datetime(2024, 8, 9, 10, tzinfo=UTC)
Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def desk(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Ten minutes of a market with a jump, judged."""
    monkeypatch.setenv("SENTINET_DATABASE_URL", database_url)
    with open_desk(database_url) as opened, Store(database_url) as store:
        store.write(batch(list(events((1, 2, 3), in_microseconds(HOUR), 600))))
        assert opened.judge("2024-08-09-10:00").success
        yield opened


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def asked(*words: str) -> dict[str, Any]:
        capsys.readouterr()
        assert run(["alerts", *words, "--json"]) == 0
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        return said

    return asked


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert run(["alerts", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


def test_an_alert_is_taken_through_its_life(desk: Desk, ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    first = ask("--state", "open")["alerts"][0]
    number, short = first["alert_id"], first["alert_id"][:8]
    assert ask("ack", short, "--by", "ann")["alert"]["state"] == "acknowledged"
    assert f"alert {number} is acknowledged: it cannot be acknowledged" in refused(capsys, "ack", short)
    assert ask("escalate", short, "--by", "ann", "--note", "look at this")["alert"]["state"] == "escalated"
    closed = ask("close", number, "--as", "benign", "--by", "bob", "--note", "news")["alert"]
    assert (closed["state"], closed["disposition"]) == ("closed", "benign")
    assert "is closed: it cannot be escalated" in refused(capsys, "escalate", short)
    assert number not in [alert["alert_id"] for alert in ask("--state", "open")["alerts"]]

    life = ask("show", short)["life"]
    assert [(event["event"], event["actor"], event["note"]) for event in life[1:]] == [
        ("acknowledged", "ann", ""),
        ("escalated", "ann", "look at this"),
        ("closed", "bob", "news"),
    ]
    assert life[0]["event"] == "opened"
    assert life[3]["cause"] == {"disposition": "benign"}
    # What was judged again leaves what people said.
    assert desk.judge("2024-08-09-10:00").success
    again = ask("show", short)["alert"]
    assert (again["state"], again["disposition"]) == ("closed", "benign")


def test_what_is_wrong_is_one_line(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert "'xyz' is no alert: write its id" in refused(capsys, "show", "xyz")
    assert "there is no alert 0000" in refused(capsys, "ack", "0000")
    assert "--as" in refused(capsys, "close", "0000")
    assert "good" in refused(capsys, "close", "0000", "--as", "good")
    assert "spoof is no detector; there are " in refused(capsys, "snooze", "spoof", "BTC-USDT", "--for", "1h")
    assert "NOSUCH is no instrument" in refused(capsys, "snooze", "spoofing", "NOSUCH", "--for", "1h")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("reopened", "ann", None), "an alert cannot be reopened"),
        (("acknowledged", " ", None), "who does it is not said"),
        (("closed", "ann", None), "closing takes one"),
        (("acknowledged", "ann", "true"), "a disposition is for closing"),
        (("closed", "ann", "good"), "an alert cannot be closed as good"),
    ],
)
def test_the_database_refuses_what_is_no_step(
    desk: Desk, arguments: tuple[str, str, str | None], message: str
) -> None:
    (alert,) = desk.fetch("select alert_id from surveillance.alerts where state = 'open' limit 1")
    step, actor, disposition = arguments
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=message):
        desk.fetch(
            "select surveillance.change_alert(%s, %s, %s, '', %s)",
            alert["alert_id"],
            step,
            actor,
            disposition,
        )


@pytest.mark.parametrize("table", ["alert_events", "snoozes"])
def test_what_was_done_is_never_changed(desk: Desk, table: str) -> None:
    desk.fetch("select surveillance.snooze('spoofing', 1::smallint, now(), 'ann', '')")
    for statement in (f"delete from surveillance.{table}", f"update surveillance.{table} set actor = 'x'"):
        with pytest.raises(psycopg.errors.RaiseException, match="added, and never changed or deleted"):
            desk.fetch(statement)


def test_a_snooze_holds_for_what_is_raised_while_it_lasts(desk: Desk, ask: Ask) -> None:
    assert ask("snooze", "volatility_spike", "btc-usdt", "--for", "2h", "--by", "ann")["instruments"] == [1]
    jump = "select surveillance.snoozed_until('volatility_spike', 1::smallint, %s) as until"
    now = datetime.now(UTC)

    def snoozed(moment: datetime) -> bool:
        return desk.fetch(jump, moment)[0]["until"] is not None

    assert [snoozed(now + timedelta(minutes=minutes)) for minutes in (-1, 1, 119, 121)] == [
        False,
        True,
        True,
        False,
    ]
    assert desk.fetch(jump.replace("1::smallint", "2::smallint"), now)[0]["until"] is None
    assert ask("snooze", "volatility_spike", "BTC-USDT", "--for", "0")["instruments"] == [1]
    assert not snoozed(now + timedelta(minutes=1))


def test_an_alert_is_shown_with_a_picture(
    desk: Desk, ask: Ask, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    short = ask("--detector", "volatility_spike")["alerts"][0]["alert_id"][:8]
    assert run(["alerts", "show", short]) == 0
    said = capsys.readouterr().out
    assert "windows fired from" in said
    assert "opened by sentinet" in said
    for measure in ("price", "spread (bps)", "imbalance of the best quotes"):
        assert measure in said
    pytest.importorskip("matplotlib")
    picture = tmp_path / "alert.png"
    assert run(["alerts", "show", short, "--png", str(picture)]) == 0
    assert picture.stat().st_size > 10_000


def test_the_events_around_an_alert_are_played(
    desk: Desk, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    alert = ask("--detector", "volatility_spike")["alerts"][0]
    short = alert["alert_id"][:8]
    played = ask("replay", short)["events"]
    times = [event["time"] for event in played]
    assert times == sorted(times)
    assert {event["kind"] for event in played} == {"trade", "quote"}
    assert run(["alerts", "replay", short]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(played)
    marked = [line for line in lines if line.startswith(">")]
    assert 0 < len(marked) < len(lines)
    for table in ("trades", "quotes"):
        desk.fetch(f"truncate market.{table}")
    assert "no fact around 2024-08-09" in refused(capsys, "replay", short)

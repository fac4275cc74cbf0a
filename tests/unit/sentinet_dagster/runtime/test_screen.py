"""Plain lines where there is no terminal: each piece of news once, in the order it became known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sentinet_dagster.runtime.screen import LiveScreen, PlainScreen, choose_screen
from sentinet_dagster.runtime.snapshot import AlertState, Episode, Snapshot, Step

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
STARTING = Snapshot("demo", NOW, steps=(Step("schema", "done", 0.21), Step("Dagster", "running", 3.0)))
ALERT = AlertState(NOW, "spoofing", "warning", "SOL-USDT asks outweigh bids", "")
FOUND = Episode("spoofing", "SOL-USDT", -20.0, "found", "spoofing", 14.2)


def test_news_is_told_once() -> None:
    written: list[str] = []
    screen = PlainScreen(lambda: STARTING, written.append)
    screen.tell_news(STARTING)
    screen.tell_news(STARTING)
    assert written == ["  ✔ schema in 0.2 s"]


def test_the_address_of_dagster_is_told_when_it_answers() -> None:
    written: list[str] = []
    PlainScreen(lambda: STARTING, written.append).tell_news(
        replace(STARTING, steps=(), dagster_url="http://127.0.0.1:3000")
    )
    assert written == ["  Dagster's UI: http://127.0.0.1:3000"]


def test_alerts_and_episodes_are_told_once_the_script_has_begun() -> None:
    written: list[str] = []
    screen = PlainScreen(lambda: STARTING, written.append)
    screen.tell_news(replace(STARTING, steps=(), alerts=(ALERT,), episodes=(FOUND,)))
    assert written == []
    screen.tell_news(replace(STARTING, steps=(), elapsed_s=20.0, alerts=(ALERT,), episodes=(FOUND,)))
    assert written == [
        "  ! 12:00:00 warning spoofing: SOL-USDT asks outweigh bids",
        "  ✔ spoofing on SOL-USDT: found by spoofing after 14.2 s",
    ]


def test_an_episode_that_was_missed_is_told() -> None:
    written: list[str] = []
    screen = PlainScreen(lambda: STARTING, written.append)
    missed = replace(FOUND, state="missed", found_by=None, delay_s=None)
    screen.tell_news(replace(STARTING, steps=(), elapsed_s=60.0, episodes=(missed,)))
    assert written == ["  ✘ spoofing on SOL-USDT: missed"]


def test_leaving_tells_the_last_news() -> None:
    written: list[str] = []
    with PlainScreen(lambda: STARTING, written.append):
        pass
    assert written == ["  ✔ schema in 0.2 s"]


def test_without_a_terminal_there_are_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(choose_screen(lambda: STARTING, live=True), PlainScreen)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert isinstance(choose_screen(lambda: STARTING, live=True), LiveScreen)
    assert isinstance(choose_screen(lambda: STARTING, live=False), PlainScreen)

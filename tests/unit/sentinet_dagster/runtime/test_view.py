"""The live view, drawn to a recorded console: what must be on the screen, at which sizes."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from sentinet_dagster.runtime.snapshot import (
    AlertState,
    Episode,
    FeedState,
    Flow,
    InstrumentState,
    Snapshot,
    Step,
)
from sentinet_dagster.runtime.view import alert_line, plain_line, render

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
SYMBOLS = [
    f"{base}-USDT{leg}" for base in ("BTC", "ETH", "SOL", "DOGE", "LINK", "ADA") for leg in ("", "-PERP")
]

RUNNING = Snapshot(
    title="demo · simulated market, seed 7",
    now=NOW,
    elapsed_s=42.4,
    for_s=150,
    dagster_url="http://127.0.0.1:34231",
    flow=Flow(12_000, 840_123, 1834.2, 3120.0, 34.0, 2.4, 12, 0, 1),
    instruments=tuple(
        InstrumentState(symbol, 61_204.1, 2.5, 3.4, 0.96, (1.0, 2.0, 3.0), alerting=symbol == "ETH-USDT")
        for symbol in SYMBOLS
    ),
    feeds=(FeedState("simulated", True, 1200.0, 0.1), FeedState("simulated_usdm", False, 0.0, 40.0, 3)),
    alerts=(
        AlertState(NOW, "spoofing", "critical", "SOL-USDT: the book leans 0.81 to the bid", "imbalance 0.81"),
    ),
    episodes=(
        Episode("volatility_spike", "ETH-USDT", -40.0, "found", "volatility_spike", 6.1),
        Episode("decoupling", "BTC-USDT", 15.2, "to come"),
        Episode("pump_and_dump", "DOGE-USDT", -70.0, "missed"),
    ),
)


def draw(snapshot: Snapshot, width: int, height: int) -> str:
    console = Console(width=width, height=height, file=io.StringIO(), record=True, force_terminal=True)
    console.print(render(snapshot, width, height))
    return console.export_text()


@pytest.mark.parametrize(("width", "height"), [(100, 30), (160, 45), (80, 24), (40, 12)])
def test_the_screen_fills_the_terminal_and_never_overflows_it(width: int, height: int) -> None:
    lines = draw(RUNNING, width, height).splitlines()
    assert len(lines) == height
    assert max(len(line) for line in lines) <= width


@pytest.mark.parametrize(("width", "height"), [(100, 30), (160, 45)])
def test_everything_promised_is_on_the_screen(width: int, height: int) -> None:
    screen = draw(RUNNING, width, height)
    for symbol in SYMBOLS:
        assert symbol in screen
    for words in (
        "1,834", "3,120", "34 ms", "2.4 s", "12 ok", "00:42 / 02:30", "61,204.10", "+3.4", "96%", "▁▄█",
        "simulated_usdm", "3 gaps", "spoofing", "the book leans 0.81 to the bid", "imbalance 0.81",
        "volatility spike", "in 15 s", "missed", "1 of 3 found", "http://127.0.0.1:34231",
    ):  # fmt: skip
        assert words in screen, words


def test_the_start_shows_its_steps_and_no_clock() -> None:
    steps = (Step("database", "done", 1.24), Step("history", "running", detail="61 %"), Step("model"))
    screen = draw(replace(RUNNING, elapsed_s=None, dagster_url=None, steps=steps), 100, 30)
    assert "✔ database" in screen
    assert "1.2 s" in screen
    assert "61 %" in screen
    assert "02:30" not in screen
    assert "Dagster is starting" in screen


def test_an_empty_moment_says_so_instead_of_zeros() -> None:
    screen = draw(Snapshot("demo", NOW), 100, 30)
    assert "no window judged yet" in screen
    assert "frames/s –" in screen
    assert "none yet" in screen


def test_a_flat_price_draws_a_flat_line() -> None:
    flat = InstrumentState("BTC-USDT", prices=(5.0, 5.0, 5.0))
    assert "▄▄▄" in draw(replace(RUNNING, instruments=(flat,)), 100, 30)


def test_plain_lines_carry_the_same_figures() -> None:
    line = plain_line(RUNNING)
    assert line.startswith("00:42 / 02:30  frames/s 1,834  rows/s 3,120")
    assert "runs 12 ok 0 failed" in line
    assert line.endswith("episodes 1/3")
    assert alert_line(RUNNING.alerts[0]) == (
        "  ! 12:00:00 critical spoofing: SOL-USDT: the book leans 0.81 to the bid"
    )

"""An alert is drawn for the terminal and as a file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sentinet_dagster.runtime.alert_plot import MEASURES, draw, save_png
from sentinet_dagster.runtime.errors import UserError

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
WINDOW = timedelta(seconds=5)


def rows(**known: float | None) -> list[dict[str, Any]]:
    usual = {"price": 100.0, "spread_bps": 2.0, "imbalance": 0.1} | known
    return [
        {"window_start": START + number * WINDOW}
        | {name: None if value is None else value + number for name, value in usual.items()}
        for number in range(40)
    ]


def test_each_measure_is_drawn_with_times_below_it() -> None:
    said = draw(rows(), START + 10 * WINDOW, START + 12 * WINDOW, 80, colour=False)
    assert [title for title in MEASURES.values() if title in said] == list(MEASURES.values())
    assert said.count("12:00:00") == said.count("12:03:15") == len(MEASURES)
    assert "\x1b" not in said
    assert max(map(len, said.splitlines())) <= 80


def test_what_is_not_known_is_said() -> None:
    said = draw(rows(imbalance=None), START, START, 60, colour=False)
    assert "imbalance of the best quotes, -1 to 1: nothing known" in said


def test_a_picture_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "alert.png"
    save_png(rows(spread_bps=None), "SOL-USDT leans", START, START + WINDOW, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(UserError, match=r"away/alert\.png cannot be written: No such file or directory"):
        save_png(rows(), "", START, START, tmp_path / "away" / "alert.png")

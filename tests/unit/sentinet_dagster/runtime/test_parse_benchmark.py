"""Measuring the parsers: every channel of every dialect, on what was recorded or else on what is rendered."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ingest_daemon.venues import VENUES
from sentinet_dagster.runtime import parse_benchmark
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.parse_benchmark import measure_parsing

SOON_S = 1e-6
TRADE = (
    '{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":%d,'
    '"p":"61837.63","q":"0.02","T":1723161255342,"m":true,"M":true}}'
)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "btcusdt.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(f"{1_723_161_254_000_000_000 + number} {TRADE % number}\n" for number in range(50))
    return path


def test_every_channel_of_every_dialect_is_measured(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse_benchmark, "_RENDERED_S", 3)
    measured = measure_parsing([recording], SOON_S)
    assert {name: set(kinds) for name, kinds in measured.items()} == {
        name: set(venue.channels) for name, venue in VENUES.items()
    }
    for name, kinds in measured.items():
        for channel, numbers in kinds.items():
            is_recorded = (name, channel) == ("binance_spot", "trade")
            assert numbers["from"] == ("recorded" if is_recorded else "rendered")
            assert int(numbers["frames_per_s"]) > 0
            assert int(numbers["frames"]) > (49 if is_recorded else 0)


async def test_a_rendered_book_of_diffs_comes_with_its_snapshot() -> None:
    """Without it a book only keeps the diffs, and nothing is measured."""
    kinds = await parse_benchmark._Rendering(seconds=2).render(VENUES["binance_usdm"])
    for run in kinds["depth"].runs.values():
        assert [frame.startswith(b'{"lastUpdateId":') for frame, _ in run[:2]] == [False, True]


def test_what_is_no_recording_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("1 hello\n")
    with pytest.raises(UserError, match=r"notes\.txt"):
        measure_parsing([path], SOON_S)

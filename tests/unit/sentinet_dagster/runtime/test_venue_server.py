"""The venue server's sources, ledger and command line, without a socket."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from ingest_daemon.venues.simulated import FixedScript, SimulatedMarket, demo_script
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.venue_dialects import Message
from sentinet_dagster.runtime.venue_history import write_history
from sentinet_dagster.runtime.venue_hub import StreamLedger
from sentinet_dagster.runtime.venue_recordings import Recording, RecordingSource
from sentinet_dagster.runtime.venue_server import main
from sentinet_dagster.runtime.venue_sources import SimulatedSource, SourceFrame

ANCHOR = 1_700_000_000_000_000
SECOND = 1_000_000
TRADE = '{"stream":"btcusdt@trade","data":{"e":"trade","t":%d}}'
SNAPSHOT = '{"lastUpdateId":1,"bids":[],"asks":[]}'


class Everything:
    """A demand for every stream; depth only where it is named."""

    def __init__(self, *, depth: bool = False) -> None:
        self._depth = depth

    def wants(self, channel: str, market: str | None = None, symbol: str | None = None) -> bool:
        return self._depth

    async def subscribed(self, markets: Sequence[str]) -> None:
        return


class Clock:
    """A wall clock on which 200 ms pass between two looks, whatever the machine is busy with."""

    def __init__(self, start_us: int) -> None:
        self._now_us = start_us

    def __call__(self) -> int:
        self._now_us += 200_000
        return self._now_us


def record(path: Path, lines: Sequence[str]) -> Path:
    with gzip.open(path, "wt") as file:
        file.writelines(line + "\n" for line in lines)
    return path


async def take(
    source: SimulatedSource | RecordingSource, at_least: int, *, depth: bool = False
) -> list[SourceFrame]:
    frames: list[SourceFrame] = []
    async for batch in source.batches(Everything(depth=depth)):
        frames.extend(batch)
        if len(frames) >= at_least:
            break
    return frames


async def test_the_simulated_market_is_sent_from_the_live_start_on_when_it_is_due() -> None:
    clock = Clock(ANCHOR + 59 * SECOND + 600_000)
    source = SimulatedSource(SimulatedMarket(1, ANCHOR), ANCHOR + 60 * SECOND, clock)
    frames: list[SourceFrame] = []
    async for batch in source.batches(Everything()):
        assert batch[-1].received_ns <= clock() * 1000
        frames.extend(batch)
        if len(frames) > 300:
            break
    expected = list(SimulatedMarket(1, ANCHOR).frames(ANCHOR + 60 * SECOND, ANCHOR + 90 * SECOND))[
        : len(frames)
    ]
    assert [(f.received_ns // 1000, f.stream, f.text) for f in frames] == [
        (e.received_at, e.stream, e.text) for e in expected
    ]
    assert {frame.market for frame in frames} == {"spot", "usdm"}


async def test_diffs_are_made_only_where_they_are_wanted() -> None:
    def source() -> SimulatedSource:
        return SimulatedSource(SimulatedMarket(1, ANCHOR), ANCHOR + SECOND, Clock(ANCHOR + SECOND))

    assert not [f for f in await take(source(), 300) if f.stream.endswith("@depth@100ms")]
    assert [f for f in await take(source(), 300, depth=True) if f.stream.endswith("@depth@100ms")]


async def test_a_script_begins_when_it_is_told_to_and_not_in_what_is_made_already() -> None:
    market = SimulatedMarket(1, ANCHOR, FixedScript())
    source = SimulatedSource(market, ANCHOR + SECOND, Clock(ANCHOR + SECOND), script_from=demo_script)
    await take(source, 100)
    with pytest.raises(ValueError, match="made up to"):
        await source.begin_script(ANCHOR + SECOND)
    assert source.episodes(ANCHOR + 1000 * SECOND) == []
    begin = ANCHOR + 60 * SECOND
    await source.begin_script(begin)
    assert source.episodes(begin + 13 * SECOND)[0].starts_at == begin + 12 * SECOND
    without = SimulatedSource(SimulatedMarket(1, ANCHOR), ANCHOR)
    with pytest.raises(LookupError):
        await without.begin_script(begin)


async def test_recordings_are_merged_by_receive_time(tmp_path: Path) -> None:
    first = record(tmp_path / "a.gz", [f"{n} {TRADE % n}" for n in (1_000, 3_000, 5_000)])
    second = record(tmp_path / "b.gz", [f"{n} {TRADE % n}".replace("btc", "eth") for n in (2_000, 4_000)])
    source = RecordingSource([Recording("spot", first), Recording("spot", second)], speed=None)
    assert source.streams == {"spot": {"btcusdt@trade", "ethusdt@trade"}}
    assert source.symbols == {"spot": ["BTCUSDT", "ETHUSDT"]}
    frames = await take(source, 99)
    assert [frame.received_ns for frame in frames] == [1_000, 2_000, 3_000, 4_000, 5_000]
    assert frames[0] == SourceFrame(1_000, "spot", "btcusdt@trade", (TRADE % 1_000).encode())


async def test_a_recording_keeps_its_pace_times_the_speed(tmp_path: Path) -> None:
    path = record(tmp_path / "a.gz", [f"{n * 10**9} {TRADE % n}" for n in (100, 101, 103)])
    clock = asyncio.get_running_loop().time
    began = clock()
    arrivals = []
    async for batch in RecordingSource([Recording("spot", path)], speed=20.0).batches(Everything()):
        arrivals += [clock() - began] * len(batch)
    assert arrivals[1] > 0.045
    assert 0.145 < arrivals[2] < 2.0  # at its own pace it would take three seconds


async def test_the_play_waits_at_the_snapshot_until_it_was_fetched(tmp_path: Path) -> None:
    path = record(tmp_path / "a.gz", [f"1 {TRADE % 1}", f"2 {SNAPSHOT}", f"3 {TRADE % 3}"])
    source = RecordingSource([Recording("usdm", path)], speed=None)
    early = asyncio.create_task(source.depth("usdm", "BTCUSDT", 1000))
    played = source.batches(Everything(depth=True))
    assert [frame.received_ns for frame in await anext(played)] == [1]
    assert not early.done()
    # The answer comes once the play reaches the line, and lets it go on.
    assert [frame.received_ns for frame in await anext(played)] == [3]
    assert await early == SNAPSHOT.encode()
    with pytest.raises(LookupError):
        await source.depth("usdm", "ETHUSDT", 1000)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["hello"], "line 1 is not"),
        ([f"1 {TRADE % 1}", "x {}"], "line 2 is not"),
        ([f"1 {SNAPSHOT}"], "no message of a stream"),
    ],
)
def test_what_is_no_recording_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    path = record(tmp_path / "a.gz", lines)
    with pytest.raises(UserError, match=message) as raised:
        RecordingSource([Recording("spot", path)])
    assert str(path) in str(raised.value)


def test_the_ledger_counts_frames_and_keeps_the_runs_of_ids() -> None:
    ledger = StreamLedger()
    for number in (5, 6, 7, 9, 10):
        ledger.note(Message("btcusdt@trade", (TRADE % number).encode(), 0), clients=2)
    assert (ledger.frames, ledger.deliveries, ledger.ids) == (5, 10, [[5, 7], [9, 10]])


def test_the_history_is_the_market_line_by_line(tmp_path: Path) -> None:
    span = (ANCHOR, ANCHOR + 20 * SECOND)
    files = write_history(SimulatedMarket(3, ANCHOR), *span, tmp_path / "new")
    again = write_history(SimulatedMarket(3, ANCHOR), *span, tmp_path / "again")
    frames = list(SimulatedMarket(3, ANCHOR).frames(*span))
    assert {file.venue for file in files} == {"simulated", "simulated_usdm"}
    for file, same in zip(files, again, strict=True):
        expected = [f"{f.received_at * 1000} {f.text.decode()}" for f in frames if f.venue == file.venue]
        with gzip.open(file.path, "rt") as lines:
            assert lines.read().splitlines() == expected
        assert file.frames == len(expected)
        assert file.path.name == f"{file.venue}.gz"
        assert file.path.read_bytes() == same.path.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--speed", "fast", "--recording", "spot=x"], "--speed fast"),
        (["--speed", "-1", "--recording", "spot=x"], "--speed -1"),
        (["--recording", "moon=x"], "--recording moon=x"),
        (["--recording", "spot=/no/such/file.gz"], "/no/such/file.gz"),
        (["--rate", "0"], "rate=0"),
        (["--history-minutes", "0"], "--history-minutes 0"),
        (["--port", "many"], "--port"),
        (["--port", "70000"], "--port 70000"),
        (["--unheard-of"], "--unheard-of"),
        (["--history", "/proc/no", "--history-minutes", "1"], "/proc/no"),
    ],
)
def test_what_the_user_must_change_is_one_line_and_exit_code_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert named in told.err
    assert told.err.count("\n") == 1


def test_a_snapshot_line_of_the_demo_is_json() -> None:
    body = SimulatedMarket(1, ANCHOR).depth_snapshot("simulated", "BTCUSDT", ANCHOR + SECOND, 5)
    assert len(json.loads(body)["bids"]) == 5

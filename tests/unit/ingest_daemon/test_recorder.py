"""The recorder's thread: nothing waits for it, and nothing it cannot write goes unsaid."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from ingest_daemon import recorder as module
from ingest_daemon.events import FeedGap, GapCause
from ingest_daemon.recorder import Recorder, Tape, VenueRecording
from ingest_daemon.recording import Closed, Connection, Gap, Missed, Step, answer_of
from ingest_daemon.recording_files import find_recordings
from ingest_daemon.venues import Request

START = 1_723_161_255_343_001
GAP = FeedGap("here", None, None, START, START + 9, GapCause.STALE, "silent")


@contextmanager
def running(directory: Path, buffer_bytes: int = 2**20) -> Iterator[Recorder]:
    recorder = Recorder(directory, buffer_bytes)
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.close()


def venue_of(recorder: Recorder, name: str = "here") -> VenueRecording:
    return recorder.venue(name, "binance_spot", ["BTCUSDT"], ["trade"])


def contents(directory: Path) -> list[list[object]]:
    """Of every recording, without its head."""
    return [
        [entry.content for entry, _ in recording.entries([].append) if type(entry.content) is not Connection]
        for recording in find_recordings([directory])
    ]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_each_connection_is_a_recording_with_all_that_was_said(tmp_path: Path) -> None:
    with running(tmp_path) as recorder:
        here, there = venue_of(recorder), venue_of(recorder, "there")
        first = here.connect()
        first.frame(b'{"n":1}', START)
        first.answer(Request("BTCUSDT", "/depth?symbol=BTCUSDT"), b'{"bids":[]}', START + 1)
        first.close(START)
        here.gap(GAP)  # between two connections: in the one before
        second = here.connect()
        second.frame(b'{"n":2}', START + 20)
        there.connect().frame(b"x\ny", START)
        recorder.gap(GAP)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]
    assert contents(tmp_path) == [
        [b'{"n":1}', answer_of("BTCUSDT", "/depth?symbol=BTCUSDT", b'{"bids":[]}'), Closed(START), Gap(GAP)],
        [b'{"n":2}', Gap(GAP)],
        [b"x\ny"],
    ]
    assert not list(tmp_path.rglob("*.part"))


def test_a_connection_that_is_over_is_completed_while_others_go_on(tmp_path: Path) -> None:
    with running(tmp_path) as recorder:
        here = venue_of(recorder)
        first = here.connect()
        first.frame(b"{}", START)
        second = here.connect()  # opened before the first is closed: rotated without a hole
        second.frame(b"{}", START)
        first.close(START)
        wait_until(lambda: [len(list(tmp_path.rglob(f"*.{end}"))) for end in ("zst", "part")] == [1, 1])
        second.frame(b"[]", START + 1)
    assert contents(tmp_path) == [[b"{}", Closed(START)], [b"{}", b"[]"]]


def test_a_change_of_sockets_is_in_both_files_and_the_new_one_says_whom_it_follows(tmp_path: Path) -> None:
    with running(tmp_path) as recorder:
        here = venue_of(recorder)
        old = Tape(here)
        old.step("begun")  # of which there is nothing yet
        assert old.connect is not None
        first = old.connect()
        old.settle()  # it took over from none
        old.step("begun")
        new = Tape(here, old)
        assert new.connect is not None
        second = new.connect()
        for each in (old, new):
            each.step("done")
        first.close(START)  # and its file is completed
        old.step("given_up")
        new.settle()
        second.close(START)
        new.settle()
        assert (first.head.after, second.head.after) == ("", first.head.opened)
    assert contents(tmp_path) == [
        [Step("begun"), Step("done"), Closed(START)],
        [Step("done"), Step("settled"), Closed(START)],
    ]
    assert Tape(None).connect is None


def test_what_is_flushed_can_be_read_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FLUSH_S", 0.0)
    with running(tmp_path) as recorder:
        connection = venue_of(recorder).connect()
        connection.frame(b"{}", START)
        wait_until(lambda: recorder.written_bytes > 0 and contents(tmp_path) == [[b"{}"]])
        assert recorder.waiting_bytes == 0


def test_a_buffer_that_is_full_drops_counts_and_says_so(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, buffer_bytes=1_000)  # and its thread has not begun
    connection = venue_of(recorder).connect()
    with structlog.testing.capture_logs() as logs:
        for number in range(30):
            connection.frame(b"%0100d" % number, START + number)
        assert recorder.waiting_bytes == 1_000
        assert recorder.lost_lines == 20
        recorder.start()
        wait_until(lambda: recorder.waiting_bytes == 0 and recorder.trouble is not None)
        connection.frame(b"{}", START + 40)
        wait_until(lambda: recorder.trouble is None)
        recorder.close()

    ((*kept, missed, last),) = contents(tmp_path)
    assert kept == [b"%0100d" % number for number in range(10)]
    assert missed == Missed(20, START + 10, START + 29)
    assert last == b"{}"
    assert [(each["log_level"], each["event"]) for each in logs] == [
        ("error", "recording failed"),
        ("warning", "recording again"),
    ]


def test_a_disk_that_does_not_take_it_is_told_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.3)
    directory = tmp_path / "recordings"
    directory.write_text("a file is in the way")
    with structlog.testing.capture_logs() as logs, running(directory) as recorder:
        connection = venue_of(recorder).connect()

        def lose_one_more(failures: int) -> bool:
            connection.frame(b"{}", START)
            return recorder.failures >= failures

        wait_until(lambda: lose_one_more(3))
        assert recorder.trouble == "Not a directory"
        directory.unlink()
        given = 0

        def is_well_again() -> bool:
            nonlocal given
            given += 1
            connection.frame(b'{"n":%d}' % given, START + given)
            return recorder.trouble is None

        wait_until(is_well_again)

    ((missed, *frames),) = contents(directory)
    assert isinstance(missed, Missed)
    assert missed.lines == recorder.lost_lines > 2
    assert frames[-1] == b'{"n":%d}' % given
    assert [(each["log_level"], each["event"]) for each in logs] == [
        ("error", "recording failed"),
        ("warning", "recording again"),
    ]
    assert logs[1]["lost_lines"] == recorder.lost_lines


def test_a_fault_of_its_own_is_not_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(module.threading, "excepthook", lambda caught: seen.append(caught.exc_type))

    def fail(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(module, "RecordingWriter", fail)
    with running(tmp_path) as recorder:
        connection = venue_of(recorder).connect()
        connection.frame(b"{}", START)
        wait_until(lambda: recorder.trouble is not None)
    assert recorder.trouble == "the recorder has failed"
    assert seen == [ValueError]


def test_two_connections_never_share_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "time_ns", lambda: 1_723_161_255_343_001_999)
    here = venue_of(Recorder(tmp_path))
    assert [here.connect().head.opened for _ in range(2)] == [
        "20240808T235415.343001Z",
        "20240808T235415.343002Z",
    ]

"""One connection's files: rotated, named when they are whole, and honest about what is not in them."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingest_daemon.recording import Connection, Entry, Missed
from ingest_daemon.recording_files import Cut, find_recordings, read_entries
from ingest_daemon.recording_writer import RecordingWriter

HOUR = 3_600_000_000
START = 478_656 * HOUR
HEAD = Connection("here", "binance_spot", ("BTCUSDT",), ("trade",), "20240808T235415.343001Z", 0)


def entries(first: int, last: int, at: int = START) -> list[Entry]:
    return [Entry(at + number, b'{"n":%d}' % number) for number in range(first, last)]


def writer(directory: Path, file_bytes: int = 2**20) -> RecordingWriter:
    return RecordingWriter(directory, HEAD, file_bytes)


def names(directory: Path) -> list[str]:
    return sorted(path.name.partition("-")[2] for path in (directory / "here").iterdir())


def read(directory: Path, cuts: list[Cut] | None = None) -> list[Entry]:
    """Everything but the heads, parts in order."""
    (recording,) = find_recordings([directory])
    found = [entry for entry, _ in recording.entries([].append if cuts is None else cuts.append)]
    return [entry for entry in found if not isinstance(entry.content, Connection)]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system takes no more than this into any file of ours: as a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    ours = writer(tmp_path)
    ours.write(entries(0, 100))
    assert names(tmp_path) == ["0000.zst.part"]

    ours.complete()

    assert names(tmp_path) == ["0000.zst"]
    (path,) = (tmp_path / "here").iterdir()
    head, *rest = read_entries(path)
    assert head == Entry(START, HEAD)
    assert rest == entries(0, 100)
    assert ours.written_bytes == path.stat().st_size
    assert ours.lost_lines == 0


def test_an_hour_ends_a_file_and_the_next_is_part_of_the_same(tmp_path: Path) -> None:
    ours = writer(tmp_path)
    before, after = entries(0, 3, START + HOUR - 3), entries(3, 6, START + HOUR - 3)
    ours.write([*before, *after])
    ours.complete()

    assert names(tmp_path) == ["0000.zst", "0001.zst"]
    assert read(tmp_path) == [*before, *after]
    second = next(iter(read_entries(tmp_path / "here" / f"{HEAD.opened}-0001.zst")))
    assert isinstance(second.content, Connection)
    assert second.content.part == 1


def test_a_large_file_is_completed(tmp_path: Path) -> None:
    ours = writer(tmp_path, file_bytes=4_096)
    noise = [Entry(START + number, os.urandom(1_000).hex().encode()) for number in range(20)]
    for entry in noise:
        ours.write([entry])
        ours.flush()
    ours.complete()

    assert len(names(tmp_path)) > 2
    assert read(tmp_path) == noise


def test_what_is_flushed_survives_a_kill(tmp_path: Path) -> None:
    ours = writer(tmp_path)
    ours.write(entries(0, 50))
    assert ours.flush()
    ours.write(entries(50, 60))
    cuts: list[Cut] = []

    assert read(tmp_path, cuts) == entries(0, 50)
    assert [cut.reason for cut in cuts] == ["the end is missing"]
    assert ours.flush()
    assert not ours.flush()  # nothing came since
    ours.complete()


def test_a_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    first = writer(tmp_path)
    first.write(entries(0, 3))
    first.complete()
    second = writer(tmp_path)
    with pytest.raises(FileExistsError):
        second.write(entries(0, 3))
    assert second.lost_lines == 3
    assert read(tmp_path) == entries(0, 3)


def test_a_full_disk_loses_what_it_says_and_the_next_file_says_it_too(tmp_path: Path) -> None:
    ours = writer(tmp_path, file_bytes=2**30)
    noise = [Entry(START + number, os.urandom(500).hex().encode()) for number in range(400)]
    ours.write(noise[:10])
    ours.flush()

    def write_the_rest() -> None:
        for at in range(10, 400, 10):
            ours.write(noise[at : at + 10])
            ours.flush()

    with largest_file(40_000), pytest.raises(OSError):
        write_the_rest()
    ours.abandon()
    lost = ours.lost_lines
    assert lost >= 10

    ours.lose(noise[390:])
    ours.write(entries(1_000, 1_005))
    ours.complete()

    assert names(tmp_path) == ["0000.zst.part", "0001.zst"]
    cuts: list[Cut] = []
    found = read(tmp_path, cuts)
    missed = [entry.content for entry in found if isinstance(entry.content, Missed)]
    assert [each.lines for each in missed] == [lost + 10]
    assert missed[0].last_at == noise[-1].received_at
    assert [cut.reason for cut in cuts] == ["the end is missing"]
    assert found[-5:] == entries(1_000, 1_005)
    assert found[:10] == noise[:10]


def test_what_a_lost_file_would_have_said_the_next_one_says(tmp_path: Path) -> None:
    ours = writer(tmp_path)
    ours.lose(entries(0, 4))
    ours.write(entries(4, 6))
    ours.abandon()  # before anything of it was flushed
    ours.write(entries(6, 8))
    ours.complete()

    (recording,) = find_recordings([tmp_path / "here" / f"{HEAD.opened}-0001.zst"])
    found = [entry.content for entry, wanted in recording.entries([].append) if wanted]
    assert found[1] == Missed(6, START, START + 5)
    assert ours.lost_lines == 6


def test_a_folder_that_cannot_be_made_is_an_error_and_counted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ours = writer(tmp_path / "file")
    with pytest.raises(OSError):
        ours.write(entries(0, 3))
    ours.abandon()
    assert ours.lost_lines == 3

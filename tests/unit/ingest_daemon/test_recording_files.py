"""Recordings on the disk: packed or not, cut off, in parts."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon.errors import RecordingError
from ingest_daemon.recording import Connection, Entry, file_name, line_of
from ingest_daemon.recording_files import Cut, Part, find_recordings, read_entries

OPENED = "20240808T235415.343001Z"


def lines(first: int, last: int) -> bytes:
    return b"".join(line_of(number, b'{"n":%d}' % number) for number in range(first, last))


def numbers(path: Path, cuts: list[Cut] | None = None) -> list[int]:
    return [entry.received_at for entry in read_entries(path, None if cuts is None else cuts.append)]


def packed(name: str, content: bytes) -> bytes:
    if ".gz" in name:
        return gzip.compress(content)
    return zstandard.compress(content) if ".zst" in name else content


@pytest.mark.parametrize("name", ["a", "a.gz", "a.zst", "a.zst.part"])
def test_a_file_is_read_line_by_line_whatever_packs_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(packed(name, lines(1, 20_000)))

    assert numbers(path) == list(range(1, 20_000))
    assert next(iter(read_entries(path))) == Entry(1, b'{"n":1}')


@pytest.mark.parametrize("name", ["a.gz", "a.zst"])
def test_several_packed_in_a_row_are_one_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(packed(name, lines(1, 5)) + packed(name, lines(5, 9)))

    assert numbers(path) == list(range(1, 9))


def test_the_last_line_needs_no_newline(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(lines(1, 4)[:-1])
    assert numbers(tmp_path / "a") == [1, 2, 3]


@given(st.data())
@pytest.mark.parametrize("name", ["a.gz", "a.zst"])
def test_of_a_file_that_is_cut_the_whole_lines_are_read_and_it_is_said(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    whole = packed(name, lines(1, 3_000))
    end = data.draw(st.integers(0, len(whole) - 1))
    path = tmp_path_factory.mktemp("cut") / name
    path.write_bytes(whole[:end])
    cuts: list[Cut] = []

    found = numbers(path, cuts)

    assert found == list(range(1, len(found) + 1))
    assert cuts == [Cut(str(path), len(found), "the end is missing")]
    with pytest.raises(RecordingError, match="the end is missing"):
        numbers(path)


@pytest.mark.parametrize("name", ["a.gz", "a.zst"])
def test_damage_ends_a_file_and_is_said(tmp_path: Path, name: str) -> None:
    first, second = (bytearray(packed(name, lines(*span))) for span in ((1, 1_000), (1_000, 2_000)))
    second[: len(second) // 2] = bytes(len(second) // 2)  # what a power cut may leave of a block
    path = tmp_path / name
    path.write_bytes(bytes(first + second))
    cuts: list[Cut] = []

    assert numbers(path, cuts) == list(range(1, 1_000))
    assert "damaged" in cuts[0].reason


def test_blocks_that_were_handed_out_can_be_read_before_the_end(tmp_path: Path) -> None:
    packer = zstandard.ZstdCompressor().compressobj()
    path = tmp_path / "a.zst.part"
    path.write_bytes(packer.compress(lines(1, 9)) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    cuts: list[Cut] = []

    assert numbers(path, cuts) == list(range(1, 9))
    assert cuts == [Cut(str(path), 8, "the end is missing")]


def part(folder: Path, number: int, suffix: str = "") -> Path:
    head = Connection("here", "binance_spot", ("BTCUSDT",), ("trade",), OPENED, number)
    path = folder / (file_name(OPENED, number) + suffix)
    first = number * 10 + 1
    path.write_bytes(zstandard.compress(line_of(first, head) + lines(first, first + 3)))
    return path


def test_parts_of_a_connection_are_one_recording_in_order(tmp_path: Path) -> None:
    paths = [part(tmp_path, number) for number in (2, 0, 1)]

    (recording,) = find_recordings(paths)

    assert recording.parts == [Part(path) for path in sorted(paths)]
    assert recording.connection is not None
    assert recording.connection.channels == ("trade",)
    assert not recording.missing
    times = [entry.received_at for entry, _ in recording.entries(lambda _cut: None)]
    assert times == sorted(times)


def test_parts_before_are_looked_up_and_are_not_wanted(tmp_path: Path) -> None:
    first, second, last = part(tmp_path, 0), part(tmp_path, 1, ".part"), part(tmp_path, 2)

    (recording,) = find_recordings([last])

    assert recording.parts == [Part(first, is_wanted=False), Part(second, is_wanted=False), Part(last)]
    assert recording.path == last


def test_a_part_that_is_missing_is_said(tmp_path: Path) -> None:
    last = part(tmp_path, 1)

    (recording,) = find_recordings([last])

    (cut,) = recording.missing
    assert cut.path == str(tmp_path / file_name(OPENED, 0))
    assert "missing" in cut.reason


def test_a_folder_is_all_that_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    part(tmp_path / "here", 0)
    part(tmp_path / "here", 1, ".part")
    (tmp_path / "old.gz").write_bytes(gzip.compress(lines(1, 3)))
    (tmp_path / "notes.txt").write_text("no recording")

    found = find_recordings([tmp_path])

    assert [[part.path.name for part in recording.parts] for recording in found] == [
        [file_name(OPENED, 0), file_name(OPENED, 1) + ".part"],
        ["old.gz"],
    ]


def test_a_folder_without_recordings_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"no file in it ends in \.gz or \.zst"):
        find_recordings([tmp_path])

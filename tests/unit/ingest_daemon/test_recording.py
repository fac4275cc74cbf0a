"""The form of a recording: any bytes survive it, and its own notes are told apart from frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon.errors import RecordingError
from ingest_daemon.events import FeedGap, GapCause
from ingest_daemon.recording import (
    Closed,
    Connection,
    Entry,
    FileName,
    Gap,
    Missed,
    Note,
    answer_of,
    entry_of,
    file_name,
    line_of,
    parse_file_name,
)

AT = 1_723_161_255_343_001


@given(st.binary() | st.sampled_from([b"", b"\n", b"{}\r", b'{"sentinet":"gap"}', b' {"a":1} ', b"\xff\n"]))
def test_a_frame_is_the_same_to_the_byte(frame: bytes) -> None:
    line = line_of(AT, frame)

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert entry_of(line[:-1]) == Entry(AT, frame)


def test_a_frame_of_one_line_is_written_as_it_is() -> None:
    assert line_of(AT, b'{"a": 1}') == b'1723161255343001000 {"a": 1}\n'


@pytest.mark.parametrize(
    "note",
    [
        Connection("here", "okx", ("BTC-USDT",), ("trades",), "20240808T235415.343001Z", 3),
        answer_of("BTCUSDT", "/depth?symbol=BTCUSDT", b'{"bids":[\n]}\xff'),
        Gap(FeedGap("here", None, None, 1, 2, GapCause.STALE, "no frame for 30 s")),
        Missed(7, 1, 2),
        Closed(5),
        Closed(None),
    ],
)
def test_a_note_is_read_as_it_was_written(note: Note) -> None:
    line = line_of(AT, note)

    assert entry_of(line[:-1]) == Entry(AT, note)
    assert line.count(b"\n") == 1


@given(st.binary())
def test_an_answer_is_the_same_to_the_byte(body: bytes) -> None:
    assert answer_of("a", "/b", body).content == body


@pytest.mark.parametrize("line", [b"", b"1", b"1 ", b"x {}", b"-1 {}", b'1 {"sentinet":"magic"}'])
def test_another_form_is_refused(line: bytes) -> None:
    with pytest.raises(RecordingError):
        entry_of(line)


def test_a_files_name_says_whose_part_it_is() -> None:
    name = file_name("20240808T235415.343001Z", 12)
    assert name == "20240808T235415.343001Z-0012.zst"
    assert parse_file_name(name) == FileName("20240808T235415.343001Z", 12)
    assert parse_file_name(name + ".part") == FileName("20240808T235415.343001Z", 12)
    assert parse_file_name("btcusdt.zst") is None

"""Who of a session's streams speaks: noted once a roll call, at no cost to the frames after."""

from __future__ import annotations

from collections.abc import Sequence

from ingest_daemon.events import Event
from ingest_daemon.venues.fields import Reader
from ingest_daemon.venues.roll import Roll, Stream

TRADES, BOOK = Stream("trades", "BTC", (1,)), Stream("book", "BTC", (1,))


def reader(read: list[tuple[bytes, int]]) -> Reader:
    def take(frame: bytes, received_at: int) -> Sequence[Event]:
        read.append((frame, received_at))
        return ()

    return take


def test_a_call_says_who_spoke_and_when_first() -> None:
    roll, readers, read = Roll(), dict[str, Reader](), list[tuple[bytes, int]]()
    roll.add(readers, "t", TRADES, reader(read))
    roll.add(readers, "b", BOOK, reader(read))
    assert roll.streams == (TRADES, BOOK)
    assert roll.call() == {}

    readers["t"](b"1", 10)
    readers["t"](b"2", 20)

    assert read == [(b"1", 10), (b"2", 20)]
    assert roll.call() == {TRADES: 10}
    assert roll.call() == {}
    readers["t"](b"3", 30)
    readers["b"](b"4", 40)
    assert roll.call() == {TRADES: 30, BOOK: 40}
    assert read[2:] == [(b"3", 30), (b"4", 40)]


def test_after_its_first_frame_a_stream_is_read_by_its_reader_itself() -> None:
    roll, readers = Roll(), dict[str, Reader]()
    own = reader([])
    roll.add(readers, "t", TRADES, own)
    assert readers["t"] is not own
    readers["t"](b"", 1)
    assert readers["t"] is own
    roll.call()
    assert readers["t"] is not own


def test_a_stream_of_several_names_spoke_when_the_first_of_them_did() -> None:
    roll, readers = Roll(), dict[str, Reader]()
    for key in ("snapshot", "update"):
        roll.add(readers, key, BOOK, reader([]), ["unsubscribe", "subscribe"])
    readers["update"](b"", 5)
    readers["snapshot"](b"", 7)
    assert roll.streams == (BOOK,)
    assert roll.call() == {BOOK: 5}
    assert roll.again(BOOK) == ["unsubscribe", "subscribe"]
    assert roll.again(TRADES) == ()


def test_a_frame_that_cannot_be_read_was_heard() -> None:
    roll, readers = Roll(), dict[str, Reader]()

    def refuse(_frame: bytes, _received_at: int) -> Sequence[Event]:
        raise ValueError

    roll.add(readers, "t", TRADES, refuse)
    try:
        readers["t"](b"", 3)
    except ValueError:
        assert roll.call() == {TRADES: 3}
    else:
        raise AssertionError("the error is the reader's, and goes on")

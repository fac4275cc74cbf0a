"""The spool on a real disk: order, what a power cut or a bad sector leaves of it, and its bound."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_daemon.batcher import Batch, batch_of
from ingest_daemon.errors import SpoolUnusable
from ingest_daemon.events import Book, Event, FeedGap, GapCause, Quote, RejectedFrame, Trade
from ingest_daemon.spool import Spool

LARGE = 2**24


@contextmanager
def opened(directory: Path, limit: int = LARGE) -> Iterator[Spool]:
    spool = Spool(directory, limit)
    spool.open()
    try:
        yield spool
    finally:
        spool.close()


RELATIONS = ("trades", "quotes", "books", "book_flows", "reference_prices")


def batch(number: int, venue: str = "here") -> Batch:
    at = 1_000 * number
    return batch_of(venue, [Trade(1, number, at, at, 0.1 + number, 2.0, -1, 3)])


def drained(spool: Spool) -> list[Batch]:
    batches = []
    while (found := spool.peek()) is not None:
        assert spool.peek() is found
        batches.append(found)
        spool.advance()
    assert spool.is_empty
    assert spool.bytes == 0
    return batches


def numbers(batches: Sequence[Batch]) -> list[int]:
    return [trade.trade_id for each in batches for trade in each.trades]


def gaps(batches: Sequence[Batch]) -> list[FeedGap]:
    return [gap for each in batches for gap in each.feed_gaps]


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.segment"))


def test_every_kind_of_event_comes_out_as_it_went_in(tmp_path: Path) -> None:
    events: list[Event] = [
        Trade(1, 2**62, 5, 6, 0.1 + 0.2, 5e-324, 1, 7),
        Quote(1, 5, None, 7, 1.0, 2.0, 3.0, 4.0),
        Book(2, 6, 3, 8, (1.0, 0.5), (2.0, 1.0), (), ()),
        FeedGap("here", None, None, 1, 2, GapCause.STALE, "words", 3),
        RejectedFrame("here", 9, "why", b"\x00\xff", "stream"),
    ]
    with opened(tmp_path) as spool:
        spool.append(batch_of("here", events))
        assert drained(spool) == [batch_of("here", events)]


@given(st.lists(st.sampled_from(["append", "drain", "reopen"]), max_size=30))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_it_is_a_queue_that_outlives_its_process(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        spool = Spool(Path(directory), 65_536)
        spool.open()
        expected: list[int] = []
        found: list[int] = []
        for number, step in enumerate(steps):
            if step == "append":
                spool.append(batch(number))
                expected.append(number)
            elif step == "drain" and (first := spool.peek()) is not None:
                found += [each for each in numbers([first]) if each not in found]
                spool.advance()
            elif step == "reopen":  # what was drained in part comes again
                spool.close()
                spool = Spool(Path(directory), 65_536)
                spool.open()
        found += [each for each in numbers(drained(spool)) if each not in found]
        spool.close()
        assert found == expected
        assert segments(Path(directory)) == []


def test_it_is_known_how_far_each_venue_came_by_the_times_of_the_venue(tmp_path: Path) -> None:
    at = 3_600_000_000
    with opened(tmp_path) as spool:
        spool.append(batch_of("here", [Trade(1, 1, 0, at, 1.0, 1.0, 1)]))
        late = [
            Trade(1, 2, at + 700, at + 1_000, 1.0, 1.0, 1),
            Trade(1, 3, at + 800, at + 1_100, 1.0, 1.0, 1),
        ]
        spool.append(batch_of("here", [*late, Trade(1, 4, 0, at + 1_200, 1.0, 1.0, 1)]))
        # Counted by a former life: no news of how far the venue came.
        spool.append(batch_of("here", [RejectedFrame("here", at - 5, "odd", b"")]))
        spool.append(batch_of("there", [Quote(2, 1, None, 77, 1.0, 1.0, 2.0, 1.0)]))

    with opened(tmp_path) as spool:
        assert spool.reached == {"here": at + 700, "there": 77}


def test_a_power_cut_at_any_byte_loses_no_record_that_was_whole(tmp_path: Path) -> None:
    with opened(tmp_path / "whole") as spool:
        ends = [0]
        for number in range(4):
            spool.append(batch(number))
            ends.append(spool.bytes)
    (segment,) = segments(tmp_path / "whole")
    data = segment.read_bytes()

    for cut in range(len(data)):
        directory = tmp_path / str(cut)
        directory.mkdir()
        (directory / segment.name).write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends[1:])
        with opened(directory) as spool:
            assert spool.reached == ({"here": 1_000 * (whole - 1)} if whole else {})
            spool.append(batch(9))  # and it goes on
            found = drained(spool)
        assert numbers(found) == [*range(whole), 9]
        assert gaps(found) == []  # what was torn was never acknowledged


def test_a_wrong_byte_anywhere_costs_one_record_and_says_so(tmp_path: Path) -> None:
    with opened(tmp_path / "whole") as spool:
        ends = [0]
        for number in range(4):
            spool.append(batch(number))
            ends.append(spool.bytes)
    (segment,) = segments(tmp_path / "whole")
    data = segment.read_bytes()

    for place in range(len(data)):
        directory = tmp_path / str(place)
        directory.mkdir()
        (directory / segment.name).write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        hit = sum(end <= place for end in ends[1:])
        with opened(directory) as spool:
            found = drained(spool)
        assert numbers(found) == [number for number in range(4) if number != hit]
        if hit == 3:  # as if torn: what ran before is known to reach no further
            assert gaps(found) == []
        else:
            damage = gaps(found)
            assert {gap.relation for gap in damage} == set(RELATIONS)
            for gap in damage:
                assert (gap.venue, gap.cause) == ("here", GapCause.SPOOL_DAMAGED)
                assert gap.started_at <= 1_000 * hit <= gap.ended_at


def test_it_stays_within_its_bound_and_sheds_trades_last(tmp_path: Path) -> None:
    limit, sent = 65_536, 0
    with opened(tmp_path, limit) as spool:
        for number in range(200):
            at = 1_000 * number
            spool.append(
                batch_of(
                    "here",
                    [
                        Trade(1, number, at, at, 1.0 / (number + 1), 2.0, 1),
                        *(Quote(1, at + i, None, at + i, i / 7, i / 3, i / 11, 1.0) for i in range(20)),
                        *(
                            Book(1, at + i, None, at + i, (i / 7,) * 5, (i / 3,) * 5, (9.0,), (1.0,))
                            for i in range(20)
                        ),
                    ],
                )
            )
            sent += 20
            assert spool.bytes <= limit
            assert spool.bytes == sum(path.stat().st_size for path in segments(tmp_path))
        lost = dict(spool.lost)
        found = drained(spool)

    assert numbers(found) == list(range(200))
    kept = {name: sum(len(getattr(each, name)) for each in found) for name in ("quotes", "books")}
    assert kept["books"] < sent
    for name in ("quotes", "books"):
        told = sum(gap.lost_events or 0 for gap in gaps(found) if gap.relation == name)
        assert sent - kept[name] == told == lost.get(("here", name), 0)
    assert {gap.cause for gap in gaps(found)} == {GapCause.SHED}


def test_trades_that_have_no_room_are_one_gap_with_their_count(tmp_path: Path) -> None:
    count = 4_000
    with opened(tmp_path, 65_536) as spool:
        for number in range(count):
            spool.append(batch(number))
        assert spool.bytes <= 65_536
        found = drained(spool)

    kept = numbers(found)
    (gap,) = gaps(found)
    assert 0 < len(kept) < count
    assert kept == list(range(len(kept)))
    assert (gap.venue, gap.relation, gap.cause) == ("here", "trades", GapCause.SHED)
    assert gap.lost_events == count - len(kept)
    assert gap.started_at == 1_000 * len(kept)
    assert gap.ended_at == 1_000 * (count - 1) + 1


def test_a_directory_has_one_daemon(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(SpoolUnusable, match="another daemon has it"):
        Spool(tmp_path, LARGE).open()
    with opened(tmp_path):
        pass


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolUnusable, match="file/spool: Not a directory"):
        Spool(tmp_path / "file" / "spool", LARGE).open()


def test_a_disk_that_takes_nothing_leaves_the_batch_with_the_caller(tmp_path: Path) -> None:
    with opened(tmp_path / "spool") as spool:
        (tmp_path / "spool").rename(tmp_path / "away")
        with pytest.raises(SpoolUnusable, match="No such file"):
            spool.append(batch(1))
        (tmp_path / "away").rename(tmp_path / "spool")
        spool.append(batch(2))
        assert numbers(drained(spool)) == [2]


def test_a_damaged_segment_gives_room_like_any_other_and_says_what_it_lacks(tmp_path: Path) -> None:
    limit = 65_536

    def mixed(number: int) -> Batch:
        at = 1_000 * number
        quotes = [Quote(1, at + i, None, at + i, i / 7, i / 3, i / 11, 1.0) for i in range(20)]
        return batch_of("here", [Trade(1, number, at, at, 1.0, 2.0, 1), *quotes])

    with opened(tmp_path, limit) as spool:
        for number in range(60):
            spool.append(mixed(number))
    first, *_ = segments(tmp_path)
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 0xFF
    first.write_bytes(data)

    with opened(tmp_path, limit) as spool:
        for number in range(60, 200):
            spool.append(mixed(number))
            assert spool.bytes <= limit
        assert first.stat().st_size < len(data) / 2  # its quotes are given up
        found = drained(spool)

    missing = set(range(200)) - set(numbers(found))
    assert len(missing) == 1  # the record that was hit; no trade was shed
    (hit,) = missing
    damage = [gap for gap in gaps(found) if gap.cause is GapCause.SPOOL_DAMAGED]
    assert {gap.relation for gap in damage} == set(RELATIONS)
    assert all(gap.started_at <= 1_000 * hit <= gap.ended_at for gap in damage)
    assert GapCause.SHED in {gap.cause for gap in gaps(found)}

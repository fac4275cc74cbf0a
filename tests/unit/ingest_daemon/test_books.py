"""Books: right or silent. Numbers are small on purpose, so that every case can be followed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon.books import (
    BookBuilder,
    ContiguousIds,
    Diff,
    Fault,
    LinkedIds,
    Snapshot,
    Texts,
    UnnumberedIds,
)
from ingest_daemon.events import Book, Event, FeedGap, GapCause, Quote

MS = 1_000
BIDS = [(99.0, 1.0), (98.0, 2.0), (97.0, 3.0)]
ASKS = [(101.0, 1.0), (102.0, 2.0), (103.0, 3.0)]


def a_book(**options: Any) -> BookBuilder:
    return BookBuilder("binance", "depth", 7, options.pop("rule", ContiguousIds()), **options)


def a_snapshot(last_id: int, *, truncated: bool = False) -> Snapshot:
    return Snapshot(last_id, BIDS, ASKS, truncated, truncated)


def a_diff(
    first: int,
    last: int,
    bids: list[tuple[float, float]] | None = None,
    asks: list[tuple[float, float]] | None = None,
    previous: int | None = None,
) -> Diff:
    return Diff(first, last, previous, last * MS, bids or [], asks or [])


def in_sync(**options: Any) -> BookBuilder:
    """A book at update 11, by the snapshot of update 10, at time 0."""
    book = a_book(**options)
    book.apply_snapshot(a_snapshot(10), 0)
    book.apply(a_diff(11, 11, previous=10), 0)
    assert book.in_sync
    return book


def test_silent_until_a_snapshot_then_diffs_kept_are_replayed() -> None:
    book = a_book()
    assert not book.wants_snapshot  # nothing to bridge yet
    assert book.apply(a_diff(9, 10, bids=[(99.0, 5.0)]), 1) == []
    assert book.apply(a_diff(11, 12, bids=[(99.5, 4.0), (97.0, 0.0)]), 2) == []
    assert book.apply(a_diff(13, 13, asks=[(101.0, 9.0)]), 3) == []
    assert book.wants_snapshot
    assert book.apply_snapshot(a_snapshot(10), 4) == [
        Book(7, 13, 13 * MS, 4, (99.5, 99.0, 98.0), (4.0, 1.0, 2.0), (101.0, 102.0, 103.0), (9.0, 2.0, 3.0))
    ]
    assert book.in_sync
    assert not book.wants_snapshot


def test_a_snapshot_ahead_of_the_stream_waits_for_it() -> None:
    book = a_book()
    book.apply(a_diff(1, 5), 1)
    assert book.apply_snapshot(a_snapshot(10), 2) == []
    assert not book.wants_snapshot
    assert book.apply(a_diff(6, 10), 3) == []
    (said,) = book.apply(a_diff(11, 11), 4)
    assert isinstance(said, Book)
    assert said.update_id == 11


def test_the_diff_that_contains_the_snapshot_bridges_it() -> None:
    book = a_book()
    book.apply(a_diff(8, 14, bids=[(99.0, 5.0)]), 1)
    (said,) = book.apply_snapshot(a_snapshot(10), 2)
    assert isinstance(said, Book)
    assert said.bid_sizes[0] == 5.0


def test_a_snapshot_too_old_is_dropped_and_another_wanted() -> None:
    book = a_book()
    book.apply(a_diff(12, 14), 1)
    assert book.apply_snapshot(a_snapshot(10), 2) == []
    assert not book.in_sync
    assert book.wants_snapshot
    assert len(book.apply_snapshot(a_snapshot(11), 3)) == 1


def test_a_snapshot_that_the_stream_never_reaches_is_given_up() -> None:
    book = a_book(buffer_limit=3)
    book.apply_snapshot(a_snapshot(1_000), 0)
    for update in range(1, 6):
        book.apply(a_diff(update, update), update)
    assert book.wants_snapshot


def test_a_break_is_one_gap_from_the_last_good_diff_to_the_bridge() -> None:
    book = in_sync()
    book.apply(a_diff(12, 12), 100)
    assert book.apply(a_diff(14, 15), 200) == []
    assert not book.in_sync
    assert book.wants_snapshot
    assert "12" in book.why
    assert "14 to 15" in book.why
    assert book.apply(a_diff(16, 16), 300) == []
    gap, said = book.apply_snapshot(a_snapshot(15), 200 * MS)
    assert gap == FeedGap(
        "binance",
        "depth",
        7,
        100,
        200 * MS,
        GapCause.SEQUENCE_BREAK,
        "book at update 12, next diff is 14 to 15",
        relation="books",
    )
    assert isinstance(said, Book)
    assert said.update_id == 16
    assert book.why == ""
    assert [type(event) for event in book.apply(a_diff(17, 17), 400 * MS)] == [Book]


def test_a_numbering_that_starts_anew_is_a_break_not_old_news() -> None:
    book = in_sync()
    book.apply(a_diff(3, 4), 1)
    assert not book.in_sync


def test_the_same_diff_twice_is_no_break() -> None:
    book = in_sync()
    book.apply(a_diff(12, 13), 1)
    assert book.apply(a_diff(12, 13), 2) == []
    assert book.in_sync


def test_a_crossed_book_is_a_break() -> None:
    book = in_sync()
    assert book.apply(a_diff(12, 12, bids=[(101.0, 1.0)]), 5) == []
    assert not book.in_sync
    gap = book.open_gap(9)
    assert gap is not None
    assert gap.cause is GapCause.CROSSED_BOOK
    assert gap.detail == "best bid 101.0 at or above best ask 101.0 at update 12"
    assert (gap.started_at, gap.ended_at) == (0, 9)


def test_a_snapshot_that_comes_out_crossed_is_not_believed() -> None:
    book = a_book()
    book.apply(a_diff(11, 11, bids=[(105.0, 1.0)]), 1)
    assert book.apply_snapshot(a_snapshot(10), 2) == []
    assert not book.in_sync
    book.apply(a_diff(12, 12), 3)
    assert book.wants_snapshot


def test_the_price_leaving_the_snapshots_levels_is_a_break() -> None:
    book = a_book()
    book.apply_snapshot(a_snapshot(10, truncated=True), 0)
    book.apply(a_diff(11, 11), 0)
    gone = [(price, 0.0) for price, _ in BIDS]
    assert book.apply(a_diff(12, 12, bids=[*gone, (90.0, 1.0)]), 1) == []
    gap = book.open_gap(2)
    assert gap is not None
    assert gap.cause is GapCause.BOOK_OUTRUN


def test_levels_beyond_the_snapshot_are_not_shown_and_a_wider_one_takes_over_without_a_gap() -> None:
    book = a_book(depth=3, interval_us=1)
    book.apply_snapshot(a_snapshot(10, truncated=True), 0)
    (whole,) = book.apply(a_diff(11, 11, bids=[(90.0, 9.0)]), 1)
    assert isinstance(whole, Book)
    assert whole.bid_prices == (99.0, 98.0, 97.0)
    assert not book.wants_snapshot
    (short,) = book.apply(a_diff(12, 12, bids=[(99.0, 0.0)]), 2)
    assert isinstance(short, Book)
    assert short.bid_prices == (98.0, 97.0)  # 90 is known, what lies between is not
    book.apply(a_diff(13, 13, asks=[(101.0, 4.0)]), 3)
    assert book.in_sync
    assert book.wants_snapshot
    wider = Snapshot(12, [(98.0, 2.0), (97.0, 3.0), (96.0, 7.0), (90.0, 9.0)], ASKS, True, True)
    book.apply_snapshot(wider, 4)
    assert not book.wants_snapshot
    (said,) = book.apply(a_diff(14, 14), 5)
    assert isinstance(said, Book)
    assert said.bid_prices == (98.0, 97.0, 96.0)
    assert said.ask_sizes[0] == 4.0


def test_a_break_while_a_wider_snapshot_is_wanted_starts_over() -> None:
    book = a_book(depth=3)
    book.apply_snapshot(a_snapshot(10, truncated=True), 0)
    book.apply(a_diff(11, 11, bids=[(99.0, 0.0)]), 1)
    book.apply(a_diff(12, 12), 2)  # kept for the wider snapshot
    book.apply(a_diff(20, 20), 3)
    gap, said = book.apply_snapshot(a_snapshot(19), 100 * MS)
    assert isinstance(gap, FeedGap)
    assert isinstance(said, Book)
    assert said.update_id == 20


def test_a_side_sent_whole_is_known_whole() -> None:
    book = in_sync()
    (said,) = book.apply(a_diff(12, 12, bids=[(99.0, 0.0), (98.0, 0.0), (97.0, 0.0)]), 100 * MS)
    assert isinstance(said, Book)
    assert said.bid_prices == ()
    assert said.ask_prices == (101.0, 102.0, 103.0)
    assert book.in_sync


def test_at_most_one_book_in_an_interval_and_no_book_twice() -> None:
    book = in_sync(interval_us=100)
    times = [50, 99, 100, 199, 350, 301]
    said = [bool(book.apply(a_diff(12 + i, 12 + i), at)) for i, at in enumerate(times)]
    assert said == [False, False, True, False, True, False]
    assert len(book.apply_snapshot(a_snapshot(10), 1_000)) == 1  # update 17, held back so far
    assert book.apply_snapshot(a_snapshot(10), 2_000) == []


def test_depth_is_cut() -> None:
    (said,) = in_sync(depth=2).apply(a_diff(12, 12), 100 * MS)
    assert isinstance(said, Book)
    assert said.bid_prices == (99.0, 98.0)
    assert said.ask_sizes == (1.0, 2.0)


def test_quotes_come_on_change_only_and_only_if_asked_for() -> None:
    book = in_sync(with_quotes=True)
    assert book.apply(a_diff(12, 12, bids=[(97.0, 8.0)]), 1) == []
    assert book.apply(a_diff(13, 13, bids=[(99.0, 8.0)]), 2) == [
        Quote(7, 13, 13 * MS, 2, 99.0, 8.0, 101.0, 1.0)
    ]
    assert in_sync().apply(a_diff(12, 12, bids=[(99.0, 8.0)]), 2) == []


def test_diffs_kept_are_bounded_and_the_newest_stay() -> None:
    book = a_book(buffer_limit=3)
    for update in range(11, 21):
        book.apply(a_diff(update, update), update)
    assert book.apply_snapshot(a_snapshot(12), 30) == []  # 13 was dropped long ago
    assert len(book.apply_snapshot(a_snapshot(17), 31)) == 1


def test_linked_ids_follow_the_diff_named_as_the_one_before() -> None:
    book = in_sync(rule=LinkedIds())
    book.apply(a_diff(40, 50, previous=11), 1)
    assert book.in_sync
    book.apply(a_diff(51, 60, previous=49), 2)
    assert not book.in_sync
    assert book.why == "book at update 50, next diff is 51 to 60, which follows 49"


def test_linked_ids_bridge_inside_a_diff_and_between_two() -> None:
    rule = LinkedIds()
    diff = a_diff(20, 30, previous=15)
    assert [at for at in range(40) if rule.bridges(diff, at)] == list(range(15, 31))
    assert [rule.is_before(diff, at) for at in (29, 30, 31)] == [False, False, True]


def test_a_gap_never_ends_before_it_starts() -> None:
    book = in_sync()
    book.apply(a_diff(12, 12), 100)
    book.apply(a_diff(20, 20), 200)
    gap = book.open_gap(50)
    assert gap is not None
    assert gap.ended_at == gap.started_at == 100


updates = st.lists(
    st.tuples(st.booleans(), st.integers(1, 30), st.integers(0, 4)), min_size=1, max_size=80
)  # bid or ask, distance from the middle, size


@given(
    updates,
    st.lists(st.integers(1, 5), min_size=1, max_size=80),
    st.sets(st.integers(0, 60), max_size=3),
    st.integers(0, 5),
    st.sampled_from([ContiguousIds(), LinkedIds()]),
    st.integers(1, 30),
)
def test_whatever_is_lost_every_book_said_is_the_true_one(
    updates: list[tuple[bool, int, int]], sizes: list[int], lost: set[int], delay: int, rule: Any, limit: int
) -> None:
    """The venue's book as dictionaries; its diffs, some lost; late snapshots of `limit` levels a side."""
    history = [({}, {})]  # the true (bids, asks) after each update
    for is_bid, distance, size in updates:
        bids, asks = dict(history[-1][0]), dict(history[-1][1])
        side, price = (bids, 100.0 - distance) if is_bid else (asks, 100.0 + distance)
        side[price] = float(size)
        if not size:
            del side[price]
        history.append((bids, asks))
    builder = a_book(rule=rule, interval_us=1, depth=4)
    events: list[Event] = []
    asked: tuple[int, int] | None = None  # the update the snapshot is of, the diffs until it comes
    first = number = breaks = 0
    while first < len(updates):
        last = min(first + sizes[number % len(sizes)], len(updates))
        levels = [(100.0 - d if bid else 100.0 + d, float(s), bid) for bid, d, s in updates[first:last]]
        diff = Diff(
            first + 1,
            last,
            first,
            None,
            [(price, size) for price, size, is_bid in levels if is_bid],
            [(price, size) for price, size, is_bid in levels if not is_bid],
        )
        if number not in lost:
            was_in_sync = builder.in_sync
            events += builder.apply(diff, number)
            breaks += was_in_sync and not builder.in_sync
        if asked is None and builder.wants_snapshot:
            asked = (last, delay)
        if asked is not None:
            of_update, wait = asked
            if wait == 0:
                bid_levels = sorted(history[of_update][0].items(), reverse=True)[:limit]
                ask_levels = sorted(history[of_update][1].items())[:limit]
                whole = (len(bid_levels) < limit, len(ask_levels) < limit)
                snapshot = Snapshot(of_update, bid_levels, ask_levels, not whole[0], not whole[1])
                events += builder.apply_snapshot(snapshot, number)
                asked = None
            else:
                asked = (of_update, wait - 1)
        first, number = last, number + 1

    books = [event for event in events if isinstance(event, Book)]
    for book in books:
        bids, asks = history[book.update_id]
        # A book may be shorter than it could be where the snapshot was, but it has no holes.
        best_bids, best_asks = sorted(bids, reverse=True)[:4], sorted(asks)[:4]
        if limit == 30:  # every price there is
            assert (len(book.bid_prices), len(book.ask_prices)) == (len(best_bids), len(best_asks))
        assert book.bid_prices == tuple(best_bids[: len(book.bid_prices)])
        assert book.ask_prices == tuple(best_asks[: len(book.ask_prices)])
        assert book.bid_sizes == tuple(bids[price] for price in book.bid_prices)
        assert book.ask_sizes == tuple(asks[price] for price in book.ask_prices)
    said = [book.update_id for book in books]
    assert said == sorted(set(said))
    gaps = [event for event in events if isinstance(event, FeedGap)]
    assert len(gaps) == breaks - (builder.open_gap(0) is not None)


# Snapshots that the stream itself sends, and checksums.


class Sum:
    """A checksum to follow by hand: the words of the best two levels a side."""

    depth = 2

    def checksum(self, bids: Sequence[str], asks: Sequence[str]) -> int:
        return sum(int(word) for word in [*bids, *asks])


def a_summed_book(**options: Any) -> BookBuilder:
    """At update 10, with 99, 98 and 97 bid and 101, 102 and 103 asked; words are 1 to 6."""
    book = a_book(checksum_rule=Sum(), interval_us=1, **options)
    words = Texts(["1", "2", "3"], ["4", "5", "6"], 12)
    assert book.start_over(Snapshot(10, BIDS, ASKS, False, False, 10 * MS, words), 0)
    return book


def test_a_snapshot_of_the_stream_is_right_at_once() -> None:
    book = a_book()
    book.apply(a_diff(8, 9), 0)
    (said,) = book.start_over(a_snapshot(10), 1)
    assert said == Book(7, 10, None, 1, (99.0, 98.0, 97.0), (1.0, 2.0, 3.0), (101.0, 102.0, 103.0), (1, 2, 3))
    book.apply(a_diff(11, 11), 2)
    assert book.in_sync


def test_another_snapshot_of_the_stream_takes_over_and_ends_the_gap() -> None:
    book = a_book(interval_us=1)
    book.start_over(a_snapshot(10), 1)
    book.apply(a_diff(13, 13), 2)
    assert not book.in_sync
    gap, said = book.start_over(a_snapshot(20), 5)
    assert isinstance(gap, FeedGap)
    assert (gap.started_at, gap.ended_at, gap.cause) == (1, 5, GapCause.SEQUENCE_BREAK)
    assert isinstance(said, Book)
    (again,) = book.start_over(a_snapshot(1), 6)  # the venue started its numbering anew: no hole
    assert isinstance(again, Book)
    book.apply(a_diff(2, 2), 7)
    assert book.in_sync


def test_a_crossed_snapshot_is_not_believed() -> None:
    book = a_book()
    assert book.start_over(Snapshot(10, [(101.0, 1.0)], ASKS, False, False), 1) == []
    assert not book.in_sync
    assert book.open_gap(2) is None  # it never was right, so nothing was lost


def test_a_right_checksum_is_silent_and_a_wrong_one_a_break() -> None:
    book = a_summed_book()
    right = Diff(11, 11, None, None, [(98.5, 1.0), (99.0, 0.0)], [], Texts(["7", "0"], [], 18))  # 7+2+4+5
    assert book.apply(right, 1)
    wrong = Diff(12, 12, None, None, [], [(101.0, 2.0)], Texts([], ["9"], 22))  # 7+2+9+5 is 23
    assert book.apply(wrong, 2) == []
    gap = book.open_gap(3)
    assert gap is not None
    assert gap.cause is GapCause.CHECKSUM_MISMATCH
    assert gap.detail == "our checksum is 23, the venue's 22, at update 12"


def test_a_wrong_checksum_of_a_snapshot_is_not_believed() -> None:
    book = a_book(checksum_rule=Sum())
    words = Texts(["1", "2", "3"], ["4", "5", "6"], 13)
    assert book.start_over(Snapshot(10, BIDS, ASKS, False, False, None, words), 0) == []
    assert not book.in_sync


def test_without_a_checksum_nothing_is_compared_but_words_are_kept() -> None:
    book = a_summed_book()
    assert book.apply(Diff(11, 11, None, None, [(99.0, 5.0)], [], Texts(["8"], [], None)), 1)
    assert book.apply(Diff(12, 12, None, None, [], [], Texts([], [], 19)), 2)  # 8+2+4+5


def test_words_of_levels_that_are_gone_do_not_pile_up() -> None:
    book = a_summed_book()
    for update in range(11, 3_000):
        price = 50.0 + update / 1_000
        gone = Diff(2 * update, 2 * update, None, None, [(price, 0.0)], [], Texts(["0"], [], 12))
        come = Diff(2 * update - 1, 2 * update - 1, None, None, [(price, 1.0)], [], Texts(["5"], [], 12))
        if update == 11:
            book.start_over(
                Snapshot(20, BIDS, ASKS, False, False, None, Texts(["1", "2", "3"], ["4", "5", "6"], 12)), 0
            )
        assert book.apply(come, update)
        assert book.apply(gone, update) == []
    assert book.in_sync


def test_levels_that_fall_out_of_the_span_kept_are_forgotten() -> None:
    book = a_book(kept_levels=3, interval_us=1)
    book.start_over(a_snapshot(10), 0)
    book.apply(a_diff(11, 11, bids=[(99.5, 1.0)]), 1)  # pushes 97 out, of which nothing will be said
    (said,) = book.apply(a_diff(12, 12, bids=[(99.5, 0.0), (99.0, 0.0), (96.0, 4.0)]), 2)
    assert isinstance(said, Book)
    assert said.bid_prices == (98.0, 96.0)


def test_unnumbered_diffs_follow_in_the_order_of_arrival() -> None:
    book = a_book(rule=UnnumberedIds())
    book.start_over(a_snapshot(10), 0)
    book.apply(a_diff(11, 11), 1)
    book.apply(a_diff(500, 500), 2)
    assert book.in_sync
    rule = UnnumberedIds()
    assert [rule.is_before(a_diff(5, 5), at) for at in (4, 5)] == [False, True]
    assert [rule.bridges(a_diff(5, 5), at) for at in (4, 5)] == [True, False]


def test_a_book_may_be_held_for_its_quotes_alone() -> None:
    book = a_book(with_quotes=True, with_books=False)
    (said,) = book.start_over(a_snapshot(10), 0)
    assert said == Quote(7, 10, None, 0, 99.0, 1.0, 101.0, 1.0)


def test_what_is_known_to_be_wrong_can_be_said() -> None:
    book = in_sync()
    book.lose(Fault(GapCause.SEQUENCE_BREAK, "a frame could not be read"), 50)
    assert not book.in_sync
    assert book.why == "a frame could not be read"
    book.lose(Fault(GapCause.CROSSED_BOOK, "another"), 60)
    assert book.why == "a frame could not be read"  # it was lost already

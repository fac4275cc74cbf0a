"""From one socket to the next: whatever the order in which two sockets are read, everything once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from ingest_daemon.events import (
    Book,
    BookFlow,
    Event,
    FeedGap,
    GapCause,
    Quote,
    ReferencePrice,
    RejectedFrame,
    Trade,
)
from ingest_daemon.handover import Handover


def trade(number: int, seen_at: int = 0, instrument_id: int = 1) -> Trade:
    return Trade(instrument_id, number, number, seen_at, 1.0, 1.0, 1)


def quote(number: int, seen_at: int = 0, instrument_id: int = 1) -> Quote:
    return Quote(instrument_id, number, None, seen_at, 1.0, 1.0, 2.0, 1.0)


def book(number: int, seen_at: int = 0) -> Book:
    return Book(1, number, None, seen_at, (1.0,), (1.0,), (2.0,), (1.0,))


def refused(number: int, seen_at: int = 0) -> RejectedFrame:
    return RejectedFrame("here", seen_at, "why", b"%d" % number)


def flow(second: int, *, is_partial: bool = False, distance_bps: int = 0) -> BookFlow:
    """The flow of a second, told a second and a half after its start."""
    start = second * 1_000_000
    sums = (1.0, 0.0, 0.0, 0.0, 1, 0, 1, 1.0, 0.0, 0.0, None, 0, 0.0)
    return BookFlow(1, start, start + 1_500_000, 1, distance_bps, is_partial, *sums)


def flows(events: Sequence[Event]) -> list[tuple[int, int, bool]]:
    return [
        (event.time // 1_000_000, event.distance_bps, event.is_partial)
        for event in events
        if isinstance(event, BookFlow)
    ]


def numbers(events: Sequence[Event]) -> list[tuple[str, int | None, int]]:
    return [
        (
            type(event).__name__,
            event.instrument_id,
            getattr(event, "trade_id", getattr(event, "update_id", 0)),
        )
        for event in events
    ]


@given(
    sent=st.lists(st.tuples(st.sampled_from([trade, quote]), st.integers(1, 2)), min_size=1, max_size=30),
    subscribed_at=st.integers(0, 30),
    turns=st.lists(st.booleans(), min_size=20, max_size=80),
)
def test_everything_goes_on_once(
    sent: Sequence[tuple[Callable[..., Event], int]], subscribed_at: int, turns: Sequence[bool]
) -> None:
    """The venue sends the same to both, to the new one from some point on; each is read in its order."""
    stream = [make(number, 0, instrument_id) for number, (make, instrument_id) in enumerate(sent)]
    old, new = iter(stream), iter(stream[subscribed_at:])
    handover, went_on = Handover(), []
    has_spoken = False
    for is_old in turns:
        if has_spoken and handover.is_ready:
            went_on += handover.close_old()
            went_on += [event for left in new for event in handover.from_new([left])]
            assert sorted(numbers(went_on)) == sorted(numbers(stream))
            return
        event = next(old if is_old else new, None)
        if event is not None:
            went_on += handover.from_old([event]) if is_old else handover.from_new([event])
            has_spoken |= not is_old
    assert numbers(went_on) == numbers(stream)[: len(went_on)]  # the old one leads, as if nothing else was


SAID = st.lists(st.tuples(st.sampled_from([trade, quote, book, refused]), st.integers(1, 3)), max_size=8)


@given(old=SAID, new=SAID, turns=st.tuples(*[st.lists(st.booleans(), max_size=16)] * 2))
@example(
    old=[(quote, 1)], new=[(quote, 1), (quote, 2), (quote, 1)], turns=([True, True, True], [True, False])
)
def test_what_goes_on_is_the_same_in_whatever_order_two_sockets_are_read(
    old: Sequence[tuple[Callable[..., Event], int]],
    new: Sequence[tuple[Callable[..., Event], int]],
    turns: Sequence[Sequence[bool]],
) -> None:
    """A replay reads them by receive time, a feed as they are scheduled; either may repeat itself."""
    told = [
        [make(number, 2 * at + is_new) for at, (make, number) in enumerate(said)]
        for is_new, said in enumerate((old, new))
    ]
    outcomes = []
    for order in turns:
        handover, went_on = Handover(), list[Event]()
        left = [iter(events) for events in told]
        for is_new in (*order, *[False] * len(old), *[True] * len(new)):
            events = [event for event in [next(left[is_new], None)] if event is not None]
            went_on += handover.from_new(events) if is_new else handover.from_old(events)
        went_on += handover.close_old()
        outcomes.append(sorted(map(repr, went_on)))
    assert outcomes[0] == outcomes[1]


def test_of_what_the_new_one_said_twice_the_first_goes_on() -> None:
    handover = Handover()
    handover.from_old([quote(1)])
    handover.from_new([quote(1, 10), quote(2, 11), quote(1, 12), quote(3, 13), quote(3, 14)])
    assert handover.close_old() == [quote(2, 11), quote(3, 13)]


def test_counts_of_refused_frames_go_on_whichever_socket_made_them_due() -> None:
    counts = [
        RejectedFrame("here", at, "not kept, 7 like: why", b"", None, None, 7, at + 1) for at in range(4)
    ]
    handover = Handover()
    assert handover.from_old(counts[:1]) == counts[:1]
    assert handover.from_new([*counts[1:3], trade(1)]) == counts[1:3]
    assert handover.close_old() == [trade(1)]
    assert handover.from_new(counts[3:]) == counts[3:]
    assert handover.from_old([trade(2), *counts[3:]]) == counts[3:]


def test_it_is_not_ready_before_a_trade_was_seen_on_both() -> None:
    handover = Handover()
    handover.from_old([trade(1), trade(2)])
    assert handover.from_new([trade(4)]) == []
    assert not handover.is_ready  # the old one has not been read up to 4: it may have 3 still
    assert numbers(handover.from_old([trade(3)])) == [("Trade", 1, 3)]
    assert not handover.is_ready
    handover.from_old([trade(4)])
    assert handover.is_ready
    handover.from_new([trade(5)])
    assert numbers(handover.close_old()) == [("Trade", 1, 5)]
    assert numbers(handover.from_new([trade(5), trade(6)])) == [("Trade", 1, 5), ("Trade", 1, 6)]


def test_a_new_one_that_lags_repeats_nothing() -> None:
    handover = Handover()
    handover.from_old([trade(1), quote(1)])
    handover.from_new([trade(1), quote(1)])
    handover.from_old([trade(2), quote(2)])
    assert handover.is_ready
    assert handover.close_old() == []
    assert numbers(handover.from_new([trade(2), quote(2), trade(3), quote(3)])) == [
        ("Trade", 1, 3),
        ("Quote", 1, 3),
    ]


def test_it_waits_for_every_instrument_and_kind_that_the_old_one_tells() -> None:
    handover = Handover()
    handover.from_old([quote(1)])
    handover.from_new([quote(1)])
    handover.from_old([book(5), quote(2)])
    assert not handover.is_ready
    handover.from_new([quote(2), book(6)])  # a selection of its own
    assert handover.is_ready


def test_books_are_the_old_ones_until_it_is_closed_and_the_new_ones_after() -> None:
    handover = Handover()
    assert numbers(handover.from_old([book(1, 10)])) == [("Book", 1, 1)]
    assert handover.from_new([book(2, 11)]) == []
    assert numbers(handover.from_old([book(3, 12)])) == [("Book", 1, 3)]
    assert handover.from_new([book(4, 13)]) == []
    assert numbers(handover.close_old()) == [("Book", 1, 4)]  # 2 is older than what was shown
    assert numbers(handover.from_new([book(5, 14)])) == [("Book", 1, 5)]


def test_what_has_no_number_is_the_same_by_its_content() -> None:
    handover = Handover()
    refused = [RejectedFrame("here", at, "why", b"{}") for at in (1, 2)]
    prices = [ReferencePrice(1, 5, at, 3.0) for at in (1, 2)]
    handover.from_old([refused[0], prices[0]])
    handover.from_new([refused[1], prices[1]])
    assert handover.is_ready
    assert handover.close_old() == []


def test_gaps_are_the_old_ones_affair_until_it_is_closed() -> None:
    handover = Handover()
    gap = FeedGap("here", "depth", 1, 1, 2, GapCause.SEQUENCE_BREAK, relation="books")
    assert handover.from_new([gap]) == []
    assert handover.from_old([gap]) == [gap]
    assert handover.close_old() == []
    assert handover.from_old([gap, trade(1)]) == [gap]  # the books that were not in sync when it was closed


def test_a_second_of_flow_is_told_once_and_whole_where_either_saw_it_whole() -> None:
    handover = Handover()
    handover.from_old([quote(1)])
    handover.from_new([quote(1)])
    handover.from_new([flow(10, is_partial=True), flow(10, is_partial=True, distance_bps=5)])
    told = handover.from_old([flow(10)])
    assert flows(told) == [(10, 0, False)]
    handover.from_new([flow(11), flow(11, distance_bps=1), flow(12)])
    handover.from_old([flow(11, is_partial=True)])  # its book was lost for a while
    assert handover.is_ready
    assert flows(handover.close_old()) == [(11, 0, False), (11, 1, False), (12, 0, False)]
    assert handover.from_old([flow(12, is_partial=True)]) == []  # the second in which it was closed
    assert flows(handover.from_new([flow(11, is_partial=True), flow(13)])) == [(13, 0, False)]


def test_the_old_one_is_not_closed_before_it_told_a_second_that_the_new_one_saw_whole() -> None:
    handover = Handover()
    handover.from_old([quote(1)])
    handover.from_new([quote(1), flow(10, is_partial=True)])
    assert numbers(handover.from_old([flow(10)])) == [("BookFlow", 1, 0)]
    assert not handover.is_ready  # second 11 may be partial on the new one too
    handover.from_old([flow(11)])
    assert handover.is_ready


def test_a_book_that_does_not_change_holds_nobody_up() -> None:
    handover = Handover()
    handover.from_old([quote(1)])
    handover.from_new([quote(1), flow(10, is_partial=True)])
    handover.from_old([flow(10)])
    handover.from_new([quote(2, 15_000_000)])
    assert not handover.is_ready
    handover.from_new([quote(3, 15_000_001)])
    assert handover.is_ready

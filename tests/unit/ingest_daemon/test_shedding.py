"""What is given up, in which order, and that every event is kept or counted in a gap that spans it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon.batcher import Batch, batch_of
from ingest_daemon.events import Book, BookFlow, Event, FeedGap, GapCause, Quote, RejectedFrame, Trade
from ingest_daemon.shedding import LEVELS, add_gap, drop, shed

SECOND = 1_000_000
RELATIONS = ("trades", "quotes", "books", "book_flows")


def trade(at: int) -> Trade:
    return Trade(1, at, at, at, 1.0, 1.0, 1)


def quote(at: int, instrument_id: int = 1) -> Quote:
    return Quote(instrument_id, at, None, at, 1.0, 1.0, 2.0, 1.0)


def book(at: int, instrument_id: int = 1) -> Book:
    return Book(instrument_id, at, None, at, (1.0,), (1.0,), (2.0,), (1.0,))


def flow(at: int) -> BookFlow:
    sums = (1.0, 1.0, 1.0, 0.0, 1, 1, 1, 1.0, 0.0, 0.0, None, 0, 0.0)
    return BookFlow(1, at - at % SECOND, at, 1, 0, False, *sums)


events = st.lists(
    st.one_of(
        st.builds(trade, st.integers(0, 3 * SECOND)),
        st.builds(quote, st.integers(0, 3 * SECOND), st.integers(1, 2)),
        st.builds(book, st.integers(0, 3 * SECOND), st.integers(1, 2)),
        st.builds(flow, st.integers(0, 3 * SECOND)),
    ),
    min_size=1,
    max_size=40,
)


def is_explained(before: Batch, after: Batch) -> bool:
    """Whether what is missing is the count of a gap of its relation, inside its span."""
    gaps = {gap.relation: gap for gap in after.feed_gaps}
    for relation in RELATIONS:
        kept = getattr(after, relation)
        missing = [event for event in getattr(before, relation) if event not in kept]
        gap = gaps.get(relation)
        if len(getattr(before, relation)) != len(kept) + (0 if gap is None else gap.lost_events):
            return False
        if any(gap is None or not gap.started_at <= e.received_at < gap.ended_at for e in missing):
            return False
    return True


@given(events, st.lists(st.integers(0, LEVELS), max_size=4))
def test_every_event_is_kept_or_in_a_gap_however_often_it_is_shed(
    given: list[Event], levels: list[int]
) -> None:
    before = after = batch_of("here", given)
    for level in levels:
        after = shed(after, level)
        assert is_explained(before, after)
    assert after.trades == before.trades
    assert after.rows == sum(len(getattr(after, name)) for name in (*RELATIONS, "feed_gaps"))


def test_books_go_first_then_quotes_then_flows_and_trades_stay() -> None:
    batch = batch_of("here", [make(at) for make in (trade, quote, book, flow) for at in (1, 2, SECOND + 1)])

    def left(level: int) -> tuple[list[int], ...]:
        thin = shed(batch, level)
        return tuple([each.received_at for each in getattr(thin, name)] for name in RELATIONS)

    every, last = [1, 2, SECOND + 1], [2, SECOND + 1]
    assert left(0) == (every, every, every, every)
    assert left(1) == (every, every, last, every)
    assert left(2) == (every, last, last, every)
    assert left(3) == (every, [], [], every)
    assert left(4) == (every, [], [], [])


def test_instruments_are_not_mixed_up() -> None:
    batch = batch_of("here", [book(1, 1), book(2, 2), book(3, 2)])
    assert [(each.instrument_id, each.received_at) for each in shed(batch, 1).books] == [(1, 1), (2, 3)]


def test_what_is_given_up_as_a_whole_leaves_its_gaps() -> None:
    other = FeedGap("here", None, None, 0, 5, GapCause.DISCONNECTED)
    gaps = drop(batch_of("here", [trade(3), trade(9), book(4), other]))

    assert {(gap.relation, gap.started_at, gap.ended_at, gap.lost_events) for gap in gaps} == {
        (None, 0, 5, None),
        ("trades", 3, 10, 2),
        ("books", 4, 5, 1),
    }


def test_gaps_of_a_relation_are_added_up() -> None:
    first, second = (
        FeedGap("here", None, None, start, start + 5, GapCause.SHED, "", 2, "trades") for start in (0, 100)
    )
    (gap,) = add_gap(add_gap((), first), second)
    assert (gap.started_at, gap.ended_at, gap.lost_events) == (0, 105, 4)


def test_a_row_that_stands_for_many_refused_frames_is_lost_as_so_many() -> None:
    rows = [
        RejectedFrame("here", 5, "odd", b"x"),
        RejectedFrame("here", 6, "not kept", b"", frames=40, last_received_at=90),
    ]
    (gap,) = drop(batch_of("here", rows))

    assert (gap.started_at, gap.ended_at, gap.lost_events) == (5, 91, 41)


def test_a_gap_of_what_was_shed_begins_when_the_venue_says_that_it_happened() -> None:
    late = Trade(1, 1, 700, 1_000, 1.0, 1.0, 1)
    history = Trade(1, 2, 0, 90 * SECOND, 1.0, 1.0, 1)  # told on purpose

    (gap,) = drop(batch_of("here", [late]))
    assert (gap.started_at, gap.ended_at) == (700, 1_001)
    (gap,) = drop(batch_of("here", [history]))
    assert (gap.started_at, gap.ended_at) == (90 * SECOND, 90 * SECOND + 1)

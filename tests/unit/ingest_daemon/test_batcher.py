"""The batcher: nothing lost, nothing twice, in order, within its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon.batcher import Batch, Batcher, Limits
from ingest_daemon.events import Book, Event, FeedGap, GapCause, Quote, ReferencePrice, RejectedFrame, Trade

T0 = 1_700_000_000_000_000


def a_trade(number: int, received_at: int = T0) -> Trade:
    return Trade(1, number, received_at, received_at, 100.0, 1.0, 1)


def an_event(kind: int, number: int, weight: int) -> Event:
    """An event of one of the six kinds, told apart by `number`; `weight` makes some larger."""
    seen = T0 + number
    match kind:
        case 0:
            return a_trade(number, seen)
        case 1:
            return Quote(1, number, None, seen, 99.0, 1.0, 101.0, 1.0)
        case 2:
            side = (1.0,) * weight
            return Book(1, number, None, seen, side, side, side, side)
        case 3:
            return ReferencePrice(1, seen, seen, mark_price=float(number))
        case 4:
            return FeedGap("v", None, None, seen - 5, seen, GapCause.STALE, "x" * weight)
        case _:
            return RejectedFrame("v", seen, "e", b"x" * weight * 50)


def events_of(batch: Batch) -> list[Event]:
    return [
        *batch.trades,
        *batch.quotes,
        *batch.books,
        *batch.reference_prices,
        *batch.feed_gaps,
        *batch.rejected_frames,
    ]


def kinds(events: list[Event]) -> dict[str, list[Event]]:
    by_kind: dict[str, list[Event]] = {}
    for event in events:
        by_kind.setdefault(type(event).__name__, []).append(event)
    return by_kind


specs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), max_size=60)
steps = st.lists(
    st.tuples(specs, st.integers(0, 50), st.booleans()), max_size=12
)  # events, time passed, whether the caller asks for a batch that is due


@given(steps, st.integers(1, 12), st.integers(1, 3_000), st.integers(0, 60))
def test_batches_hold_every_event_once_in_order_and_within_bounds(
    steps: list[tuple[list[tuple[int, int]], int, bool]], rows: int, size: int, age_us: int
) -> None:
    batcher = Batcher("v", Limits(rows=rows, bytes=size, age_us=age_us))
    given_events: list[Event] = []
    batches: list[Batch] = []
    now = 0
    for specs, passed, asks in steps:
        now += passed
        events = [an_event(kind, len(given_events) + i, weight) for i, (kind, weight) in enumerate(specs)]
        given_events += events
        batches += batcher.add(events, now)
        if asks:
            due = batcher.take_due(now)
            batches += [due] if due else []
            assert batcher.due_at is None or now < batcher.due_at <= now + age_us
    last = batcher.flush()
    batches += [last] if last else []

    taken = [event for batch in batches for event in events_of(batch)]
    assert kinds(taken) == kinds(given_events)
    assert batcher.flush() is None
    assert batcher.rows == 0
    for batch in batches:
        assert 1 <= batch.rows == len(events_of(batch)) <= rows
        assert batch.bytes <= size or batch.rows == 1
        seen = [e.ended_at if isinstance(e, FeedGap) else e.received_at for e in events_of(batch)]
        assert batch.oldest_received_at == min(seen)


def test_rows_close_a_batch() -> None:
    batcher = Batcher("binance", Limits(rows=3, bytes=10**9, age_us=10**9))
    assert batcher.add([a_trade(1), a_trade(2)], now=0) == []
    (batch,) = batcher.add([a_trade(3), a_trade(4)], now=0)
    assert [trade.trade_id for trade in batch.trades] == [1, 2, 3]
    assert batch.venue == "binance"
    assert batcher.rows == 1


def test_bytes_close_a_batch_before_the_event_that_would_pass_them() -> None:
    batcher = Batcher("v", Limits(rows=100, bytes=1_000, age_us=10**9))
    large = RejectedFrame("v", T0, "bad", b"x" * 900)
    (first,) = batcher.add([a_trade(1), large], now=0)
    assert first.rows == 1
    assert first.trades == [a_trade(1)]
    (second,) = [batcher.flush()]
    assert second is not None
    assert second.rejected_frames == [large]


def test_an_event_above_the_bound_is_a_batch_of_its_own() -> None:
    batcher = Batcher("v", Limits(rows=100, bytes=1_000, age_us=10**9))
    large = RejectedFrame("v", T0, "bad", b"x" * 5_000)
    first, second = batcher.add([a_trade(1), large, a_trade(2)], now=0)
    assert first.trades == [a_trade(1)]
    assert second.rejected_frames == [large]
    assert second.rows == 1
    assert batcher.rows == 1


def test_age_counts_from_the_first_event_in_the_callers_clock() -> None:
    batcher = Batcher("v", Limits(age_us=100))
    assert batcher.due_at is None
    batcher.add([a_trade(1, received_at=5)], now=1_000)
    batcher.add([a_trade(2, received_at=3)], now=1_050)
    assert batcher.due_at == 1_100
    assert batcher.take_due(1_099) is None
    batch = batcher.take_due(1_100)
    assert batch is not None
    assert batch.rows == 2
    assert batch.oldest_received_at == 3
    assert batcher.take_due(10_000) is None


def test_many_rows_are_due_after_a_fifth_of_the_age() -> None:
    batcher = Batcher("v", Limits(age_us=100_000))
    batcher.add(map(a_trade, range(99)), now=1_000)
    assert (batcher.due_at, batcher.rows_to_wait_for) == (101_000, 1)
    batcher.add([a_trade(99)], now=2_000)
    assert (batcher.due_at, batcher.rows_to_wait_for) == (21_000, 9_900)
    assert batcher.take_due(20_999) is None
    batch = batcher.take_due(21_000)
    assert batch is not None
    assert batch.rows == 100


def test_small_batches_are_waited_for_until_they_are_full() -> None:
    batcher = Batcher("v", Limits(rows=60))
    batcher.add([a_trade(1)], now=0)
    assert batcher.rows_to_wait_for == 59


@pytest.mark.parametrize("limits", [{"rows": 0}, {"bytes": 0}, {"age_us": -1}])
def test_limits_that_could_never_hold_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="rows >= 1"):
        Limits(**limits)

"""The flow of a book: cases to follow by hand, and random books against a slow computation of the same rules.

Times in these cases are milliseconds; a book bids 100, 99.99 and 99.9 and asks 101, 101.01 and 101.1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon.book_flow import EARLY_US, LATE_US, MEMORY_US, FlowMeter
from ingest_daemon.books import BookBuilder, ContiguousIds, Diff, Snapshot
from ingest_daemon.events import FLOW_DISTANCES_BPS, BookFlow, Event, Trade

MS = 1_000
S = 1_000_000
BIDS = [(100.0, 10.0), (99.99, 10.0), (99.9, 10.0)]
ASKS = [(101.0, 10.0), (101.01, 10.0), (101.1, 10.0)]

Levels = list[tuple[float, float]]


class Market:
    """A book in sync at time 0, its meter, and what they said."""

    def __init__(self, meter: FlowMeter | None = None, **options: Any) -> None:
        self.meter = meter or FlowMeter(7)
        self.book = BookBuilder("here", "depth", 7, ContiguousIds(), meter=self.meter, **options)
        self.last_id = 0
        self.said: list[Event] = self.book.start_over(Snapshot(0, BIDS, ASKS, False, False, 0), 0)
        self.diff(0)

    def diff(self, ms: int, bids: Levels | None = None, asks: Levels | None = None, skip: int = 0) -> None:
        self.last_id += 1 + skip
        diff = Diff(self.last_id, self.last_id, None, ms * MS, bids or [], asks or [])
        self.said += self.book.apply(diff, ms * MS + 5)

    def trade(self, ms: int, price: float, size: float, aggressor: int = -1) -> None:
        self.meter.trade(Trade(7, 1, ms * MS, ms * MS + 5, price, size, aggressor))

    def flows(self, second: int | None = None) -> list[BookFlow]:
        found = [event for event in self.said if isinstance(event, BookFlow)]
        return [flow for flow in found if second is None or flow.time == second * S]

    def flow(self, second: int, side: int = 1, distance_bps: int = 0) -> BookFlow:
        (found,) = [
            flow for flow in self.flows(second) if (flow.side, flow.distance_bps) == (side, distance_bps)
        ]
        return found


def test_a_second_is_closed_by_the_first_update_half_a_second_after_its_end() -> None:
    market = Market()
    market.diff(1_200, bids=[(100.0, 12.0)])
    market.diff(2_499)
    assert market.flows() == []
    market.diff(2_500)
    assert market.flows() == [
        BookFlow(7, S, 2_500 * MS + 5, 1, 0, False, 2.0, 0.0, 0.0, 0.0, 1, 0, 1, 2.0, 0.0, 0.0, None, 0, 0.0)
    ]
    market.diff(9_000)
    assert len(market.flows()) == 1  # a second without a change has no row


@pytest.mark.parametrize(
    ("bps", "distance"), [(0, 0), (0.9, 0), (1.1, 1), (1.9, 1), (4, 2), (9, 5), (20, 10), (26, 25), (900, 25)]
)
def test_an_addition_is_as_far_as_it_lies_behind_the_best_price(bps: float, distance: int) -> None:
    market = Market()
    market.diff(1_000, bids=[(100.0 * (1 - bps / 1e4), 30.0)], asks=[(101.0 * (1 + bps / 1e4), 30.0)])
    market.diff(9_000)
    assert {(flow.side, flow.distance_bps) for flow in market.flows()} == {(1, distance), (-1, distance)}


def test_additions_are_measured_after_the_update_and_removals_before_it() -> None:
    market = Market()
    market.diff(1_000, bids=[(100.9, 5.0), (100.8, 5.0)])  # a new best price, and one 10 bps behind it
    market.diff(2_000, bids=[(100.9, 0.0), (100.8, 0.0)])  # both gone again
    market.diff(9_000)
    assert [(f.distance_bps, f.added) for f in market.flows(1)] == [(5, 5.0), (0, 5.0)]
    assert [(f.distance_bps, f.removed) for f in market.flows(2)] == [(5, 5.0), (0, 5.0)]


def test_a_trade_explains_what_its_level_lost_whichever_comes_first() -> None:
    for trade_first in (True, False):
        market = Market()
        if trade_first:
            market.trade(1_050, 100.0, 4.0)
        market.diff(1_100, bids=[(100.0, 3.0)])
        if not trade_first:
            market.trade(1_050, 100.0, 4.0)
        market.diff(9_000)
        flow = market.flow(1)
        assert (flow.removed, flow.traded, flow.cancelled, flow.cancels) == (7.0, 4.0, 3.0, 1)


def test_what_is_wholly_traded_is_no_cancellation() -> None:
    market = Market()
    market.diff(1_100, bids=[(100.0, 0.0)])
    market.trade(1_050, 100.0, 9.9)
    market.trade(1_050, 100.0, 0.1)
    market.diff(9_000)
    assert (market.flow(1).cancelled, market.flow(1).cancels) == (0.0, 0)


def test_a_buyer_takes_from_the_asks() -> None:
    market = Market()
    market.trade(1_050, 101.0, 4.0, aggressor=1)
    market.diff(1_100, bids=[(100.0, 6.0)], asks=[(101.0, 6.0)])
    market.diff(9_000)
    assert (market.flow(1, 1).cancelled, market.flow(1, -1).cancelled) == (4.0, 0.0)


@pytest.mark.parametrize(("price", "side"), [(100.0, 1), (100.4, 1), (100.6, -1), (101.0, -1)])
def test_a_trade_of_unknown_aggressor_is_of_the_nearer_side(price: float, side: int) -> None:
    market = Market()
    market.diff(1_000, bids=[(99.9, 11.0)], asks=[(101.1, 11.0)])
    market.trade(1_050, price, 4.0, aggressor=0)
    market.diff(9_000)
    assert [flow.side for flow in market.flows() if flow.traded] == [side]


def test_a_trade_no_level_shrank_for_counts_at_the_touch() -> None:
    market = Market()
    market.diff(1_000, bids=[(99.9, 11.0)])
    market.trade(1_050, 99.9, 4.0)
    market.diff(9_000)
    assert market.flow(1).traded == 4.0
    assert market.flow(1, distance_bps=5).traded == 0.0


def test_a_trade_counts_where_the_level_stood_and_in_its_own_second() -> None:
    market = Market()
    market.trade(1_950, 99.9, 4.0)
    market.diff(2_050, bids=[(99.9, 6.0)])
    market.diff(9_000)
    assert (market.flow(1, distance_bps=5).traded, market.flow(1, distance_bps=5).removed) == (4.0, 0.0)
    assert (market.flow(2, distance_bps=5).traded, market.flow(2, distance_bps=5).cancelled) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("after_us", "cancelled"),
    [(-LATE_US, 0.0), (-LATE_US - MS, 4.0), (EARLY_US, 0.0), (EARLY_US + MS, 4.0)],
)
def test_a_trade_too_far_from_the_update_explains_nothing(after_us: int, cancelled: float) -> None:
    market = Market()
    market.diff(1_500, bids=[(100.0, 6.0)])
    market.trade(1_500 + after_us // MS, 100.0, 4.0)
    market.diff(9_000)
    assert market.flow(1).cancelled == cancelled


def test_a_trade_explains_no_more_than_its_size() -> None:
    market = Market()
    market.diff(1_100, bids=[(100.0, 7.0)])
    market.diff(1_200, bids=[(100.0, 3.0)])
    market.trade(1_090, 100.0, 4.0)
    market.diff(9_000)
    flow = market.flow(1)
    assert (flow.removed, flow.traded, flow.cancelled, flow.cancels) == (7.0, 4.0, 3.0, 1)


def test_a_late_trade_counts_in_the_oldest_second_that_is_open() -> None:
    market = Market()
    market.diff(1_100, bids=[(100.0, 6.0)])
    market.diff(3_100, bids=[(99.9, 11.0)])  # closes second 1
    assert market.flow(1).cancelled == 4.0
    market.trade(1_100, 100.0, 4.0)
    market.diff(9_000)
    assert [flow.traded for flow in market.flows(2)] == [4.0]
    assert sum(flow.traded for flow in market.flows()) == 4.0


def test_an_order_placed_and_withdrawn_is_known_by_its_size_and_life() -> None:
    market = Market()
    market.diff(1_100, bids=[(100.0, 60.0)])
    market.diff(3_400, bids=[(100.0, 11.0)])
    market.diff(9_000)
    assert market.flow(1).largest_added == 50.0
    flow = market.flow(3)
    assert (flow.fleeting, flow.withdrawn, flow.withdrawn_life_us) == (49.0, 49.0, 2_300 * MS)


def test_an_order_that_traded_was_not_withdrawn() -> None:
    market = Market()
    market.diff(1_100, bids=[(100.0, 60.0)])
    market.trade(1_350, 100.0, 12.0)
    market.diff(1_400, bids=[(100.0, 10.0)])
    market.diff(9_000)
    assert (market.flow(1).cancelled, market.flow(1).fleeting) == (38.0, 0.0)
    assert market.flow(1).withdrawn_life_us is None


@pytest.mark.parametrize(("at_ms", "left", "fleeting"), [
    (1_000 + MEMORY_US // MS, 10.0, 50.0), (1_001 + MEMORY_US // MS, 10.0, 0.0),
    (2_000, 20.0, 40.0), (2_000, 20.5, 0.0),
])  # fmt: skip
def test_a_withdrawal_is_soon_and_of_nearly_all(at_ms: int, left: float, fleeting: float) -> None:
    market = Market()
    market.diff(1_000, bids=[(100.0, 60.0)])
    market.diff(at_ms, bids=[(100.0, left)])
    market.diff(at_ms + 9_000)
    assert sum(flow.fleeting for flow in market.flows()) == fleeting


def test_of_several_additions_to_a_level_the_largest_counts() -> None:
    market = Market()
    market.diff(1_000, bids=[(100.0, 15.0)])
    market.diff(1_100, bids=[(100.0, 55.0)])
    market.diff(1_200, bids=[(100.0, 56.0)])
    market.diff(1_300, bids=[(100.0, 16.0)])
    market.diff(9_000)
    assert (market.flow(1).withdrawn, market.flow(1).withdrawn_life_us) == (40.0, 200 * MS)


def layers(*prices: float, size: float) -> Levels:
    return [(price, size) for price in prices]


def test_levels_placed_and_withdrawn_together_are_layers() -> None:
    market = Market()
    prices = (99.98, 99.97, 99.96, 99.95)
    market.diff(1_000, bids=layers(*prices, size=20.0))
    market.diff(1_100, bids=layers(99.94, size=3.0))
    market.diff(1_800, bids=layers(*prices, size=0.0))
    market.diff(9_000)
    nearest = market.flow(1, distance_bps=1)  # 99.98 is 2 bps behind 100
    assert (nearest.layers, nearest.layered) == (4, 80.0)
    assert market.flow(1, distance_bps=2).layers == 0


@pytest.mark.parametrize("late_ms", [0, 90, 450])
def test_layers_that_go_one_after_the_other_are_layers_while_it_is_soon(late_ms: int) -> None:
    market = Market()
    market.diff(1_000, bids=layers(99.98, 99.97, 99.96, size=20.0))
    market.diff(1_410, bids=layers(99.98, 99.97, size=0.0))
    market.diff(1_410 + late_ms, bids=layers(99.96, size=0.0))
    market.diff(9_000)
    assert market.flow(1, distance_bps=1).layers == (3 if late_ms < 100 else 0)


def test_far_levels_and_small_ones_are_no_layers() -> None:
    market = Market()
    market.diff(1_000, bids=[*layers(99.97, 99.96, size=20.0), (99.95, 1.0), (99.0, 20.0)])
    market.diff(1_400, bids=layers(99.97, 99.96, 99.95, 99.0, size=0.0))
    market.diff(9_000)
    assert [flow.layers for flow in market.flows(1)] == [0] * len(market.flows(1))


def test_the_second_in_which_a_book_came_into_sync_is_partial_and_so_is_the_one_it_was_lost_in() -> None:
    market = Market()
    for second in range(5):
        market.diff(1_000 * second + 300, bids=[(100.0, 11.0 + second)])
    market.diff(4_400, bids=[(100.0, 1.0)], skip=1)
    assert [(flow.time // S, flow.is_partial) for flow in market.flows()] == [
        (0, True), (1, False), (2, False), (3, True), (4, True),
    ]  # fmt: skip
    assert not market.book.in_sync


def test_a_book_that_is_lost_says_nothing_of_its_flow_until_it_is_found() -> None:
    market = Market()
    market.diff(1_300, bids=[(100.0, 11.0)])
    market.diff(1_400, skip=1)
    said = len(market.said)
    market.diff(2_300, bids=[(100.0, 12.0)], skip=1)
    market.trade(2_400, 100.0, 1.0)
    assert len(market.said) == said
    market.said += market.book.start_over(Snapshot(50, BIDS, ASKS, False, False, 3 * S), 3 * S)
    market.last_id = 50
    market.diff(3_100, bids=[(100.0, 13.0)])
    market.diff(9_000)
    (flow,) = [flow for flow in market.flows() if flow.time >= 2 * S]
    assert (flow.time, flow.added, flow.is_partial) == (3 * S, 3.0, True)


def test_a_wider_snapshot_does_not_cut_the_flow() -> None:
    meter = FlowMeter(7)
    book = BookBuilder("here", "depth", 7, ContiguousIds(), meter=meter, depth=3)
    book.apply_snapshot(Snapshot(0, BIDS, ASKS, True, True), 0)
    said: list[Event] = []
    changes: list[Levels] = [[], [(99.99, 0.0)], [(100.0, 12.0)], [(100.0, 15.0)], []]
    for number, bids in enumerate(changes, start=1):
        said += book.apply(Diff(number, number, None, 600 * MS * number, bids, []), 600 * MS * number)
        if book.wants_snapshot:
            wider = [(100.0, 12.0), (99.9, 10.0), (99.8, 1.0)]
            said += book.apply_snapshot(Snapshot(number, wider, ASKS, True, True), 600 * MS * number)
    said += book.apply(Diff(6, 6, None, 9 * S, [], []), 9 * S)
    found = [event for event in said if isinstance(event, BookFlow)]
    assert [(flow.time // S, flow.added, flow.removed, flow.is_partial) for flow in found] == [
        (1, 2.0, 10.0, True),
        (2, 3.0, 0.0, False),
    ]


def test_what_comes_from_beyond_the_snapshot_was_not_placed() -> None:
    meter = FlowMeter(7)
    book = BookBuilder("here", "depth", 7, ContiguousIds(), meter=meter)
    book.apply_snapshot(Snapshot(0, BIDS, ASKS, True, True), 0)
    book.apply(Diff(1, 1, None, 0, [], []), 0)
    book.apply(Diff(2, 2, None, S, [(99.0, 500.0), (99.9, 12.0)], []), S)
    said = book.apply(Diff(3, 3, None, 9 * S, [], []), 9 * S)
    assert [(flow.added, flow.levels) for flow in said if isinstance(flow, BookFlow)] == [(2.0, 1)]


@pytest.mark.parametrize("option", ["told_levels", "kept_levels"])
def test_what_leaves_and_enters_the_span_a_venue_tells_of_was_not_withdrawn_nor_placed(option: str) -> None:
    market = Market(**{option: 3})
    market.diff(1_000, bids=[(100.1, 5.0), (99.9, 0.0)])  # a better one pushes the worst out
    market.diff(1_100, bids=[(100.1, 0.0), (99.9, 10.0)])  # and it comes back
    market.diff(9_000)
    assert [(flow.added, flow.removed) for flow in market.flows()] == [(5.0, 5.0)]


def test_contracts_become_base_units() -> None:
    linear, inverse = Market(FlowMeter(7, 0.01)), Market(FlowMeter(7, 100.0, is_inverse=True))
    for market in (linear, inverse):
        market.trade(1_050, 100.0, 4.0)
        market.diff(1_100, bids=[(100.0, 3.0)])
        market.diff(9_000)
    assert linear.flow(1).cancelled == pytest.approx(0.03)
    assert (inverse.flow(1).removed, inverse.flow(1).traded) == pytest.approx((7.0, 4.0))  # 100 a contract


def test_a_book_without_times_is_timed_by_its_receipt_and_so_are_its_trades() -> None:
    meter = FlowMeter(7)
    book = BookBuilder("here", "depth", 7, ContiguousIds(), meter=meter)
    book.start_over(Snapshot(0, BIDS, ASKS, False, False), 0)
    said: list[Event] = []
    for number, (at, bids) in enumerate([(0, []), (S, [(100.0, 6.0)]), (9 * S, [])], start=1):
        said += book.apply(Diff(number, number, None, None, bids, []), at)
        if number == 2:
            meter.trade(Trade(7, 1, 77 * S, S - 1, 100.0, 4.0, -1))
    assert [(f.time, f.cancelled) for f in said if isinstance(f, BookFlow) and f.removed] == [(S, 0.0)]


def test_a_clock_set_back_starts_anew() -> None:
    market = Market()
    market.diff(100_300, bids=[(100.0, 11.0)])
    market.diff(3_300, bids=[(100.0, 12.0)])
    market.diff(4_300, bids=[(100.0, 13.0)])
    market.diff(9_000)
    assert [(flow.time // S, flow.is_partial) for flow in market.flows()] == [
        (100, True), (3, True), (4, False),
    ]  # fmt: skip


def test_a_book_in_sync_that_closes_leaves_no_gap_and_its_flow_as_partial() -> None:
    market = Market()
    market.diff(1_300, bids=[(100.0, 11.0)])
    rest = market.book.close(2 * S)
    assert [type(event) for event in rest] == [BookFlow]
    assert rest[0].is_partial  # type: ignore[union-attr]
    assert market.book.close(2 * S) == []


# Random books against a slow computation of the rules, which knows everything at once.

prices = st.integers(0, 12)  # ticks of one basis point behind the best price of the start
events = st.lists(
    st.tuples(st.integers(0, 400), st.booleans(), prices, st.integers(0, 5), st.booleans()),
    min_size=1,
    max_size=60,
)  # milliseconds since the one before, bid or ask, price, size, whether it is a trade


_Change = tuple[int, int, float, float, float, float, float]


def slow(changes: Sequence[_Change], trades: Sequence[Trade]) -> Any:
    """(time, side, distance) → sums; a change: at, side, key, before, after, best before, best after."""
    sums: dict[tuple[int, int, int], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    left: list[dict[str, Any]] = []

    def distance(best: float, key: float) -> int:
        edges = [bps for bps in FLOW_DISTANCES_BPS[1:] if key < best - abs(best) * (bps * 1e-4)]
        return max(edges, default=0)

    for at, side, key, before, after, best_before, best_after in changes:
        if after > before:
            place = sums[at // S * S, side, distance(best_after, key)]
            place["added"] += after - before
        else:
            where = (at // S * S, side, distance(best_before, key))
            sums[where]["removed"] += before - after
            left.append({"at": at, "side": side, "key": key, "size": before - after, "where": where})
    for trade in sorted(trades, key=lambda t: (t.occurred_at, -t.aggressor * t.price, t.size)):
        size, side = trade.size, -trade.aggressor
        for removal in left:
            is_near = trade.occurred_at - EARLY_US <= removal["at"] <= trade.occurred_at + LATE_US
            if is_near and removal["side"] == side and removal["key"] == side * trade.price:
                part = min(size, removal["size"])
                removal["size"] -= part
                size -= part
                sums[trade.occurred_at // S * S, side, removal["where"][2]]["traded"] += part
        sums[trade.occurred_at // S * S, side, 0]["traded"] += size
    for removal in left:
        sums[removal["where"]]["cancelled"] += removal["size"]
    return {where: dict(found) for where, found in sums.items() if any(found.values())}


@given(events, st.randoms(use_true_random=False))
def test_random_flows_equal_a_slow_computation_in_whatever_order_trades_come(given: Any, random: Any) -> None:
    books = {1: {100.0 - n / 100: 3.0 for n in range(13)}, -1: {101.0 + n / 100: 3.0 for n in range(13)}}
    meter = FlowMeter(7)
    book = BookBuilder("here", "depth", 7, ContiguousIds(), meter=meter)
    book.start_over(Snapshot(0, [*books[1].items()], [*books[-1].items()], False, False, 0), 0)
    said: list[Event] = [*book.apply(Diff(1, 1, None, 0, [], []), 0)]
    changes, waiting, trades = [], [], []
    at, number = 2 * S, 1
    for wait, is_bid, tick, size, is_trade in given:
        at += wait * MS
        side = 1 if is_bid else -1
        price = 100.0 - tick / 100 if is_bid else 101.0 + tick / 100
        if is_trade:
            trade = Trade(7, len(trades), at, at, price, size + 0.5, -side)
            trades.append(trade)
            waiting.append(trade)
        else:
            # The best level stays, so that neither side runs empty.
            held, after = books[side], float(max(size, 1)) if tick == 0 else float(size)
            best = max(side * each for each in held)
            before = held.get(price, 0.0)
            held[price] = after
            if not after:
                del held[price]
            if before != after:
                now_best = max(side * each for each in held)
                changes.append((at, side, side * price, before, after, best, now_best))
            number += 1
            levels = [(price, after)]
            diff = Diff(number, number, None, at, levels if is_bid else [], [] if is_bid else levels)
            said += book.apply(diff, at)
        random.shuffle(waiting)
        while waiting and random.random() < 0.5:
            meter.trade(waiting.pop(0))
        # None comes too late: the next event is at most 400 ms on.
        for trade in [each for each in waiting if each.occurred_at < at]:
            waiting.remove(trade)
            meter.trade(trade)
    for trade in waiting:
        meter.trade(trade)
    number += 1
    said += book.apply(Diff(number, number, None, at + 60 * S, [(90.0, 1.0)], []), at + 60 * S)

    flows = [event for event in said if isinstance(event, BookFlow)]
    assert not any(flow.is_partial for flow in flows)
    found = {
        (flow.time, flow.side, flow.distance_bps): {
            name: getattr(flow, name)
            for name in ("added", "removed", "traded", "cancelled")
            if getattr(flow, name)
        }
        for flow in flows
    }
    assert len(found) == len(flows)  # one row a key
    # A second of nothing but trades that no later second closes is said by none.
    expected = slow(changes, trades)
    closed = {where: sums for where, sums in expected.items() if where in found}
    for where, sums in expected.items():
        if where not in found:
            assert set(sums) == {"traded"}
    assert {where: {k: v for k, v in sums.items() if v} for where, sums in closed.items()} == {
        where: pytest.approx(sums) for where, sums in found.items() if sums
    }

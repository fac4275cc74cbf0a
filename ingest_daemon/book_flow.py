"""What is placed, withdrawn and traded in a book, second by second, by side and distance from the touch.

What lives here: from the changes of one instrument's book and its trades to `BookFlow` events. What never
does: building the book (`books.py`), sockets, clocks. A book is fed in, never asked for: who meters is silent
from `cut` to `begin`.

Rules, all by the times of the stream (the venue's, or ours where its book has none), never by a clock
    interval    1 s, aligned to 1970 UTC: five make a window. It is closed by the first update of the book
                that lies GRACE after its end, so the same frames give the same rows, live or replayed.
    distance    from the best price of the own side: of what is added, after the update; of what is removed,
                before it. An order better than the best is at the touch.
    trades      a level that shrank was traded as far as trades at its price and side say so that lie at most
                EARLY after or LATE before the update. Trades are taken in the order of their times, each eats
                the oldest such shrinking first. What is left of the shrinking was cancelled. A trade no level
                shrank for (a hidden order, or one refilled within the update) counts at the touch.
    late        a trade that comes when its second is closed counts in the oldest second that is open.
    withdrawal  an addition of which, within MEMORY, one update takes back at least SHARE untraded at the same
                level. Of several additions to a level the largest counts. One taken back in parts is missed.
    layers      withdrawals at three levels or more within 10 bps, placed together and withdrawn together
                (`withdrawals.py`); of several groups the one of most size, where its nearest level stood.
    partial     a second in which the book came into sync or went out of it, or that was still open then.

Limits: a venue sums up its book (Binance every 100 ms), so what is placed and withdrawn between two updates
is never seen, and additions and cancellations at one level cancel out within an update. Books are anonymous:
a withdrawn order may be of several traders.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from math import inf
from typing import Any, Final

from ingest_daemon.book_levels import Change, SideChanges
from ingest_daemon.events import FLOW_DISTANCES_BPS, AggressorSide, BookFlow, Trade
from ingest_daemon.flow_cells import NEAREST, PLACES, Cell
from ingest_daemon.withdrawals import Withdrawal, together

__all__ = ["EARLY_US", "FLOW_INTERVAL_US", "GRACE_US", "LATE_US", "MEMORY_US", "SHARE", "FlowMeter"]

FLOW_INTERVAL_US: Final = 1_000_000
GRACE_US: Final = 500_000
EARLY_US: Final = 50_000
LATE_US: Final = 250_000
MEMORY_US: Final = 10_000_000
SHARE: Final = 0.8

_SIDES: Final = (1, -1)  # bids, asks; as in the keys of a book
_FRACTIONS: Final = tuple(bps * 1e-4 for bps in reversed(FLOW_DISTANCES_BPS[1:]))
_LAYERS_FROM: Final = NEAREST - FLOW_DISTANCES_BPS.index(10) + 1  # the place that ends at 10 bps
_DUST: Final = 1e-9  # of a size: what arithmetic leaves of one that is wholly explained
_PLACED_KEPT: Final = 4_096  # levels remembered before old ones are looked for
_TRADES_KEPT: Final = 65_536  # that wait for their second to close

_Cells = list[list[Cell]]  # of the bids and of the asks, by place


class FlowMeter:
    """The flow of one instrument.

    Args:
        instrument_id: for every event.
        contract_size: base units a contract; the book and the trades that are fed in are in contracts.
        is_inverse: a contract is worth `contract_size` of the quote currency instead.
    """

    def __init__(self, instrument_id: int, contract_size: float = 1.0, *, is_inverse: bool = False) -> None:
        self._instrument_id = instrument_id
        self._contract_size, self._is_inverse = contract_size, is_inverse
        self._is_in_base_units = contract_size == 1.0 and not is_inverse
        self._sides = tuple(_Side() for _ in _SIDES)
        self.is_on = False  # from `begin` to `cut`
        self._by_venue_time = True
        self._begun_at: int | None = None  # time of the first update
        self._now = 0  # time of the last
        self._closes_at = inf
        self._matched_until = 0  # trades before are dealt with
        self._intervals: dict[int, _Cells] = {}
        self._closed: list[BookFlow] = []

    def begin(self) -> None:
        """The book is right: count from the next update on."""
        self.is_on = True
        self._begun_at = None

    def cut(self, received_at: int) -> None:
        """The book is lost, or the session ends: what is open is closed as partial."""
        if self.is_on:
            while self._intervals:  # closing one may open another, by a trade that no update followed
                self._close(min(self._intervals), received_at, is_cut=True)
            self.is_on = False
            self._closes_at = inf
            for side in self._sides:
                side.forget()

    def take(self) -> Sequence[BookFlow]:
        """The flows that are closed; each is returned once."""
        if not self._closed:
            return ()
        closed, self._closed = self._closed, []
        return closed

    def count(self, changes: Sequence[SideChanges], occurred_at: int | None, received_at: int) -> None:
        """An update of the book: what it changed in the bids and in the asks."""
        self._by_venue_time = occurred_at is not None
        at = received_at if occurred_at is None else occurred_at
        if self._begun_at is not None and at < self._now - MEMORY_US:  # the venue's clock was set back
            self.cut(received_at)
            self.begin()
        if self._begun_at is None:
            self._begun_at = self._now = self._matched_until = at
        at = self._now = max(at, self._now)
        if at >= self._closes_at:
            self._close_until(at - GRACE_US, received_at)
        cells = None
        for number, noted in enumerate(changes):
            if noted.changes:
                cells = cells or self._interval(at)
                changed = noted.changes if self._is_in_base_units else self._in_base_units(noted.changes)
                self._sides[number].count(noted, changed, cells[number], at)

    def trade(self, trade: Trade) -> None:
        """A trade, in contracts as the book; it may come before the update that shows it, or after."""
        at = trade.occurred_at if self._by_venue_time else trade.received_at
        if not self.is_on or self._begun_at is None or at < self._begun_at:
            return
        if trade.aggressor == AggressorSide.UNKNOWN:
            number = self._nearer_side(trade.price)
        else:
            number = 0 if trade.aggressor == AggressorSide.SELL else 1
        size = trade.size * (self._contract_size / trade.price if self._is_inverse else self._contract_size)
        key = _SIDES[number] * trade.price
        self._sides[number].trades.append((max(at, self._matched_until), key, size))

    def _in_base_units(self, changes: Sequence[Change]) -> list[Change]:
        size = self._contract_size
        if not self._is_inverse:
            return [(key, before * size, after * size) for key, before, after in changes]
        return [(key, before * size / abs(key), after * size / abs(key)) for key, before, after in changes]

    def _nearer_side(self, price: float) -> int:
        """The side that a trade of unknown aggressor hit: the one whose best price is nearer."""
        bid, ask = (side.best for side in self._sides)
        return int(bid is None or ask is None or price - bid > -ask - price)

    def _interval(self, at: int) -> _Cells:
        start = at - at % FLOW_INTERVAL_US
        cells = self._intervals.get(start)
        if cells is None:
            cells = self._intervals[start] = [[Cell() for _ in PLACES] for _ in _SIDES]
            self._closes_at = min(self._closes_at, start + FLOW_INTERVAL_US + GRACE_US)
        return cells

    def _close_until(self, until: int, received_at: int) -> None:
        """Close the intervals that end by then."""
        while (start := min(self._intervals, default=inf)) + FLOW_INTERVAL_US <= until:
            self._close(int(start), received_at, is_cut=False)
        self._closes_at = start + FLOW_INTERVAL_US + GRACE_US
        for side in self._sides:
            side.prune(self._now - MEMORY_US)

    def _close(self, start: int, received_at: int, *, is_cut: bool) -> None:
        end = start + FLOW_INTERVAL_US
        self._match(end + EARLY_US)
        cells = self._intervals.pop(start)
        is_partial = is_cut or self._begun_at is None or start < self._begun_at + LATE_US
        for sign, side, of_side in zip(_SIDES, self._sides, cells, strict=True):
            side.settle(end, of_side)
            for distance, cell in zip(PLACES, of_side, strict=True):
                if not cell.is_empty:
                    self._closed.append(
                        cell.event(self._instrument_id, start, received_at, sign, distance, is_partial)
                    )

    def _match(self, until: int) -> None:
        """Deal with the trades before `until`: each explains what it can; the rest counts at the touch."""
        for number, side in enumerate(self._sides):
            for at, size, removals in side.due(until):
                cells = self._interval(at)[number]
                rest = size
                for removal in removals:
                    rest -= self._explain(removal, at, rest, number, cells)
                    if rest <= _DUST * size:
                        break
                else:
                    cells[NEAREST].traded += rest
        self._matched_until = max(self._matched_until, until)

    def _explain(self, removal: _Removal, at: int, size: float, number: int, cells: list[Cell]) -> float:
        """How much of a trade at `at` a level lost to it."""
        shrunk_at, _, left, place = removal
        if left <= 0.0 or not at - EARLY_US <= shrunk_at <= at + LATE_US:
            return 0.0
        part: float = min(size, left)
        cells[place].traded += part
        shrunk = self._interval(shrunk_at)[number][place]
        shrunk.explained += part
        if left - part <= _DUST * left:
            removal[_LEFT] = 0.0
            shrunk.executions += 1
        else:
            removal[_LEFT] = left - part
        return part


# A level that shrank in one update: when, its key, by how much (what no trade explains), and its place. A
# list, as there are hundreds a second, and they compare by time.
_Removal = list[Any]
_AT, _KEY, _LEFT, _PLACE = range(4)

_Placed = tuple[int, float]  # when, and how much was added to a level
_Execution = tuple[int, float, float]  # time, key, size


class _Side:
    """What one side of the book must be remembered for."""

    __slots__ = ("_edges", "_placed", "_removals", "_withdrawals", "best", "trades")

    def __init__(self) -> None:
        self.best: float | None = None  # key of the best level
        self._edges: list[float] = []  # keys where a distance ends, the farthest first
        self.trades: deque[_Execution] = deque(maxlen=_TRADES_KEPT)  # not matched yet
        self._placed: dict[float, _Placed] = {}
        self._removals: list[_Removal] = []  # not settled, by time
        self._withdrawals: list[
            tuple[_Removal, _Placed]
        ] = []  # likewise, with the additions they may take back

    def forget(self) -> None:
        self.trades.clear()
        self._placed.clear()
        self._removals.clear()
        self._withdrawals.clear()

    def prune(self, since: int) -> None:
        """Forget what was placed before, once it is much."""
        if len(self._placed) > _PLACED_KEPT:
            self._placed = {key: placed for key, placed in self._placed.items() if placed[0] >= since}

    def count(self, noted: SideChanges, changes: Sequence[Change], cells: list[Cell], at: int) -> None:
        """Add an update to the sums of its interval. `changes` are those of `noted`, in base units."""
        placed, removals, horizon, since = self._placed, self._removals, noted.horizon, at - MEMORY_US
        before_edges, after_edges = self._edges_of(noted.best_before), self._edges_of(noted.best_after)
        for key, before, after in changes:
            if key < horizon:
                continue
            size = after - before
            if size > 0.0:
                cell = cells[bisect_right(after_edges, key)]
                cell.added += size
                cell.adds += 1
                if size > cell.largest_added:
                    cell.largest_added = size
                known = placed.get(key)
                if known is None or size >= known[1] or known[0] < since:
                    placed[key] = at, size
            else:
                place = bisect_right(before_edges, key)
                cell = cells[place]
                cell.removed -= size
                cell.removals += 1
                removal: _Removal = [at, key, -size, place]
                removals.append(removal)
                known = placed.get(key)
                if known is not None:
                    if known[0] >= since and -size >= SHARE * known[1]:
                        self._withdrawals.append((removal, known))
                        del placed[key]
                    elif not after:
                        del placed[key]
            cell.levels.add(key)

    def _edges_of(self, best: float | None) -> list[float]:
        """The keys at which the distances end; the level at such a key is still inside."""
        if best != self.best:
            self.best = best
            width = 0.0 if best is None else abs(best)
            self._edges = [] if best is None else [best - width * part for part in _FRACTIONS]
        return self._edges

    def due(self, until: int) -> Iterator[tuple[int, float, Sequence[_Removal]]]:
        """The trades before `until`, in order: time, size, and what shrank at their price, in order."""
        due = sorted(trade for trade in self.trades if trade[0] < until)
        if not due:
            return
        self.trades = deque((trade for trade in self.trades if trade[0] >= until), _TRADES_KEPT)
        wanted: dict[float, list[_Removal]] = {key: [] for _, key, _ in due}
        for removal in self._removals:
            if removal[_KEY] in wanted:
                wanted[removal[_KEY]].append(removal)
        for at, key, size in due:
            yield at, size, wanted[key]

    def settle(self, end: int, cells: list[Cell]) -> None:
        """What no trade has explained of what shrank before `end` was cancelled."""
        for cell in cells:
            cell.settle(_DUST)
        near: list[Withdrawal] = []
        settled = 0
        for removal, (placed_at, placed) in self._withdrawals:
            at, key, left, place = removal
            if at >= end:
                break
            settled += 1
            if left >= SHARE * placed:
                size = min(left, placed)
                cells[place].withdraw(size, at - placed_at)
                if place >= _LAYERS_FROM:
                    near.append(Withdrawal(at, placed_at, key, size, place))
        for group in together(near):
            cells[group.place].stack(group.size, group.layers)
        del self._withdrawals[:settled]
        del self._removals[: bisect_left(self._removals, [end])]

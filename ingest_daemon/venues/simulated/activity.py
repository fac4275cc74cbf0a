"""What happens inside a block: the states of every book, the trades, and the delay of the line.

What lives here: arrays of events, one row each, over all instruments at once. What never does: the walk of
the prices (`paths.py`), the text of a message (`messages.py`), clocks. Times are microseconds since 1970 UTC;
prices are whole ticks and sizes whole lots.

A book changes only where a quote says so, at the quote's time, which is its update id. Every message is a
view of these states: the best bid and ask, the top twenty, a difference, a snapshot. So they all agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from ingest_daemon.venues.simulated.episodes import FloatArray
from ingest_daemon.venues.simulated.instruments import SimulatedInstrument
from ingest_daemon.venues.simulated.ladder import Ladders
from ingest_daemon.venues.simulated.paths import BLOCK_US, STEP_US, STEPS, BlockPath

IntArray = NDArray[np.int64]

_EVENT_STREAM = 1  # of the random numbers of a block
_COMMON_SIZE_SIGMA = 0.30  # of the log of both sizes at the touch
_SIZE_SIGMA = 0.40  # of the log of bid size / ask size, its fast part
_TRADE_SIZE_SIGMA = 0.9
_TRADE_TO_TOUCH = 0.06  # median trade, as a share of what rests at the touch in calm
_REPEAT = 0.15  # a taker's side repeats the one before it more often than a fair coin
_SLOT_US = 10_000  # the delay of the line is drawn anew this often
_SLOTS = BLOCK_US // _SLOT_US
_DELAY_US = (4_000.0, 0.35)  # median, and sigma of the log
DELAY_LIMITS_US = (1_000, 50_000)


@dataclass(frozen=True, slots=True)
class BookStates:
    """One row a state of a book, in force from `time` until the next state of that instrument."""

    time: IntArray  # also the update id
    bid: IntArray  # best price, ticks
    ask: IntArray
    bid_lots: IntArray  # size at the best price
    ask_lots: IntArray
    bid_depth: FloatArray  # factor on the sizes behind the best price
    ask_depth: FloatArray

    def take(self, rows: IntArray) -> BookStates:
        """The states in `rows`."""
        return BookStates(*(getattr(self, field.name)[rows] for field in fields(self)))

    def between(self, mine: IntArray, others: BookStates, theirs: IntArray) -> BookStates:
        """These states at rows `mine` and `others` at rows `theirs` of one longer table."""
        tables = []
        for field in fields(self):
            column = getattr(self, field.name)
            table = np.empty(len(mine) + len(theirs), dtype=column.dtype)
            table[mine] = column
            table[theirs] = getattr(others, field.name)
            tables.append(table)
        return BookStates(*tables)


@dataclass(frozen=True, slots=True)
class Fills:
    """One row a fill, by instrument and time. Trade ids count on from `BlockPath.trades_before`."""

    instrument: IntArray
    time: IntArray
    number: IntArray  # from 0 within the instrument and block
    position: IntArray  # 0: at the best price; n: the nth level behind it, taken by the same order
    is_buy: NDArray[np.bool_]
    lots: IntArray


@dataclass(frozen=True, slots=True)
class Line:
    """When what is sent arrives: a delay per slot of time, no overtaking. Arrays (venues, slots)."""

    start: int
    delay: IntArray
    floor: IntArray

    def arrival(self, venue: IntArray, time: IntArray) -> IntArray:
        """When frames sent at `time` of this block arrive."""
        slot = (time - self.start) // _SLOT_US
        arrival: IntArray = np.maximum(time + self.delay[venue, slot], self.floor[venue, slot])
        return arrival


@dataclass(frozen=True, slots=True)
class Block:
    """One second of the market. `states` holds per instrument the state at the start, then its quotes."""

    start: int
    path: BlockPath
    states: BookStates
    fills: Fills
    line: Line


class ActivityModel:
    """The constants of what happens for a list of instruments, and the drawing of blocks."""

    def __init__(self, instruments: Sequence[SimulatedInstrument], ladders: Ladders, rate: float) -> None:
        counts = np.array([max(1, round(i.quotes_per_s * rate)) for i in instruments], dtype=np.int64)
        n = len(instruments)
        self.venue_of = np.array([int(i.is_perpetual) for i in instruments], dtype=np.int64)
        self._tick = ladders.tick
        self._touch_lots = ladders.touch_lots
        self._width = BLOCK_US // counts
        self._counts = counts
        # The table of states: per instrument one row for the state at the start, then one a quote.
        self.first_row = np.concatenate(([0], np.cumsum(counts + 1)[:-1]))
        self.last_row = self.first_row + counts
        self.instrument_of_row = np.repeat(np.arange(n), counts + 1)
        self.quote_rows = np.setdiff1d(np.arange(int(counts.sum()) + n), self.first_row)
        self._instrument = self.instrument_of_row[self.quote_rows]
        self._stratum = (self.quote_rows - self.first_row[self._instrument] - 1) * self._width[
            self._instrument
        ]

    def draw(self, path: BlockPath, start: int, seed: int, number: int, before: Block | None) -> Block:
        """Block `number`, which starts at `start`; `before` is the one before it, None at the anchor."""
        random = np.random.default_rng((seed, number, _EVENT_STREAM))
        quotes = self._quotes(random, path, start)
        fills = self._fills(random, path, start)
        line = self._line(random, start, before.line if before else None)
        if before:
            opening = before.states.take(self.last_row)
        else:
            opening = replace(quotes.take(self._first_quotes()), time=np.full(len(self.first_row), start - 1))
        return Block(start, path, quotes.between(self.quote_rows, opening, self.first_row), fills, line)

    def rows_at(self, block: Block, instrument: IntArray, time: IntArray) -> IntArray:
        """The row of `block.states` that is in force at `time`."""
        stratum = np.minimum((time - block.start) // self._width[instrument], self._counts[instrument] - 1)
        row = self.first_row[instrument] + 1 + stratum
        in_force: IntArray = row - (block.states.time[row] > time)
        return in_force

    def _first_quotes(self) -> IntArray:
        rows: IntArray = self.first_row - np.arange(len(self.first_row))
        return rows

    def _quotes(self, random: np.random.Generator, path: BlockPath, start: int) -> BookStates:
        """One quote somewhere in each equal part of the block: never two at one time."""
        instrument = self._instrument
        offset = self._stratum + random.integers(0, self._width[instrument])
        step = offset // STEP_US
        share = (offset - step * STEP_US) / STEP_US

        def along(edges: FloatArray) -> FloatArray:
            left, right = edges[step, instrument], edges[step + 1, instrument]
            value: FloatArray = left + share * (right - left)
            return value

        effects = path.effects
        mid = np.exp(along(path.log_mid)) / self._tick[instrument]
        half = 0.5 * mid * np.exp(along(path.log_spread)) * effects.spread[step, instrument]
        bid = np.floor(mid - half).astype(np.int64)
        ask = np.maximum(np.ceil(mid + half).astype(np.int64), bid + 1)
        bid_depth = effects.bid_depth[step, instrument]
        ask_depth = effects.ask_depth[step, instrument]
        normal = random.standard_normal((2, len(instrument)))
        common = np.log(self._touch_lots[instrument]) + _COMMON_SIZE_SIGMA * normal[0]
        tilt = 0.5 * (along(path.tilt) + _SIZE_SIGMA * normal[1])
        return BookStates(
            time=start + offset,
            bid=bid,
            ask=ask,
            bid_lots=_lots(np.exp(common + tilt) * bid_depth),
            ask_lots=_lots(np.exp(common - tilt) * ask_depth),
            bid_depth=bid_depth,
            ask_depth=ask_depth,
        )

    def _fills(self, random: np.random.Generator, path: BlockPath, start: int) -> Fills:
        """Trades of independent takers, some of whose orders walk the book: several fills at one time."""
        effects = path.effects
        instrument = np.repeat(np.arange(len(path.trades)), path.trades)
        total = len(instrument)
        # Where in the block: by the cumulative rate over its steps.
        cumulative = np.cumsum(effects.activity, axis=0)
        where = random.random(total) * cumulative[-1, instrument]
        step = np.minimum((cumulative[:, instrument] <= where).sum(axis=0), STEPS - 1)
        within = 1.0 - (cumulative[step, instrument] - where) / effects.activity[step, instrument]
        offset = ((step + within) * STEP_US).astype(np.int64)
        offset = np.minimum(offset, BLOCK_US - 1)[np.lexsort((offset, instrument))]

        index = np.arange(total)
        draws = random.random((3, total))
        follows = (
            np.concatenate(([False], instrument[1:] == instrument[:-1])) if total else np.zeros(0, dtype=bool)
        )
        joins = follows & (draws[0] < effects.rush[offset // STEP_US, instrument])
        order = np.maximum.accumulate(np.where(joins, 0, index))  # the first fill of the same order
        offset = offset[order]
        repeats = joins | (follows & (draws[1] < _REPEAT))
        step = offset // STEP_US
        is_buy = (draws[2] < effects.buy_share[step, instrument])[
            np.maximum.accumulate(np.where(repeats, 0, index))
        ]
        size = (
            np.exp(_TRADE_SIZE_SIGMA * random.standard_normal(total)) * effects.trade_size[step, instrument]
        )
        first = np.cumsum(path.trades) - path.trades
        return Fills(
            instrument=instrument,
            time=start + offset,
            number=index - first[instrument],
            position=np.minimum(index - order, 19),
            is_buy=is_buy,
            lots=_lots(size * _TRADE_TO_TOUCH * self._touch_lots[instrument]),
        )

    def _line(self, random: np.random.Generator, start: int, before: Line | None) -> Line:
        median, sigma = _DELAY_US
        drawn = median * np.exp(sigma * random.standard_normal((2, _SLOTS)))
        delay = np.clip(drawn, *DELAY_LIMITS_US).astype(np.int64)
        latest = start + np.arange(1, _SLOTS + 1) * _SLOT_US + delay
        opening = (before.floor[:, -1:], before.start + BLOCK_US + before.delay[:, -1:]) if before else ()
        floor = np.zeros((2, _SLOTS), dtype=np.int64)
        if before:
            floor[:, :1] = np.maximum(*opening)
        floor[:, 1:] = latest[:, :-1]
        return Line(start, delay, np.maximum.accumulate(floor, axis=1))


def _lots(size: FloatArray) -> IntArray:
    lots: IntArray = np.maximum(np.rint(size), 1).astype(np.int64)
    return lots

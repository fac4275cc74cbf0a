"""From what happened in a block to the frames that say it, channel by channel.

What lives here: which rows go into which message. What never does: the wording (`messages.py`), drawing,
clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest_daemon.venues.simulated import messages
from ingest_daemon.venues.simulated.activity import ActivityModel, Block, BookStates, IntArray
from ingest_daemon.venues.simulated.episodes import FloatArray
from ingest_daemon.venues.simulated.instruments import SimulatedInstrument
from ingest_daemon.venues.simulated.ladder import LEVELS, Ladders, difference
from ingest_daemon.venues.simulated.paths import BLOCK_US

_TOP_PER_S = 10  # a partial book at most every 100 ms, as the venue offers it
_DIFF_EVERY_US = 100_000
_FUNDING_EVERY_MS = 8 * 3600 * 1000
_FUNDING_RATE = 0.0001
_FUNDING_PER_BASIS = 0.05


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of one channel and block, in no order: one entry a frame in each list."""

    instrument: IntArray
    time: IntArray
    text: list[bytes]


class Renderer:
    """Makes the frames of blocks. `CHANNELS` are the venue's own words for what it can make."""

    CHANNELS = ("trade", "bookTicker", "depth20", "depth", "markPrice")

    def __init__(
        self,
        instruments: Sequence[SimulatedInstrument],
        activity: ActivityModel,
        ladders: Ladders,
        rate: float,
        first_trade_id: int,
    ) -> None:
        self._first_trade_id = first_trade_id
        self._instruments = instruments
        self._activity = activity
        self._ladders = ladders
        self._templates = [messages.templates_of(i) for i in instruments]
        self._perpetual = np.array([i.is_perpetual for i in instruments], dtype=bool)
        self._tops_per_block = min(_TOP_PER_S, max(1, round(rate)))
        spot = {i.base: index for index, i in enumerate(instruments) if not i.is_perpetual}
        self._index_of = np.array([spot.get(i.base, index) for index, i in enumerate(instruments)])
        self._render: Mapping[str, Callable[[Block], list[Frames]]] = {
            "trade": self._trades,
            "bookTicker": self._book_tickers,
            "depth20": self._tops,
            "depth": self._diffs,
            "markPrice": self._mark_prices,
        }

    def frames(self, block: Block, channel: str) -> list[Frames]:
        """The frames of `channel`, one of `CHANNELS`."""
        return self._render[channel](block)

    def snapshot(self, block: Block, index: int, at_us: int, limit: int) -> bytes:
        """The book of instrument number `index` at `at_us`, which lies in `block`."""
        row = self._activity.rows_at(block, np.array([index]), np.array([at_us]))
        (bids,), (asks,) = self._sides(np.array([index]), block.states.take(row), min(limit, LEVELS))
        instrument = self._instruments[index]
        text = messages.snapshot_text(
            self._templates[index],
            instrument.is_perpetual,
            int(block.states.time[row[0]]),
            zip(bids[0::2].tolist(), bids[1::2].tolist(), strict=True),
            zip(asks[0::2].tolist(), asks[1::2].tolist(), strict=True),
        )
        return text.encode()

    def _by_dialect(
        self,
        instrument: IntArray,
        time: IntArray,
        template: str,
        spot: Sequence[NDArray[Any]],
        futures: Sequence[NDArray[Any]],
    ) -> list[Frames]:
        """Fill the template of each row: with the columns of `spot` or of `futures`."""
        texts = [getattr(t, template) for t in self._templates]
        made = []
        for columns, mine in ((spot, ~self._perpetual[instrument]), (futures, self._perpetual[instrument])):
            if mine.any():
                rows = zip(*(column[mine].tolist() for column in columns), strict=True)
                owners = instrument[mine]
                text = messages.fill([texts[owner] for owner in owners.tolist()], rows)
                made.append(Frames(owners, time[mine], text))
        return made

    def _price(self, instrument: IntArray, ticks: IntArray) -> FloatArray:
        # A division by a power of ten is the nearest number to the decimal; a product with a tick is not.
        price: FloatArray = ticks / self._ladders.ticks_per_unit[instrument]
        return price

    def _size(self, instrument: IntArray, lots: IntArray) -> FloatArray:
        size: FloatArray = lots / self._ladders.lots_per_unit[instrument]
        return size

    def _trades(self, block: Block) -> list[Frames]:
        fills = block.fills
        owner = fills.instrument
        rows = self._activity.rows_at(block, owner, fills.time)
        best = np.where(fills.is_buy, block.states.ask[rows], block.states.bid[rows])
        ticks = self._ladders.price_behind(owner, best, fills.position, np.where(fills.is_buy, 1, -1))
        milliseconds = fills.time // 1000
        trade_id = self._first_trade_id + block.path.trades_before[owner] + fills.number
        values = (trade_id, self._price(owner, ticks), self._size(owner, fills.lots))
        buyer_is_maker = np.where(fills.is_buy, "false", "true")
        return self._by_dialect(
            owner,
            fills.time,
            "trade",
            spot=(milliseconds, *values, milliseconds, buyer_is_maker),
            futures=(milliseconds, milliseconds, *values, buyer_is_maker),
        )

    def _book_tickers(self, block: Block) -> list[Frames]:
        owner = self._activity.instrument_of_row[self._activity.quote_rows]
        states = block.states.take(self._activity.quote_rows)
        columns = (
            states.time,
            self._price(owner, states.bid),
            self._size(owner, states.bid_lots),
            self._price(owner, states.ask),
            self._size(owner, states.ask_lots),
        )
        milliseconds = states.time // 1000
        return self._by_dialect(
            owner, states.time, "book_ticker", spot=columns, futures=(*columns, milliseconds, milliseconds)
        )

    def _tops(self, block: Block) -> list[Frames]:
        count = len(self._instruments)
        owner = np.repeat(np.arange(count), self._tops_per_block)
        # Instruments take turns within a tenth of a second, so that not all books come at once.
        phase = (np.arange(count) * 7_000) % 95_000 + 2_000
        beat = np.arange(self._tops_per_block) * (BLOCK_US // self._tops_per_block)
        time = block.start + (phase[:, None] + beat[None, :]).ravel()
        rows = self._activity.rows_at(block, owner, time)
        bids, asks = self._sides(owner, block.states.take(rows), messages.TOP_LEVELS)
        levels = [*np.hstack((bids, asks)).T]
        update_id = block.states.time[rows]
        before = np.maximum(rows - 1, self._activity.first_row[owner])
        # E is when it was sent, T when the book last changed.
        futures = (
            time // 1000,
            update_id // 1000,
            block.states.time[before] + 1,
            update_id,
            block.states.time[before],
        )
        return self._by_dialect(owner, time, "top", spot=(update_id, *levels), futures=(*futures, *levels))

    def _mark_prices(self, block: Block) -> list[Frames]:
        owner = np.flatnonzero(self._perpetual)
        mark = np.exp(block.path.log_mid[0, owner])
        index = np.exp(block.path.log_mid[0, self._index_of[owner]])
        funding = _FUNDING_RATE + _FUNDING_PER_BASIS * (mark / index - 1.0)
        milliseconds = np.full(len(owner), block.start // 1000)
        next_funding = (milliseconds // _FUNDING_EVERY_MS + 1) * _FUNDING_EVERY_MS
        columns = (milliseconds, mark, index, index, funding, next_funding)
        return self._by_dialect(
            owner, np.full(len(owner), block.start), "mark_price", spot=(), futures=columns
        )

    def _diffs(self, block: Block) -> list[Frames]:
        """Every 100 ms what changed in the whole book; nothing where nothing did."""
        count = len(self._instruments)
        owners: list[int] = []
        times: list[int] = []
        texts: list[bytes] = []
        # The last microsecond of each tenth of a second: what the book is then, the block knows.
        ends = block.start + np.arange(1, BLOCK_US // _DIFF_EVERY_US + 1) * _DIFF_EVERY_US - 1
        for owner in range(count):
            at = self._activity.rows_at(block, np.full(len(ends), owner), ends)
            rows = np.concatenate((self._activity.first_row[owner : owner + 1], at))
            bids, asks = self._ladder(np.full(len(rows), owner), block.states.take(rows))
            for i in np.flatnonzero(np.diff(rows)).tolist():
                previous, update_id = block.states.time[rows[i : i + 2]].tolist()
                sides = [self._changes(owner, side, i) for side in (bids, asks)]
                head = (int(ends[i]) // 1000,)
                if self._perpetual[owner]:
                    row = (*head, update_id // 1000, previous + 1, update_id, previous, *sides)
                else:
                    row = (*head, previous + 1, update_id, *sides)
                owners.append(owner)
                times.append(int(ends[i]))
                texts.append((self._templates[owner].diff % row).encode())
        return [Frames(np.array(owners, dtype=np.int64), np.array(times, dtype=np.int64), texts)]

    def _changes(self, owner: int, side: tuple[IntArray, IntArray], step: int) -> str:
        prices, lots = side
        changes = difference(
            (prices[step].tolist(), lots[step].tolist()), (prices[step + 1].tolist(), lots[step + 1].tolist())
        )
        ticks_per_unit = float(self._ladders.ticks_per_unit[owner])
        lots_per_unit = float(self._ladders.lots_per_unit[owner])
        levels = [(price / ticks_per_unit, lot / lots_per_unit) for price, lot in changes]
        return messages.levels_text(self._templates[owner], levels)

    def _ladder(
        self, owner: IntArray, states: BookStates, levels: int = LEVELS
    ) -> tuple[tuple[IntArray, IntArray], tuple[IntArray, IntArray]]:
        """Both sides in ticks and lots, each (rows, levels)."""
        bids = self._ladders.side(owner, states.bid, states.bid_lots, states.bid_depth, -1, levels)
        asks = self._ladders.side(owner, states.ask, states.ask_lots, states.ask_depth, 1, levels)
        return bids, asks

    def _sides(self, owner: IntArray, states: BookStates, levels: int) -> tuple[FloatArray, FloatArray]:
        """Both sides in price and size by turns, each (rows, 2 × levels)."""
        rows = owner[:, None]

        def by_turns(prices: IntArray, lots: IntArray) -> FloatArray:
            return np.stack((self._price(rows, prices), self._size(rows, lots)), axis=-1).reshape(
                len(owner), -1
            )

        bids, asks = self._ladder(owner, states, levels)
        return by_turns(*bids), by_turns(*asks)

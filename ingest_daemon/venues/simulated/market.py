"""A seeded market that speaks Binance's protocol: the same seed, anchor and script give the same bytes.

What lives here: the order of blocks and of frames. What never does: clocks, sockets, files. Times are
microseconds since 1970 UTC.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ingest_daemon.venues.simulated import messages
from ingest_daemon.venues.simulated.activity import ActivityModel, Block
from ingest_daemon.venues.simulated.episodes import AFTERMATH_US, Effects, Episode, FixedScript, Script, play
from ingest_daemon.venues.simulated.instruments import DEFAULT_INSTRUMENTS, InstrumentKey, SimulatedInstrument
from ingest_daemon.venues.simulated.ladder import LEVELS, Ladders
from ingest_daemon.venues.simulated.paths import BLOCK_US, STEP_US, STEPS, BlockPath, PathModel, PathState
from ingest_daemon.venues.simulated.renderer import Renderer

DEFAULT_CHANNELS = ("trade", "bookTicker", "depth20", "markPrice")
_REMEMBER_EVERY = 60  # blocks between two remembered states of the path
_KEPT_BLOCKS = 4


class SimulatedFrame(NamedTuple):
    """One frame as a client sees it arrive."""

    received_at: int
    venue: str
    stream: str
    text: bytes


class SimulatedMarket:
    """The market from `anchor_us` on.

    Trades and quotes come `rate` times as often as the instruments say, partial books up to ten times a
    second. Any span can be asked for, in any order; going back costs a walk of at most a minute of the path.
    Not thread-safe.

    Args:
        seed: chooses the market.
        anchor_us: its first microsecond, a whole second. Trade ids and update ids grow from it, so that a
            market that is anchored later never uses an id again.
        script: what is played.
        rate: frames of trades and quotes, as a multiple of the instruments' own.
        instruments: what is traded.
    """

    def __init__(
        self,
        seed: int,
        anchor_us: int,
        script: Script | None = None,
        rate: float = 1.0,
        instruments: Sequence[SimulatedInstrument] = DEFAULT_INSTRUMENTS,
    ) -> None:
        if anchor_us % BLOCK_US:
            raise ValueError(f"anchor_us={anchor_us} is not a whole second")
        if rate <= 0:
            raise ValueError(f"rate={rate} is not above 0")
        self.anchor_us = anchor_us
        self.instruments = tuple(instruments)
        self.script: Script = script or FixedScript()
        self._seed = seed
        self._column = {instrument.key: index for index, instrument in enumerate(self.instruments)}
        if len(self._column) != len(self.instruments):
            raise ValueError("an instrument is listed twice")
        ladders = Ladders(self.instruments, seed)
        self._paths = PathModel(self.instruments, rate)
        self._activity = ActivityModel(self.instruments, ladders, rate)
        self._renderer = Renderer(self.instruments, self._activity, ladders, rate, first_trade_id=anchor_us)
        self._calm = Effects(STEPS, len(self.instruments))
        self._remembered: dict[int, PathState] = {0: self._paths.start()}
        self._latest: tuple[int, PathState] = (0, self._remembered[0])
        self._blocks: OrderedDict[int, Block] = OrderedDict()

    def episodes(self, from_us: int, to_us: int) -> Sequence[Episode]:
        """The ground truth: episodes that are on between the two times."""
        return self.script.between(from_us, to_us)

    def streams(self, instrument: SimulatedInstrument) -> list[str]:
        """The names of the streams of one instrument, of every channel there is."""
        channels = (c for c in Renderer.CHANNELS if c != "markPrice" or instrument.is_perpetual)
        return [messages.stream_name(instrument, channel) for channel in channels]

    def frames(
        self, from_us: int, to_us: int, channels: Sequence[str] = DEFAULT_CHANNELS
    ) -> Iterator[SimulatedFrame]:
        """The frames that arrive in [from_us, to_us), in the order of their arrival.

        How the span is cut does not matter, nor does it matter to a frame which other channels are asked for.

        Raises:
            ValueError: a channel is not one of `Renderer.CHANNELS`.
        """
        if unknown := set(channels) - set(Renderer.CHANNELS):
            raise ValueError(f"unknown channels {sorted(unknown)}; known are {', '.join(Renderer.CHANNELS)}")
        # What was sent at the end of a block may arrive after it: begin one block early.
        number = max((from_us - self.anchor_us) // BLOCK_US - 1, 0)
        waiting: list[SimulatedFrame] = []
        while (start := self.anchor_us + number * BLOCK_US) < to_us:
            waiting.extend(self._arrivals(number, channels))
            waiting.sort(key=_received_at)
            end = start + BLOCK_US
            ready = next((i for i, frame in enumerate(waiting) if frame.received_at >= end), len(waiting))
            for frame in waiting[:ready]:
                if frame.received_at >= to_us:
                    return
                if frame.received_at >= from_us:
                    yield frame
            waiting = waiting[ready:]
            number += 1

    def depth_snapshot(self, venue: str, symbol: str, at_us: int, limit: int = LEVELS) -> bytes:
        """The REST answer with the book of `symbol` as it is at `at_us`, at most `limit` levels a side.

        Raises:
            KeyError: no such instrument.
            ValueError: `at_us` lies before the anchor.
        """
        index = self._column[InstrumentKey(venue, symbol)]
        if at_us < self.anchor_us:
            raise ValueError(f"at_us={at_us} lies before the anchor {self.anchor_us}")
        block = self._block((at_us - self.anchor_us) // BLOCK_US)
        return self._renderer.snapshot(block, index, at_us, limit)

    def _arrivals(self, number: int, channels: Sequence[str]) -> list[SimulatedFrame]:
        """The frames sent in a block, by arrival; what arrives at once stays in the order of its sending."""
        block = self._block(number)
        batches = [(channel, made) for channel in channels for made in self._renderer.frames(block, channel)]
        if not batches:
            return []
        names = [
            (self.instruments[owner].venue, messages.stream_name(self.instruments[owner], channel))
            for channel, made in batches
            for owner in made.instrument.tolist()
        ]
        texts = [text for _, made in batches for text in made.text]
        time = np.concatenate([made.time for _, made in batches])
        venue = self._activity.venue_of[np.concatenate([made.instrument for _, made in batches])]
        arrival = block.line.arrival(venue, time)
        order = np.lexsort((time, arrival)).tolist()
        arrived = zip(arrival[order].tolist(), order, strict=True)
        return [SimulatedFrame(at, names[i][0], names[i][1], texts[i]) for at, i in arrived]

    def _block(self, number: int) -> Block:
        """Block `number`, from the cache if it is still there."""
        block = self._blocks.get(number)
        if block is None:
            before = None
            if number:
                # All that a block takes from the one before it does not depend on the one before that.
                before = self._blocks.get(number - 1) or self._draw(number - 1, None)
            block = self._blocks[number] = self._draw(number, before)
            while len(self._blocks) > _KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        return block

    def _draw(self, number: int, before: Block | None) -> Block:
        path = self._walk(number)
        return self._activity.draw(path, self.anchor_us + number * BLOCK_US, self._seed, number, before)

    def _walk(self, number: int) -> BlockPath:
        """The path of block `number`, walked from the nearest state that is known."""
        at, state = self._latest
        if at > number:
            at = number - number % _REMEMBER_EVERY
            state = self._remembered[at]
        while True:
            path, state = self._paths.walk(state, self._effects(at), self._seed, at)
            at += 1
            if at % _REMEMBER_EVERY == 0:
                self._remembered[at] = state
            if at > number:
                self._latest = (at, state)
                return path

    def _effects(self, number: int) -> Effects:
        start = self.anchor_us + number * BLOCK_US
        episodes = self.script.between(start - AFTERMATH_US, start + BLOCK_US)
        if not episodes:
            return self._calm
        return play(episodes, range(start + STEP_US, start + BLOCK_US + 1, STEP_US), self._column)


def _received_at(frame: SimulatedFrame) -> int:
    return frame.received_at

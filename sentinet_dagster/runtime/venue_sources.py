"""What the venue server sends, and when: what every source is, and the simulated market on the wall clock.

What lives here: the clock, pacing. What never does: sockets and who gets what (`venue_hub.py`), recordings
(`venue_recordings.py`), the market itself (`ingest_daemon.venues.simulated`).
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple, Protocol

from ingest_daemon.venues.simulated import (
    DEFAULT_CHANNELS,
    PERPETUAL_VENUE,
    SPOT_VENUE,
    Episode,
    Script,
    SimulatedFrame,
    SimulatedInstrument,
    SimulatedMarket,
)

# A market is what one prefix of the server's URLs stands for, and where its REST interface is below that
# prefix.
REST_ROOTS: Mapping[str, str] = {"spot": "/api/v3", "usdm": "/fapi/v1", "coinm": "/dapi/v1"}
MARKET_OF_VENUE: Mapping[str, str] = {SPOT_VENUE: "spot", PERPETUAL_VENUE: "usdm"}

_BLOCK_US = 1_000_000  # a market is drawn by the second
_AHEAD_US = 500_000  # the simulated market is made this long before it is sent
_LEAST_PAUSE_S = 0.001


class SourceFrame(NamedTuple):
    """One frame to send."""

    received_ns: int  # when the recording or the simulation received it, since 1970 UTC
    market: str
    stream: str
    text: bytes


class Demand(Protocol):
    """What the clients want, as a source may ask."""

    def wants(self, channel: str, market: str | None = None, symbol: str | None = None) -> bool:
        """Whether any client is subscribed to such a stream now."""

    async def subscribed(self, markets: Sequence[str]) -> None:
        """Wait until each of `markets` has a subscriber."""


class Source(Protocol):
    """Where frames come from."""

    @property
    def streams(self) -> Mapping[str, frozenset[str]]:
        """The streams of each market."""

    @property
    def symbols(self) -> Mapping[str, Sequence[str]]:
        """The venue symbols of each market."""

    @property
    def instruments(self) -> Sequence[SimulatedInstrument]:
        """What is simulated: every dialect can tell it. Of a recording none is."""

    def batches(self, demand: Demand) -> AsyncIterator[Sequence[SourceFrame]]:
        """The frames, each batch when it is due. Ends when there are no more."""

    async def depth(self, market: str, symbol: str, limit: int) -> bytes:
        """The REST answer with the book of a symbol that is in `symbols`.

        Raises:
            LookupError: there is none.
        """

    def episodes(self, until_us: int) -> Sequence[Episode]:
        """What was scripted to begin before `until_us`."""

    async def begin_script(self, starts_at_us: int) -> None:
        """Play the script from then on; nothing was scripted so far.

        Raises:
            LookupError: there is no script to play.
            ValueError: frames from then on are made already, or a script is playing.
        """

    @property
    def waits_for_clients(self) -> bool:
        """Whether a slow client slows the source down; otherwise it is cut off."""


@cache
def stream_key(stream: str) -> str:
    """A stream's name without its speed: a recording's is not always the one that is asked for.

    >>> stream_key("btcusdt@depth@0ms"), stream_key("btcusdt@trade")
    ('btcusdt@depth', 'btcusdt@trade')
    """
    return "@".join(stream.split("@")[:2])


class SimulatedSource:
    """A simulated market that keeps to the wall clock: a frame is sent when its receive time comes."""

    waits_for_clients = False

    def __init__(
        self,
        market: SimulatedMarket,
        live_start_us: int,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        script_from: Callable[[int], Script] | None = None,
    ) -> None:
        self._market = market
        self._now_us = now_us
        self._script_from = script_from
        self._live_start_us = live_start_us
        self._cursor = live_start_us
        self._lock = asyncio.Lock()  # the market is made in a thread, and is not thread-safe
        self._tape: Iterator[SimulatedFrame] = iter(())
        self._tape_channels: tuple[str, ...] = ()
        self._next_frame: SimulatedFrame | None = None  # read from the tape, and too early to send
        self.instruments: Sequence[SimulatedInstrument] = market.instruments
        symbols: dict[str, list[str]] = {}
        streams: dict[str, set[str]] = {}
        for instrument in market.instruments:
            name = MARKET_OF_VENUE[instrument.venue]
            symbols.setdefault(name, []).append(instrument.venue_symbol)
            streams.setdefault(name, set()).update(market.streams(instrument))
        self.symbols: Mapping[str, Sequence[str]] = symbols
        self.streams: Mapping[str, frozenset[str]] = {
            name: frozenset(names) for name, names in streams.items()
        }

    async def batches(self, demand: Demand) -> AsyncIterator[Sequence[SourceFrame]]:
        """See `Source`: for ever, from the start of the live part or from now, whichever is later."""
        self._cursor = max(self._live_start_us, self._now_us())
        frames = await self._make_ahead(demand)
        while True:
            following = asyncio.create_task(self._make_ahead(demand))
            try:
                async for batch in self._as_due(frames):
                    yield batch
                frames = await following
            finally:
                following.cancel()

    async def depth(self, market: str, symbol: str, limit: int) -> bytes:
        """See `Source`: the book as it is now."""
        venue = next(venue for venue, name in MARKET_OF_VENUE.items() if name == market)
        at_us = max(self._now_us(), self._market.anchor_us)
        async with self._lock:
            return self._market.depth_snapshot(venue, symbol, at_us, limit)

    def episodes(self, until_us: int) -> Sequence[Episode]:
        """See `Source`."""
        return self._market.episodes(self._market.anchor_us, until_us)

    async def begin_script(self, starts_at_us: int) -> None:
        """See `Source`. What was made before stays as it is: an episode shows from its start on."""
        if self._script_from is None:
            raise LookupError("this market has no script")
        async with self._lock:
            if starts_at_us < self._cursor + _BLOCK_US:
                raise ValueError(f"starts_at_us={starts_at_us}: the market is made up to {self._cursor}")
            if self._market.episodes(self._market.anchor_us, starts_at_us):
                raise ValueError("a script is playing already")
            self._market.script = self._script_from(starts_at_us)

    async def _make_ahead(self, demand: Demand) -> list[SourceFrame]:
        channels = (*DEFAULT_CHANNELS, "depth") if demand.wants("depth") else DEFAULT_CHANNELS
        async with self._lock:
            return await asyncio.to_thread(self._take, channels)

    def _take(self, channels: tuple[str, ...]) -> list[SourceFrame]:
        """The frames of the next span."""
        if channels != self._tape_channels:
            self._tape_channels = channels
            self._tape = self._market.frames(self._cursor, 2**62, channels)
            self._next_frame = None
        self._cursor += _AHEAD_US
        taken = []
        frame = self._next_frame or next(self._tape)
        while frame.received_at < self._cursor:
            taken.append(
                SourceFrame(frame.received_at * 1000, MARKET_OF_VENUE[frame.venue], frame.stream, frame.text)
            )
            frame = next(self._tape)
        self._next_frame = frame
        return taken

    async def _as_due(self, frames: Sequence[SourceFrame]) -> AsyncIterator[Sequence[SourceFrame]]:
        sent = 0
        while sent < len(frames):
            now_ns = self._now_us() * 1000
            due = bisect_right(frames, now_ns, lo=sent, key=lambda frame: frame.received_ns)
            if due > sent:
                yield frames[sent:due]
                sent = due
            else:
                await asyncio.sleep(max((frames[sent].received_ns - now_ns) / 1e9, _LEAST_PAUSE_S))

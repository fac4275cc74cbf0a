"""How fast frames are parsed: what `sentinet benchmark parse` prints.

What lives here: which frames, the loop and the clock. What never does: judging a number; the parsers are the
real ones.

Frames come from recordings that are given. Of a kind of frame that none has, the venue server's dialect makes
them; each number says which it was. Frames are in memory, and one core parses them.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from ingest_daemon.errors import ParseError, RecordingError, VenueRefused
from ingest_daemon.replay import read_recording
from ingest_daemon.venues import VENUES, Listing, PolledVenueProtocol, Request, Session, VenueProtocol
from ingest_daemon.venues.simulated import DEFAULT_CHANNELS, SimulatedMarket
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.venue_dialects import Caller, Dialect, dialects_of
from sentinet_dagster.runtime.venue_sources import MARKET_OF_VENUE, SimulatedSource, SourceFrame

__all__ = ["measure_parsing"]

_ANCHOR_US = 1_769_860_800_000_000  # any whole second
_SECOND_US = 1_000_000
_RENDERED_S = 5
_RATE = 10.0  # frames of the market, as a multiple of the usual: ten books a second
_OTHER = "other"  # answers, and whatever names no stream

Frames = list[tuple[bytes, int]]
Numbers = dict[str, int | str]


@dataclass
class _Kind:
    """The frames of one channel, in runs that a session each parses."""

    origin: str  # recorded or rendered
    runs: dict[str, Frames] = field(default_factory=lambda: defaultdict(list))
    symbols: dict[str, dict[str, Listing]] = field(default_factory=dict)


def measure_parsing(files: Sequence[Path], least_s: float) -> dict[str, dict[str, Numbers]]:
    """Protocol → channel → `frames_per_s`, the `frames` it was measured on and whose they are (`from`).

    Every channel of every dialect is measured, for at least `least_s` seconds.

    Raises:
        UserError: a file is no recording, or of no protocol known.
    """
    recorded: dict[str, dict[str, _Kind]] = {name: {} for name in VENUES}
    for path in files:
        protocol, frames = _read(path)
        _sort(protocol, path, frames, recorded[protocol.name])
    rendering = _Rendering(_RENDERED_S)
    measured: dict[str, dict[str, Numbers]] = {}
    for name, protocol in VENUES.items():
        kinds = recorded[name]
        if not set(protocol.channels) <= set(kinds):
            kinds = asyncio.run(rendering.render(protocol)) | kinds
        measured[name] = {
            channel: _measure(protocol, kind, least_s) for channel, kind in sorted(kinds.items())
        }
    return measured


def _measure(protocol: VenueProtocol, kind: _Kind, least_s: float) -> Numbers:
    """The fastest round counts: whatever else runs on the machine only takes away."""
    frames = sum(map(len, kind.runs.values()))
    fastest, seconds = float("inf"), 0.0
    while seconds < least_s:
        sessions = {
            key: protocol.open_session("benchmark", symbols, protocol.channels)
            for key, symbols in kind.symbols.items()
        }
        round_s = sum(_parse_all(sessions[key], run) for key, run in kind.runs.items())
        fastest = min(fastest, round_s)
        seconds += round_s
    return {"frames_per_s": round(frames / fastest), "frames": frames, "from": kind.origin}


def _parse_all(session: Session, frames: Frames) -> float:
    """The seconds it takes."""
    parse = session.parse
    began = time.perf_counter()
    for frame, received_at in frames:
        try:
            parse(frame, received_at)
        except (ParseError, VenueRefused):
            continue  # as the daemon goes on
    return time.perf_counter() - began


def _read(path: Path) -> tuple[VenueProtocol, Frames]:
    try:
        frames = list(read_recording(path))
    except RecordingError as error:
        raise UserError(str(error)) from error
    for frame, _ in frames:
        for protocol in VENUES.values():
            if protocol.recognises(frame):
                return protocol, frames
    raise UserError(f"{path}: no frame of a protocol known ({', '.join(VENUES)})")


def _sort(protocol: VenueProtocol, path: Path, frames: Frames, kinds: dict[str, _Kind]) -> None:
    """Put the frames of a recording to their kinds, as one run of each."""
    stream_of = protocol.open_session("benchmark", {}, ()).stream_of
    found = dict.fromkeys(protocol.symbol_of(stream_of(frame)) for frame, _ in frames)
    found.pop("", None)
    symbols = {symbol: Listing(number) for number, symbol in enumerate(found, start=1)}
    # Now a frame that names no symbol can be placed, if there is one symbol.
    stream_of = protocol.open_session("benchmark", symbols, protocol.channels).stream_of
    for frame, received_at in frames:
        kind = kinds.setdefault(_channel_in(protocol, stream_of(frame)), _Kind("recorded"))
        kind.runs[str(path)].append((frame, received_at))
        kind.symbols[str(path)] = symbols


def _channel_in(protocol: VenueProtocol, stream: str) -> str:
    """The channel in the name of a stream: btcusdt@depth@100ms, trades:BTC-USDT, orderbook.50.BTCUSDT."""
    if "@" in stream:
        name = stream.split("@")[1]
        # The REST snapshot of a book belongs to its diffs.
        return "depth" if name == "depthSnapshot" else name
    name = stream.partition(":")[0] if ":" in stream else stream.rpartition(".")[0]
    return name if name in protocol.channels else _OTHER


class _Rendering:
    """A simulated market in the words of any venue."""

    def __init__(self, seconds: int) -> None:
        self._now_us = _ANCHOR_US
        self._market = SimulatedMarket(0, _ANCHOR_US, rate=_RATE)
        until = _ANCHOR_US + seconds * _SECOND_US
        self._frames = [
            SourceFrame(frame.received_at * 1_000, MARKET_OF_VENUE[frame.venue], frame.stream, frame.text)
            for frame in self._market.frames(_ANCHOR_US, until, (*DEFAULT_CHANNELS, "depth"))
        ]

    async def render(self, protocol: VenueProtocol) -> dict[str, _Kind]:
        """Every channel, one run a stream."""
        source = SimulatedSource(self._market, _ANCHOR_US, lambda: self._now_us)
        dialect = next(d for d in dialects_of(source).values() if d.protocol == protocol.name)
        take = _Taking(protocol, dialect)
        for frame in self._frames:
            self._now_us = frame.received_ns // 1_000
            await take.frame(frame, self._now_us)
        return take.kinds


class _Taking:
    """What a caller that subscribed to everything is told, by channel."""

    def __init__(self, protocol: VenueProtocol, dialect: Dialect) -> None:
        self.kinds: dict[str, _Kind] = {}
        self._protocol, self._dialect = protocol, dialect
        self._symbols = {
            product.symbol: Listing(number, product.contract_size, product.contract_currency)
            for number, product in enumerate(dialect.products, start=1)
        }
        self._session = protocol.open_session("benchmark", self._symbols, protocol.channels)
        self._caller = Caller(is_logged_in=True)
        for text in self._session.subscribe():
            dialect.hear(self._caller, text)

    async def frame(self, frame: SourceFrame, received_at: int) -> None:
        """Take what one frame of the market is told as, and what the session asks for then."""
        for message in self._dialect.messages([frame], self._caller.wanted.keys()):
            is_new = message.stream in self._caller.new
            self._caller.new.discard(message.stream)
            text = message.opening if is_new and message.opening is not None else message.text
            self._put(message.stream, text, received_at)
            self._session.parse(text, received_at)
        for request in self._session.pending_requests():
            url = urlsplit(request.path)
            query = {name: values[-1] for name, values in parse_qs(url.query).items()}
            answer = await self._dialect.answer(url.path, query | {"apikey": "any"})
            try:
                self._session.answer(request, answer.body, received_at)
            except VenueRefused:
                continue  # a poller asks before the first trade
            self._put(self._stream_of(request), answer.body, received_at)

    def _stream_of(self, request: Request) -> str:
        if isinstance(self._protocol, PolledVenueProtocol):
            return f"{self._protocol.channels[0]}:{request.key}"
        return f"{request.key.lower()}@depth"  # the snapshot of a book

    def _put(self, stream: str, text: bytes, received_at: int) -> None:
        kind = self.kinds.setdefault(_channel_in(self._protocol, stream), _Kind("rendered"))
        kind.runs[stream].append((text, received_at))
        symbol = self._protocol.symbol_of(stream)
        # A run is of one symbol, but for an index, which several share.
        kind.symbols[stream] = {symbol: self._symbols[symbol]} if symbol else self._symbols

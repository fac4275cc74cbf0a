"""The only file that reads recordings: history goes live data's way, by the same parser and the same writer.

What lives here: reading, merging by receive time, pacing, and the account of what became of every frame. What
never does: sockets, settings, the database itself (`Sink` is the store).

A recording has one raw message a line, `<receive time, ns since 1970 UTC> <frame>`, plain or gzipped. It is
what one socket received: each file has a session of its own, and its receive times are kept.
"""

from __future__ import annotations

import gzip
import heapq
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec

from ingest_daemon.batcher import Batch, Batcher, Limits
from ingest_daemon.errors import ConfigError, ParseError, RecordingError, VenueRefused
from ingest_daemon.events import Book, BookFlow, Event, FeedGap, Quote, ReferencePrice, RejectedFrame, Trade
from ingest_daemon.venues import VENUES, Listing, Session, VenueProtocol

__all__ = ["ReplayReport", "Sink", "StreamReport", "WriteReport", "read_recording", "replay_files"]

_RELATIONS: Final[Mapping[type[Event], str]] = {
    Trade: "trades",
    Quote: "quotes",
    Book: "books",
    BookFlow: "book_flows",
    ReferencePrice: "reference_prices",
}
_FRAMES_TO_RECOGNISE: Final = 1_000
_KEPT_OF_A_REJECTED_FRAME: Final = 65_536
_SHORTEST_SLEEP_S: Final = 0.001
_NO_STREAM: Final = "other"  # answers and whatever names no stream


class WriteReport(Protocol):
    """What a write did: positions of the rows of a relation that were there already."""

    @property
    def repeated(self) -> Mapping[str, Sequence[int]]:
        """Positions in the batch's list of that relation."""


class Sink(Protocol):
    """Where batches go: `ingest_daemon.store.Store`."""

    def load_instruments(self, venues: Iterable[str]) -> Mapping[str, Mapping[str, Listing]]:
        """Venue → venue symbol → what it is."""

    def write(self, batch: Batch) -> WriteReport:
        """Write a batch in one transaction."""


class StreamReport(msgspec.Struct):
    """What became of a stream's frames. Of trades and tickers: frames = rows + duplicates + refused."""

    frames: int = 0
    rows: int = 0
    duplicates: int = 0
    gaps: int = 0
    refused: int = 0


class ReplayReport(msgspec.Struct):
    """The account of a replay: stream by stream, each named `<venue>/<the venue's name of it>`."""

    streams: dict[str, StreamReport]
    first_received_at: int | None  # microseconds since 1970 UTC
    last_received_at: int | None


def read_recording(path: Path) -> Iterator[tuple[bytes, int]]:
    """The frames of a recording in their order, each with its receive time in microseconds since 1970 UTC.

    Raises:
        RecordingError: the file cannot be read, or a line has not the form; the message names file and line.
    """
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                stamp, _, frame = line.rstrip(b"\r\n").partition(b" ")
                if not (stamp.isdigit() and frame):
                    raise RecordingError(f"{path}, line {number}: not `<ns since 1970 UTC> <frame>`")
                yield frame, int(stamp) // 1_000
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RecordingError(f"{path}, after line {number}: {reason}") from None


def replay_files(
    paths: Sequence[Path],
    sink: Sink,
    venues: Mapping[str, str],
    *,
    protocol: str | None = None,
    speed: float | None = None,
    limits: Limits | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> ReplayReport:
    """Write recordings into the sink, merged by receive time.

    Args:
        paths: the recordings.
        sink: the store.
        venues: protocol → the operator's name of the venue, as in venues.yaml.
        protocol: what the recordings speak; without it each file is recognised by its frames.
        speed: recorded seconds a second; None for as fast as possible.
        limits: what closes a batch.
        clock: seconds of a clock that does not go back.
        sleep: waits so many seconds.

    Raises:
        RecordingError: a file is no recording, or of no protocol known. Nothing is written then.
        ConfigError: no venue speaks the protocol, or an instrument is not watched. Nothing is written then.
        StoreUnavailable, StoreRejected: as the sink's.
    """
    scans = [_scan(path, venues, protocol) for path in paths]
    symbols = sink.load_instruments(dict.fromkeys(scan.venue for scan in scans))
    sources = [_open_source(scan, symbols[scan.venue]) for scan in scans]
    account = _Account(sink, limits or Limits(), clock)
    pace = _Pace(speed, clock, sleep)
    first = last = None
    for received_at, number, frame in heapq.merge(*map(_numbered, range(len(sources)), sources)):
        pace.wait(received_at, before_sleeping=account.write_due)
        account.take(sources[number], frame, received_at)
        first = received_at if first is None else first
        last = received_at
    for source in sources:
        account.close(source)
    account.write_rest()
    return ReplayReport(account.streams, first, last)


class _Scan(NamedTuple):
    path: Path
    venue: str
    protocol: VenueProtocol
    symbols: Sequence[str]
    last_received_at: int


@dataclass
class _Source:
    """A recording with the session that reads it."""

    path: Path
    venue: str
    session: Session
    last_received_at: int


def _scan(path: Path, venues: Mapping[str, str], protocol_name: str | None) -> _Scan:
    """Read a recording through once: what it speaks and of which symbols, before anything is written."""
    protocol = VENUES[protocol_name] if protocol_name else _recognise(path)
    venue = venues.get(protocol.name)
    if venue is None:
        raise ConfigError(f"{path}: recorded from {protocol.name}, but no venue of venues.yaml speaks it")
    stream_of = protocol.open_session(venue, {}, ()).stream_of
    streams: dict[str, None] = {}
    last_received_at = 0
    for frame, received_at in read_recording(path):
        streams[stream_of(frame)] = None
        last_received_at = received_at
    symbols = dict.fromkeys(map(protocol.symbol_of, streams))
    symbols.pop("", None)
    return _Scan(path, venue, protocol, list(symbols), last_received_at)


def _recognise(path: Path) -> VenueProtocol:
    for frame, _ in islice(read_recording(path), _FRAMES_TO_RECOGNISE):
        for protocol in VENUES.values():
            if protocol.recognises(frame):
                return protocol
    raise RecordingError(f"{path}: no frame of a protocol known ({', '.join(VENUES)}); name its protocol")


def _open_source(scan: _Scan, known: Mapping[str, Listing]) -> _Source:
    for symbol in scan.symbols:
        if symbol not in known:
            raise ConfigError(
                f"{scan.path}: {symbol} of {scan.venue} is not watched; add `venue: {scan.venue}` with "
                f"`venue_symbol: {symbol}` to instruments.yaml and run `sentinet migrate`"
            )
    symbols = {symbol: known[symbol] for symbol in scan.symbols}
    session = scan.protocol.open_session(scan.venue, symbols, scan.protocol.channels)
    return _Source(scan.path, scan.venue, session, scan.last_received_at)


def _numbered(number: int, source: _Source) -> Iterator[tuple[int, int, bytes]]:
    """As `heapq.merge` wants it: ordered by time, and at the same time by file."""
    for frame, received_at in read_recording(source.path):
        yield received_at, number, frame


class _Pace:
    """Recorded time to our time."""

    def __init__(
        self, speed: float | None, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._speed = speed
        self._clock = clock
        self._sleep = sleep
        self._begun: tuple[float, int] | None = None

    def wait(self, received_at: int, before_sleeping: Callable[[float], None]) -> None:
        """Return when it is time for a frame. What would wait with us is handed on first."""
        if self._speed is None:
            return
        if self._begun is None:
            self._begun = self._clock(), received_at
        started, first = self._begun
        due = started + (received_at - first) / 1e6 / self._speed
        delay_s = due - self._clock()
        if delay_s >= _SHORTEST_SLEEP_S:
            before_sleeping(delay_s)
            self._sleep(max(0.0, due - self._clock()))


class _Account:
    """Frames into the sink, and what became of each, by stream.

    Which rows were there already the sink says by their position in the batch. Events keep their order on the
    way, so beside each open batch stands a list of the stream that every row came from.
    """

    def __init__(self, sink: Sink, limits: Limits, clock: Callable[[], float]) -> None:
        self.streams: dict[str, StreamReport] = {}
        self._sink = sink
        self._limits = limits
        self._clock = clock
        self._batchers: dict[str, Batcher] = {}
        self._origins: dict[tuple[str, str], list[StreamReport]] = {}  # by venue and relation

    def take(self, source: _Source, frame: bytes, received_at: int) -> None:
        """Parse a frame and pass its events on; full batches are written."""
        stream = source.session.stream_of(frame)
        report = self._report(source, stream)
        report.frames += 1
        try:
            events = source.session.parse(frame, received_at)
        except ParseError as error:
            report.refused += 1
            kept = frame[:_KEPT_OF_A_REJECTED_FRAME]
            events = (RejectedFrame(source.venue, received_at, str(error), kept, stream or None),)
        except VenueRefused:
            report.refused += 1  # told to whoever recorded it; nothing to write
            events = ()
        self._pass_on(source, report, events)

    def close(self, source: _Source) -> None:
        """The end of a recording: what is still missing then is written as a gap."""
        gaps = source.session.close(source.last_received_at)
        if gaps:
            self._pass_on(source, self._report(source, ""), gaps)

    def write_due(self, within_s: float) -> None:
        """Write the batches that are old enough, or will be in so many seconds."""
        then = self._now() + int(within_s * 1e6)
        for batcher in self._batchers.values():
            batch = batcher.take_due(then)
            if batch is not None:
                self._write(batch)

    def write_rest(self) -> None:
        """Write all that is left."""
        for batcher in self._batchers.values():
            batch = batcher.flush()
            if batch is not None:
                self._write(batch)

    def _report(self, source: _Source, stream: str) -> StreamReport:
        return self.streams.setdefault(f"{source.venue}/{stream or _NO_STREAM}", StreamReport())

    def _pass_on(self, source: _Source, report: StreamReport, events: Sequence[Event]) -> None:
        for event in events:
            relation = _RELATIONS.get(type(event))
            if relation is not None:
                self._origins.setdefault((source.venue, relation), []).append(report)
            elif isinstance(event, FeedGap):
                report.gaps += 1
        batcher = self._batchers.get(source.venue)
        if batcher is None:
            batcher = self._batchers[source.venue] = Batcher(source.venue, self._limits)
        for batch in batcher.add(events, self._now()):
            self._write(batch)

    def _write(self, batch: Batch) -> None:
        written = self._sink.write(batch)
        for relation in _RELATIONS.values():
            origins = self._origins.get((batch.venue, relation), [])
            count = len(getattr(batch, relation))
            for report in origins[:count]:
                report.rows += 1
            for position in written.repeated.get(relation, ()):
                origins[position].rows -= 1
                origins[position].duplicates += 1
            del origins[:count]

    def _now(self) -> int:
        return int(self._clock() * 1e6)

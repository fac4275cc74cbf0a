"""The past into the database: history goes live data's way, by the same parser and the same writer.

What lives here: merging recordings by receive time, pacing, and the account of what became of every frame.
What never does: sockets, settings, unpacking files (`recording_files.py`), whose a recording is
(`replay_sources.py`), the database itself (`Sink` is the store).

A recording is what one socket received: each has a session of its own, and its receive times are kept. What a
recorder wrote also holds what the daemon did beside the frames.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from ingest_daemon.batcher import Batch, Batcher, Limits
from ingest_daemon.errors import ParseError, VenueRefused
from ingest_daemon.events import Event, FeedGap
from ingest_daemon.recording import (
    Answer,
    Closed,
    Gap,
    Missed,
    Note,
    Repair,
    Step,
    StepName,
)
from ingest_daemon.recording_files import Cut, find_recordings, read_entries
from ingest_daemon.refusals import Refusals
from ingest_daemon.replay_changes import RELATIONS, Change, StreamReport
from ingest_daemon.replay_sources import Source, open_source, scan
from ingest_daemon.venues import Listing, Request

__all__ = ["Cut", "ReplayReport", "Sink", "StreamReport", "WriteReport", "read_recording", "replay_files"]

_SHORTEST_SLEEP_S: Final = 0.001
_NO_STREAM: Final = "other"  # answers and whatever names no stream
_REST: Final = "rest"  # what the venue's REST interface answered


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


class ReplayReport(msgspec.Struct):
    """The account of a replay: stream by stream, each named `<venue>/<the venue's name of it>`."""

    streams: dict[str, StreamReport]
    first_received_at: int | None  # microseconds since 1970 UTC
    last_received_at: int | None
    cuts: Sequence[Cut] = ()
    """The files that are not whole."""
    missed: int = 0
    """Lines that the recorder could not write, as it says itself."""


def read_recording(path: Path) -> Iterator[tuple[bytes, int]]:
    """The venue's messages in a file in their order, each with its receive time, microseconds since 1970 UTC.

    Raises:
        RecordingError: the file cannot be read, is cut off, or a line has not the form; the message names
            file and line.
    """
    for received_at, content in read_entries(path):
        if isinstance(content, bytes):
            yield content, received_at
        elif isinstance(content, Answer) and content.body:
            yield content.content, received_at


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
        paths: the recordings; of a folder all that are in it.
        sink: the store.
        venues: protocol → the operator's name of the venue, as in venues.yaml.
        protocol: what recordings speak that do not say so; without it each is recognised by its frames.
        speed: recorded seconds a second; None for as fast as possible.
        limits: what closes a batch.
        clock: seconds of a clock that does not go back.
        sleep: waits so many seconds.

    Raises:
        RecordingError: a file is no recording, or of no protocol known. Nothing is written then.
        ConfigError: no venue speaks the protocol, or an instrument is not watched. Nothing is written then.
        StoreUnavailable, StoreRejected: as the sink's.
    """
    cuts: list[Cut] = []
    found = [scan(each, venues, protocol, cuts.append) for each in find_recordings(paths)]
    scans = [each for each in found if each is not None]
    symbols = sink.load_instruments(dict.fromkeys(each.venue for each in scans))
    sources = [open_source(each, symbols[each.venue]) for each in scans]
    account = _Account(sink, limits or Limits(), clock, sources)
    pace = _Pace(speed, clock, sleep)
    first = last = None
    for received_at, number, is_wanted, content in heapq.merge(*map(_numbered, range(len(sources)), sources)):
        if is_wanted:
            pace.wait(received_at, before_sleeping=account.write_due)
            first = received_at if first is None else first
            last = received_at
        account.take(sources[number], content, received_at, is_wanted)
    for source in sources:
        account.close(source, source.last_received_at)
    account.write_rest()
    return ReplayReport(account.streams, first, last, cuts, account.missed)


def _repaired(source: Source, repair: Repair) -> Sequence[Event]:
    """The trades, under the number that the instrument has here."""
    instrument_id = source.symbols[repair.symbol].instrument_id
    return [msgspec.structs.replace(trade, instrument_id=instrument_id) for trade in repair.trades]


def _numbered(number: int, source: Source) -> Iterator[tuple[int, int, bool, bytes | Note]]:
    """As `heapq.merge` wants it: ordered by time, and at the same time by recording."""
    for (received_at, content), is_wanted in source.recording.entries(_ignore):
        yield received_at, number, is_wanted, content


def _ignore(cut: Cut) -> None:
    """It was said when the recording was read through."""


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

    def __init__(
        self, sink: Sink, limits: Limits, clock: Callable[[], float], sources: Sequence[Source]
    ) -> None:
        self._sources = {
            (source.venue, connection.opened): source
            for source in sources
            if (connection := source.recording.connection) is not None
        }
        self.streams: dict[str, StreamReport] = {}
        self.missed = 0
        self._sink = sink
        self._limits = limits
        self._clock = clock
        self._batchers: dict[str, Batcher] = {}
        self._origins: dict[tuple[str, str], list[StreamReport]] = {}  # by venue and relation
        self._refusals: dict[str, Refusals] = {}

    def take(self, source: Source, content: bytes | Note, received_at: int, is_wanted: bool) -> None:
        """Parse a frame, or do what a note says, and pass the events on; full batches are written.

        What is not wanted changes the session, and is neither counted nor passed on.
        """
        source.last_received_at = max(source.last_received_at, received_at)
        if not source.has_begun:
            self._begin(source)
        match content:
            case bytes():
                self._take_frame(source, content, received_at, is_wanted)
            case Answer():
                self._take_answer(source, content, received_at, is_wanted)
            case Gap() if is_wanted:
                self._pass(source, self._report(source, ""), (content.gap,))
            case Repair() if is_wanted:
                self._pass(source, self._report(source, _REST), _repaired(source, content))
            case Step():
                self._change(source, content.step, is_wanted)
            case Missed() if is_wanted:
                self.missed += content.lines
            case Closed():
                self.close(source, content.at, is_wanted)
            case _:
                pass

    def close(self, source: Source, at: int | None, is_wanted: bool = True) -> None:
        """The end of a recording: what is still missing then is written as a gap."""
        if source.is_closed:
            return
        source.is_closed = True
        gaps = () if at is None else source.session.close(at)
        if gaps and is_wanted:
            self._pass_on(source, self._report(source, ""), gaps)

    def _begin(self, source: Source) -> None:
        """The first of a connection: it takes over from another, or just begins."""
        source.has_begun = True
        connection = source.recording.connection
        old = None if connection is None else self._sources.get((source.venue, connection.after))
        if old is not None and old is not source and old.change is not None:
            source.change, source.is_new = old.change, True

    def _change(self, source: Source, step: StepName, is_wanted: bool) -> None:
        """Go on with a change of connections as the feed did."""
        if step == "begun":
            source.change, source.is_new = Change(), False
        elif source.change is not None:
            for event, report in source.change.take(step):
                if is_wanted:
                    self._pass(source, report or self._report(source, ""), (event,))
            if step == "settled" or (step == "given_up" and not source.is_new):
                source.change = None

    def _take_frame(self, source: Source, frame: bytes, received_at: int, is_wanted: bool) -> None:
        stream = source.session.stream_of(frame)
        report = self._report(source, stream) if is_wanted else StreamReport()
        report.frames += 1
        events: Sequence[Event] = ()
        try:
            events = source.session.parse(frame, received_at)
        except ParseError as error:
            report.refused += 1
            events = self._refuse(source, error, frame, received_at, stream)
        except VenueRefused:
            report.refused += 1  # told to whoever recorded it; nothing to write
        if is_wanted:
            self._pass_on(source, report, events)

    def _take_answer(self, source: Source, answer: Answer, received_at: int, is_wanted: bool) -> None:
        report = self._report(source, _REST) if is_wanted else StreamReport()
        report.frames += 1
        body = answer.content
        events: Sequence[Event] = ()
        try:
            events = source.session.answer(Request(answer.key, answer.path), body, received_at)
        except ParseError as error:
            if body:  # there was an answer
                report.refused += 1
                events = self._refuse(source, error, body, received_at, answer.path)
        except VenueRefused:
            report.refused += 1
        if is_wanted:
            self._pass_on(source, report, events)

    def _refuse(
        self, source: Source, error: ParseError, frame: bytes, received_at: int, channel: str
    ) -> Sequence[Event]:
        refusals = self._refusals.get(source.venue)
        if refusals is None:
            refusals = self._refusals[source.venue] = Refusals(source.venue)
        return refusals.take(str(error), frame, received_at, channel or None)

    def write_due(self, within_s: float) -> None:
        """Write the batches that are old enough, or will be in so many seconds."""
        then = self._now() + int(within_s * 1e6)
        for batcher in self._batchers.values():
            batch = batcher.take_due(then)
            if batch is not None:
                self._write(batch)

    def write_rest(self) -> None:
        """Write all that is left."""
        for venue, refusals in self._refusals.items():
            self._add(venue, refusals.flush())
        for batcher in self._batchers.values():
            batch = batcher.flush()
            if batch is not None:
                self._write(batch)

    def _report(self, source: Source, stream: str) -> StreamReport:
        return self.streams.setdefault(f"{source.venue}/{stream or _NO_STREAM}", StreamReport())

    def _pass_on(self, source: Source, report: StreamReport, events: Sequence[Event]) -> None:
        """Events of a connection's session."""
        if events and source.change is not None:
            events = source.change.admitted(events, report, is_new=source.is_new)
        self._pass(source, report, events)

    def _pass(self, source: Source, report: StreamReport, events: Sequence[Event]) -> None:
        for event in events:
            relation = RELATIONS.get(type(event))
            if relation is not None:
                self._origins.setdefault((source.venue, relation), []).append(report)
            elif isinstance(event, FeedGap):
                report.gaps += 1
        self._add(source.venue, events)

    def _add(self, venue: str, events: Sequence[Event]) -> None:
        batcher = self._batchers.get(venue)
        if batcher is None:
            batcher = self._batchers[venue] = Batcher(venue, self._limits)
        for batch in batcher.add(events, self._now()):
            self._write(batch)

    def _write(self, batch: Batch) -> None:
        written = self._sink.write(batch)
        for relation in RELATIONS.values():
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

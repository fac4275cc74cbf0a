"""Recordings as a source of the venue server, at any speed.

What lives here: reading recordings, pacing. What never does: sockets and who gets what (`venue_hub.py`).
"""

from __future__ import annotations

import asyncio
import gzip
import heapq
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ingest_daemon.venues.simulated import Episode, SimulatedInstrument
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.venue_sources import Demand, SourceFrame

_LEAST_PAUSE_S = 0.001
_LINES_AT_ONCE = 256
_SNAPSHOT_WAIT_S = 5.0


@dataclass(slots=True)
class _Snapshot:
    """The one book a recording has of a symbol."""

    body: bytes
    is_reached: asyncio.Event = field(default_factory=asyncio.Event)
    is_fetched: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Recording:
    """A file of lines `<ns since 1970 UTC> <raw message>`, gzip, of one market and one symbol or more.

    A line without stream is the REST snapshot of the book of the file's first symbol.
    """

    market: str
    path: Path

    def lines(self) -> Iterator[tuple[int, str, bytes]]:
        """Receive time in ns, stream ("" for a snapshot) and message of each line."""
        with gzip.open(self.path, "rb") as file:
            for number, line in enumerate(file, start=1):
                received, _, text = line.rstrip(b"\r\n").partition(b" ")
                if not received.isdigit() or not text.startswith(b"{"):
                    raise UserError(f"{self.path}: line {number} is not '<ns> <JSON object>'")
                yield int(received), _stream_of(text), text


def _stream_of(message: bytes) -> str:
    start = message.find(b'"stream":"', 0, 40)
    if start < 0:
        return ""
    start += len(b'"stream":"')
    return message[start : message.index(b'"', start)].decode()


class RecordingSource:
    """Recordings, merged by receive time and played from the moment every market has a subscriber.

    The book of the recording's own snapshot line is what the REST interface answers, once the play has
    reached that
    line: so a book built from the diffs is in sync as it was then. The play waits there for the question, if
    a client is subscribed to the diffs.

    Args:
        recordings: what to play.
        speed: 1 is as it was received, 20 is twenty times as fast, None as fast as the clients can take it.

    Raises:
        UserError: a file cannot be read or is no recording.
    """

    waits_for_clients = True
    instruments: Sequence[SimulatedInstrument] = ()

    def __init__(self, recordings: Sequence[Recording], speed: float | None = 1.0) -> None:
        self._recordings = recordings
        self._speed = speed
        self._snapshots: dict[tuple[str, str], _Snapshot] = {}
        self._symbol_of: dict[Path, str] = {}
        streams: dict[str, set[str]] = {}
        for recording in recordings:
            streams.setdefault(recording.market, set()).update(self._scan(recording))
        self.streams: Mapping[str, frozenset[str]] = {
            name: frozenset(names) for name, names in streams.items()
        }
        self.symbols: Mapping[str, Sequence[str]] = {
            name: sorted({stream.split("@")[0].upper() for stream in names})
            for name, names in streams.items()
        }

    async def batches(self, demand: Demand) -> AsyncIterator[Sequence[SourceFrame]]:
        """See `Source`."""
        await demand.subscribed(sorted(self.streams))
        clock = asyncio.get_running_loop().time
        merged = heapq.merge(
            *(self._frames(r) for r in self._recordings), key=lambda frame: frame.received_ns
        )
        began, first_ns = clock(), -1
        batch: list[SourceFrame] = []
        for frame in merged:
            first_ns = frame.received_ns if first_ns < 0 else first_ns
            ahead = 0.0
            if self._speed is not None:
                ahead = (frame.received_ns - first_ns) / 1e9 / self._speed - (clock() - began)
            if batch and (ahead > 0 or not frame.stream or len(batch) >= _LINES_AT_ONCE):
                yield batch
                batch = []
            if ahead > _LEAST_PAUSE_S:
                await asyncio.sleep(ahead)
            if frame.stream:
                batch.append(frame)
            else:
                waited_from = clock()
                await self._show_snapshot(frame, demand)
                began += clock() - waited_from
        if batch:
            yield batch

    async def depth(self, market: str, symbol: str, limit: int) -> bytes:  # noqa: ARG002 (see below)
        """See `Source`: the recorded answer as it is, whatever the limit, once the play has come to it."""
        snapshot = self._snapshots.get((market, symbol))
        if snapshot is None:
            raise LookupError(f"the recording has no snapshot of {symbol}")
        await snapshot.is_reached.wait()
        snapshot.is_fetched.set()
        return snapshot.body

    def episodes(self, until_us: int) -> Sequence[Episode]:  # noqa: ARG002 (none is known)
        """See `Source`: none is known."""
        return ()

    async def begin_script(self, starts_at_us: int) -> None:  # noqa: ARG002
        """See `Source`."""
        raise LookupError("a recording has no script")

    def _scan(self, recording: Recording) -> set[str]:
        """Its streams; its snapshot and whose it is are noted."""
        streams = set()
        body = None
        try:
            for _, stream, text in recording.lines():
                if stream:
                    streams.add(stream)
                    self._symbol_of.setdefault(recording.path, stream.split("@")[0].upper())
                elif body is None:
                    body = text
        except (OSError, EOFError) as error:
            raise UserError(f"cannot read the recording {recording.path}: {error}") from error
        if not streams:
            raise UserError(f"{recording.path} has no message of a stream")
        if body is not None:
            self._snapshots[recording.market, self._symbol_of[recording.path]] = _Snapshot(body)
        return streams

    def _frames(self, recording: Recording) -> Iterator[SourceFrame]:
        """A snapshot is a frame without stream whose text is its symbol."""
        symbol = self._symbol_of[recording.path].encode()
        for received_ns, stream, text in recording.lines():
            yield SourceFrame(received_ns, recording.market, stream, text if stream else symbol)

    async def _show_snapshot(self, frame: SourceFrame, demand: Demand) -> None:
        symbol = frame.text.decode()
        snapshot = self._snapshots[frame.market, symbol]
        snapshot.is_reached.set()
        if demand.wants("depth", frame.market, symbol):
            with suppress(TimeoutError):
                await asyncio.wait_for(snapshot.is_fetched.wait(), _SNAPSHOT_WAIT_S)

"""Whose a recording is: its venue, protocol and symbols, and the session that reads it. [IO]

What lives here: looking a recording through before anything of it is written. What never does: the order of
frames, writing (`replay.py`), unpacking files (`recording_files.py`).

What a recorder wrote says by itself whose it is; of any other file that is found out from its frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from ingest_daemon.errors import ConfigError, RecordingError
from ingest_daemon.recording import Connection, parse_file_name
from ingest_daemon.recording_files import Cut, OnCut, Recording
from ingest_daemon.replay_changes import Change
from ingest_daemon.venues import VENUES, Listing, Session, VenueProtocol

__all__ = ["Scan", "Source", "open_source", "scan"]

_FRAMES_TO_RECOGNISE: Final = 1_000


class Scan(NamedTuple):
    """Whose a recording is."""

    recording: Recording
    venue: str
    protocol: VenueProtocol
    symbols: Sequence[str]
    channels: Sequence[str]


@dataclass
class Source:
    """A recording with the session that reads it."""

    recording: Recording
    venue: str
    session: Session
    symbols: Mapping[str, Listing]
    last_received_at: int = 0
    is_closed: bool = False
    has_begun: bool = False
    change: Change | None = None  # in which it is the old one, or the new one
    is_new: bool = False


def scan(
    recording: Recording, venues: Mapping[str, str], protocol_name: str | None, on_cut: OnCut
) -> Scan | None:
    """Read a recording through once: what it speaks and of which symbols, before anything is written.

    None: nothing of it could be read, which a file that was just begun may be.

    Raises:
        RecordingError: it is no recording, or of no protocol known.
        ConfigError: no venue speaks the protocol.
    """
    for cut in recording.missing:
        on_cut(cut)
    cuts: list[Cut] = []
    connection = recording.connection
    if connection is not None:
        for _ in recording.entries(cuts.append):
            pass
        scan: Scan | None = _scan_of(recording, connection)
    else:
        scan = _scan_frames(recording, venues, protocol_name, cuts)
    for cut in cuts:
        on_cut(cut)
    return scan


def _scan_of(recording: Recording, connection: Connection) -> Scan:
    protocol = VENUES.get(connection.protocol)
    if protocol is None:
        raise RecordingError(f"{recording.path}: of the protocol {connection.protocol}, which is not known")
    return Scan(recording, connection.venue, protocol, connection.symbols, connection.channels)


def _scan_frames(
    recording: Recording, venues: Mapping[str, str], protocol_name: str | None, cuts: list[Cut]
) -> Scan | None:
    path = recording.path
    if protocol_name is not None:
        protocol = VENUES[protocol_name]
    else:
        recognised = _recognise(recording, cuts)
        if recognised is None:
            return None
        protocol = recognised
    venue = venues.get(protocol.name)
    if venue is None:
        raise ConfigError(f"{path}: recorded from {protocol.name}, but no venue of venues.yaml speaks it")
    stream_of = protocol.open_session(venue, {}, ()).stream_of
    frames = (entry.content for entry, _ in recording.entries(cuts.append))
    streams = dict.fromkeys(stream_of(frame) for frame in frames if isinstance(frame, bytes))
    symbols = dict.fromkeys(map(protocol.symbol_of, streams))
    symbols.pop("", None)
    return Scan(recording, venue, protocol, list(symbols), protocol.channels)


def _recognise(recording: Recording, cuts: list[Cut]) -> VenueProtocol | None:
    """By its first frames; None, with the cut: a recorder's file with nothing in it."""
    found: list[Cut] = []
    is_empty = True
    for entry, _ in islice(recording.entries(found.append), _FRAMES_TO_RECOGNISE):
        is_empty = False
        for protocol in VENUES.values():
            if isinstance(entry.content, bytes) and protocol.recognises(entry.content):
                return protocol
    if is_empty and found and parse_file_name(recording.path.name) is not None:
        cuts.extend(found)
        return None
    known = ", ".join(VENUES)
    raise RecordingError(
        f"{recording.path}: {found[0].reason}; nothing in it can be read"
        if is_empty and found
        else f"{recording.path}: no frame of a protocol known ({known}); name its protocol"
    )


def open_source(scan: Scan, known: Mapping[str, Listing]) -> Source:
    """The recording with a fresh session. Raises ConfigError: an instrument is not watched."""
    for symbol in scan.symbols:
        if symbol not in known:
            raise ConfigError(
                f"{scan.recording.path}: {symbol} of {scan.venue} is not watched; add `venue: {scan.venue}` "
                f"with `venue_symbol: {symbol}` to instruments.yaml and run `sentinet migrate`"
            )
    symbols = {symbol: known[symbol] for symbol in scan.symbols}
    session = scan.protocol.open_session(scan.venue, symbols, scan.channels)
    return Source(scan.recording, scan.venue, session, symbols)

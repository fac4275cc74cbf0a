"""What a hole in a feed means for the database: one gap for each relation that lacks data. Pure.

What lives here: from a span of silence to gap rows. What never does: finding the span.

A gap says the channel, as the venue calls it, and the relation, so that a repair of one leaves the others as
they are. Where a venue's history has the trades, the gaps of trades are by instrument: one is repaired
without waiting for another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ingest_daemon.events import FeedGap, GapCause
from ingest_daemon.venues import HistoryProtocol, Listing, Stream, VenueProtocol

__all__ = ["Holes"]


class Holes:
    """Of one feed.

    Args:
        venue: the operator's name.
        protocol: its dialect.
        channels: those subscribed to.
        symbols: those watched.
    """

    def __init__(
        self, venue: str, protocol: VenueProtocol, channels: Sequence[str], symbols: Mapping[str, Listing]
    ) -> None:
        self._venue = venue
        self._told = protocol.tells(channels)
        self._with_history = protocol.history.channels if isinstance(protocol, HistoryProtocol) else ()
        self._instrument_ids = [listing.instrument_id for listing in symbols.values()]

    def of_all(self, started_at: int, ended_at: int, cause: GapCause, detail: str) -> Sequence[FeedGap]:
        """Nothing came, of any channel."""
        everyone: Sequence[int | None] = (None,)
        return [
            FeedGap(
                self._venue, channel, instrument_id, started_at, ended_at, cause, detail, relation=relation
            )
            for channel, relation in self._told
            for instrument_id in (self._instrument_ids if channel in self._with_history else everyone)
        ]

    def of_stream(
        self, stream: Stream, started_at: int, ended_at: int, cause: GapCause, detail: str
    ) -> Sequence[FeedGap]:
        """Nothing came of one stream."""
        return [
            FeedGap(
                self._venue, channel, instrument_id, started_at, ended_at, cause, detail, relation=relation
            )
            for channel, relation in self._told
            if channel == stream.channel
            for instrument_id in stream.instrument_ids
        ]

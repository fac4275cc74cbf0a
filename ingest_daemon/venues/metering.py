"""Who tells the meter of a book of the trades: the readers of a session, whatever the venue.

What lives here: pure functions. What never does: counting (`book_flow.py`), frames of a venue.

A book has a flow where its session also reads the instrument's trades: without them what was traded could not
be told from what was cancelled. Both are metered as the venue says them, in contracts.
"""

from __future__ import annotations

from collections.abc import Sequence

from ingest_daemon.book_flow import FlowMeter
from ingest_daemon.events import Event, Trade
from ingest_daemon.venues.base import Listing
from ingest_daemon.venues.fields import Reader

__all__ = ["meter_of", "metered"]


def meter_of(listing: Listing, *, is_wanted: bool) -> FlowMeter | None:
    """What counts the flow of an instrument, in base units; None if its session does not read both."""
    if not is_wanted:
        return None
    is_inverse = listing.contract_currency == "quote"
    return FlowMeter(listing.instrument_id, listing.contract_size, is_inverse=is_inverse)


def metered(read: Reader, meter: FlowMeter | None) -> Reader:
    """A reader that also tells the meter of its trades; the reader itself where there is no meter."""
    if meter is None:
        return read

    def read_and_tell(frame: bytes, received_at: int) -> Sequence[Event]:
        events = read(frame, received_at)
        for event in events:
            if isinstance(event, Trade):
                meter.trade(event)
        return events

    return read_and_tell

"""Markets in memory in which nothing is done: abuse is injected into them, false alerts are counted on them.

What lives here: the simulated market and recordings through the parsers of production, as facts and windows.
What never does: abuse (`surveillance/injection.py`), judging, the database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import polars as pl

from ingest_daemon.errors import ConfigError, RecordingError
from ingest_daemon.events import (
    Book,
    BookFlow,
    Event,
    FeedGap,
    Quote,
    ReferencePrice,
    RejectedFrame,
    Trade,
)
from ingest_daemon.replay import Sink, replay_files
from ingest_daemon.venues import VENUES, Listing, Session
from ingest_daemon.venues.simulated import (
    DEFAULT_INSTRUMENTS,
    PERPETUAL_VENUE,
    SPOT_VENUE,
    SimulatedInstrument,
    SimulatedMarket,
)
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.history import venues_by_protocol
from sentinet_dagster.runtime.instruments import Instrument, read_instruments
from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.facts import Facts
from sentinet_dagster.surveillance.grid import aligned, microseconds
from sentinet_dagster.surveillance.schema import TIME, WINDOW, Relation

__all__ = ["CalmMarket", "recorded_markets", "simulated_market"]

_PROTOCOLS: Final = {SPOT_VENUE: "binance_spot", PERPETUAL_VENUE: "binance_usdm"}
_SILENCE: Final = timedelta(minutes=10)
_IDENTITIES: Final = ("gap_id", "rejected_frame_id")  # the database gives them


@dataclass(frozen=True, slots=True)
class CalmMarket:
    """Facts of a span, and the windows that they make."""

    name: str
    facts: Facts
    start: datetime
    end: datetime
    windows: pl.DataFrame
    has_books: bool

    @property
    def symbol_days(self) -> float:
        """The span, times the instruments."""
        return self.facts.instruments.height * (self.end - self.start) / timedelta(days=1)


def simulated_market(
    seed: int,
    start: datetime,
    length: timedelta,
    *,
    books: bool,
    instruments: Sequence[SimulatedInstrument] = DEFAULT_INSTRUMENTS,
) -> CalmMarket:
    """The simulator's market without a script: trades, quotes, and if asked books with every change."""
    market = SimulatedMarket(seed=seed, anchor_us=microseconds(start), instruments=instruments)
    channels = ["trade", "bookTicker", *(["depth"] if books else [])]
    sessions = {
        venue: VENUES[protocol].open_session(
            venue,
            {
                instrument.venue_symbol: Listing(number)
                for number, instrument in enumerate(instruments, start=1)
                if instrument.venue == venue
            },
            channels,
        )
        for venue, protocol in _PROTOCOLS.items()
    }
    events: list[Event] = []
    end_us = microseconds(start + length)
    for frame in market.frames(market.anchor_us, end_us, channels):
        session = sessions[frame.venue]
        events += session.parse(frame.text, frame.received_at)
        events += _answered(session, market, frame.venue, frame.received_at)
    for session in sessions.values():
        events += session.close(end_us)
    facts = _facts(events, [_row(number, each) for number, each in enumerate(instruments, start=1)])
    return _market(f"simulated, seed {seed}", facts, start, start + length, books)


def recorded_markets(paths: Sequence[Path], config_directory: Path) -> list[CalmMarket]:
    """The recordings, read as `sentinet replay` reads them; one market for each span without a long silence.

    Raises:
        UserError: a file is no recording, or of an instrument that the configuration does not watch.
    """
    sink = _Memory(read_instruments(config_directory))
    reading: Sink = sink
    try:
        replay_files(paths, reading, venues_by_protocol(config_directory))
    except (RecordingError, ConfigError) as error:
        raise UserError(str(error)) from error
    facts = sink.facts()
    return [_recorded(facts, low, high) for low, high in _spans(facts)]


def _answered(session: Session, market: SimulatedMarket, venue: str, at_us: int) -> list[Event]:
    """What comes of the snapshots that a session asks for."""
    return [
        event
        for request in session.pending_requests()
        for event in session.answer(request, market.depth_snapshot(venue, request.key, at_us), at_us)
    ]


def _recorded(facts: Facts, low: datetime, high: datetime) -> CalmMarket:
    """The whole windows of a span; of instruments those that it tells of."""
    start, end = aligned(low) + WINDOW, aligned(high)
    own = facts.between(start, end)
    seen = pl.concat([own.trades["instrument_id"], own.quotes["instrument_id"]]).unique()
    listed = facts.instruments.filter(pl.col("instrument_id").is_in(seen.to_list()))
    kept = replace(own, instruments=listed)
    return _market(f"recorded, {start:%Y-%m-%d %H:%M}", kept, start, end, not own.book_flows.is_empty())


def _market(name: str, facts: Facts, start: datetime, end: datetime, has_books: bool) -> CalmMarket:
    return CalmMarket(name, facts, start, end, facts.windows(start, end), has_books)


def _spans(facts: Facts) -> list[tuple[datetime, datetime]]:
    """From the first to the last fact, cut where nothing happened for long."""
    times = pl.concat([facts.trades["time"], facts.quotes["time"], facts.books["time"]]).sort()
    if times.is_empty():
        return []
    rests = times.diff() > _SILENCE
    begins = times.filter(rests.fill_null(True)).to_list()
    ends = [*times.filter(rests.shift(-1).fill_null(False)).to_list(), times[-1]]
    return [(low, high) for low, high in zip(begins, ends, strict=True) if high - low > 3 * WINDOW]


def _row(number: int, instrument: SimulatedInstrument | Instrument) -> dict[str, object]:
    copied = ("venue", "symbol", "venue_symbol", "kind", "base", "quote", "tick_size")
    own = {name: getattr(instrument, name) for name in copied}
    return own | {"instrument_id": number, "contract_size": 1.0, "is_active": True}


class _Batch(Protocol):
    """Of `ingest_daemon.batcher.Batch` what is read here."""

    @property
    def trades(self) -> Sequence[Trade]: ...
    @property
    def quotes(self) -> Sequence[Quote]: ...
    @property
    def books(self) -> Sequence[Book]: ...
    @property
    def book_flows(self) -> Sequence[BookFlow]: ...
    @property
    def reference_prices(self) -> Sequence[ReferencePrice]: ...
    @property
    def feed_gaps(self) -> Sequence[FeedGap]: ...
    @property
    def rejected_frames(self) -> Sequence[RejectedFrame]: ...


@dataclass(frozen=True, slots=True)
class _Written:
    repeated: Mapping[str, Sequence[int]] = field(default_factory=dict)


class _Memory:
    """Where a replay writes to, in place of the store."""

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        self._instruments = dict(enumerate(instruments, start=1))
        self._events: list[Event] = []

    def load_instruments(self, venues: Iterable[str]) -> Mapping[str, Mapping[str, Listing]]:
        """Venue → venue symbol → what it is."""
        known: dict[str, dict[str, Listing]] = {venue: {} for venue in venues}
        for number, each in self._instruments.items():
            if each.venue in known:
                known[each.venue][each.venue_symbol] = Listing(
                    number, each.contract_size, each.contract_currency
                )
        return known

    def write(self, batch: _Batch) -> _Written:
        """Keep what is in it."""
        for rows in (batch.trades, batch.quotes, batch.books, batch.book_flows):
            self._events += rows
        for rest in (batch.reference_prices, batch.feed_gaps, batch.rejected_frames):
            self._events += rest
        return _Written()

    def facts(self) -> Facts:
        """All that was written."""
        return _facts(self._events, [_row(number, each) for number, each in self._instruments.items()])


def _facts(events: Iterable[Event], instruments: Sequence[Mapping[str, object]]) -> Facts:
    by_type: dict[type[Event], list[Any]] = defaultdict(list)
    for event in events:
        by_type[type(event)].append(event)
    listed = pl.DataFrame(instruments, schema_overrides=schema.INSTRUMENTS.schema)
    return Facts(
        trades=_frame(by_type[Trade], schema.TRADES),
        quotes=_frame(by_type[Quote], schema.QUOTES),
        books=_frame(by_type[Book], schema.BOOKS),
        book_flows=_frame(by_type[BookFlow], schema.BOOK_FLOWS),
        reference_prices=_frame(by_type[ReferencePrice], schema.REFERENCE_PRICES),
        feed_gaps=_frame(by_type[FeedGap], schema.FEED_GAPS),
        rejected_frames=_frame(by_type[RejectedFrame], schema.REJECTED_FRAMES),
        instruments=schema.INSTRUMENTS.conform(listed),
    )


def _frame(events: Sequence[Any], relation: Relation) -> pl.DataFrame:
    """The events as rows of the relation, as the store would write them; all are of one kind."""
    columns = {}
    for name, dtype in relation.schema.items():
        values = [_value(event, name, number) for number, event in enumerate(events)]
        columns[name] = (
            pl.Series(values, dtype=pl.Int64).cast(TIME) if dtype == TIME else pl.Series(values, dtype=dtype)
        )
    return relation.conform(pl.DataFrame(columns))


def _value(event: Any, name: str, number: int) -> Any:
    if name in _IDENTITIES:
        return number
    if name == "repaired_at":
        return event.ended_at if event.is_repaired else None
    if name == "time" and not isinstance(event, BookFlow):
        return event.received_at if event.occurred_at is None else event.occurred_at
    return getattr(event, name)

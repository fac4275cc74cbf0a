"""The only writer of facts. What lives here: a batch is one transaction with its rows in the ledger.

What never does: parsing, deciding when a batch is full, retrying. The caller reads the error and acts.

A batch goes in by COPY, straight into tables whose only index is the unique key. A duplicate (after a
reconnect or a replay) fails the whole COPY; then the batch is written again by way of staging tables and ON
CONFLICT, and what was there already is counted. Staging every batch would halve the rate.

The driver is psycopg's blocking connection. The daemon calls it in a thread, `sentinet replay` directly: the
call waits for the server without the interpreter's lock, so an asynchronous one would gain nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain, islice
from operator import attrgetter
from types import TracebackType
from typing import Any, Final, LiteralString, NamedTuple, Self, TypeVar

import msgspec
import numpy as np
import psycopg
from psycopg import sql

from ingest_daemon.batcher import Batch
from ingest_daemon.copy_rows import FACTS, Fact, Relation, encode, times_of
from ingest_daemon.errors import StoreError, StoreRejected, StoreUnavailable
from ingest_daemon.events import FeedGap, GapCause
from ingest_daemon.venues import Listing

__all__ = ["MERGE_WITHIN_US", "NOTIFY_CHANNEL", "Store", "WriteReport", "spans"]

MERGE_WITHIN_US: Final = 5_000_000
"""Spans of new rows less than this apart are one span of the ledger: the length of the base window."""

_LONGEST_EDGE_US: Final = 3_600_000_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# Classes of SQLSTATE where the same statement can succeed later: connection, read-only after a failover,
# rollback by the server, out of resources, lock not to be had, operator intervention, system error.
_PASSING: Final = frozenset({"08", "25", "40", "53", "55", "57", "58"})

_INSERT_GAP: Final = """
    insert into market.feed_gaps (
        venue, channel, instrument_id, started_at, ended_at, cause, detail, lost_events, relation
    ) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
    on conflict do nothing
    returning true
"""
_INSERT_REJECTED: Final = """
    insert into market.rejected_frames (
        venue, channel, instrument_id, received_at, last_received_at, error, frames, frame
    ) values (%s, %s, %s, %s, %s, %s, %s, %s)
    on conflict do nothing
    returning true
"""
NOTIFY_CHANNEL: Final = "sentinet_batches"
"""Notified once for each transaction that wrote to the ledger, when it commits; without a payload."""

# The server makes one notification of those that are the same in a transaction.
_INSERT_LEDGER: Final = """
    insert into ops.ingest_batches (venue, relation, rows, duplicates, bytes, touched, max_received_at)
    select %s, relation, rows, duplicates, bytes, touched::tstzmultirange, max_received_at
    from unnest(%s::text[], %s::integer[], %s::integer[], %s::bigint[], %s::text[], %s::timestamptz[])
        as outcomes (relation, rows, duplicates, bytes, touched, max_received_at)
    returning pg_notify('sentinet_batches', '')
"""
_SELECT_INSTRUMENTS: Final = """
    select venue, venue_symbol, instrument_id, contract_size, contract_currency
    from market.instruments
    where is_active and venue = any(%s)
    order by venue, venue_symbol
"""

_SELECT_IDENTITY: Final = "select system_identifier || '/' || current_database() from pg_control_system()"
_SELECT_LAST_RECEIVED: Final = """
    select
        venue,
        (extract(epoch from (
            select max(batches.max_received_at)
            from ops.ingest_batches as batches
            where batches.venue = wanted.venue
        )) * 1000000)::bigint
    from unnest(%s::text []) as wanted (venue)
"""

_Connection = psycopg.Connection[tuple[Any, ...]]
_T = TypeVar("_T")
_received_at = attrgetter("received_at")


class WriteReport(msgspec.Struct, frozen=True):
    """What one `Store.write` did, by relation; a relation of which the batch had no rows is absent."""

    rows: Mapping[str, int]
    """Rows that are new."""
    repeated: Mapping[str, Sequence[int]]
    """Positions, in the batch's list of that relation, of the rows that were there already."""

    @property
    def duplicates(self) -> dict[str, int]:
        """Rows that were there already and were left alone."""
        return {relation: len(positions) for relation, positions in self.repeated.items()}


class Store:
    """One connection that writes facts. Not thread-safe: one caller at a time. A lost one is opened anew."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._connection: _Connection | None = None

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connect(self) -> None:
        """Open the connection unless it is open.

        Raises:
            StoreUnavailable: the server cannot be reached, or refuses connections now.
            StoreRejected: the address is not one.
        """
        if self._connection is not None and not self._connection.closed:
            return
        try:
            self._connection = psycopg.connect(
                self._database_url,
                autocommit=True,  # transactions are opened where they are meant
                application_name="sentinet-ingest",
                connect_timeout=5,
                keepalives_idle=10,
                tcp_user_timeout=15_000,  # ms: a server that vanished is noticed, not waited for
            )
        except psycopg.ProgrammingError:
            # libpq quotes the part it cannot read, which may be the password.
            raise StoreRejected("the database address cannot be read by libpq") from None
        except psycopg.Error as error:
            raise _named(error) from error

    def close(self) -> None:
        """Close the connection; harmless if there is none."""
        if self._connection is not None:
            self._connection.close()

    def load_instruments(self, venues: Iterable[str]) -> dict[str, dict[str, Listing]]:
        """The active instruments: venue → venue symbol → what it is; {} for a venue that has none.

        Raises:
            StoreUnavailable, StoreRejected: as `write`.
        """
        found: dict[str, dict[str, Listing]] = {venue: {} for venue in venues}
        rows = self._transact(
            lambda connection: connection.execute(_SELECT_INSTRUMENTS, [list(found)]).fetchall()
        )
        for venue, symbol, *listing in rows:
            found[venue][symbol] = Listing(*listing)
        return found

    def identity(self) -> str:
        """Which database this is, wherever it listens: no other one has the same.

        Raises:
            StoreUnavailable, StoreRejected: as `write`.
        """
        rows = self._transact(lambda connection: connection.execute(_SELECT_IDENTITY).fetchall())
        return str(rows[0][0])

    def last_received_at(self, venues: Iterable[str]) -> dict[str, int]:
        """How far each venue was received, microseconds since 1970 UTC; one that never was is absent.

        Raises:
            StoreUnavailable, StoreRejected: as `write`.
        """
        rows = self._transact(
            lambda connection: connection.execute(_SELECT_LAST_RECEIVED, [list(venues)]).fetchall()
        )
        return {venue: last for venue, last in rows if last is not None}

    def write(self, batch: Batch) -> WriteReport:
        """Write a batch with its ledger rows in one transaction: all of it is committed, or nothing.

        Writing a batch again is safe: its rows are found to be there and are reported as repeated.

        Raises:
            StoreUnavailable: the database cannot be reached or cannot work now. If the connection went during
                the commit, the batch may be committed; to write it again is right in either case.
            StoreRejected: the database refuses what we write, and would refuse it again.
        """
        try:
            return self._transact(lambda connection: _write(connection, batch, _copy))
        except _DuplicateFound:
            return self._transact(lambda connection: _write(connection, batch, _merge))

    def _transact(self, work: Callable[[_Connection], _T]) -> _T:
        self.connect()
        assert self._connection is not None, "connect() has opened it"
        try:
            with self._connection.transaction():
                return work(self._connection)
        except psycopg.errors.UniqueViolation as error:
            raise _DuplicateFound from error
        except psycopg.Error as error:
            raise _named(error) from error


class _DuplicateFound(Exception):
    """A COPY hit a unique key; nothing of the batch is written."""


class _Outcome(NamedTuple):
    """What became of a batch's rows of one relation."""

    relation: str
    total: int
    repeated: tuple[int, ...]
    bytes: int
    touched: list[tuple[int, int]]  # spans of `time` of the rows that are new
    max_received_at: int


class _Upload:
    """A batch's rows of one relation, on their way."""

    def __init__(self, relation: Relation, events: Sequence[Fact]) -> None:
        self.relation = relation
        self.events = events
        self._parts = encode(relation, events)
        self._ready: list[bytes] = []

    def prepare(self) -> None:
        """Make the first part ahead: while the server is busy with another relation."""
        self._ready = list(islice(self._parts, 2))  # the header, and rows

    def parts(self) -> Iterator[bytes]:
        """All of them, once."""
        return chain(self._ready, self._parts)

    def outcome(self, size: int, repeated: tuple[int, ...] = ()) -> _Outcome:
        """What became of it: so many bytes were sent, and these rows were there already."""
        new = _without(self.events, repeated)
        touched = spans(times_of(new)) if new else []
        seen = max(map(_received_at, self.events))
        return _Outcome(self.relation.name, len(self.events), repeated, size, touched, seen)


_WriteFacts = Callable[[_Connection, _Upload, Callable[[], None]], _Outcome]


def _named(error: psycopg.Error) -> StoreError:
    message = " ".join(str(error).split())
    if error.sqlstate is not None:
        passing = error.sqlstate[:2] in _PASSING
        return (StoreUnavailable if passing else StoreRejected)(f"{message} (SQLSTATE {error.sqlstate})")
    lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return (StoreUnavailable if lost else StoreRejected)(message)


def _write(connection: _Connection, batch: Batch, write_facts: _WriteFacts) -> WriteReport:
    uploads = [_Upload(relation, events) for relation in FACTS if (events := getattr(batch, relation.name))]
    preparing = [*(upload.prepare for upload in uploads[1:]), lambda: None]
    outcomes = [
        write_facts(connection, upload, meanwhile)
        for upload, meanwhile in zip(uploads, preparing, strict=False)
    ]
    if batch.feed_gaps:
        outcomes.append(_insert_gaps(connection, batch))
    if batch.rejected_frames:
        outcomes.append(_insert_rejected(connection, batch))
    _insert_ledger(connection, batch.venue, outcomes)
    return WriteReport(
        rows={outcome.relation: outcome.total - len(outcome.repeated) for outcome in outcomes},
        repeated={outcome.relation: outcome.repeated for outcome in outcomes},
    )


def _copy(connection: _Connection, upload: _Upload, meanwhile: Callable[[], None]) -> _Outcome:
    """Straight in: there are no duplicates, or it fails."""
    with connection.cursor() as cursor:
        with cursor.copy(_copy_statement(("market", upload.relation.name), upload.relation)) as copy:
            size = _send(copy, upload.parts())
            # The server has yet to take in what it was sent last.
            outcome = upload.outcome(size)
            meanwhile()
        return outcome


def _merge(connection: _Connection, upload: _Upload, _meanwhile: Callable[[], None]) -> _Outcome:
    """By way of a staging table: what is there already is counted.

    Of events with one key in the same batch the first is kept, as it would be in two batches.
    """
    relation, events = upload.relation, upload.events
    keys = _keys(relation, events)
    first: dict[tuple[int, ...], int] = {}
    for position, key in enumerate(keys):
        first.setdefault(key, position)
    temporary = ("pg_temp", f"staged_{relation.name}")
    staging = sql.Identifier(*temporary)
    target = sql.Identifier("market", relation.name)
    columns = _names(column.name for column in relation.columns)
    connection.execute(sql.SQL("create temporary table {} (like {}) on commit drop").format(staging, target))
    parts = encode(relation, [events[position] for position in first.values()])
    with connection.cursor() as cursor, cursor.copy(_copy_statement(temporary, relation)) as copy:
        size = _send(copy, parts)
    inserted = connection.execute(
        sql.SQL(
            "insert into {target} ({columns}) select {columns} from {staging}"
            " on conflict do nothing returning {key}"
        ).format(target=target, columns=columns, staging=staging, key=_key_in_microseconds(relation))
    ).fetchall()
    new = {first[key] for key in inserted}
    return upload.outcome(size, tuple(position for position in range(len(events)) if position not in new))


def _send(copy: psycopg.Copy, parts: Iterable[bytes]) -> int:
    """The size of what was sent."""
    size = 0
    for part in parts:
        copy.write(part)
        size += len(part)
    return size


@lru_cache(maxsize=64)
def _copy_statement(table: tuple[str, str], relation: Relation) -> bytes:
    columns = _names(column.name for column in relation.columns)
    return (
        sql.SQL("copy {} ({}) from stdin (format binary)").format(sql.Identifier(*table), columns).as_bytes()
    )


def _names(columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _keys(relation: Relation, events: Sequence[Fact]) -> list[tuple[int, ...]]:
    """The unique key of each event; its `time`, the last part, in microseconds since 1970 UTC."""
    *names, last = relation.key
    assert last == "time", "every fact is unique by its time, and by what comes before"
    parts = [list(map(attrgetter(name), events)) for name in names]
    return list(zip(*parts, times_of(events), strict=True))


def _key_in_microseconds(relation: Relation) -> sql.Composed:
    *names, last = relation.key
    microseconds = sql.SQL("(extract(epoch from {}) * 1000000)::bigint").format(sql.Identifier(last))
    return sql.SQL(", ").join([*map(sql.Identifier, names), microseconds])


def _insert_gaps(connection: _Connection, batch: Batch) -> _Outcome:
    gaps = batch.feed_gaps
    repeated = _insert_each(
        connection,
        _INSERT_GAP,
        [
            (
                gap.venue,
                gap.channel,
                gap.instrument_id,
                _moment(gap.started_at),
                _moment(gap.ended_at),
                gap.cause.value,
                _text(gap.detail),
                gap.lost_events,
                gap.relation,
            )
            for gap in gaps
        ],
    )
    new = _without(gaps, repeated)
    edges = [edge for gap in new for edge in _edges(gap)]
    touched = spans((start for start, _ in edges), (end for _, end in edges))
    size = sum(len(gap.detail) for gap in gaps)
    return _Outcome("feed_gaps", len(gaps), repeated, size, touched, max(gap.ended_at for gap in gaps))


def _edges(gap: FeedGap) -> Sequence[tuple[int, int]]:
    """What of a gap is judged anew.

    While the daemon did not run, nothing of the venue could be judged: after days of it only the windows at
    both ends are, not every hour between.
    """
    started_at, ended_at = gap.started_at, gap.ended_at
    if gap.cause is GapCause.NOT_RUNNING and ended_at - started_at > 2 * _LONGEST_EDGE_US:
        return (started_at, started_at + _LONGEST_EDGE_US), (ended_at - _LONGEST_EDGE_US, ended_at)
    return ((started_at, ended_at),)


def _insert_rejected(connection: _Connection, batch: Batch) -> _Outcome:
    rejected = batch.rejected_frames
    repeated = _insert_each(
        connection,
        _INSERT_REJECTED,
        [
            (
                each.venue,
                each.channel and _text(each.channel),
                each.instrument_id,
                _moment(each.received_at),
                each.last_received_at and _moment(each.last_received_at),
                _text(each.error),
                each.frames,
                each.frame,
            )
            for each in rejected
        ],
    )
    touched = spans(each.received_at for each in _without(rejected, repeated))
    size = sum(len(each.frame) for each in rejected)
    seen = max(each.received_at for each in rejected)
    return _Outcome("rejected_frames", len(rejected), repeated, size, touched, seen)


def _insert_each(
    connection: _Connection, statement: LiteralString, rows: Sequence[tuple[Any, ...]]
) -> tuple[int, ...]:
    """Insert one by one, in one round trip; the positions of the rows that were there already."""
    with connection.cursor() as cursor:
        cursor.executemany(statement, rows, returning=True)
        return tuple(
            position for position, result in enumerate(cursor.results()) if result.fetchone() is None
        )


def _insert_ledger(connection: _Connection, venue: str, outcomes: Sequence[_Outcome]) -> None:
    """The batch's rows in the ledger: the last statement before the commit."""
    rows = [
        (
            outcome.relation,
            outcome.total - len(outcome.repeated),
            len(outcome.repeated),
            outcome.bytes,
            _multirange(outcome.touched),
            _moment(outcome.max_received_at),
        )
        for outcome in outcomes
    ]
    connection.execute(_INSERT_LEDGER, [venue, *map(list, zip(*rows, strict=True))])


def _multirange(spans: Iterable[tuple[int, int]]) -> str:
    """As PostgreSQL reads it.

    >>> _multirange([(0, 1_500_000)])
    '{[1970-01-01T00:00:00+00:00,1970-01-01T00:00:01.500000+00:00)}'
    """
    ranges = [f"[{_moment(start).isoformat()},{_moment(end).isoformat()})" for start, end in spans]
    return "{" + ",".join(ranges) + "}"


def spans(
    starts: Iterable[int], ends: Iterable[int] | None = None, within: int = MERGE_WITHIN_US
) -> list[tuple[int, int]]:
    """What is touched, as half-open spans in order; those less than `within` apart are one.

    Without `ends`, and where an end is not later than its start, the moment alone is touched: a microsecond.

    >>> spans([20, 0, 5], [30, 1, 5], within=5)
    [(0, 6), (20, 30)]
    """
    start = np.fromiter(starts, np.int64)
    if not start.size:
        return []
    if ends is None and (most := int(start.max())) - (least := int(start.min())) <= within:
        return [(least, most + 1)]
    end = start + 1 if ends is None else np.maximum(np.fromiter(ends, np.int64), start + 1)
    order = np.argsort(start)
    start, end = start[order], np.maximum.accumulate(end[order])
    (breaks,) = np.nonzero(start[1:] - end[:-1] >= within)
    first, last = [0, *(breaks + 1)], [*breaks, start.size - 1]
    return list(zip(start[first].tolist(), end[last].tolist(), strict=True))


def _without(events: Sequence[_T], positions: Collection[int]) -> Sequence[_T]:
    if not positions:
        return events
    left_out = set(positions)
    return [event for position, event in enumerate(events) if position not in left_out]


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _text(text: str) -> str:
    """As PostgreSQL can keep it: UTF-8 without zero bytes."""
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")

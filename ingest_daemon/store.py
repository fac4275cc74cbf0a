"""The only writer of facts. What lives here: a batch is one transaction with its rows in the ledger.

What never does: parsing, deciding when a batch is full, retrying. The caller reads the error and acts.

A batch goes in by COPY, straight into tables whose only index is the unique key. A duplicate (after a
reconnect or a replay) fails the whole COPY; then the batch is written again by way of staging tables and ON
CONFLICT, and what was there already is counted. Staging every batch would halve the rate.

The driver is psycopg's blocking connection. The daemon calls it in a thread, `sentinet replay` directly: the
call waits for the server without the interpreter's lock, so an asynchronous one would gain nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Final, LiteralString, Self, TypeVar

import msgspec
import psycopg
from psycopg.pq import TransactionStatus

from ingest_daemon.batcher import Batch
from ingest_daemon.copy_rows import FACTS
from ingest_daemon.errors import StoreError, StoreRejected, StoreUnavailable
from ingest_daemon.events import FeedGap, GapCause
from ingest_daemon.fact_tables import Upload, copy, merge, without
from ingest_daemon.ledger import (
    MERGE_WITHIN_US,
    NOTIFY_CHANNEL,
    Connection,
    Outcome,
    insert_ledger,
    moment,
    spans,
)
from ingest_daemon.venues import Listing

__all__ = ["MERGE_WITHIN_US", "NOTIFY_CHANNEL", "Store", "WriteReport", "spans"]

_LONGEST_EDGE_US: Final = 3_600_000_000

# Classes of SQLSTATE where the same statement can succeed later: connection, read-only after a failover,
# rollback by the server, out of resources, lock not to be had, operator intervention, system error.
_PASSING: Final = frozenset({"08", "25", "40", "53", "55", "57", "58"})

_INSERT_GAP: Final = """
    insert into market.feed_gaps (
        venue, channel, instrument_id, started_at, ended_at, cause, detail, lost_events, relation, repaired_at
    ) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, case when %s then clock_timestamp() end)
    on conflict (venue, channel, relation, instrument_id, started_at, ended_at, cause)
    do update set repaired_at = excluded.repaired_at
    where feed_gaps.repaired_at is null and excluded.repaired_at is not null
    returning true
"""
_INSERT_REJECTED: Final = """
    insert into market.rejected_frames (
        venue, channel, instrument_id, received_at, last_received_at, error, frames, frame
    ) values (%s, %s, %s, %s, %s, %s, %s, %s)
    on conflict do nothing
    returning true
"""
# Relations whose facts are dated by the venue as they happen. A flow of books is of a second that is over.
_DATED: Final = ["trades", "quotes", "books", "reference_prices"]

_SELECT_INSTRUMENTS: Final = """
    select venue, venue_symbol, instrument_id, contract_size, contract_currency
    from market.instruments
    where is_active and venue = any(%s)
    order by venue, venue_symbol
"""

_SELECT_IDENTITY: Final = "select system_identifier || '/' || current_database() from pg_control_system()"
_SELECT_REACHED: Final = """
    with
    wanted as (select unnest(%s::text []) as venue),

    last as (
        select
            wanted.venue,
            newest.max_received_at,
            newest.xid
        from wanted
        cross join lateral (
            select
                batches.max_received_at,
                batches.xid
            from ops.ingest_batches as batches
            where batches.venue = wanted.venue
            order by batches.max_received_at desc
            limit 1
        ) as newest
    )

    select
        last.venue,
        (extract(epoch from least(last.max_received_at, (
            select min(lower(span))
            from ops.ingest_batches as batches
            cross join lateral unnest(batches.touched) as span
            where
                batches.xid = last.xid
                and batches.venue = last.venue
                and batches.relation = any(%s)
                and lower(span) > last.max_received_at - interval '1 minute'
        ))) * 1000000)::bigint
    from last
"""

_T = TypeVar("_T")


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
    """One connection that writes facts. Not thread-safe: one caller at a time. A lost one is opened anew.

    Args:
        database_url: libpq's form.
        is_replay: what is written was received earlier: its age is no delay. The ledger says so.
    """

    def __init__(self, database_url: str, *, is_replay: bool = False) -> None:
        self._database_url = database_url
        self._is_replay = is_replay
        self._connection: Connection | None = None

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
        rows = self.transact(
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
        rows = self.transact(lambda connection: connection.execute(_SELECT_IDENTITY).fetchall())
        return str(rows[0][0])

    def reached(self, venues: Iterable[str]) -> dict[str, int]:
        """Before when nothing of a venue is missing at the end of what is written, by its own time.

        That is the least time of the last batch, of facts that were less than a minute old: what came later
        may be as late as these were. Microseconds since 1970 UTC; a venue that was never received is absent.

        Raises:
            StoreUnavailable, StoreRejected: as `write`.
        """
        rows = self.transact(
            lambda connection: connection.execute(_SELECT_REACHED, [list(venues), _DATED]).fetchall()
        )
        return dict(rows)

    def write(self, batch: Batch, received_until: int | None = None) -> WriteReport:
        """Write a batch with its ledger rows in one transaction: all of it is committed, or nothing.

        Writing a batch again is safe: its rows are found to be there and are reported as repeated.

        Args:
            batch: what to write.
            received_until: how far the venue's stream had been received, for the ledger; None: to the last of
                the batch. What is fetched afterwards says nothing of that.

        Raises:
            StoreUnavailable: the database cannot be reached or cannot work now. If the connection went during
                the commit, the batch may be committed; to write it again is right in either case.
            StoreRejected: the database refuses what we write, and would refuse it again.
        """
        try:
            return self._write(batch, copy, received_until)
        except _DuplicateFound:
            return self._write(batch, merge, received_until)

    def transact(self, work: Callable[[Connection], _T]) -> _T:
        """What `work` gives, done in one transaction. Raises StoreUnavailable, StoreRejected as `write`."""
        with self._transaction() as (connection, _):
            return work(connection)

    def _write(self, batch: Batch, write_facts: _WriteFacts, received_until: int | None) -> WriteReport:
        with self._transaction() as (connection, ending):
            outcomes = _write_rows(connection, batch, write_facts, received_until)
            # The ledger and the commit go out together, and are answered together.
            ending.enter_context(connection.pipeline())
            insert_ledger(connection, batch.venue, outcomes, is_replay=self._is_replay)
        return WriteReport(
            rows={outcome.relation: outcome.total - len(outcome.repeated) for outcome in outcomes},
            repeated={outcome.relation: outcome.repeated for outcome in outcomes},
        )

    @contextmanager
    def _transaction(self) -> Iterator[tuple[Connection, ExitStack]]:
        """A transaction, and what is left once its end is said."""
        self.connect()
        connection = self._connection
        assert connection is not None, "connect() has opened it"
        try:
            with ExitStack() as ending, connection.transaction():
                yield connection, ending
        except psycopg.errors.UniqueViolation as error:
            raise _DuplicateFound from error
        except psycopg.Error as error:
            if connection.info.transaction_status is not TransactionStatus.IDLE:
                connection.close()  # what failed in a pipeline keeps its transaction open
            raise _named(_first(error)) from error


class _DuplicateFound(Exception):
    """A COPY hit a unique key; nothing of the batch is written."""


_WriteFacts = Callable[[Connection, Upload, Callable[[], None]], Outcome]


def _first(error: psycopg.Error) -> psycopg.Error:
    """What broke the pipeline: what came after it says only that it is broken, if it is answered by then."""
    while isinstance(error, psycopg.errors.PipelineAborted) and isinstance(error.__context__, psycopg.Error):
        error = error.__context__
    return error


def _named(error: psycopg.Error) -> StoreError:
    message = " ".join(str(error).split())
    if error.sqlstate is not None:
        passing = error.sqlstate[:2] in _PASSING
        return (StoreUnavailable if passing else StoreRejected)(f"{message} (SQLSTATE {error.sqlstate})")
    lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return (StoreUnavailable if lost else StoreRejected)(message)


def _write_rows(
    connection: Connection, batch: Batch, write_facts: _WriteFacts, received_until: int | None
) -> list[Outcome]:
    uploads = [
        Upload(relation, events, received_until)
        for relation in FACTS
        if (events := getattr(batch, relation.name))
    ]
    preparing = [*(upload.prepare for upload in uploads[1:]), lambda: None]
    outcomes = [
        write_facts(connection, upload, meanwhile)
        for upload, meanwhile in zip(uploads, preparing, strict=False)
    ]
    if batch.feed_gaps:
        outcomes.append(_insert_gaps(connection, batch))
    if batch.rejected_frames:
        outcomes.append(_insert_rejected(connection, batch))
    return outcomes


def _insert_gaps(connection: Connection, batch: Batch) -> Outcome:
    gaps = batch.feed_gaps
    repeated = _insert_each(
        connection,
        _INSERT_GAP,
        [
            (
                gap.venue,
                gap.channel,
                gap.instrument_id,
                moment(gap.started_at),
                moment(gap.ended_at),
                gap.cause.value,
                _text(gap.detail),
                gap.lost_events,
                gap.relation,
                gap.is_repaired,
            )
            for gap in gaps
        ],
    )
    new = without(gaps, repeated)
    edges = [edge for gap in new for edge in _edges(gap)]
    touched = spans((start for start, _ in edges), (end for _, end in edges))
    size = sum(len(gap.detail) for gap in gaps)
    return Outcome("feed_gaps", len(gaps), repeated, size, touched, max(gap.ended_at for gap in gaps))


def _edges(gap: FeedGap) -> Sequence[tuple[int, int]]:
    """What of a gap is judged anew.

    While the daemon did not run, nothing of the venue could be judged: after days of it only the windows at
    both ends are, not every hour between.
    """
    started_at, ended_at = gap.started_at, gap.ended_at
    if (
        gap.cause is GapCause.NOT_RUNNING
        and not gap.is_repaired
        and ended_at - started_at > 2 * _LONGEST_EDGE_US
    ):
        return (started_at, started_at + _LONGEST_EDGE_US), (ended_at - _LONGEST_EDGE_US, ended_at)
    return ((started_at, ended_at),)


def _insert_rejected(connection: Connection, batch: Batch) -> Outcome:
    rejected = batch.rejected_frames
    repeated = _insert_each(
        connection,
        _INSERT_REJECTED,
        [
            (
                each.venue,
                each.channel and _text(each.channel),
                each.instrument_id,
                moment(each.received_at),
                each.last_received_at and moment(each.last_received_at),
                _text(each.error),
                each.frames,
                each.frame,
            )
            for each in rejected
        ],
    )
    touched = spans(each.received_at for each in without(rejected, repeated))
    size = sum(len(each.frame) for each in rejected)
    seen = max(each.received_at for each in rejected)
    return Outcome("rejected_frames", len(rejected), repeated, size, touched, seen)


def _insert_each(
    connection: Connection, statement: LiteralString, rows: Sequence[tuple[Any, ...]]
) -> tuple[int, ...]:
    """Insert one by one, in one round trip; the positions of the rows that were there already."""
    with connection.cursor() as cursor:
        cursor.executemany(statement, rows, returning=True)
        return tuple(
            position for position, result in enumerate(cursor.results()) if result.fetchone() is None
        )


def _text(text: str) -> str:
    """As PostgreSQL can keep it: UTF-8 without zero bytes."""
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")

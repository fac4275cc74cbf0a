"""From the queue into the database, by way of the disk while the database is away.

What lives here: the writer's loop, the patience with the database, when to spool and when to drain. What
never does: sockets, SQL, files.

A batch is written directly while the database takes it and nothing older waits. Once it does not, this batch
and those after it go to the spool; `drain` writes them in order when the database is back. Without a spool,
or when the disk fails, the writer waits: the queue fills, and then the feeds stop reading their sockets.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import structlog

from ingest_daemon.backoff import backoff_s
from ingest_daemon.batcher import Batch, Batcher, Limits
from ingest_daemon.errors import SpoolUnusable, StoreUnavailable
from ingest_daemon.event_queue import EventQueue
from ingest_daemon.health import Health
from ingest_daemon.known import Known
from ingest_daemon.spool import Spool
from ingest_daemon.store import Store, WriteReport

__all__ = ["SpoolThread", "StoreThread", "Writer"]

_LONGEST_STORE_BACKOFF_S: Final = 5.0

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class StoreThread:
    """The store, in a thread of its own, and the patience to wait for its database."""

    def __init__(self, database_url: str, health: Health) -> None:
        self._store = Store(database_url)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._health = health
        self._rng = random.Random()  # noqa: S311 (jitter, no secret)

    async def write(self, batch: Batch) -> WriteReport:
        """Write a batch, however long the database is away. Raises StoreRejected."""
        return await self._patiently(lambda: self._try(lambda: self._store.write(batch)))

    async def try_to_write(self, batch: Batch) -> WriteReport:
        """Write a batch now. Raises StoreUnavailable, StoreRejected."""
        return await self._try(lambda: self._store.write(batch))

    async def attempt(self, work: Callable[[Store], _T]) -> _T:
        """What `work` gives, done with the store, now. Raises StoreUnavailable, StoreRejected."""
        return await self._try(lambda: work(self._store))

    async def try_to_know(self, venues: Sequence[str]) -> Known:
        """The database and its active instruments, now. Raises StoreUnavailable, StoreRejected."""
        return await self._try(
            lambda: Known(self._store.identity(), self._store.load_instruments(venues)),
        )

    async def know(self, venues: Sequence[str]) -> Known:
        """The database and its active instruments, however long it is away. Raises StoreRejected."""
        return await self._patiently(lambda: self.try_to_know(venues))

    async def try_reached(self, venues: Sequence[str]) -> dict[str, int]:
        """As `Store.reached`."""
        return await self._try(lambda: self._store.reached(venues))

    async def reached(self, venues: Sequence[str]) -> dict[str, int]:
        """As `Store.reached`, however long the database is away. Raises StoreRejected."""
        return await self._patiently(lambda: self.try_reached(venues))

    def close(self) -> None:
        """Close the connection once the call under way has ended."""
        self._thread.submit(self._store.close)
        self._thread.shutdown(wait=False)

    async def _try(self, work: Callable[[], _T]) -> _T:
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except StoreUnavailable:
            self._health.is_database_up = False
            self._health.store_failures.inc()
            raise
        self._health.is_database_up = True
        return result

    async def _patiently(self, work: Callable[[], Awaitable[_T]]) -> _T:
        attempt = 0
        while True:
            try:
                return await work()
            except StoreUnavailable as error:
                delay_s = min(backoff_s(attempt, self._rng), _LONGEST_STORE_BACKOFF_S)
                _log.warning("waiting for the database", error=str(error), retry_in_s=round(delay_s, 2))
                await asyncio.sleep(delay_s)
                attempt += 1


class SpoolThread:
    """The spool, in a thread of its own: a disk may take its time."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._filled = asyncio.Event()
        self.is_empty = spool.is_empty

    @property
    def bytes(self) -> int:
        """Bytes on the disk."""
        return self._spool.bytes

    @property
    def limit(self) -> int:
        """At which something is shed."""
        return self._spool.limit

    @property
    def segments(self) -> int:
        """Files on the disk."""
        return self._spool.segments

    @property
    def oldest_at(self) -> int | None:
        """When the oldest that waits was received, microseconds since 1970 UTC."""
        return self._spool.oldest_at

    @property
    def lost(self) -> Mapping[tuple[str, str], int]:
        """Events shed since the start, by venue and relation."""
        return self._spool.lost.copy()

    async def append(self, batch: Batch) -> None:
        """As `Spool.append`."""
        self.is_empty = False  # before: what comes next must not overtake it
        try:
            await self._run(lambda: self._spool.append(batch))
        finally:
            self.is_empty = self._spool.is_empty
            self._filled.set()

    async def peek(self) -> Batch:
        """The oldest batch; waits for one."""
        while (batch := await self._run(self._spool.peek)) is None:
            self._filled.clear()
            if self._spool.is_empty:
                await self._filled.wait()
        return batch

    async def advance(self) -> None:
        """As `Spool.advance`."""
        await self._run(self._spool.advance)
        self.is_empty = self._spool.is_empty

    def close(self) -> None:
        """Return when the call under way has ended: then the spool may be closed."""
        self._thread.shutdown(wait=True)

    async def _run(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


class Writer:
    """Takes events from the queue and commits them in batches, in order, by venue.

    Args:
        queue: where the events are.
        store: where they go.
        spool: where they wait while the database is away; None: in the queue.
        venues: whose events they are.
        limits: what closes a batch.
        health: what is told of it.
    """

    def __init__(
        self,
        queue: EventQueue,
        store: StoreThread,
        spool: SpoolThread | None,
        venues: Sequence[str],
        limits: Limits,
        health: Health,
    ) -> None:
        self._queue = queue
        self._store = store
        self._spool = spool
        self._is_met = asyncio.Event()
        self._health = health
        self._batchers = {venue: Batcher(venue, limits) for venue in venues}
        self._arrived_at = dict.fromkeys(venues, 0.0)  # of the oldest event in each batcher
        self._committing = 0
        self._committing_from = 0.0

    @property
    def unwritten(self) -> int:
        """Events that are received and not known to be committed, nor in the spool."""
        return self._committing + self._queue.events + sum(each.rows for each in self._batchers.values())

    @property
    def lag_s(self) -> float:
        """Seconds since the oldest event came that is neither committed nor in the spool; 0: none is."""
        arrivals = [self._arrived_at[venue] for venue, batcher in self._batchers.items() if batcher.rows]
        if self._committing:
            arrivals.append(self._committing_from)
        waiting = self._queue.oldest_arrived_at
        if waiting is not None:
            arrivals.append(waiting)
        return time.monotonic() - min(arrivals) if arrivals else 0.0

    async def drain(
        self, meet: Callable[[], Awaitable[Sequence[Batch]]], met: Callable[[], None] = lambda: None
    ) -> None:
        """Write what waits in the spool, for ever. Raises StoreRejected, SpoolUnusable.

        Args:
            meet: asks of the database what must be known before anything is written; until then all is
                spooled. What it returns is written first of all.
            met: called when that is written.
        """
        for batch in await meet():
            self._tell(batch, await self._store.write(batch))
        met()
        self._is_met.set()
        while self._spool is not None:
            batch = await self._spool.peek()
            report = await self._store.write(batch)
            await self._spool.advance()
            self._tell(batch, report)

    async def wait_until_met(self) -> None:
        """Return when the database said what must be asked of it: then others may write too."""
        await self._is_met.wait()

    async def run(self) -> None:
        """Write until the queue is closed and everything is written or spooled. Raises StoreRejected."""
        while not self._queue.is_closed:
            await self._take_all()
            await self._commit_due()
            await self._wait()
        await self._take_all()
        for venue, batcher in self._batchers.items():
            rest = batcher.flush()
            if rest is not None:
                await self._commit(rest, self._arrived_at[venue])

    async def _take_all(self) -> None:
        while (item := self._queue.take()) is not None:
            batcher = self._batchers[item.venue]
            if not batcher.rows:
                self._arrived_at[item.venue] = item.arrived_at
            for batch in batcher.add(item.events, int(item.arrived_at * 1e6)):
                await self._commit(batch, self._arrived_at[item.venue])
                self._arrived_at[item.venue] = item.arrived_at

    async def _commit_due(self) -> None:
        for venue, batcher in self._batchers.items():
            due = batcher.take_due(_microseconds())
            if due is not None:
                await self._commit(due, self._arrived_at[venue])

    async def _wait(self) -> None:
        """Until a batch is due, or may be full or due sooner; with nothing open, until anything comes."""
        due = [batcher.due_at for batcher in self._batchers.values() if batcher.due_at is not None]
        if due:
            rows = min(batcher.rows_to_wait_for for batcher in self._batchers.values() if batcher.rows)
            await self._queue.wait(rows, max(0, min(due) - _microseconds()) / 1e6)
        else:
            await self._queue.wait(1, None)

    async def _commit(self, batch: Batch, arrived_at: float) -> None:
        self._committing, self._committing_from = batch.rows, arrived_at
        begun = time.monotonic()
        report = await self._write_or_spool(batch)
        self._committing = 0
        if report is not None:
            ended = time.monotonic()
            self._health.commit_seconds.observe(ended - begun)
            self._health.frame_to_commit_seconds.observe(ended - arrived_at)
            self._health.skews.observe(batch)
            self._tell(batch, report)

    async def _write_or_spool(self, batch: Batch) -> WriteReport | None:
        """None: it is in the spool."""
        if self._spool is not None:
            if self._is_met.is_set() and self._spool.is_empty:
                try:
                    return await self._store.try_to_write(batch)
                except StoreUnavailable as error:
                    _log.warning("database away: spooling", error=str(error))
            try:
                await self._spool.append(batch)
            except SpoolUnusable as error:
                _log.error("spool failed: waiting for the database", error=str(error))
            else:
                return None
        await self._is_met.wait()
        return await self._store.write(batch)

    def _tell(self, batch: Batch, report: WriteReport) -> None:
        health = self._health
        for relation, rows in report.rows.items():
            health.rows.labels(batch.venue, relation).inc(rows)
            health.duplicates.labels(batch.venue, relation).inc(len(report.repeated[relation]))
        for gap in batch.feed_gaps:
            health.gaps.labels(batch.venue, gap.cause.value).inc()


def _microseconds() -> int:
    """Of a clock that does not go back: for the age of batches."""
    return time.monotonic_ns() // 1_000

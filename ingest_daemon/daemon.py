"""One TaskGroup: feeds → bounded queue → batchers → store. Glue: it wires and waits, and decides nothing.

What lives here: the queue, the writer's loop, start and stop. What never does: parsing, sockets, SQL.

Backpressure: the writer takes from the queue only what it can hand to the store. While the store is slow or
away, the queue fills up to its bound in bytes; then the feeds stop reading their sockets.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

import structlog

from ingest_daemon.batcher import Batch, Batcher, Limits
from ingest_daemon.config import Settings, VenueSettings
from ingest_daemon.errors import ConfigError, StoreUnavailable
from ingest_daemon.events import Event
from ingest_daemon.feed import Feed, backoff_s
from ingest_daemon.health import Health, serve
from ingest_daemon.poll import PolledFeed
from ingest_daemon.resumption import Resumption
from ingest_daemon.store import Store, WriteReport
from ingest_daemon.venues import VENUES, Listing, PolledVenueProtocol

__all__ = ["EventQueue", "StoreThread", "Writer", "run"]

_LONGEST_STORE_BACKOFF_S: Final = 5.0

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class _Item(NamedTuple):
    venue: str
    events: Sequence[Event]
    size: int
    arrived_at: float  # time.monotonic()


class EventQueue:
    """What the feeds received and the writer has not taken yet: bounded by bytes, of one event loop.

    `put` never refuses: an overshoot of one frame a feed is cheaper than an event without a place. The
    producers ask `is_full` and wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[_Item] = deque()
        self._bytes = 0
        self._events = 0
        self._wanted = 1  # events that wake the writer
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self.is_closed = False

    @property
    def bytes(self) -> int:
        """Bytes of the frames that wait."""
        return self._bytes

    @property
    def events(self) -> int:
        """Events that wait."""
        return self._events

    @property
    def is_full(self) -> bool:
        """Whether the producers should wait."""
        return self._bytes >= self._limit

    def put(self, venue: str, events: Sequence[Event], size: int) -> None:
        """Take events in. `size`: bytes of the frame they came in."""
        self._items.append(_Item(venue, events, size, time.monotonic()))
        self._bytes += size
        self._events += len(events)
        if self._events >= self._wanted or self._bytes >= self._limit:
            self._wake.set()

    async def wait_for_room(self) -> None:
        """Return when it is not full."""
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    def take(self) -> _Item | None:
        """The oldest item, or None if there is none."""
        if not self._items:
            return None
        item = self._items.popleft()
        self._bytes -= item.size
        self._events -= len(item.events)
        if not self.is_full:
            self._room.set()
        return item

    async def wait(self, events: int, timeout_s: float | None) -> None:
        """Return when so many events wait, when it is full or closed, or when the time is over."""
        self._wanted = events
        if self._events >= events or self.is_full or self.is_closed:
            return
        self._wake.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        """Nothing will be put any more: the writer ends when it has written what is here."""
        self.is_closed = True
        self._wake.set()


class StoreThread:
    """The store, in a thread of its own, and the patience to wait for its database."""

    def __init__(self, database_url: str, health: Health) -> None:
        self._store = Store(database_url)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._health = health
        self._rng = random.Random()  # noqa: S311 (jitter, no secret)

    async def write(self, batch: Batch) -> WriteReport:
        """Write a batch, however long the database is away. Raises StoreRejected."""
        return await self._patiently(lambda: self._store.write(batch))

    async def load_instruments(self, venues: Sequence[str]) -> dict[str, dict[str, Listing]]:
        """The active instruments, however long the database is away. Raises StoreRejected."""
        return await self._patiently(lambda: self._store.load_instruments(venues))

    async def last_received_at(self, venues: Sequence[str]) -> dict[str, int]:
        """How far each venue was received, however long the database is away. Raises StoreRejected."""
        return await self._patiently(lambda: self._store.last_received_at(venues))

    def close(self) -> None:
        """Close the connection once the call under way has ended."""
        self._thread.submit(self._store.close)
        self._thread.shutdown(wait=False)

    async def _patiently(self, work: Callable[[], _T]) -> _T:
        attempt = 0
        while True:
            try:
                result = await asyncio.get_running_loop().run_in_executor(self._thread, work)
            except StoreUnavailable as error:
                self._health.is_database_up = False
                self._health.store_failures.inc()
                delay_s = min(backoff_s(attempt, self._rng), _LONGEST_STORE_BACKOFF_S)
                _log.warning("waiting for the database", error=str(error), retry_in_s=round(delay_s, 2))
                await asyncio.sleep(delay_s)
                attempt += 1
            else:
                self._health.is_database_up = True
                return result


class Writer:
    """Takes events from the queue and commits them in batches, in order, by venue."""

    def __init__(
        self, queue: EventQueue, store: StoreThread, venues: Sequence[str], limits: Limits, health: Health
    ) -> None:
        self._queue = queue
        self._store = store
        self._limits = limits
        self._health = health
        self._batchers = {venue: Batcher(venue, limits) for venue in venues}
        self._arrived_at = dict.fromkeys(venues, 0.0)  # of the oldest event in each batcher
        self._committing = 0

    @property
    def unwritten(self) -> int:
        """Events that are received and not known to be committed."""
        return self._committing + self._queue.events + sum(each.rows for each in self._batchers.values())

    async def run(self) -> None:
        """Write until the queue is closed and everything is written. Raises StoreRejected."""
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
            for batch in batcher.add(item.events, _microseconds()):
                await self._commit(batch, self._arrived_at[item.venue])
                self._arrived_at[item.venue] = item.arrived_at

    async def _commit_due(self) -> None:
        for venue, batcher in self._batchers.items():
            due = batcher.take_due(_microseconds())
            if due is not None:
                await self._commit(due, self._arrived_at[venue])

    async def _wait(self) -> None:
        """Until the oldest batch is due or a full one waits; with nothing open, until anything comes."""
        due = [batcher.due_at for batcher in self._batchers.values() if batcher.due_at is not None]
        if due:
            await self._queue.wait(self._limits.rows, max(0, min(due) - _microseconds()) / 1e6)
        else:
            await self._queue.wait(1, None)

    async def _commit(self, batch: Batch, arrived_at: float) -> None:
        self._committing = batch.rows
        begun = time.monotonic()
        report = await self._store.write(batch)
        self._committing = 0
        ended = time.monotonic()
        health = self._health
        health.commit_seconds.observe(ended - begun)
        health.frame_to_commit_seconds.observe(ended - arrived_at)
        for relation, rows in report.rows.items():
            health.rows.labels(batch.venue, relation).inc(rows)
            health.duplicates.labels(batch.venue, relation).inc(len(report.repeated[relation]))
        for gap in batch.feed_gaps:
            health.gaps.labels(batch.venue, gap.cause.value).inc()


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Ingest until `stop` is set; then write what was received.

    Raises:
        ConfigError: the health port is taken, or an enabled venue has no instruments.
        StoreRejected: the database refuses what we write.
        StoreUnavailable: it was away while stopping; the message says how many events are not written.
    """
    health = Health()
    server = await _serve(health, settings)
    store = StoreThread(settings.database_url, health)
    try:
        known = await _unless(stop, _known(store, list(settings.enabled_venues)))
        if known is not None:
            await _ingest(settings, *known, store, health, stop)
    finally:
        store.close()
        server.close()
        await server.wait_closed()


async def _known(
    store: StoreThread, venues: Sequence[str]
) -> tuple[dict[str, dict[str, Listing]], dict[str, int]]:
    """The instruments of the venues, and how far each venue was received before this start."""
    return await store.load_instruments(venues), await store.last_received_at(venues)


async def _ingest(
    settings: Settings,
    symbols: Mapping[str, Mapping[str, Listing]],
    last_received_at: Mapping[str, int],
    store: StoreThread,
    health: Health,
    stop: asyncio.Event,
) -> None:
    tuning = settings.tuning
    queue = EventQueue(tuning.queue_bytes)
    health.queue_bytes.set_function(lambda: queue.bytes)
    resumption = Resumption(lambda gap: queue.put(gap.venue, (gap,), 0))
    resumption.remember(last_received_at)
    feeds = _feeds(settings, symbols, queue, health, resumption)
    health.watch({venue: feed.stats for venue, feed in feeds.items()})
    limits = Limits(tuning.batch_rows, tuning.batch_bytes, int(tuning.batch_age_s * 1e6))
    writer = Writer(queue, store, list(feeds), limits, health)
    _log.info("ingest started", venues=list(feeds))
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(writer.run())
        receiving = [tasks.create_task(feed.run()) for feed in feeds.values()]
        await stop.wait()
        for task in receiving:
            task.cancel()
        await asyncio.wait(receiving)
        queue.close()
        try:
            async with asyncio.timeout(tuning.drain_s):
                await writing
        except TimeoutError:
            raise StoreUnavailable(f"{writer.unwritten} events are not written") from None
    _log.info("ingest stopped")


def _feeds(
    settings: Settings,
    symbols: Mapping[str, Mapping[str, Listing]],
    queue: EventQueue,
    health: Health,
    resumption: Resumption,
) -> dict[str, Feed]:
    feeds = {}
    for venue, wanted in settings.enabled_venues.items():
        if not symbols[venue]:
            raise ConfigError(
                f"venues.yaml: venues.{venue}: enabled, but no active instrument of it is known; "
                f"add one with `venue: {venue}` to instruments.yaml and run `sentinet migrate`"
            )
        feeds[venue] = _feed(venue, wanted, symbols[venue], queue, settings, health, resumption)
    return feeds


def _feed(
    venue: str,
    wanted: VenueSettings,
    symbols: Mapping[str, Listing],
    queue: EventQueue,
    settings: Settings,
    health: Health,
    resumption: Resumption,
) -> Feed:
    protocol = VENUES[wanted.protocol]
    if isinstance(protocol, PolledVenueProtocol):
        return PolledFeed(
            venue,
            protocol,
            symbols,
            wanted.channels,
            queue,
            rest_url=wanted.rest_url,
            call_limits=wanted.call_limits or protocol.call_limits,
            on_first_frame=resumption.resume,
            credentials=settings.credentials.get(venue),
        )
    assert wanted.websocket_url is not None, "the settings are checked"
    return Feed(
        venue,
        protocol,
        symbols,
        wanted.channels,
        queue,
        websocket_url=wanted.websocket_url,
        rest_url=wanted.rest_url,
        stale_after_s=wanted.stale_after_s,
        is_recorded=wanted.received_at == "recorded",
        observe_parse=health.parse_seconds.observe,
        on_first_frame=resumption.resume,
        credentials=settings.credentials.get(venue),
    )


async def _serve(health: Health, settings: Settings) -> asyncio.Server:
    host, port = settings.tuning.health_host, settings.tuning.health_port
    try:
        server = await serve(health, host, port)
    except OSError as error:
        raise ConfigError(
            f"SENTINET_INGEST_HEALTH_PORT: cannot listen on {host}, port {port}: {error.strerror or error}"
        ) from None
    _log.info("health page up", host=host, port=server.sockets[0].getsockname()[1])
    return server


async def _unless(stop: asyncio.Event, work: Coroutine[None, None, _T]) -> _T | None:
    """The result of `work`, or None if `stop` was set first."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, stopping):
            task.cancel()


def _microseconds() -> int:
    """Of a clock that does not go back: for the age of batches."""
    return time.monotonic_ns() // 1_000

"""One TaskGroup: feeds → bounded queue → batchers → store or spool. Glue: it wires, and decides how to start.

What lives here: start and stop. What never does: parsing, sockets, SQL, files.

Backpressure: the writer takes from the queue only what it can hand on. While neither database nor disk takes
it, the queue fills up to its bound in bytes; then the feeds stop reading their sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from typing import Final, NamedTuple, TypeVar

import structlog

from ingest_daemon import known
from ingest_daemon.batcher import Limits
from ingest_daemon.config import Settings, VenueSettings
from ingest_daemon.errors import ConfigError, SpoolUnusable, StoreRejected, StoreUnavailable
from ingest_daemon.event_queue import EventQueue
from ingest_daemon.events import GapCause
from ingest_daemon.feed import Feed
from ingest_daemon.health import Health, serve
from ingest_daemon.holes import Holes
from ingest_daemon.known import Known
from ingest_daemon.poll import PolledFeed
from ingest_daemon.recorder import Recorder
from ingest_daemon.repair import Repairer
from ingest_daemon.resumption import Resumption
from ingest_daemon.spool import Spool
from ingest_daemon.venues import (
    VENUES,
    Credentials,
    HistoryProtocol,
    KeyedVenueProtocol,
    Listing,
    PolledVenueProtocol,
    VenueProtocol,
)
from ingest_daemon.writer import SpoolThread, StoreThread, Writer

__all__ = ["run"]

_KNOWN: Final = "instruments.json"

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Ingest until `stop` is set; then write what was received.

    Raises:
        ConfigError: the health port is taken, the spool's directory cannot be used, or an enabled venue has
            no instruments.
        SpoolUnusable: what waits on the disk cannot be read.
        StoreRejected: the database refuses what we write, or is not the one that the spool is for.
        StoreUnavailable: it was away while stopping; the message says how many events are not written.
    """
    health = Health()
    spool = _open_spool(settings)
    recorder = _start_recorder(settings, health)
    store = StoreThread(settings.database_url, health)
    try:
        server = await _serve(health, settings)
        try:
            ground = _Ground(settings, store, spool)
            symbols = await _unless(stop, ground.prepare())
            if symbols is not None:
                await _ingest(settings, symbols, ground, health, recorder, stop)
        finally:
            server.close()
            await server.wait_closed()
    finally:
        store.close()
        if spool is not None:
            spool.close()
        if recorder is not None:
            await asyncio.to_thread(recorder.close)


def _start_recorder(settings: Settings, health: Health) -> Recorder | None:
    tuning = settings.tuning
    if tuning.record is None:
        return None
    recorder = Recorder(tuning.record, tuning.record_buffer_bytes, tuning.record_file_bytes)
    health.watch_recorder(recorder)
    recorder.start()
    return recorder


def _open_spool(settings: Settings) -> Spool | None:
    if not settings.tuning.spool_bytes:
        return None
    spool = Spool(settings.spool, settings.tuning.spool_bytes)
    try:
        spool.open()
    except SpoolUnusable as error:
        raise ConfigError(f"SENTINET_HOME: the spool cannot be used: {error}") from None
    return spool


class _Ground:
    """What stands before the first event: the instruments, the database they are of, how far it has come."""

    def __init__(self, settings: Settings, store: StoreThread, spool: Spool | None) -> None:
        self.store = store
        self.spool = spool
        self._venues = list(settings.enabled_venues)
        self._file = settings.spool / _KNOWN
        self._kept = known.read(self._file) if spool is not None else None
        self._fresh: Known | None = None

    async def prepare(self) -> Mapping[str, Mapping[str, Listing]]:
        """The instruments: the database's, or those it last gave if it is away. Raises StoreRejected."""
        kept = self._kept
        if kept is not None and all(kept.instruments.get(venue) for venue in self._venues):
            try:
                self._fresh = await self.store.try_to_know(self._venues)
            except StoreUnavailable as error:
                _log.warning("database away: starting with the instruments it last gave", error=str(error))
                return kept.instruments
        else:
            self._fresh = await self.store.know(self._venues)
        return self._fresh.instruments

    async def meet(self, resumption: Resumption) -> None:
        """What the database must say before anything is written. Raises StoreRejected."""
        fresh = self._fresh or await self.store.know(self._venues)
        last = await self.store.last_received_at(self._venues)
        if self.spool is not None:
            self._keep(fresh, self.spool)
            for venue, received_at in self.spool.newest.items():
                last[venue] = max(last.get(venue, received_at), received_at)
        resumption.remember(last)

    def _keep(self, fresh: Known, spool: Spool) -> None:
        """An instrument's number means something in one database alone: the spool is written to no other."""
        is_other = self._kept is not None and self._kept.identity != fresh.identity
        if is_other and not spool.is_empty:
            raise StoreRejected(
                f"{self._file.parent} holds events of another database; start with that one until they are "
                "written, or move the folder away"
            )
        try:
            known.write(self._file, fresh)
        except OSError as error:
            _log.warning("instruments are not kept", file=str(self._file), error=str(error))


async def _ingest(
    settings: Settings,
    symbols: Mapping[str, Mapping[str, Listing]],
    ground: _Ground,
    health: Health,
    recorder: Recorder | None,
    stop: asyncio.Event,
) -> None:
    tuning = settings.tuning
    queue = EventQueue(tuning.queue_bytes)
    health.watch_queue(queue)
    holes = _holes(settings, symbols)

    def tell_of_pause(venue: str, started_at: int, ended_at: int) -> None:
        cause, detail = GapCause.NOT_RUNNING, "the daemon was not running"
        gaps = holes[venue].of_all(started_at, ended_at, cause, detail)
        queue.put(venue, gaps, 0)
        if recorder is not None:
            for gap in gaps:
                recorder.gap(gap)

    resumption = Resumption(tell_of_pause)
    feeds = _feeds(settings, symbols, _Around(queue, health, resumption, recorder))
    health.watch(
        {venue: feed.stats for venue, feed in feeds.items()},
        {venue: wanted.hours for venue, wanted in settings.enabled_venues.items() if wanted.hours},
    )
    spool = None if ground.spool is None else SpoolThread(ground.spool)
    if spool is not None:
        health.watch_spool(spool)
    limits = Limits(tuning.batch_rows, tuning.batch_bytes, int(tuning.batch_age_s * 1e6))
    writer = Writer(queue, ground.store, spool, list(feeds), limits, health)
    health.lag_seconds.set_function(lambda: writer.lag_s)
    _log.info("ingest started", venues=list(feeds))
    try:
        async with asyncio.TaskGroup() as tasks:
            draining = tasks.create_task(writer.drain(lambda: ground.meet(resumption)))
            writing = tasks.create_task(writer.run())
            receiving = [tasks.create_task(feed.run()) for feed in feeds.values()]
            repairing = [
                tasks.create_task(_repair(repairer, writer))
                for repairer in _repairers(settings, symbols, ground.store, health)
            ]
            await stop.wait()
            for task in (*receiving, *repairing):
                task.cancel()
            await asyncio.wait(receiving)
            queue.close()
            try:
                async with asyncio.timeout(tuning.drain_s):
                    await writing
            except TimeoutError:
                raise StoreUnavailable(f"{writer.unwritten} events are not written") from None
            draining.cancel()
    finally:
        if spool is not None:
            spool.close()
    _log.info("ingest stopped", spooled_bytes=0 if spool is None else spool.bytes)


def _repairers(
    settings: Settings, symbols: Mapping[str, Mapping[str, Listing]], store: StoreThread, health: Health
) -> Iterator[Repairer]:
    """One for each venue that can tell again what it told."""
    for venue, wanted in settings.enabled_venues.items():
        protocol = VENUES[wanted.protocol]
        if not (wanted.repair and isinstance(protocol, HistoryProtocol)) or wanted.received_at == "recorded":
            continue
        telling = [channel for channel, relation in protocol.tells(wanted.channels) if relation == "trades"]
        # Of two channels with numbers of their own nobody could say whose a number is.
        if len(telling) == 1 and telling[0] in protocol.history.channels:
            yield Repairer(venue, protocol, telling[0], symbols[venue], wanted.rest_url, store, health)


async def _repair(repairer: Repairer, writer: Writer) -> None:
    await writer.wait_until_met()
    await repairer.run()


def _holes(settings: Settings, symbols: Mapping[str, Mapping[str, Listing]]) -> dict[str, Holes]:
    return {
        venue: Holes(venue, VENUES[wanted.protocol], wanted.channels, symbols[venue])
        for venue, wanted in settings.enabled_venues.items()
    }


class _Around(NamedTuple):
    """What every feed is wired to."""

    queue: EventQueue
    health: Health
    resumption: Resumption
    recorder: Recorder | None


def _feeds(
    settings: Settings, symbols: Mapping[str, Mapping[str, Listing]], around: _Around
) -> dict[str, Feed]:
    feeds = {}
    for venue, wanted in settings.enabled_venues.items():
        if not symbols[venue]:
            raise ConfigError(
                f"venues.yaml: venues.{venue}: enabled, but no active instrument of it is known; "
                f"add one with `venue: {venue}` to instruments.yaml and run `sentinet migrate`"
            )
        feeds[venue] = _feed(venue, wanted, symbols[venue], settings.credentials.get(venue), around)
    return feeds


def _feed(
    venue: str,
    wanted: VenueSettings,
    symbols: Mapping[str, Listing],
    credentials: Credentials | None,
    around: _Around,
) -> Feed:
    protocol = VENUES[wanted.protocol]
    recording = None
    if around.recorder is not None:
        recording = around.recorder.venue(venue, protocol.name, symbols, wanted.channels)
    if isinstance(protocol, PolledVenueProtocol):
        return PolledFeed(
            venue,
            protocol,
            symbols,
            wanted.channels,
            around.queue,
            rest_url=wanted.rest_url,
            call_limits=wanted.call_limits or protocol.call_limits,
            on_first_frame=around.resumption.resume,
            credentials=credentials,
            recording=recording,
        )
    assert wanted.websocket_url is not None, "the settings are checked"
    return Feed(
        venue,
        protocol,
        symbols,
        wanted.channels,
        around.queue,
        websocket_url=wanted.websocket_url,
        rest_url=wanted.rest_url,
        stale_after_s=wanted.stale_after_s,
        channel_limits={**_unwatched(wanted, protocol), **wanted.channel_stale_after_s},
        rotate_after_s=wanted.rotate_after_s,
        is_recorded=wanted.received_at == "recorded",
        observe_parse=around.health.parse_seconds.observe,
        on_first_frame=around.resumption.resume,
        credentials=credentials,
        recording=recording,
    )


def _unwatched(wanted: VenueSettings, protocol: VenueProtocol) -> Mapping[str, float]:
    """A market that closes falls silent every day: nothing is to be learnt from that."""
    closes = bool(wanted.hours) or isinstance(protocol, KeyedVenueProtocol)
    return dict.fromkeys(wanted.channels, 0.0) if closes else {}


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

"""One TaskGroup: feeds → bounded queue → batchers → store or spool. Glue: it wires, and decides how to start.

What lives here: start and stop. What never does: parsing, sockets, SQL, files.

Backpressure: the writer takes from the queue only what it can hand on. While neither database nor disk takes
it, the queue fills up to its bound in bytes; then the feeds stop reading their sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import structlog

from ingest_daemon.batcher import Batch, Limits, batch_of
from ingest_daemon.config import Settings, VenueSettings
from ingest_daemon.errors import ConfigError, SpoolUnusable, StoreUnavailable
from ingest_daemon.event_queue import EventQueue
from ingest_daemon.events import Event, FeedGap, GapCause, Trade
from ingest_daemon.feed import Feed
from ingest_daemon.ground import Ground
from ingest_daemon.health import Health, serve
from ingest_daemon.holes import Holes
from ingest_daemon.poll import PolledFeed
from ingest_daemon.recorder import Recorder
from ingest_daemon.repair import Repairer
from ingest_daemon.resumption import Hole, Resumption
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
    ground = Ground(settings, store, spool)
    try:
        server = await _serve(health, settings)
        try:
            symbols = await _unless(stop, ground.prepare())
            if symbols is not None:
                await _ingest(settings, symbols, ground, health, recorder, stop)
        finally:
            server.close()
            await server.wait_closed()
    finally:
        store.close()
        ground.close()
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


async def _ingest(
    settings: Settings,
    symbols: Mapping[str, Mapping[str, Listing]],
    ground: Ground,
    health: Health,
    recorder: Recorder | None,
    stop: asyncio.Event,
) -> None:
    tuning = settings.tuning
    queue = EventQueue(tuning.queue_bytes)
    health.watch_queue(queue)
    holes = _holes(settings, symbols)

    def gaps_of(pause: Hole) -> Sequence[FeedGap]:
        gaps = holes[pause.venue].of_all(
            pause.started_at, pause.ended_at, GapCause.NOT_RUNNING, "the daemon was not running"
        )
        if recorder is not None:
            for gap in gaps:
                recorder.gap(gap)
        return gaps

    resumption = Resumption(
        lambda pause: queue.put(pause.venue, gaps_of(pause), 0),
        ground.keep_open,
        ground.spooled,
        [each for each in ground.left_open() if each.venue in holes],
    )
    pauses = [] if ground.written is None else resumption.remember(ground.written)

    async def meet() -> Sequence[Batch]:
        written = await ground.meet()
        found = pauses or resumption.remember(written)
        return [batch_of(pause.venue, gaps_of(pause)) for pause in found]

    feeds = _feeds(settings, symbols, _Around(queue, health, resumption, recorder, ground))
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
    # A connection of its own: what is looked up and fetched for a gap holds up nothing that is live.
    repair_store = StoreThread(settings.database_url, health)
    _log.info("ingest started", venues=list(feeds))
    try:
        async with asyncio.TaskGroup() as tasks:
            draining = tasks.create_task(writer.drain(meet, resumption.forget))
            writing = tasks.create_task(writer.run())
            receiving = [tasks.create_task(feed.run()) for feed in feeds.values()]
            repairing = [
                tasks.create_task(_repair(repairer, writer))
                for repairer in _repairers(settings, symbols, repair_store, health, recorder)
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
        repair_store.close()
        if spool is not None:
            spool.close()
    _log.info("ingest stopped", spooled_bytes=0 if spool is None else spool.bytes)


def _repairers(
    settings: Settings,
    symbols: Mapping[str, Mapping[str, Listing]],
    store: StoreThread,
    health: Health,
    recorder: Recorder | None,
) -> Iterator[Repairer]:
    """One for each venue that can tell again what it told."""
    for venue, wanted in settings.enabled_venues.items():
        protocol = VENUES[wanted.protocol]
        if not (wanted.repair and isinstance(protocol, HistoryProtocol)) or wanted.received_at == "recorded":
            continue
        telling = [channel for channel, relation in protocol.tells(wanted.channels) if relation == "trades"]
        # Of two channels with numbers of their own nobody could say whose a number is.
        if len(telling) == 1 and telling[0] in protocol.history.channels:
            tell = _telling_of_repairs(recorder, venue, symbols[venue])
            yield Repairer(venue, protocol, telling[0], symbols[venue], wanted.rest_url, store, health, tell)


def _telling_of_repairs(
    recorder: Recorder | None, venue: str, symbols: Mapping[str, Listing]
) -> Callable[[Sequence[Event]], None]:
    """What a recording must have, so that a replay of it repairs too."""
    names = {listing.instrument_id: symbol for symbol, listing in symbols.items()}

    def tell(events: Sequence[Event]) -> None:
        if recorder is None:
            return
        by_symbol: dict[str, list[Trade]] = {}
        for event in events:
            if isinstance(event, Trade):
                by_symbol.setdefault(names[event.instrument_id], []).append(event)
            elif isinstance(event, FeedGap):
                recorder.gap(event)
        for symbol, trades in by_symbol.items():
            recorder.repaired(venue, symbol, trades)

    return tell


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
    ground: Ground


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
    tally = around.ground.tally(venue)
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
            tally=tally,
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
        tally=tally,
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

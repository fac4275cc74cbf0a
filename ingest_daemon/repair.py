"""Gaps of trades, filled from the venue's REST history.

What lives here: which gap next, asking within the venue's limits, patience. What never does: the venue's
words (`venues`), SQL (`repair_store.py`, `store.py`), deciding that there is a gap.

What is to be done is in the database alone, so a repair goes on after a restart. Trades go in by the store
that the live ones go by; the gap is marked when nothing of it can be missing any more. A gap of which the
venue gives a part stays open, and is tried again later, each time after a longer pause.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final, Never

import httpx
import msgspec
import structlog

from ingest_daemon.backoff import backoff_s
from ingest_daemon.batcher import batch_of
from ingest_daemon.errors import FeedLost, ParseError, StoreRejected, StoreUnavailable, VenueRefused
from ingest_daemon.events import Event, FeedGap
from ingest_daemon.health import Health
from ingest_daemon.link import HTTP_TIMEOUT_S, is_local, now
from ingest_daemon.poll import interval_s
from ingest_daemon.repair_store import Surroundings, gaps_to_repair, surroundings_of
from ingest_daemon.venues import HistoryProtocol, Listing, MissingTrades, Request
from ingest_daemon.writer import StoreThread

__all__ = ["Repairer"]

_LOOK_EVERY_S: Final = 2.0
_PRESENT_AFTER_US: Final = 60_000_000  # since a gap ended: then the present is as good as a trade after it
_MOST_PAGES: Final = 500  # of one instrument at a time; what is left is fetched the next time
_FIRST_PAUSE_S: Final = 30.0
_LONGEST_PAUSE_S: Final = 3_600.0
_TOO_MANY: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.IM_A_TEAPOT)  # which Binance says before a ban

_log = structlog.get_logger(__name__)


class _AwayError(FeedLost):
    """The history does not answer now, or wants to be left alone for a while."""

    def __init__(self, why: str, pause_s: float = 0.0) -> None:
        super().__init__(why)
        self.pause_s = pause_s


class Repairer:
    """The gaps of one venue. `run` it in a task; cancel the task to end it.

    Args:
        venue: the operator's name.
        protocol: its dialect.
        channel: the one that tells its trades.
        symbols: what is watched.
        rest_url: where its history is.
        store: where trades go.
        health: what is told of it.
        tell: is told the trades that were fetched, once they are committed, and last the gap.
    """

    def __init__(
        self,
        venue: str,
        protocol: HistoryProtocol,
        channel: str,
        symbols: Mapping[str, Listing],
        rest_url: str,
        store: StoreThread,
        health: Health,
        tell: Callable[[Sequence[Event]], None] = lambda _events: None,
    ) -> None:
        self._venue = venue
        self._protocol = protocol
        self._channel = channel
        self._symbols = {listing.instrument_id: (symbol, listing) for symbol, listing in symbols.items()}
        self._rest_url = rest_url
        self._store = store
        self._health = health
        self._tell = tell
        self._interval_s = interval_s(protocol.history.limits)
        self._rng = random.Random()  # noqa: S311 (jitter, no secret)
        self._next_call_at = 0.0
        self._tries: dict[int, tuple[int, float]] = {}  # by gap: how many in vain, and when the next is due
        self._log = _log.bind(venue=venue)

    async def run(self) -> None:
        """Repair what there is, for ever; ends only if the database refuses it."""
        local = is_local(self._rest_url)
        async with httpx.AsyncClient(timeout=HTTP_TIMEOUT_S, trust_env=not local) as client:
            try:
                await self._repair_all(client)
            except StoreRejected as error:
                self._log.error("repair given up: the database refuses it", error=str(error))

    async def _repair_all(self, client: httpx.AsyncClient) -> Never:
        failures = 0
        while True:
            pause_s = _LOOK_EVERY_S
            try:
                await self._look(client)
                failures = 0
            except StoreUnavailable:
                pass  # the writer waits for it, and says so
            except _AwayError as error:
                pause_s = max(error.pause_s, _LOOK_EVERY_S, backoff_s(failures, self._rng))
                failures += 1
                self._health.repairs.labels(self._venue, "failed").inc()
                self._log.warning("history away", error=str(error), retry_in_s=round(pause_s, 1))
            await asyncio.sleep(pause_s)

    async def _look(self, client: httpx.AsyncClient) -> None:
        """Try every gap that is due once."""
        moment = now()
        gaps = await self._store.attempt(
            lambda store: store.transact(
                lambda connection: gaps_to_repair(
                    connection, self._venue, self._channel, moment, at_once=not self._may_wait
                )
            )
        )
        self._health.gaps_to_repair.labels(self._venue).set(len(gaps))
        self._tries = {each.gap_id: self._tries[each.gap_id] for each in gaps if each.gap_id in self._tries}
        for gap_id, gap in gaps:
            tries, due_at = self._tries.get(gap_id, (0, 0.0))
            if time.monotonic() < due_at:
                continue
            is_whole = await self._try(client, gap)
            if is_whole is None:
                continue
            if is_whole:
                await self._write([msgspec.structs.replace(gap, is_repaired=True)], gap)
                seconds = round((gap.ended_at - gap.started_at) / 1e6, 3)
                self._log.info("gap repaired", gap_id=gap_id, seconds=seconds)
            else:
                pause_s = min(_FIRST_PAUSE_S * 2**tries, _LONGEST_PAUSE_S)
                self._tries[gap_id] = tries + 1, time.monotonic() + pause_s
            self._health.repairs.labels(self._venue, "repaired" if is_whole else "partial").inc()

    async def _try(self, client: httpx.AsyncClient, gap: FeedGap) -> bool | None:
        """Whether all of a gap is there now; None: it is too early to say."""
        is_whole = True
        wanted = list(self._symbols) if gap.instrument_id is None else [gap.instrument_id]
        for instrument_id in wanted:
            if instrument_id not in self._symbols:  # it is watched no more
                return False
            around = await self._surroundings(instrument_id, gap)
            if around is None:
                is_whole = False
                continue
            if around.after is None and self._may_wait and now() < gap.ended_at + _PRESENT_AFTER_US:
                return None
            try:
                is_whole &= await self._fetch_all(client, instrument_id, gap, around)
            except (ParseError, VenueRefused) as error:
                self._log.warning("history not understood", instrument_id=instrument_id, error=str(error))
                is_whole = False
        return is_whole

    @property
    def _may_wait(self) -> bool:
        """Whether the history will be there later; otherwise what is there now is better than nothing."""
        return not self._protocol.history.is_short

    async def _surroundings(self, instrument_id: int, gap: FeedGap) -> Surroundings | None:
        sums_numbers = self._protocol.history.sums_numbers
        return await self._store.attempt(
            lambda store: store.transact(
                lambda connection: surroundings_of(
                    connection, instrument_id, gap, now(), sums_numbers=sums_numbers
                )
            )
        )

    async def _fetch_all(
        self, client: httpx.AsyncClient, instrument_id: int, gap: FeedGap, around: Surroundings
    ) -> bool:
        """Fetch and write what is missing of one instrument; whether that is all."""
        symbol, listing = self._symbols[instrument_id]
        before, after, known = around
        walk = self._protocol.open_repair(
            MissingTrades(symbol, listing, self._channel, gap.ended_at, before, after, known)
        )
        for _ in range(_MOST_PAGES):
            request = walk.request()
            if request is None:
                break
            trades = walk.take(await self._get(client, request), now())
            if trades:
                await self._write(trades, gap)
        return walk.is_whole

    async def _get(self, client: httpx.AsyncClient, request: Request) -> bytes:
        await asyncio.sleep(max(0.0, self._next_call_at - time.monotonic()))
        self._next_call_at = time.monotonic() + self._interval_s
        try:
            response = await client.get(self._rest_url + request.path)
        except httpx.HTTPError as error:
            raise _AwayError(str(error) or type(error).__name__) from error
        if response.is_server_error or response.status_code in _TOO_MANY:
            raise _AwayError(f"HTTP status {response.status_code}", _retry_after_s(response))
        return response.content

    async def _write(self, events: Sequence[Event], gap: FeedGap) -> None:
        batch = batch_of(self._venue, events)
        report = await self._store.attempt(lambda store: store.write(batch, gap.ended_at))
        rows = report.rows.get("trades", 0)
        self._health.rows.labels(self._venue, "trades").inc(rows)
        self._health.repaired_trades.labels(self._venue).inc(rows)
        self._tell(events)


def _retry_after_s(response: httpx.Response) -> float:
    said = response.headers.get("Retry-After", "")
    return min(float(said), _LONGEST_PAUSE_S) if said.isascii() and said.isdigit() else 60.0

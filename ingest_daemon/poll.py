"""A venue without a socket: asked again and again, evenly, never more often than it allows.

What lives here: when to ask, and asking. What never does: the meaning of an answer (`venues`), batches, the
database. What a loss is, how long to wait after it and the gap that it leaves are a feed's as of any other.

One request is sent at a time, at even intervals that keep every limit: 25 a day are one in 58 minutes. So no
budget is used up by noon, and a failed call costs as much as any. The venue's answers say by themselves when
a price is new. The key goes into the query as it is sent, and nowhere else.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence

import httpx

from ingest_daemon.errors import FeedLost, ParseError, VenueRefused
from ingest_daemon.feed import Feed
from ingest_daemon.intake import FeedStaleError, Sink
from ingest_daemon.link import HTTP_TIMEOUT_S, is_local, now
from ingest_daemon.recorder import ConnectionRecording, VenueRecording
from ingest_daemon.refusals import Tally
from ingest_daemon.venues import CallLimit, Credentials, Listing, PolledVenueProtocol, Request

__all__ = ["PolledFeed", "interval_s"]


def interval_s(limits: Sequence[CallLimit]) -> float:
    """Seconds between two calls, such that each limit holds in every period of it.

    >>> interval_s([CallLimit(5, 60.0), CallLimit(25, 86_400.0)])
    3456.0
    """
    return max((limit.period_s / limit.calls for limit in limits), default=0.0)


class PolledFeed(Feed):
    """One venue. `run` it in a task; cancel the task to end it."""

    def __init__(
        self,
        venue: str,
        protocol: PolledVenueProtocol,
        symbols: Mapping[str, Listing],
        channels: Sequence[str],
        sink: Sink,
        *,
        rest_url: str,
        call_limits: Sequence[CallLimit],
        on_first_frame: Callable[[str, int], None] = lambda _venue, _received_at: None,
        rng: random.Random | None = None,
        credentials: Credentials | None = None,
        recording: VenueRecording | None = None,
        tally: Tally | None = None,
    ) -> None:
        super().__init__(
            venue,
            protocol,
            symbols,
            channels,
            sink,
            websocket_url="",
            rest_url=rest_url,
            stale_after_s=HTTP_TIMEOUT_S,
            on_first_frame=on_first_frame,
            rng=rng,
            credentials=credentials,
            recording=recording,
            tally=tally,
        )
        self._tape: ConnectionRecording | None = None  # one, as there is one session
        self._interval_s = interval_s(call_limits)
        self._next_call_at = 0.0
        # Nothing of it is lost with a request; what it has said already it does not say again.
        self._session = self._open_session()

    async def _receive_until_lost(self) -> FeedLost:
        """Ask until an answer fails to come; why it did."""
        async with httpx.AsyncClient(
            timeout=HTTP_TIMEOUT_S, trust_env=not is_local(self._route.rest_url)
        ) as client:
            try:
                while True:
                    await self._wait_for_turn()
                    for request in self._session.pending_requests():
                        self._take_body(request, await self._get(client, request))
                    if self._sink.is_full:
                        await self._sink.wait_for_room()
            except FeedLost as lost:
                return lost

    async def _wait_for_turn(self) -> None:
        await asyncio.sleep(max(0.0, self._next_call_at - time.monotonic()))
        self._next_call_at = time.monotonic() + self._interval_s

    async def _get(self, client: httpx.AsyncClient, request: Request) -> bytes:
        query = ""
        if request.key_parameter and self._credentials is not None:
            mark = "&" if "?" in request.path else "?"
            query = f"{mark}{request.key_parameter}={self._credentials.key}"
        try:
            response = await client.get(self._route.rest_url + request.path + query)
        except httpx.TimeoutException as error:
            raise FeedStaleError(f"no answer to {request.path} for {HTTP_TIMEOUT_S:g} s") from error
        except httpx.HTTPError as error:
            raise FeedLost(f"no answer to {request.path}: {self._intake.words(error)}") from error
        if response.is_server_error:
            raise FeedLost(f"no answer to {request.path}: HTTP status {response.status_code}")
        return self._intake.redacted(response.content)

    def _take_body(self, request: Request, body: bytes) -> None:
        received_at = now()
        self.stats.frames += 1
        self.stats.bytes += len(body)
        if self._recording is not None:
            self._tape = self._tape or self._recording.connect()
            self._tape.answer(request, body, received_at)
        try:
            events = self._session.answer(request, body, received_at)
        except VenueRefused as error:
            self._intake.excuse(error, "", body, received_at)
            return
        except ParseError as error:
            events = self._intake.excuse(error, request.path, body, received_at)
        if self.stats.state != "live":
            self._note_data(received_at)
        self._last_received_at = received_at
        self._put(events, len(body))

"""A polled feed on a real server: when it asks, what it hands on, and what it does when no answer comes."""

from __future__ import annotations

import asyncio
import doctest
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon import poll
from ingest_daemon.events import FeedGap, GapCause, ReferencePrice, RejectedFrame
from ingest_daemon.poll import PolledFeed, interval_s
from ingest_daemon.venues import VENUES, CallLimit, Credentials, Listing, PolledVenueProtocol
from tests.fake_venue import FakeVenue
from tests.unit.ingest_daemon.test_feed import Impatient, Memory, Patient, eventually

KEY = "AVTESTKEY0001"
PATH = f"/query?function=GLOBAL_QUOTE&symbol=IBM&apikey={KEY}"
SOON = (CallLimit(1_000, 1.0),)


def price_of(price: float) -> str:
    return json.dumps(
        {
            "Global Quote": {
                "01. symbol": "IBM",
                "05. price": str(price),
                "06. volume": "1",
                "07. latest trading day": "2024-04-19",
            }
        }
    )


@asynccontextmanager
async def polling(
    venue: FakeVenue,
    sink: Memory,
    limits: tuple[CallLimit, ...] = SOON,
    rng: random.Random | None = None,
) -> AsyncIterator[PolledFeed]:
    protocol = VENUES["alpha_vantage"]
    assert isinstance(protocol, PolledVenueProtocol)
    feed = PolledFeed(
        "here",
        protocol,
        {"IBM": Listing(1)},
        protocol.channels,
        sink,
        rest_url=venue.rest_url,
        call_limits=limits,
        rng=rng or Impatient(),
        credentials=Credentials(KEY),
    )
    task = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            await task


async def test_a_price_is_told_when_it_is_new() -> None:
    sink, venue = Memory(), FakeVenue({PATH: price_of(181.5)})
    async with venue.serve(), polling(venue, sink) as feed:
        await eventually(lambda: feed.stats.frames >= 3)
        assert len(sink.events) == 1
        venue.answers = {PATH: price_of(182.5)}
        await sink.until(lambda: len(sink.events) == 2)
        assert feed.stats.state == "live"

    assert [event.mark_price for event in sink.of(ReferencePrice)] == [181.5, 182.5]
    assert set(venue.requests) == {PATH}


async def test_calls_keep_their_distance() -> None:
    sink, venue = Memory(), FakeVenue({PATH: price_of(181.5)})
    times: list[float] = []
    venue.on_request = lambda: times.append(time.monotonic())
    began = time.monotonic()
    async with venue.serve(), polling(venue, sink, (CallLimit(20, 1.0), CallLimit(1_000, 1.0))):
        await eventually(lambda: len(times) >= 8)

    # Two arrivals may be nearer than their calls were, where the first was held up on its way.
    assert all(at - began >= 0.04 * calls for calls, at in enumerate(times))


async def test_while_no_answer_comes_there_is_a_gap_and_what_was_told_is_not_told_again() -> None:
    sink, venue = Memory(), FakeVenue({PATH: price_of(181.5)})
    async with venue.serve(), polling(venue, sink) as feed:
        await sink.until(lambda: len(sink.events) == 1)
        venue.answers = {}  # status 503
        await eventually(lambda: feed.stats.state == "lost")
        venue.answers = {PATH: price_of(181.5)}
        await sink.until(lambda: bool(sink.of(FeedGap)))
        venue.answers = {PATH: price_of(182.5)}
        await sink.until(lambda: len(sink.of(ReferencePrice)) == 2)

    (gap,) = sink.of(FeedGap)
    assert (gap.cause, gap.venue) == (GapCause.DISCONNECTED, "here")
    assert "503" in gap.detail
    assert KEY not in str(sink.events)
    first, second = sink.of(ReferencePrice)
    assert first.received_at <= gap.started_at < gap.ended_at <= second.received_at


async def test_a_server_that_is_away_is_waited_for_and_the_key_is_not_told(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    sink, venue = Memory(), FakeVenue({PATH: price_of(181.5)})
    caplog.set_level("DEBUG")
    async with venue.serve():
        pass  # the port is known now, and nobody listens
    async with polling(venue, sink) as feed:
        await eventually(lambda: feed.stats.reconnects >= 2)
        assert feed.stats.state == "lost"
        async with venue.serve(port=venue.port):
            await sink.until(lambda: len(sink.events) == 1)

    logged = capsys.readouterr()
    assert "feed lost" in logged.out + logged.err
    assert KEY not in logged.out + logged.err + caplog.text


async def test_an_account_over_its_limit_is_not_hammered_and_the_key_is_not_told(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    sink, rng = Memory(), Patient()
    caplog.set_level("DEBUG")
    refusal = f"We have detected your API key as {KEY} and our rate limit is 25 requests per day."
    venue = FakeVenue({PATH: json.dumps({"Information": refusal})})
    async with venue.serve(), polling(venue, sink, rng=rng) as feed:
        await eventually(lambda: len(rng.spans) >= 3)
        assert feed.stats.refused >= 3

    assert rng.spans[:3] == [(30.0, 60.0), (60.0, 120.0), (120.0, 240.0)]
    assert sink.events == []
    logged = capsys.readouterr()
    assert "detected your API key as [hidden]" in logged.out + logged.err
    assert KEY not in logged.out + logged.err + caplog.text


async def test_an_answer_that_cannot_be_read_is_kept_without_the_key() -> None:
    sink, venue = Memory(), FakeVenue({PATH: f'{{"what": "{KEY}"}}'})
    async with venue.serve(), polling(venue, sink) as feed:
        await sink.until(lambda: len(sink.events) >= 1)
        assert feed.stats.state == "live"

    rejected = sink.of(RejectedFrame)[0]
    assert rejected.frame == b'{"what": "[hidden]"}'
    assert rejected.venue == "here"


async def test_a_symbol_that_is_refused_leaves_the_others_their_turns() -> None:
    sink, venue = Memory(), FakeVenue({PATH: '{"Error Message":"Invalid API call."}'})
    async with venue.serve(), polling(venue, sink) as feed:
        await eventually(lambda: feed.stats.refused >= 2)
        assert feed.stats.reconnects == 0
        venue.answers = {PATH: price_of(181.5)}
        await sink.until(lambda: len(sink.events) == 1)


async def test_a_server_that_is_silent_is_a_stale_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll, "HTTP_TIMEOUT_S", 0.1)
    sink, venue = Memory(), FakeVenue({PATH: price_of(181.5)})
    async with venue.serve():
        async with polling(venue, sink) as feed:
            await sink.until(lambda: len(sink.events) == 1)
            venue.answers_requests.clear()
            await eventually(lambda: feed.stats.state == "lost")
            venue.answers_requests.set()
        (gap,) = sink.of(FeedGap)
        assert gap.cause is GapCause.STALE


def test_examples_hold() -> None:
    assert doctest.testmod(poll).failed == 0


@given(
    st.lists(st.tuples(st.integers(1, 1_000), st.floats(0.1, 86_400)), min_size=1, max_size=3),
    st.integers(0, 10_000),
)
def test_no_period_has_more_calls_than_its_limit(said: list[tuple[int, float]], first: int) -> None:
    limits = [CallLimit(calls, period) for calls, period in said]
    interval = interval_s(limits)
    for limit in limits:
        # The call after the last one allowed comes when the period is over, and not before.
        over = (first + limit.calls) * interval - first * interval
        assert over >= limit.period_s * (1 - 1e-9)


def test_a_venue_without_limits_is_asked_at_once() -> None:
    assert interval_s([]) == 0.0

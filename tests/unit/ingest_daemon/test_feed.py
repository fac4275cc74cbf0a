"""A feed on a real socket: what it hands on; what it does when the socket is lost, silent or held back."""

from __future__ import annotations

import asyncio
import http
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import websockets.asyncio.server as websockets
from websockets.asyncio.server import ServerConnection

from ingest_daemon import feed as module
from ingest_daemon.batcher import Batch
from ingest_daemon.events import Book, Event, FeedGap, GapCause, RejectedFrame, Trade
from ingest_daemon.feed import Feed
from ingest_daemon.handover import Handover
from ingest_daemon.link import RECORDED
from ingest_daemon.recorder import Recorder, VenueRecording
from ingest_daemon.recording import Step
from ingest_daemon.recording_files import find_recordings
from ingest_daemon.replay import replay_files
from ingest_daemon.venues import VENUES, Credentials, Listing, VenueProtocol
from ingest_daemon.venues.roll import Roll, Stream
from tests.fake_venue import PATIENCE_S, FakeVenue

SPOT = VENUES["binance_spot"]
RECORDED_NS = 1_723_161_254_000_000_000


class Impatient(random.Random):
    """Never waits."""

    def uniform(self, a: float, b: float) -> float:
        return 0.0


class Memory:
    """A sink; it is full as long as the test says so."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_full = False
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self.waits = 0

    def put(self, venue: str, events: Sequence[Event], size: int) -> None:
        assert venue == "here"
        assert events
        self.events.extend(events)
        self._tell()

    async def wait_for_room(self) -> None:
        self.waits += 1
        self._tell()
        async with self._changed:
            await self._changed.wait_for(lambda: not self.is_full)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(condition)

    def make_room(self) -> None:
        self.is_full = False
        self._tell()

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def _tell(self) -> None:
        async def notify() -> None:
            async with self._changed:
                self._changed.notify_all()

        task = asyncio.get_running_loop().create_task(notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def trade(trade_id: int, price: str = "61837.63", at_ms: int = 1723161255342) -> str:
    return (
        '{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT",'
        f'"t":{trade_id},"p":"{price}","q":"0.02","T":{at_ms},"m":true,"M":true}}}}'
    )


class Replayed:
    """Takes what a replay writes."""

    def __init__(self) -> None:
        self.trades: list[Trade] = []
        self.repeated: Mapping[str, Sequence[int]] = {}

    def load_instruments(self, venues: Iterable[str]) -> Mapping[str, Mapping[str, Listing]]:
        return {venue: {"BTCUSDT": Listing(1)} for venue in venues}

    def write(self, batch: Batch) -> Replayed:
        self.trades += batch.trades
        return self


class Crowd(FakeVenue):
    """A venue with several clients at once, all of which it sends the same."""

    def __init__(self) -> None:
        super().__init__({})
        self.sent = 0
        self.clients: set[ServerConnection] = set()

    async def send_for_ever(self) -> None:
        while True:
            await asyncio.sleep(0.001)
            clients = list(self.clients)
            if clients:
                text = trade(self.sent)
                self.sent += 1
                websockets.broadcast(clients, text)

    async def _serve_client(self, connection: ServerConnection) -> None:
        self.received.append(str(await connection.recv()))
        self.clients.add(connection)
        try:
            await connection.wait_closed()
        finally:
            self.clients.discard(connection)


async def eventually(condition: Callable[[], bool]) -> None:
    """Counts have nobody to tell when they change."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


@asynccontextmanager
async def running(
    venue: FakeVenue,
    sink: Memory,
    channels: Sequence[str] = ("trade",),
    stale_after_s: float = 30.0,
    is_recorded: bool = False,
    protocol: VenueProtocol = SPOT,
    symbol: str = "BTCUSDT",
    credentials: Credentials | None = None,
    rng: random.Random | None = None,
    rotate_after_s: float | None = None,
    overlap_s: float = 1.0,
    channel_limits: Mapping[str, float] | None = None,
    recording: VenueRecording | None = None,
) -> AsyncIterator[Feed]:
    feed = Feed(
        "here",
        protocol,
        {symbol: Listing(1)},
        channels,
        sink,
        websocket_url=venue.websocket_url,
        rest_url=venue.rest_url,
        stale_after_s=stale_after_s,
        is_recorded=is_recorded,
        rng=rng or Impatient(),
        credentials=credentials,
        rotate_after_s=rotate_after_s,
        overlap_s=overlap_s,
        channel_limits=channel_limits,
        recording=recording,
    )
    task = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            await task


async def test_frames_become_events_with_the_time_they_were_seen() -> None:
    sink, before = Memory(), time.time_ns() // 1_000
    async with FakeVenue({}).serve() as venue, running(venue, sink) as feed:
        await venue.accept()
        await venue.send('{"result":null,"id":1}', trade(1), trade(2))
        await sink.until(lambda: len(sink.events) == 2)

    assert [(event.trade_id, event.occurred_at) for event in sink.of(Trade)] == [
        (1, 1_723_161_255_342_000),
        (2, 1_723_161_255_342_000),
    ]
    assert all(before <= event.received_at <= time.time_ns() // 1_000 for event in sink.of(Trade))
    assert venue.received == ['{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}']
    assert (feed.stats.frames, feed.stats.events, feed.stats.reconnects) == (3, 2, 0)
    assert feed.stats.state == "live"


async def test_a_cut_socket_is_opened_again_and_the_hole_is_a_gap() -> None:
    sink = Memory()
    async with FakeVenue({}).serve() as venue, running(venue, sink) as feed:
        for number in range(3):
            await venue.accept()
            await venue.send(trade(number))
            await sink.until(lambda number=number: len(sink.of(Trade)) == number + 1)
            if number < 2:
                venue.cut()

    trades, gaps = sink.of(Trade), sink.of(FeedGap)
    assert [(gap.started_at, gap.ended_at) for gap in gaps] == [
        (earlier.received_at, later.received_at) for earlier, later in pairwise(trades)
    ]
    assert {(gap.venue, gap.channel, gap.relation, gap.cause) for gap in gaps} == {
        ("here", "trade", "trades", GapCause.DISCONNECTED)
    }
    assert feed.stats.reconnects == 2


async def test_a_hole_begins_where_what_was_on_its_way_may_have_happened() -> None:
    sink = Memory()
    async with FakeVenue({}).serve() as venue, running(venue, sink):
        await venue.accept()
        sent_ms = time.time_ns() // 1_000_000
        await venue.send(trade(1, at_ms=sent_ms - 300), trade(2, at_ms=sent_ms))
        await sink.until(lambda: len(sink.of(Trade)) == 2)
        venue.cut()
        await venue.accept()
        await venue.send(trade(3))
        await sink.until(lambda: len(sink.of(Trade)) == 3)

    (gap,) = sink.of(FeedGap)
    first, second, third = sink.of(Trade)
    assert gap.started_at == second.received_at - (first.received_at - first.occurred_at)
    assert gap.ended_at == third.received_at


async def test_a_silent_socket_is_given_up_and_the_hole_is_a_stale_gap() -> None:
    sink, venue = Memory(), FakeVenue({})
    venue.greeting = [trade(1)]  # whoever comes hears it at once, and nothing more
    async with venue.serve(), running(venue, sink, stale_after_s=0.1):
        await sink.until(lambda: len(sink.of(Trade)) >= 2)  # it came again by itself

    gap, *_ = sink.of(FeedGap)
    first, second, *_ = sink.of(Trade)
    assert gap.cause is GapCause.STALE
    assert (gap.started_at, gap.ended_at) == (first.received_at, second.received_at)
    assert gap.ended_at - gap.started_at >= 100_000


async def test_while_the_sink_is_full_nothing_is_read_and_nothing_is_stale() -> None:
    sink, venue = Memory(), FakeVenue({})
    sink.is_full, venue.greeting = True, [trade(0)]
    async with venue.serve(), running(venue, sink, stale_after_s=0.5) as feed:
        await sink.until(lambda: sink.waits == 1)
        await venue.accept()
        await venue.send(*map(trade, range(1, 10)))
        await asyncio.wait({asyncio.create_task(asyncio.Event().wait())}, timeout=1.5)
        assert feed.stats.frames == 1

        sink.make_room()
        await sink.until(lambda: len(sink.events) == 10)

    assert [event.trade_id for event in sink.of(Trade)] == list(range(10))
    assert feed.stats.reconnects == 0


async def test_a_recordings_receive_times_are_kept() -> None:
    sink = Memory()
    async with (
        FakeVenue({}).serve(subprotocol=RECORDED) as venue,
        running(venue, sink, is_recorded=True),
    ):
        await venue.accept()
        await venue.send(f"{RECORDED_NS} {trade(1)}")
        await sink.until(lambda: len(sink.events) == 1)
        venue.cut()
        await venue.accept()
        await venue.send(f"{RECORDED_NS + 5_000_000_999} {trade(2)}")
        await sink.until(lambda: len(sink.of(Trade)) == 2)

    start = RECORDED_NS // 1_000
    assert [event.received_at for event in sink.of(Trade)] == [start, start + 5_000_000]
    (gap,) = sink.of(FeedGap)
    assert (gap.started_at, gap.ended_at) == (start, start + 5_000_000)


async def test_a_server_without_receive_times_is_no_recording() -> None:
    sink = Memory()
    async with FakeVenue({}).serve() as venue, running(venue, sink, is_recorded=True) as feed:
        await eventually(lambda: feed.stats.reconnects >= 2)

    assert feed.stats.state == "lost"
    assert sink.events == []


async def test_a_frame_that_cannot_be_parsed_is_kept_and_the_feed_goes_on() -> None:
    sink, broken = Memory(), trade(1, price="-1")
    async with FakeVenue({}).serve() as venue, running(venue, sink) as feed:
        await venue.accept()
        await venue.send(broken, "x" * 100_000, trade(2))
        await sink.until(lambda: len(sink.events) == 3)

    first, second = sink.of(RejectedFrame)
    assert (first.venue, first.channel, first.frame) == ("here", "btcusdt@trade", broken.encode())
    assert "-1" in first.error
    assert (second.channel, len(second.frame)) == (None, 65_536)
    assert (feed.stats.rejected, feed.stats.frames) == (2, 3)


async def test_a_refused_request_is_counted_and_the_feed_goes_on() -> None:
    sink = Memory()
    async with FakeVenue({}).serve() as venue, running(venue, sink) as feed:
        await venue.accept()
        await venue.send('{"error":{"code":2,"msg":"Invalid request"},"id":1}', trade(2))
        await sink.until(lambda: len(sink.events) == 1)

    assert (feed.stats.refused, feed.stats.rejected) == (1, 0)


async def test_what_a_session_asks_for_is_fetched() -> None:
    sink = Memory()
    path = "/api/v3/depth?symbol=BTCUSDT&limit=1000"
    snapshot = '{"lastUpdateId":10,"bids":[["99.0","1.0"]],"asks":[["101.0","2.0"]]}'
    diff = (
        '{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT",'
        '"U":9,"u":11,"b":[["100.0","3.0"]],"a":[]}}'
    )
    async with FakeVenue({path: snapshot}).serve() as venue, running(venue, sink, ["depth"]):
        await venue.accept()
        await venue.send(diff)
        await sink.until(lambda: bool(sink.of(Book)))

    assert venue.requests == [path]
    assert sink.of(Book)[0].bid_prices == (100.0, 99.0)


async def test_a_venue_that_is_away_is_waited_for() -> None:
    sink, venue = Memory(), FakeVenue({})
    async with venue.serve():
        pass  # the port is known now, and nobody listens
    async with running(venue, sink) as feed:
        await eventually(lambda: feed.stats.reconnects >= 3)
        assert feed.stats.state == "lost"
        async with venue.serve(port=venue.port):
            await venue.accept()
            await venue.send(trade(1))
            await sink.until(lambda: len(sink.events) == 1)
            assert sink.of(FeedGap) == []  # nothing was received before: nothing is known to be missing


async def test_a_hole_that_is_open_at_the_end_is_a_gap() -> None:
    sink, venue = Memory(), FakeVenue({})
    async with AsyncExitStack() as server, AsyncExitStack() as client:
        await server.enter_async_context(venue.serve())
        feed = await client.enter_async_context(running(venue, sink))
        await venue.accept()
        await venue.send(trade(1))
        await sink.until(lambda: len(sink.events) == 1)
        await server.aclose()
        await eventually(lambda: feed.stats.state == "lost")

    (gap,) = sink.of(FeedGap)
    assert gap.started_at == sink.of(Trade)[0].received_at
    assert gap.ended_at >= gap.started_at


async def test_a_book_that_is_lost_is_subscribed_anew_on_the_same_socket() -> None:
    start = '{"arg":{"channel":"books","instId":"BTC-USDT"},"action":'
    ends = '"asks":[["101","1","0","1"]],"bids":[["99","1","0","1"]],"ts":"1723161255342","checksum":0'
    snapshot = f'{start}"snapshot","data":[{{{ends},"seqId":10,"prevSeqId":-1}}]}}'
    torn = f'{start}"update","data":[{{{ends},"seqId":13,"prevSeqId":12}}]}}'
    sink = Memory()
    okx = {"protocol": VENUES["okx"], "symbol": "BTC-USDT", "channels": ["books"]}
    async with FakeVenue({}).serve() as venue, running(venue, sink, **okx) as feed:
        await venue.accept()
        await venue.send(snapshot, torn)
        await eventually(lambda: len(venue.received) == 3)
        assert not sink.of(FeedGap)
        await venue.send(snapshot)
        await sink.until(lambda: bool(sink.of(FeedGap)))

    assert [json.loads(text)["op"] for text in venue.received] == ["subscribe", "unsubscribe", "subscribe"]
    assert feed.stats.reconnects == 0
    gaps = sink.of(FeedGap)  # nothing else tells the best prices: they were missing too
    assert [gap.relation for gap in gaps] == ["books", "quotes"]
    assert {(gap.cause, gap.instrument_id, gap.channel) for gap in gaps} == {
        (GapCause.SEQUENCE_BREAK, 1, "books")
    }


# An account. The venue is Alpaca: a login by message.

ACCOUNT = Credentials("PKTESTKEY0001", "s3cretS3CRETs3cret")
ALPACA: dict[str, Any] = {
    "protocol": VENUES["alpaca_iex"],
    "symbol": "AAPL",
    "channels": ["trades"],
    "credentials": ACCOUNT,
}
LOGGED_IN = '[{"T":"success","msg":"authenticated"}]'


def stock_trade(trade_id: int, price: float = 192.5) -> str:
    return (
        f'[{{"T":"t","S":"AAPL","i":{trade_id},"x":"V","p":{price},"s":90,"c":["@"],"z":"C",'
        '"t":"2024-06-03T13:33:33.002960334Z"}]'
    )


def assert_hidden(*texts: object) -> None:
    for text in map(str, texts):
        assert ACCOUNT.key not in text
        assert ACCOUNT.secret not in text


class Patient(Impatient):
    """Never waits, and keeps the spans it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[tuple[float, float]] = []

    def uniform(self, a: float, b: float) -> float:
        self.spans.append((a, b))
        return 0.0


async def test_the_login_comes_first_and_the_subscriptions_after_the_venues_yes() -> None:
    sink = Memory()
    async with FakeVenue({}).serve() as venue, running(venue, sink, **ALPACA) as feed:
        await venue.accept()
        await venue.send('[{"T":"success","msg":"connected"}]')
        await eventually(lambda: feed.stats.frames == 1)
        assert (len(venue.received), feed.stats.state) == (1, "starting")
        await venue.send(LOGGED_IN)
        await eventually(lambda: len(venue.received) == 2)
        await venue.send(stock_trade(1))
        await sink.until(lambda: len(sink.of(Trade)) == 1)

    assert [json.loads(text) for text in venue.received] == [
        {"action": "auth", "key": ACCOUNT.key, "secret": ACCOUNT.secret},
        {"action": "subscribe", "trades": ["AAPL"]},
    ]
    assert venue.paths == ["/v2/iex"]


async def test_a_refused_login_is_told_without_the_key_and_not_hammered(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    sink, rng = Memory(), Patient()
    caplog.set_level("DEBUG")
    async with FakeVenue({}).serve() as venue, running(venue, sink, **ALPACA, rng=rng) as feed:
        for _ in range(3):
            await venue.accept()
            refusal = f"auth failed for {ACCOUNT.key}, {ACCOUNT.secret}"
            await venue.send(f'[{{"T":"error","code":402,"msg":"{refusal}"}}]')
        await eventually(lambda: len(rng.spans) == 3)
        assert (feed.stats.refused, feed.stats.state) == (3, "lost")

    assert sink.events == []  # nothing ever came: nothing is known to be missing
    assert rng.spans == [(30.0, 60.0), (60.0, 120.0), (120.0, 240.0)]
    logged = capsys.readouterr()
    assert "venue refused the login" in logged.out + logged.err
    assert "auth failed for [hidden], [hidden]" in logged.out + logged.err
    assert_hidden(logged.out, logged.err, caplog.text)


async def test_a_feed_that_is_cancelled_while_it_gives_its_socket_up_ends() -> None:
    async with FakeVenue({}).serve() as venue, running(venue, Memory(), **ALPACA) as feed:
        await venue.accept()
        await venue.send('[{"T":"error","code":402,"msg":"auth failed"}]')
        await eventually(lambda: feed.stats.refused == 1)  # told, and the socket is not closed yet


async def test_a_login_refused_after_data_leaves_one_gap_until_data_comes_again() -> None:
    sink = Memory()
    async with FakeVenue({}).serve() as venue, running(venue, sink, **ALPACA):
        await venue.accept()
        await venue.send(LOGGED_IN, stock_trade(1))
        await sink.until(lambda: len(sink.of(Trade)) == 1)
        venue.cut()
        await venue.accept()
        await venue.send('[{"T":"success","msg":"connected"}]')
        await venue.send('[{"T":"error","code":406,"msg":"connection limit exceeded"}]')
        await venue.accept()
        await venue.send(LOGGED_IN, stock_trade(2))
        await sink.until(lambda: len(sink.of(Trade)) == 2)

    (gap,) = sink.of(FeedGap)
    first, second = sink.of(Trade)
    assert (gap.started_at, gap.ended_at) == (first.received_at, second.received_at)


async def test_a_frame_that_repeats_the_key_is_quarantined_without_it() -> None:
    sink = Memory()
    async with FakeVenue({}).serve() as venue, running(venue, sink, **ALPACA):
        await venue.accept()
        await venue.send(LOGGED_IN, f'[{{"T":"{ACCOUNT.key}","S":"{ACCOUNT.secret}"}}]')
        await sink.until(lambda: len(sink.events) == 1)

    (rejected,) = sink.of(RejectedFrame)
    assert rejected.frame == b'[{"T":"[hidden]","S":"[hidden]"}]'
    assert_hidden(rejected)


async def test_a_socket_refused_for_the_account_is_a_refused_login() -> None:
    sink, rng, venue = Memory(), Patient(), FakeVenue({})
    venue.refusal = http.HTTPStatus.UNAUTHORIZED
    async with venue.serve(), running(venue, sink, **ALPACA, rng=rng) as feed:
        await eventually(lambda: feed.stats.refused == 2)
    assert rng.spans[0] == (30.0, 60.0)


async def test_a_key_in_the_address_is_sent_and_never_shown(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    sink, venue = Memory(), FakeVenue({})
    caplog.set_level("DEBUG")
    finage = ALPACA | {"protocol": VENUES["finage"]}
    venue.greeting = ['{"status_code":200,"message":"connected to the adapter"}']
    async with venue.serve(), running(venue, sink, **finage) as feed:
        await venue.accept()
        await venue.send('{"s":"AAPL","p":"192.5","v":"3","t":1723161255342}')
        await sink.until(lambda: len(sink.of(Trade)) == 1)
        venue.refusal = http.HTTPStatus.FORBIDDEN  # whose body repeats the path
        venue.cut()
        await eventually(lambda: feed.stats.refused >= 1)

    assert venue.received == ['{"action":"subscribe","symbols":"AAPL"}']
    assert venue.paths[:2] == [f"/?token={ACCOUNT.key}"] * 2
    assert len(sink.of(FeedGap)) == 1
    logged = capsys.readouterr()
    assert "venue refused the login" in logged.out + logged.err
    assert_hidden(logged.out, logged.err, caplog.text, sink.events)


# One socket after the other.


async def test_a_new_socket_takes_over_with_every_trade_once_and_no_gap() -> None:
    sink = Memory()
    venue = Crowd()
    async with venue.serve(), running(venue, sink, rotate_after_s=0.2, overlap_s=0.1) as feed:
        sending = asyncio.create_task(venue.send_for_ever())
        await eventually(lambda: feed.stats.reconnects >= 3)
        sending.cancel()
        await eventually(lambda: len(sink.of(Trade)) == venue.sent)

    assert [event.trade_id for event in sink.of(Trade)] == list(range(venue.sent))
    assert sink.of(FeedGap) == []
    assert feed.stats.state == "live"


@pytest.fixture
def rolls(monkeypatch: pytest.MonkeyPatch) -> list[Roll]:
    """A roll call in no time, whenever there is time; those that were made."""
    made: list[Roll] = []

    def noted(roll: Roll, call: Callable[[Roll], Mapping[Stream, int]] = Roll.call) -> Mapping[Stream, int]:
        made.append(roll)
        return call(roll)

    monkeypatch.setattr(Roll, "call", noted)
    monkeypatch.setattr(module, "_ROLL_S", 0.01)
    return made


async def test_no_new_socket_takes_over_from_one_that_has_told_nothing_yet(rolls: list[Roll]) -> None:
    async with FakeVenue({}).serve() as venue, running(venue, Memory(), rotate_after_s=0.001):
        await venue.accept()
        seen = len(rolls)
        await eventually(lambda: len(rolls) >= seen + 3 or len(venue.paths) > 1)
        assert len(venue.paths) == 1
        await venue.send(trade(1))
        await venue.accept()


async def test_what_a_new_socket_repeats_is_known_until_it_was_read_for_a_while(rolls: list[Roll]) -> None:
    sink = Memory()
    changing = running(venue := FakeVenue({}), sink, rotate_after_s=0.001, overlap_s=0.0)
    async with venue.serve(), changing as feed:
        old = await venue.accept()
        await old.send(trade(1))
        await venue.accept()
        for number in (2, 3):
            await old.send(trade(number))
        await sink.until(lambda: len(sink.events) == 3)
        sink.is_full = True
        await venue.send(trade(2))  # seen on both: it leads, lags behind, and waits for room
        await eventually(lambda: feed.stats.reconnects == 1)
        await venue.send(trade(3), trade(4))
        seen = len(rolls)
        await eventually(lambda: len(rolls) >= seen + 3)
        sink.make_room()
        await sink.until(lambda: sink.events[-1].trade_id == 4)

    assert [event.trade_id for event in sink.of(Trade)] == [1, 2, 3, 4]


@pytest.mark.usefixtures("rolls")
async def test_changes_that_follow_at_once_are_one_after_the_other_and_a_replay_makes_them_again(
    tmp_path: Path,
) -> None:
    sink, venue = Memory(), Crowd()
    recorder = Recorder(tmp_path)
    recorder.start()
    recording = recorder.venue("here", SPOT.name, ["BTCUSDT"], ["trade"])
    changing = running(venue, sink, rotate_after_s=0.001, overlap_s=0.1, recording=recording)
    async with venue.serve(), changing as feed:
        sending = asyncio.create_task(venue.send_for_ever())
        await eventually(lambda: feed.stats.reconnects >= 4)
        sending.cancel()
    recorder.close()

    steps = [
        [entry.content.step for entry, _ in each.entries([].append) if isinstance(entry.content, Step)]
        for each in find_recordings([tmp_path])
    ]
    assert steps[0] == ["begun", "done"]
    for each in steps[1:4]:  # each change is over before the next
        assert each == ["done", "settled", "begun", "done"]
    replayed = Replayed()
    replay_files([tmp_path], replayed, {})
    assert replayed.trades == sink.of(Trade)


async def test_a_feed_that_ends_while_it_closes_its_old_socket_closes_the_new_one_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes: list[Handover] = []

    class Noted(Handover):
        def __init__(self) -> None:
            super().__init__()
            changes.append(self)

    monkeypatch.setattr(module, "Handover", Noted)
    venue = Crowd()
    async with venue.serve():
        async with running(venue, Memory(), rotate_after_s=0.2, overlap_s=0.1):
            sending = asyncio.create_task(venue.send_for_ever())
            await eventually(lambda: bool(venue.clients))
            (old,) = venue.clients
            old.transport.pause_reading()  # it does not hear that it is to close, so that this takes a second
            await eventually(lambda: bool(changes) and changes[0].is_over)
        await eventually(lambda: venue.clients <= {old})
        sending.cancel()
        old.transport.resume_reading()


async def test_a_stream_that_falls_silent_is_subscribed_to_anew_and_the_silence_is_a_gap() -> None:
    sink = Memory()
    data = '"s":"BTCUSDT","b":"1.0","B":"1.0","a":"2.0","A":"1.0"'
    quote = f'{{"stream":"btcusdt@bookTicker","data":{{"u":%d,{data}}}}}'
    channels = ["trade", "bookTicker"]
    async with (
        FakeVenue({}).serve() as venue,
        running(venue, sink, channels, channel_limits={"trade": 1.0}) as feed,
    ):
        await venue.accept()
        await venue.send(trade(1), quote % 1)
        await eventually(lambda: len(venue.received) == 3)
        await venue.send(quote % 2, trade(2))
        await sink.until(lambda: len(sink.of(FeedGap)) == 2)

    assert [json.loads(text)["method"] for text in venue.received] == [
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "SUBSCRIBE",
    ]
    assert json.loads(venue.received[1])["params"] == ["btcusdt@trade"]
    assert feed.stats.reconnects == 0
    first, second = sink.of(FeedGap)
    assert (first.started_at, second.ended_at) == tuple(event.received_at for event in sink.of(Trade))
    assert first.ended_at == second.started_at
    assert {(gap.cause, gap.channel, gap.relation, gap.instrument_id) for gap in (first, second)} == {
        (GapCause.STALE, "trade", "trades", 1)
    }

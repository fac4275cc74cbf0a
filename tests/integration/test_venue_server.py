"""The venue server over real sockets: the protocol, books in sync, recordings line by line, its end."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.typing import Subprotocol

from ingest_daemon.events import Book, FeedGap
from ingest_daemon.venues import VENUES, Listing
from ingest_daemon.venues.simulated import SimulatedMarket, demo_script
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.venue_dialects import Message
from sentinet_dagster.runtime.venue_faults import Faults
from sentinet_dagster.runtime.venue_recordings import Recording, RecordingSource
from sentinet_dagster.runtime.venue_server import _CLOSE_TIMEOUT_S, VenueServer
from sentinet_dagster.runtime.venue_sources import SimulatedSource

pytestmark = pytest.mark.integration

SECOND = 1_000_000
ANCHOR = 1_700_000_000_000_000
RECORDED = Subprotocol("sentinet.recorded.v1")


class Clock:
    """A wall clock that runs ten times as fast."""

    def __init__(self, start_us: int) -> None:
        self._start_us = start_us
        self._since = asyncio.get_running_loop().time()

    def __call__(self) -> int:
        return self._start_us + int((asyncio.get_running_loop().time() - self._since) * 10 * SECOND)


@pytest.fixture
async def server() -> AsyncIterator[VenueServer]:
    """A simulated market, a minute old, ten times as fast as the clock."""
    live = ANCHOR + 60 * SECOND
    source = SimulatedSource(SimulatedMarket(1, ANCHOR, demo_script(live)), live, Clock(live))
    async with VenueServer(source) as running:
        yield running


def dial(server: VenueServer, path: str, market: str = "spot", **options: Any) -> connect:
    url = server.markets[market]["websocket_url"] + path
    return connect(url, proxy=None, compression=None, max_queue=None, **options)


def rest(server: VenueServer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=60)


async def ask(socket: ClientConnection, method: str, *params: str, number: int = 1) -> dict[str, Any]:
    await socket.send(json.dumps({"method": method, "params": params, "id": number}))
    while True:
        answer = json.loads(await socket.recv())
        if "stream" not in answer:
            return dict(answer)


async def drain(socket: ClientConnection) -> None:
    while True:
        await socket.recv()


async def test_streams_come_as_subscribed(server: VenueServer) -> None:
    async with dial(server, "/stream") as socket:
        assert await ask(socket, "LIST_SUBSCRIPTIONS") == {"result": [], "id": 1}
        streams = ["btcusdt@bookTicker", "ethusdt@depth20@100ms"]
        assert await ask(socket, "SUBSCRIBE", *streams, number=2) == {"result": None, "id": 2}
        assert await ask(socket, "LIST_SUBSCRIPTIONS", number=3) == {"result": streams, "id": 3}
        seen: Counter[str] = Counter()
        while min(seen[name] for name in streams) < 3:
            seen[json.loads(await socket.recv())["stream"]] += 1
        assert set(seen) == set(streams)
        await ask(socket, "UNSUBSCRIBE", "btcusdt@bookTicker", number=4)
        after = [json.loads(await socket.recv())["stream"] for _ in range(5)]
        assert set(after) == {"ethusdt@depth20@100ms"}


async def test_streams_in_the_url_need_no_request_and_a_raw_stream_has_no_envelope(
    server: VenueServer,
) -> None:
    async with dial(server, "/stream?streams=btcusdt@trade/solusdt@bookTicker", "usdm") as socket:
        assert json.loads(await socket.recv())["stream"] in ("btcusdt@trade", "solusdt@bookTicker")
    async with dial(server, "/ws/btcusdt@markPrice@1s", "usdm") as socket:
        assert json.loads(await socket.recv())["e"] == "markPriceUpdate"


async def test_what_the_venue_does_not_have_is_refused_as_the_venue_does(server: VenueServer) -> None:
    async with dial(server, "/stream") as socket:
        unknown = await ask(socket, "SUBSCRIBE", "btcusdt@trade", "dogeusdt@trade", number=7)
        assert unknown == {
            "error": {"code": 2, "msg": "Invalid request: unknown stream dogeusdt@trade"},
            "id": 7,
        }
        assert (await ask(socket, "LIST_SUBSCRIPTIONS"))["result"] == []
        assert (await ask(socket, "GUESS", number=8))["error"]["code"] == 2
        await socket.send("{")
        assert json.loads(await socket.recv())["error"]["code"] == 3
        await socket.send('{"method": "SUBSCRIBE", "params": "btcusdt@trade", "id": 9}')
        assert json.loads(await socket.recv())["error"]["code"] == 2
        await (await socket.ping())
    with pytest.raises(InvalidStatus, match="400"):
        await dial(server, "/stream?streams=nosuch@trade")
    with pytest.raises(InvalidStatus, match="404"):
        await dial(server, "/nowhere")
    # Futures only: a spot market has no mark price.
    with pytest.raises(InvalidStatus, match="400"):
        await dial(server, "/ws/btcusdt@markPrice@1s")


async def test_the_rest_interface(server: VenueServer) -> None:
    async with rest(server) as client:
        assert (await client.get("/spot/api/v3/ping")).json() == {}
        assert (await client.get("/usdm/fapi/v1/time")).json()["serverTime"] > 1_600_000_000_000
        listed = (await client.get("/usdm/fapi/v1/exchangeInfo")).json()["symbols"]
        assert [entry["symbol"] for entry in listed] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
        book = (await client.get("/usdm/fapi/v1/depth", params={"symbol": "BTCUSDT", "limit": 20})).json()
        assert len(book["bids"]) == len(book["asks"]) == 20
        assert float(book["bids"][0][0]) < float(book["asks"][0][0])
        for query, code in (
            ({}, -1102),
            ({"symbol": "NOSUCH"}, -1121),
            ({"symbol": "BTCUSDT", "limit": "x"}, -1100),
        ):
            refused = await client.get("/spot/api/v3/depth", params=query)
            assert (refused.status_code, refused.json()["code"]) == (400, code)
        assert (await client.get("/spot/api/v3/klines")).status_code == 404
        assert (await client.get("/spot/fapi/v1/ping")).status_code == 404
        assert (await client.get("/healthz")).json() == {"status": "ok"}


async def test_the_ledger_is_what_was_received(server: VenueServer) -> None:
    received: list[dict[str, Any]] = []
    async with dial(server, "/stream?streams=btcusdt@trade/ethusdt@trade") as socket, rest(server) as client:
        while len(received) < 40:
            received.append(json.loads(await socket.recv()))
        await ask(socket, "UNSUBSCRIBE", "btcusdt@trade", "ethusdt@trade")
        ledger = (await client.get("/ledger")).json()["streams"]
        for name in ("btcusdt@trade", "ethusdt@trade"):
            ids = [message["data"]["t"] for message in received if message["stream"] == name]
            (sent,) = ledger[f"spot/{name}"]["ids"]
            # What was on its way while the last request was, the client has read over.
            assert sent[0] == ids[0]
            assert ids == list(range(sent[0], ids[-1] + 1))
            assert ledger[f"spot/{name}"]["frames"] == sent[1] - sent[0] + 1 >= len(ids)


async def test_a_silent_socket_stays_open_and_another_one_is_told(server: VenueServer) -> None:
    path = "/stream?streams=btcusdt@trade"
    async with dial(server, path) as silent, rest(server) as client:
        await silent.recv()
        assert (await client.get("/faults/silence")).status_code == 405
        assert (await client.post("/faults/silence")).json() == {"silenced": 1}
        assert (await ask(silent, "LIST_SUBSCRIPTIONS"))["result"] == ["btcusdt@trade"]  # it is there still
        async with dial(server, path) as other:
            for _ in range(20):
                await other.recv()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(silent.recv(), 0.05)


async def test_on_a_bad_line_frames_come_twice_and_damaged_ones_beside_them() -> None:
    live = ANCHOR + 60 * SECOND
    source = SimulatedSource(SimulatedMarket(1, ANCHOR), live, Clock(live))
    noticed: list[tuple[str, Message, int]] = []
    async with (
        VenueServer(
            source,
            faults=Faults(malformed=1, duplicated=1, within=1),
            observe=lambda *seen: noticed.append(seen),
        ) as server,
        dial(server, "/stream?streams=btcusdt@trade") as socket,
        rest(server) as client,
    ):
        texts = [bytes(await socket.recv(decode=False)) for _ in range(60)]
        entry = (await client.get("/ledger")).json()["streams"]["spot/btcusdt@trade"]

    assert texts == [message.text for _, message, clients in noticed if clients == 1][:60]
    assert abs(entry["frames"] - 2 * entry["damaged"]) <= 1
    ids = [json.loads(message.text)["data"]["t"] for _, message, _ in noticed if not message.is_damaged]
    told = Counter(ids)
    del told[max(ids)]  # its second is to come
    assert set(told.values()) == {2}


async def test_the_truth_is_told(server: VenueServer) -> None:
    async with rest(server) as client:
        until = ANCHOR + (60 + 30) * SECOND
        episodes = (await client.get("/episodes", params={"until_us": until})).json()["episodes"]
        assert [episode["kind"] for episode in episodes] == ["volatility_spike", "decoupling"]
        assert episodes[0]["instruments"][1] == {"venue": "simulated_usdm", "venue_symbol": "ETHUSDT"}
        assert episodes[0]["starts_at_us"] == ANCHOR + 72 * SECOND
        for endless in ("x", str(2**62)):
            assert (await client.get("/episodes", params={"until_us": endless})).status_code == 400


async def test_a_cut_drops_every_socket(server: VenueServer) -> None:
    async with dial(server, "/stream?streams=btcusdt@trade") as socket, rest(server) as client:
        assert (await client.get("/faults/cut")).status_code == 405
        assert (await client.post("/faults/cut")).json() == {"cut": 1}
        with pytest.raises(ConnectionClosedError):
            await drain(socket)


@pytest.mark.parametrize("market", ["spot", "usdm"])
async def test_a_book_of_the_daemon_stays_in_sync(server: VenueServer, market: str) -> None:
    """The daemon's own session over socket and REST: a book without a gap, and not crossed."""
    session = VENUES[f"binance_{market}"].open_session("simulated", {"BTCUSDT": Listing(1)}, ["depth"])
    books: list[Book] = []
    async with dial(server, session.path(), market) as socket, rest(server) as client:
        for text in session.subscribe():
            await socket.send(text)
        received_at = ANCHOR
        while len(books) < 60:
            frame = (await socket.recv()).encode()  # type: ignore[union-attr]
            received_at += 100_000
            events = list(session.parse(frame, received_at))
            for request in session.pending_requests():
                answer = await client.get(f"/{market}{request.path}")
                events += session.answer(request, answer.content, received_at)
            assert not [event for event in events if isinstance(event, FeedGap)]
            books += [event for event in events if isinstance(event, Book)]
    assert not session.close(received_at)
    assert all(book.bid_prices[0] < book.ask_prices[0] and len(book.bid_prices) == 20 for book in books)


def lines_of(path: Path) -> list[str]:
    with gzip.open(path, "rt") as file:
        return file.read().splitlines()


async def test_a_recording_is_played_line_by_line_and_closed(shared_data: Path) -> None:
    path = shared_data / "binance_recordings" / "spot" / "btcusdt_20240808.gz"
    expected = [line for line in lines_of(path) if '"stream":' in line[:40]]
    streams = {json.loads(line.partition(" ")[2])["stream"] for line in expected}
    source = RecordingSource([Recording("spot", path)], speed=None)
    async with VenueServer(source, close_at_end=True) as server, rest(server) as client:
        async with dial(server, "/stream", subprotocols=[RECORDED]) as socket:
            assert socket.subprotocol == RECORDED
            await socket.send(json.dumps({"method": "SUBSCRIBE", "params": sorted(streams), "id": 1}))
            assert json.loads(await socket.recv()) == {"result": None, "id": 1}
            book = asyncio.create_task(client.get("/spot/api/v3/depth?symbol=BTCUSDT&limit=1000"))
            received = [str(message) async for message in socket]
        assert received == expected
        assert socket.close_code == 1000
        snapshot = next(line for line in lines_of(path) if '"stream":' not in line[:40])
        assert (await book).text == snapshot.partition(" ")[2]
        ledger = (await client.get("/ledger")).json()
        assert ledger["has_ended"]
        counted = Counter(json.loads(line.partition(" ")[2])["stream"] for line in expected)
        assert {name: entry["frames"] for name, entry in ledger["streams"].items()} == {
            f"spot/{stream}": count for stream, count in counted.items()
        }


async def test_a_book_of_a_recording_at_full_speed_is_in_sync(shared_data: Path) -> None:
    """Diffs come under the recording's name (@0ms) whatever was asked for, the snapshot at its time."""
    path = shared_data / "binance_recordings" / "usdm" / "btcusdt_20240808.gz"
    session = VENUES["binance_usdm"].open_session("binance_usdm", {"BTCUSDT": Listing(1)}, ["depth"])
    events: list[Any] = []
    source = RecordingSource([Recording("usdm", path)], speed=None)
    async with (
        VenueServer(source, close_at_end=True) as server,
        rest(server) as client,
        dial(server, session.path(), "usdm", subprotocols=[RECORDED]) as socket,
    ):
        for text in session.subscribe():
            await socket.send(text)
        assert json.loads(await socket.recv())["result"] is None
        async for message in socket:
            received_ns, _, frame = str(message).partition(" ")
            received_at = int(received_ns) // 1000
            events += session.parse(frame.encode(), received_at)
            for request in session.pending_requests():
                answer = await client.get(f"/usdm{request.path}")
                events += session.answer(request, answer.content, received_at)
    assert len([event for event in events if isinstance(event, Book)]) > 1000
    gaps = [event for event in events if isinstance(event, FeedGap)]
    assert not gaps


async def test_a_port_in_use_is_named(server: VenueServer) -> None:
    source = SimulatedSource(SimulatedMarket(1, ANCHOR), ANCHOR)
    with pytest.raises(UserError, match=f"port {server.port} is in use"):
        async with VenueServer(source, port=server.port):
            pass


async def test_the_process_says_where_it_is_and_its_end_waits_for_no_client(tmp_path: Path) -> None:
    arguments = ["--history", str(tmp_path), "--history-minutes", "1", "--seed", "5"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sentinet_dagster.runtime.venue_server",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        ready = json.loads(await process.stdout.readline())
        assert ready["seed"] == 5
        assert {entry["venue"]: len(lines_of(Path(entry["path"]))) for entry in ready["history"]} == {
            entry["venue"]: entry["frames"] for entry in ready["history"]
        }
        url = ready["markets"]["spot"]["websocket_url"] + "/stream?streams=btcusdt@bookTicker"
        async with connect(url, proxy=None) as socket:
            frame = json.loads(await socket.recv())
            # Live goes on after the history: update ids are times.
            assert frame["data"]["u"] >= ready["live_start_us"] - SECOND
            socket.transport.pause_reading()  # it will not hear that it is asked to close
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), _CLOSE_TIMEOUT_S / 2) == 0
            socket.transport.resume_reading()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

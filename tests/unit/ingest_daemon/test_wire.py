"""Messages out of the bytes of a socket: however they are cut and framed, each arrives once and in order."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key

from ingest_daemon import wire
from ingest_daemon.wire import WireConnection

SIZES = (0, 1, 125, 126, 127, 65_535, 65_536, 300_000)


def frame(content: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True, mask: bool = False) -> bytes:
    return Frame(opcode, content, fin=fin).serialize(mask=mask)


@asynccontextmanager
async def connected(max_size: int | None = None) -> AsyncIterator[tuple[WireConnection, ServerConnection]]:
    """Both ends of a connection."""
    accepted: asyncio.Future[ServerConnection] = asyncio.get_running_loop().create_future()

    async def keep(connection: ServerConnection) -> None:
        accepted.set_result(connection)
        await connection.wait_closed()

    async with serve(keep, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        client = await connect(
            f"ws://127.0.0.1:{port}",
            create_connection=WireConnection,
            compression=None,
            ping_interval=None,
            close_timeout=1,
            max_size=max_size or wire.LONGEST_MESSAGE,
        )
        assert isinstance(client, WireConnection)
        async with client:
            yield client, await accepted


async def received(client: WireConnection, count: int) -> list[bytes]:
    messages: list[bytes] = []
    async with asyncio.timeout(20):
        while len(messages) < count:
            messages += (await client.receive()).messages
    return messages


async def write(server: ServerConnection, pieces: Sequence[bytes]) -> None:
    """One after the other, as reads of their own as far as the kernel plays along."""
    for piece in pieces:
        server.transport.write(piece)
        await asyncio.sleep(0)


def cut(data: bytes, choose: random.Random) -> list[bytes]:
    at = sorted({0, len(data), *(choose.randrange(len(data)) for _ in range(12))})
    return [data[start:end] for start, end in itertools.pairwise(at)]


@pytest.mark.parametrize("seed", range(8))
async def test_messages_of_every_length_arrive_once_and_in_order_however_they_are_cut(seed: int) -> None:
    choose = random.Random(seed)
    sent = [choose.randbytes(choose.choice(SIZES)) for _ in range(30)]
    async with connected() as (client, server):
        data = b"".join(frame(content, choose.choice((Opcode.TEXT, Opcode.BINARY))) for content in sent)
        writing = asyncio.create_task(write(server, cut(data, choose)))
        assert await received(client, len(sent)) == sent
        await writing


async def test_bytes_that_come_one_by_one_are_a_message() -> None:
    async with connected() as (client, _):
        data = frame(b"x" * 200) + frame(b"y")
        for at in range(len(data)):
            client.data_received(data[at : at + 1])
        assert await received(client, 2) == [b"x" * 200, b"y"]


async def test_fragments_and_control_frames_stand_among_whole_messages() -> None:
    async with connected() as (client, server):
        parts = [
            frame(b"first"),
            frame(b"a", fin=False),
            frame(b"ping", Opcode.PING),
            frame(b"b", Opcode.CONT, fin=False),
            frame(b"c", Opcode.CONT),
            frame(b"", fin=False),
            frame(b"", Opcode.CONT),
            frame(b"last"),
        ]
        await write(server, [b"".join(parts)])
        assert await received(client, 4) == [b"first", b"abc", b"", b"last"]
        # The ping was answered: its pong is there before the answer to this one.
        await (await server.ping(b"own"))


async def test_what_came_with_the_handshake_is_taken() -> None:
    """In one read with it, with the beginning of a message that is not whole."""
    answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"

    async def handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line[19:] for line in head.split("\r\n") if line.startswith("Sec-WebSocket-Key: "))
        whole = f"{answer}Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n".encode()
        for piece in (whole[:-2], whole[-2:] + frame(b"early") + frame(b"late")[:4]):
            writer.write(piece)
            await writer.drain()
        await reader.read(1)  # the client's first word
        writer.write(frame(b"late")[4:])
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(handshake, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        client = await connect(
            f"ws://127.0.0.1:{port}", create_connection=WireConnection, compression=None, close_timeout=0.1
        )
        assert isinstance(client, WireConnection)
        assert await received(client, 1) == [b"early"]
        await client.send("go on")
        assert await received(client, 1) == [b"late"]
        await client.close()


async def test_what_came_before_the_end_is_handed_over_first() -> None:
    async with connected() as (client, server):
        await write(server, [frame(b"one") + frame(b"two")])
        await server.close(1000, "done")
        assert await received(client, 2) == [b"one", b"two"]
        with pytest.raises(ConnectionClosedOK, match="done"):
            await client.receive()


async def test_who_waits_is_told_of_the_loss() -> None:
    async with connected() as (client, server):
        waiting = asyncio.create_task(client.receive())
        await asyncio.sleep(0)
        server.transport.abort()
        with pytest.raises(ConnectionClosedError):
            await asyncio.wait_for(waiting, 20)


@pytest.mark.parametrize(
    ("bytes_sent", "code"),
    [
        (lambda: frame(b"masked", mask=True), 1002),
        (lambda: b"\xf1\x00", 1002),  # an extension that nobody agreed on
        (lambda: frame(b"a", fin=False) + frame(b"b"), 1002),  # a message within a message
        (lambda: frame(b"x", Opcode.CONT), 1002),
        (lambda: b"\x81\x7f" + (wire.LONGEST_MESSAGE + 1).to_bytes(8), 1009),
    ],
)
async def test_frames_against_the_rules_end_the_connection(
    bytes_sent: Callable[[], bytes], code: int
) -> None:
    async with connected() as (client, server):
        await write(server, [frame(b"before") + bytes_sent()])
        assert await received(client, 1) == [b"before"]
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(client.receive(), 20)
        assert client.protocol.close_sent is not None
        assert client.protocol.close_sent.code == code


async def test_a_socket_that_nobody_reads_is_not_read_on() -> None:
    """It fills up to its bound, then the venue has to wait; nothing is lost."""
    message, count = b"x" * 100_000, 400
    async with connected() as (client, server):
        data = frame(message)

        async def flood() -> None:
            for _ in range(count):
                await server.send(message, text=True)

        flooding = asyncio.create_task(flood())
        while not client._is_paused:  # noqa: ASYNC110 (it is the kernel's doing)
            await asyncio.sleep(0)
        held = client._held
        assert held < wire._MOST_HELD + 2 * 256 * 1024 + len(data)
        assert not flooding.done()
        assert await received(client, count) == [message] * count
        await flooding

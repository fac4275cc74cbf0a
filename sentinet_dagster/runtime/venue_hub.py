"""The clients of the venue server: what each is sent, and the ledger of it.

What lives here: delivery. What never does: what a request means and what is said (`venue_dialects`), REST
(`venue_server.py`), where frames come from and when (`venue_sources.py`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State
from websockets.typing import Subprotocol

from sentinet_dagster.runtime.venue_dialects import Caller, Dialect, Fact, Fill, Message, Reply, fact_of
from sentinet_dagster.runtime.venue_dialects.past import PastTrades, RemembersTrades
from sentinet_dagster.runtime.venue_faults import CALM, Disturber, Faults
from sentinet_dagster.runtime.venue_sources import SourceFrame

# Under this subprotocol a data message is a line of a recording: `<receive time, ns since 1970> <raw
# message>`.
RECORDED = Subprotocol("sentinet.recorded.v1")
# A client that leaves this much unread is cut off, or waited for.
_MOST_UNSENT_BYTES = 64 * 2**20
_ENOUGH_UNSENT_BYTES = 4 * 2**20
_POLL_S = 0.001
_DATA = b'"data":'  # of an envelope: what a raw stream has in it
_ID_FIELD = {"trade": re.compile(rb'"t":(\d+)'), "aggTrade": re.compile(rb'"a":(\d+)')}


Observe = Callable[[str, Message, int], None]


def unobserved(_market: str, _message: Message, _clients: int) -> None:
    """Nobody looks."""


@dataclass(slots=True)
class StreamLedger:
    """What was sent of one stream."""

    frames: int = 0  # that at least one client was sent
    deliveries: int = 0  # summed over clients
    damaged: int = 0  # sent to clients beside these, and unreadable on purpose
    ids: list[list[int]] = field(default_factory=list)  # first and last of each unbroken run of trade ids
    facts: list[Fact] | None = None  # what the frames said, if that is kept; not of a book's differences

    def note(self, message: Message, clients: int) -> None:
        """One message was sent to `clients` clients."""
        if message.is_damaged:
            self.damaged += clients
            return
        self.frames += 1
        self.deliveries += clients
        number = _trade_id_in(message)
        if number is None:
            return
        if self.ids and self.ids[-1][1] == number - 1:
            self.ids[-1][1] = number
        else:
            self.ids.append([number, number])


class Client:
    """One socket."""

    def __init__(
        self, connection: ServerConnection, market: str, caller: Caller, *, is_combined: bool = True
    ) -> None:
        self.connection = connection
        self.market = market
        self.caller = caller
        self.is_silent = False  # a fault: nothing is told any more, and the socket stays open
        self._is_combined = is_combined
        self._is_recorded = connection.subprotocol == RECORDED

    @property
    def is_open(self) -> bool:
        """Whether it can be sent anything."""
        return self.connection.state is State.OPEN and not self.is_silent

    @property
    def unsent_bytes(self) -> int:
        """What the client has not read yet, and its kernel has no room for."""
        return self.connection.transport.get_write_buffer_size()

    def deliver(self, texts: Iterable[tuple[bytes, int]]) -> None:
        """Write texts, each with its receive time in ns, in one go."""
        protocol = self.connection.protocol
        for whole, received_ns in texts:
            text = whole if self._is_combined else whole[whole.index(_DATA) + len(_DATA) : -1]
            protocol.send_text(b"%d %s" % (received_ns, text) if self._is_recorded else text)
        self.connection.transport.write(b"".join(protocol.data_to_send()))


class Hub:
    """All clients of a server.

    Args:
        dialects: of each market.
        waits_for_clients: whether a slow client holds up the delivery; otherwise it is cut off in the end.
        keeps_facts: whether the ledger keeps what was said, not only how much: for tests, it grows.
        faults: what is done to the messages on their way.
        seed: chooses to which.
        observe: told the market, each message that was sent, and to how many clients.
    """

    def __init__(
        self,
        dialects: Mapping[str, Dialect],
        *,
        waits_for_clients: bool,
        keeps_facts: bool = False,
        faults: Faults = CALM,
        seed: int = 0,
        observe: Observe = unobserved,
    ) -> None:
        self._dialects = dialects
        self._observe = observe
        self._disturbers = {market: Disturber(faults, f"{seed}/{market}") for market in dialects}
        self._waits_for_clients = waits_for_clients
        self._keeps_facts = keeps_facts
        self.past = PastTrades()
        for dialect in dialects.values():
            if isinstance(dialect, RemembersTrades):
                dialect.past = self.past
        self._clients: set[Client] = set()
        self._changed = asyncio.Event()
        self.ledger: dict[tuple[str, str], StreamLedger] = {}

    def wants(self, channel: str, market: str | None = None, symbol: str | None = None) -> bool:
        """See `venue_sources.Demand`."""
        return any(
            key.partition("@")[2] == channel
            and market in (None, client.market)
            and (symbol is None or key.startswith(f"{symbol.lower()}@"))
            for client in self._clients
            for key in client.caller.wanted
        )

    async def subscribed(self, markets: Sequence[str]) -> None:
        """See `venue_sources.Demand`."""
        await self.until_subscribed(dict.fromkeys(markets, 1))

    async def until_subscribed(self, streams: Mapping[str, int]) -> None:
        """Wait until so many streams of each market are subscribed to."""
        while not all(len(self._wanted(market)) >= number for market, number in streams.items()):
            self._changed.clear()
            await self._changed.wait()

    async def serve(self, client: Client) -> None:
        """Keep a client until its socket is closed."""
        dialect = self._dialects[client.market]
        self._clients.add(client)
        try:
            with suppress(ConnectionClosed):
                if not await self._say(client, dialect.greet(client.caller)):
                    return
                async for message in client.connection:
                    if not await self._say(client, dialect.hear(client.caller, message)):
                        return
        finally:
            self._clients.discard(client)

    async def publish(self, frames: Sequence[SourceFrame]) -> None:
        """Send what the frames are in each dialect to whom it is for, and write it down."""
        self.past.keep(frames)
        for market, dialect in self._dialects.items():
            clients = [client for client in self._clients if client.market == market and client.is_open]
            wanted = self._wanted(market)
            if wanted or dialect.always_listens:
                messages = self._disturbers[market].disturb(dialect.messages(frames, wanted))
                await self._deliver(market, clients, messages)

    async def flush(self) -> None:
        """Send what is late still: nothing more will come."""
        for market, disturber in self._disturbers.items():
            clients = [client for client in self._clients if client.market == market and client.is_open]
            await self._deliver(market, clients, disturber.flush())

    def note(self, market: str, message: Message, clients: int = 1) -> None:
        """Write down what was sent."""
        key = (market, message.name or message.stream)
        entry = self.ledger.get(key)
        if entry is None:
            facts: list[Fact] | None = [] if self._keeps_facts else None
            entry = self.ledger[key] = StreamLedger(facts=facts)
        entry.note(message, clients)
        if entry.facts is not None and not message.is_damaged:
            frame = SourceFrame(message.received_ns, market, message.stream, message.text)
            fact = message.fact or fact_of(frame)
            entry.facts += [] if fact is None else [fact]

    async def close(self) -> None:
        """Close every socket as a venue that has nothing more to say (code 1000)."""
        closing = [client.connection.close() for client in self._clients]
        await asyncio.gather(*closing)

    def cut(self) -> int:
        """Drop every socket without a word; how many there were."""
        clients = tuple(self._clients)
        for client in clients:
            client.connection.transport.abort()
        for disturber in self._disturbers.values():
            disturber.forget()
        return len(clients)

    def fall_silent(self) -> int:
        """Say nothing more on any socket that is open now, and leave it open; how many these are."""
        for client in self._clients:
            client.is_silent = True
        return len(self._clients)

    async def _say(self, client: Client, reply: Reply) -> bool:
        """Whether the socket stays open."""
        self._changed.set()
        for text in reply.texts:
            await client.connection.send(text)
        return not reply.closes

    async def _deliver(self, market: str, clients: Sequence[Client], messages: Sequence[Message]) -> None:
        counts = [0] * len(messages)
        for client in clients:
            caller, texts = client.caller, []
            for i, message in enumerate(messages):
                if message.stream not in caller.wanted:
                    continue
                text, has_fact = message.text, True
                if message.stream in caller.new and not message.is_damaged:
                    caller.new.discard(message.stream)
                    if message.opening is not None:
                        text, has_fact = message.opening, message.opening_has_fact
                counts[i] += has_fact
                texts.append((text, message.received_ns))
            if texts:
                client.deliver(texts)
                await self._mind_backlog(client)
        for message, count in zip(messages, counts, strict=True):
            if count:
                self.note(market, message, count)
                self._observe(market, message, count)

    def _wanted(self, market: str) -> set[str]:
        mine = (client.caller.wanted for client in self._clients if client.market == market)
        return {stream for wanted in mine for stream in wanted}

    async def _mind_backlog(self, client: Client) -> None:
        if self._waits_for_clients:
            while client.unsent_bytes > _ENOUGH_UNSENT_BYTES and client.is_open:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)
        elif client.unsent_bytes > _MOST_UNSENT_BYTES:
            client.connection.transport.abort()


def _trade_id_in(message: Message) -> int | None:
    """The number of a trade; None of anything else."""
    if message.fact is not None:
        return message.fact.number if isinstance(message.fact, Fill) else None
    pattern = _ID_FIELD.get(message.stream.partition("@")[2])
    match = pattern.search(message.text) if pattern else None
    return int(match[1]) if match else None

"""What a dialect of the venue server is: who may open a socket, what is answered, what is told.

What lives here: the protocol, the state of a caller, what dialects of sockets share. What never does: sockets
(`venue_hub.py`), the words of any one venue. A dialect is told texts and facts; it reads no clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

import msgspec

from ingest_daemon.venues import Credentials
from sentinet_dagster.runtime.venue_dialects.facts import Fact, Fill, Instrument, fact_of
from sentinet_dagster.runtime.venue_dialects.ladders import Ladder
from sentinet_dagster.runtime.venue_dialects.products import Product
from sentinet_dagster.runtime.venue_sources import SourceFrame

__all__ = [
    "Answer",
    "Caller",
    "Dialect",
    "Message",
    "Reply",
    "Saying",
    "StreamDialect",
    "instant",
    "not_found",
    "request_in",
    "strings_in",
    "text_of",
]


class Message(NamedTuple):
    """What is told of one stream to all who subscribed to it."""

    stream: str
    text: bytes
    received_ns: int  # when the simulation or the recording received it, since 1970 UTC
    fact: Fact | None = None  # what it says, in base units; None: whoever wants to know reads the text
    opening: bytes | None = None  # said instead to a caller that hears the stream for the first time …
    opening_has_fact: bool = True  # … and whether that says the fact too
    name: str = ""  # of the stream in the ledger, where it is not the same
    is_damaged: bool = False  # on purpose: it says nothing (`venue_faults.py`)


class Saying(NamedTuple):
    """A message before it is known who wants it."""

    stream: str
    text: bytes
    fact: Fact
    opening: bytes | None = None
    opening_has_fact: bool = True


class Reply(NamedTuple):
    """What one caller is told."""

    texts: Sequence[str] = ()
    closes: bool = False


class Answer(NamedTuple):
    """What a request for REST is answered."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    message: Message | None = None  # what it told, where that is a fact and new


@dataclass(slots=True)
class Caller:
    """What a dialect knows of one socket."""

    path: str = ""  # below the market's prefix
    query: Mapping[str, str] = field(default_factory=dict)
    is_logged_in: bool = False
    wanted: dict[str, str] = field(default_factory=dict)  # stream → its name as the caller asked for it
    new: set[str] = field(default_factory=set)  # streams of which it has heard nothing yet

    def subscribe(self, stream: str, name: str = "") -> None:
        """Once more is as good as once, and begins anew."""
        self.wanted[stream] = name or stream
        self.new.add(stream)

    def unsubscribe(self, stream: str) -> None:
        """Whether subscribed or not."""
        self.wanted.pop(stream, None)
        self.new.discard(stream)


class Dialect(Protocol):
    """One venue's way of talking. Not thread-safe; one for all callers."""

    @property
    def protocol(self) -> str:
        """The key in `ingest_daemon.venues.VENUES`."""

    @property
    def products(self) -> Sequence[Product]:
        """What is traded."""

    @property
    def always_listens(self) -> bool:
        """Whether it must see every frame, with callers or without."""

    def refuses(self, path: str, query: Mapping[str, str]) -> Answer | None:
        """Why no socket can be opened at a path; None: it can."""

    def greet(self, caller: Caller) -> Reply:
        """What is said to a caller that has said nothing yet."""

    def hear(self, caller: Caller, message: str | bytes) -> Reply:
        """Carry out a request of a caller; what it is told, in the venue's form also where it cannot be."""

    def messages(self, frames: Sequence[SourceFrame], wanted: Set[str]) -> list[Message]:
        """What the frames of the market are to those who subscribed to the streams `wanted`."""

    async def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        """Answer a request for REST."""


class StreamDialect(ABC):
    """What the dialects of the simulated market have in common: a socket, and facts to tell."""

    protocol: str
    path: str  # where the socket is, below the market's prefix
    unit_us: int = 1_000  # the venue's times are whole multiples of it
    always_listens = False

    def __init__(self, products: Sequence[Product], account: Credentials | None = None) -> None:
        """Start.

        Args:
            products: what is traded.
            account: who may log in; None: anybody.
        """
        self.products = products
        self._account = account
        self._told_of: dict[Instrument, list[Product]] = {}
        for product in products:
            self._told_of.setdefault(product.source, []).append(product)
        self._by_symbol = {product.symbol: product for product in products}
        self._ladders: defaultdict[str, Ladder] = defaultdict(Ladder)  # of the streams that tell changes

    def refuses(self, path: str, query: Mapping[str, str]) -> Answer | None:  # noqa: ARG002 (some look at it)
        """A socket is at one path."""
        return None if path.rstrip("/") == self.path.rstrip("/") else not_found(path)

    def greet(self, caller: Caller) -> Reply:  # noqa: ARG002 (most say nothing)
        """Nothing, unless the venue says something."""
        return Reply()

    @abstractmethod
    def hear(self, caller: Caller, message: str | bytes) -> Reply:
        """See `Dialect`."""

    @abstractmethod
    def tell(self, product: Product, fact: Fact) -> Iterator[Saying]:
        """What is said of a fact, sizes in contracts, on every stream that has it."""

    def messages(self, frames: Sequence[SourceFrame], wanted: Set[str]) -> list[Message]:
        """See `Dialect`."""
        told: list[Message] = []
        for frame in frames:
            fact = fact_of(frame)
            if fact is None:
                continue
            for product in self._told_of.get(fact.instrument, ()):
                sayings = self.tell(product, product.as_told(fact, self.unit_us))
                told += [_message(product, s, frame.received_ns) for s in sayings if s.stream in wanted]
        return told

    async def answer(self, path: str, query: Mapping[str, str]) -> Answer:  # noqa: ARG002
        """Nothing is there, unless the venue has something."""
        return not_found(path)

    def as_told(self, product: Product, fill: Fill) -> Fill:
        """A trade as the venue tells it: in contracts, in its unit of time."""
        told = product.as_told(fill, self.unit_us)
        assert isinstance(told, Fill), "as it was"
        return told

    def accepts(self, key: str, secret: str | None = None) -> bool:
        """Whether an account may log in; None: the venue wants no secret."""
        account = self._account
        if account is None:
            return bool(key)
        return key == account.key and secret in (None, account.secret)


def _message(product: Product, saying: Saying, received_ns: int) -> Message:
    stream, text, said, opening, opening_has_fact = saying
    return Message(stream, text, received_ns, product.in_base_units(said), opening, opening_has_fact)


def not_found(path: str) -> Answer:
    """Nothing is at a path."""
    return Answer(text_of({"error": f"nothing at {path}"}).encode(), HTTPStatus.NOT_FOUND)


def text_of(value: object) -> str:
    """JSON without spaces, as venues write it."""
    return msgspec.json.encode(value).decode()


def request_in(message: str | bytes) -> dict[str, Any] | None:
    """The object that a message is; None: it is none."""
    try:
        return _decode_request(message)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def strings_in(value: object) -> list[str]:
    """The texts of a list; nothing of anything else."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def instant(at_us: int) -> str:
    """RFC 3339 with microseconds.

    >>> instant(1_700_000_000_123_456)
    '2023-11-14T22:13:20.123456Z'
    """
    seconds, rest = divmod(at_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06}Z"


_decode_request = msgspec.json.Decoder(dict[str, Any]).decode

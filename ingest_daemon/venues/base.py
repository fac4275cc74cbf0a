"""The protocol every venue module fulfils. Sans-I/O: a venue is told bytes and times, it fetches neither.

A `Session` is the state of one socket: what it subscribed to, its books, its sequence numbers. A new socket
is a new session. The daemon drives it:

    session = VENUES["binance_spot"].open_session(symbols, channels)
    for text in session.subscribe():                 # send each
        ...
    events = session.parse(frame, received_at)       # per frame
    for request in session.pending_requests():       # snapshots of books, keep-alives …
        events = session.answer(request, body, received_at)
    for text in session.pending_messages():          # subscribing anew …
        ...
    events = session.close(now)                      # when the socket ends
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Literal, Protocol, runtime_checkable

import msgspec

from ingest_daemon.events import Event, Trade
from ingest_daemon.venues.credentials import Credentials
from ingest_daemon.venues.roll import Roll
from ingest_daemon.venues.telling import Told

Need = Literal["key", "secret"]


class Capabilities(msgspec.Struct, frozen=True):
    """What a venue gives; shown by `sentinet venues`."""

    trades: bool = False
    quotes: bool = False
    book_depth: int = 0  # levels a side; 0: no books
    reference_prices: bool = False
    sequence_check: bool = False
    checksum: bool = False
    trade_history: bool = False  # missed trades can be fetched afterwards


class Listing(msgspec.Struct, frozen=True):
    """An instrument as its venue lists it: who it is here, and what one contract is."""

    instrument_id: int
    contract_size: float = 1.0  # a size of 1 at the venue is so many units of the contract's currency
    contract_currency: Literal["base", "quote"] = "base"


class Request(msgspec.Struct, frozen=True):
    """Something the session wants from the venue's REST interface: a path below the venue's `rest_url`.

    `key` names it among the session's requests, so that an answer finds its place: a book's is the symbol.
    """

    key: str
    path: str  # with query, e.g. "/api/v3/depth?symbol=BTCUSDT&limit=1000"
    key_parameter: str = ""  # of the query, in which the feed puts the account's key; so a path may be shown


class Session(Protocol):
    """One socket's worth of state. Not thread-safe; owned by one task."""

    @property
    def roll(self) -> Roll:
        """Who of its streams speaks."""

    def path(self) -> str:
        """The path and query to open below the venue's `websocket_url`."""

    def subscribe(self) -> Sequence[str]:
        """The text frames to send, in order, once the socket is open."""

    def keep_alive(self) -> str | None:
        """The text to send when the socket was idle for `VenueProtocol.keep_alive_s`; None: pings suffice."""

    def stream_of(self, frame: bytes) -> str:
        """The venue's own name of the stream of a frame (`btcusdt@trade`), for counting; "" where none."""

    def parse(self, frame: bytes, received_at: int) -> Sequence[Event]:
        """The events of one frame, in the venue's order; empty for acknowledgements and pongs.

        Args:
            frame: one raw message as received.
            received_at: microseconds since 1970 UTC, when the bytes were seen.

        Raises:
            ParseError: the frame is not what the venue documents. The session stays usable.
            VenueRefused: the frame is the venue's error answer; the message names what was refused.
        """

    def pending_requests(self) -> Sequence[Request]:
        """What the session needs fetched now. Each is returned once, until its answer says otherwise."""

    def pending_messages(self) -> Sequence[str]:
        """The text frames to send now, in order; each is returned once. Asked for after every frame."""

    def answer(self, request: Request, body: bytes, received_at: int) -> Sequence[Event]:
        """The events that a REST answer makes possible (a book in sync again). Raises as `parse`.

        A request that could not be fetched is answered with `b""`: that raises ParseError, and the session
        asks again later by itself.
        """

    def close(self, now: int) -> Sequence[Event]:
        """What is still open, ended at `now`: to be written when the socket ends. Gaps, and flow of books."""


class VenueProtocol(Protocol):
    """A venue's dialect: the entry of `VENUES`. Immutable."""

    @property
    def name(self) -> str:
        """The key in `VENUES`."""

    @property
    def channels(self) -> Sequence[str]:
        """The venue's own words, all that `open_session` accepts."""

    @property
    def capabilities(self) -> Capabilities:
        """What the venue gives."""

    @property
    def longest_connection_s(self) -> float | None:
        """Seconds after which the venue closes a socket, however it is used; None: it does not."""

    @property
    def keep_alive_s(self) -> float | None:
        """Seconds of idleness after which `Session.keep_alive` is sent; None: never."""

    def open_session(self, venue: str, symbols: Mapping[str, Listing], channels: Sequence[str]) -> Session:
        """A fresh session.

        Args:
            venue: the operator's name of the venue (`market.instruments.venue`), for `FeedGap`.
            symbols: venue symbol, as the venue writes it → what it is.
            channels: the channels wanted.

        Raises:
            ConfigError: an unknown channel; the message names it and those accepted.
        """

    def tells(self, channels: Sequence[str]) -> Sequence[Told]:
        """Channel and relation of what these channels tell: what is missing where one of them is."""

    def symbol_of(self, stream: str) -> str:
        """The venue symbol in the name of a stream (`BTCUSDT` in `btcusdt@trade`); "" where there is none."""

    def recognises(self, frame: bytes) -> bool:
        """Whether a recorded frame is this venue's, for `sentinet replay` without `--venue`."""


@runtime_checkable
class KeyedSession(Session, Protocol):
    """A session of a venue that wants an account.

    `subscribe` gives the login alone; when `parse` has seen the venue's yes, `pending_messages` gives the
    subscriptions. A no is a LoginRefused.
    """

    @property
    def is_logged_in(self) -> bool:
        """Whether data may come: the venue said yes, or nobody asked it since there are no credentials."""


@runtime_checkable
class KeyedVenueProtocol(VenueProtocol, Protocol):
    """The dialect of a venue that wants an account."""

    @property
    def needs(self) -> Sequence[Need]:
        """What proves the account: a key, or a key and a secret."""

    def open_session(
        self,
        venue: str,
        symbols: Mapping[str, Listing],
        channels: Sequence[str],
        credentials: Credentials | None = None,
    ) -> KeyedSession:
        """A fresh session. Without credentials nobody logs in: for recordings and servers of recordings."""


class CallLimit(msgspec.Struct, frozen=True):
    """At most so many calls in any period of so many seconds."""

    calls: int
    period_s: float


class History(msgspec.Struct, frozen=True):
    """What a venue tells of its trades again."""

    channels: tuple[str, ...]  # whose trades its history has, under the same numbers
    limits: tuple[CallLimit, ...]  # a part of what the venue allows an address
    is_short: bool = False  # a few seconds perhaps: to be asked for at once
    sums_numbers: bool = False  # of several executions in one trade, which has the last one's number


class KnownTrade(msgspec.Struct, frozen=True):
    """A trade that is in the database."""

    trade_id: int
    occurred_at: int  # microseconds since 1970 UTC


class MissingTrades(msgspec.Struct, frozen=True):
    """What a venue's history is asked for: the trades of one symbol in one gap."""

    symbol: str
    listing: Listing
    channel: str  # that should have told them
    ended_at: int  # of the gap, by our clock, microseconds since 1970 UTC
    before: KnownTrade  # that is surely older than the gap
    after: KnownTrade | None  # that is surely younger; None: there is none yet
    known: Sequence[tuple[int, int]]  # from `before` on: first and last number of each unbroken run, in order

    def is_known(self, number: int) -> bool:
        """Whether a trade is in the database."""
        place = bisect_right(self.known, number, key=itemgetter(0)) - 1
        return place >= 0 and number <= self.known[place][1]

    @property
    def first_number(self) -> int:
        """The first that is not known after `before`."""
        return self._run_of(self.before.trade_id)[1] + 1

    @property
    def end_number(self) -> int | None:
        """The first of the unbroken run that `after` is in: all that is missing has lower numbers."""
        return None if self.after is None else self._run_of(self.after.trade_id)[0]

    def _run_of(self, number: int) -> tuple[int, int]:
        place = bisect_right(self.known, number, key=itemgetter(0)) - 1
        return self.known[place] if place >= 0 and self.is_known(number) else (number, number)


class TradeRepair(Protocol):
    """Fetching what is missing in one gap, sans-I/O: a request, its answer, the next request."""

    def request(self) -> Request | None:
        """What to ask now; None: there is nothing more to ask."""

    def take(self, body: bytes, received_at: int) -> Sequence[Trade]:
        """The missing trades that the answer to `request` has; `received_at` is when it came.

        Raises:
            ParseError: the answer is not what the venue documents.
            VenueRefused: it is the venue's error; the message names what was refused.
        """

    @property
    def is_whole(self) -> bool:
        """Once there is nothing more to ask: whether the venue gave all that was missing."""


@runtime_checkable
class HistoryProtocol(VenueProtocol, Protocol):
    """The dialect of a venue that tells its trades again."""

    @property
    def history(self) -> History:
        """What of its trades, and how often it may be asked."""

    def open_repair(self, missing: MissingTrades) -> TradeRepair:
        """Begin to fetch."""


@runtime_checkable
class PolledVenueProtocol(KeyedVenueProtocol, Protocol):
    """The dialect of a venue without a socket: it is asked, symbol by symbol.

    Each call of a session's `pending_requests` gives the one request whose turn it is. An answer is a frame:
    `answer` and `parse` understand the same bytes, so that a recording of answers can be replayed.
    """

    @property
    def call_limits(self) -> Sequence[CallLimit]:
        """What the venue allows an account that pays nothing."""

"""The dialect of Alpaca's market data, stocks of IEX and its own crypto exchange: login, subscriptions.

What lives here: the state of a session. What never does: the meaning of single items and the evidence for it
(`alpaca_frames.py`), the arithmetic of a book (`books.py`), sockets, clocks.

A client logs in within 10 s of connecting, by a message; an account has one connection. Each symbol is
subscribed by a request of its own: a refused one takes no others along. Requests are answered in their order,
by all that is subscribed then or by an error that names nothing: so it is remembered what was asked. A book
that is lost is unsubscribed and subscribed again: its first message is the whole of it. While markets are
closed nothing comes, so an idle client subscribes over again, which the venue answers as any request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from ingest_daemon.book_flow import FlowMeter
from ingest_daemon.books import BookBuilder, UnnumberedIds
from ingest_daemon.errors import ConfigError, LoginRefused, VenueRefused
from ingest_daemon.events import Event, FactRelation
from ingest_daemon.venues import alpaca_frames as frames
from ingest_daemon.venues.base import Capabilities, Listing, Need
from ingest_daemon.venues.contracts import in_base_units
from ingest_daemon.venues.credentials import Credentials
from ingest_daemon.venues.fields import Reader
from ingest_daemon.venues.item_lists import Head, ItemListSession, first_head
from ingest_daemon.venues.logins import Login
from ingest_daemon.venues.metering import meter_of, metered
from ingest_daemon.venues.roll import Stream
from ingest_daemon.venues.telling import Told, told

__all__ = ["ALPACA_CRYPTO", "ALPACA_IEX", "AlpacaMarket", "AlpacaSession"]

_BOOKS = "orderbooks"
_CHANNEL_OF = {"t": "trades", "c": "trades", "x": "trades", "q": "quotes", "o": _BOOKS}
_RELATIONS: Mapping[str, FactRelation] = {"trades": "trades", "quotes": "quotes", _BOOKS: "books"}
_ANSWERS = {"subscription", "error"}
# Not authenticated, failed, timeout, too many connections, not in the plan.
_LOGIN_CODES = {401, 402, 404, 406, 408, 409}


class AlpacaMarket(msgspec.Struct, frozen=True):
    """One of Alpaca's streams: an entry of `VENUES`."""

    name: str
    path: str
    channels: tuple[str, ...]
    capabilities: Capabilities
    needs: tuple[Need, ...] = ("key", "secret")
    keep_alive_s: float | None = 10.0
    longest_connection_s: float | None = None

    def open_session(
        self,
        venue: str,
        symbols: Mapping[str, Listing],
        channels: Sequence[str],
        credentials: Credentials | None = None,
    ) -> AlpacaSession:
        """A fresh session; ConfigError names an unknown channel and those accepted."""
        for channel in channels:
            if channel not in self.channels:
                accepted = ", ".join(self.channels)
                raise ConfigError(f"channels: {self.name} has no channel {channel!r}; accepted: {accepted}")
        return AlpacaSession(self.path, venue, symbols, tuple(dict.fromkeys(channels)), credentials)

    def tells(self, channels: Sequence[str]) -> Sequence[Told]:
        """Channel and relation of what these channels tell."""
        return told(channels, _RELATIONS, [_BOOKS])

    def symbol_of(self, stream: str) -> str:
        """What stands after the colon."""
        return stream.partition(":")[2]

    def recognises(self, frame: bytes) -> bool:
        """Whether its first item is of a channel; a symbol of crypto is a pair, BTC/USD."""
        kind, symbol = first_head(frame, _head_of)
        is_pair = "/" in symbol
        return (
            bool(symbol) and is_pair == (_BOOKS in self.channels) and _CHANNEL_OF.get(kind) in self.channels
        )


class AlpacaSession(ItemListSession):
    """One socket's worth of state."""

    def __init__(
        self,
        path: str,
        venue: str,
        symbols: Mapping[str, Listing],
        channels: Sequence[str],
        credentials: Credentials | None,
    ) -> None:
        self._path = path
        self._unanswered: deque[str] = deque()
        self._venue = venue
        self._with_quotes = "quotes" not in channels
        readers: dict[Head, Reader] = {}
        login = Login(
            None if credentials is None else [_login(credentials)],
            [_text("subscribe", symbol, channels) for symbol in symbols if channels],
        )
        super().__init__(login, readers, _CHANNEL_OF, _head_of, self._read_answer)
        for symbol, listing in symbols.items():
            meter = meter_of(listing, is_wanted={"trades", _BOOKS} <= set(channels))
            for channel in channels:
                stream = Stream(channel, symbol, (listing.instrument_id,))
                again = _anew(channel, symbol)
                for kind, read in self._read_kinds(channel, symbol, listing, meter).items():
                    self.roll.add(readers, (kind, symbol), stream, in_base_units(listing, read), again)

    def path(self) -> str:
        """The stream's version and feed."""
        return self._path

    def subscribe(self) -> Sequence[str]:
        """The login; without credentials the subscriptions."""
        texts = super().subscribe()
        return self._asking(texts) if self.is_logged_in else texts

    def keep_alive(self) -> str | None:
        """A subscription over again."""
        text = super().keep_alive()
        return None if text is None else self._asking([text])[0]

    def pending_messages(self) -> Sequence[str]:
        """The subscriptions after the login; subscribing anew to the books that are lost."""
        return self._asking(super().pending_messages())

    def _asking(self, texts: Sequence[str]) -> Sequence[str]:
        self._unanswered.extend(texts)
        return texts

    def _read_kinds(
        self, channel: str, symbol: str, listing: Listing, meter: FlowMeter | None
    ) -> Mapping[str, Reader]:
        if channel == "trades":
            read = metered(frames.trade_reader(symbol, listing.instrument_id), meter)
            return {"t": read, "c": _say_nothing, "x": _say_nothing}
        if channel == "quotes":
            return {"q": frames.quote_reader(symbol, listing.instrument_id)}
        builder = BookBuilder(
            self._venue,
            channel,
            listing.instrument_id,
            UnnumberedIds(),
            # Without quotes the book is the only one to know the best prices.
            with_quotes=self._with_quotes,
            meter=meter,
        )
        read = self.books.add(builder, frames.update_reader(symbol), _anew(channel, symbol))
        return {"o": read}

    def _read_answer(self, kind: str, item: bytes) -> bool:
        asked = self._unanswered.popleft() if kind in _ANSWERS and self._unanswered else ""
        if kind == "error":
            error = _decode_error(item)
            why = f"{error.msg} (code {error.code})"
            if error.code in _LOGIN_CODES:
                raise LoginRefused(f"{self._venue} refused: {why}")
            raise VenueRefused(f"{self._venue} refused{asked and f' {asked}'}: {why}")
        if kind == "success" and _decode_success(item).msg == "authenticated":
            self._login.succeed()
        return kind in ("success", "subscription")


class _Head(msgspec.Struct, gc=False):
    T: str
    S: str = ""


class _Error(msgspec.Struct, gc=False):
    code: int = 0
    msg: str = "no reason given"


class _Success(msgspec.Struct, gc=False):
    msg: str = ""


_decode_head = msgspec.json.Decoder(_Head).decode
_decode_error = msgspec.json.Decoder(_Error).decode
_decode_success = msgspec.json.Decoder(_Success).decode


def _head_of(item: msgspec.Raw) -> Head:
    head = _decode_head(item)
    return head.T, head.S


def _say_nothing(_item: bytes, _received_at: int) -> Sequence[Event]:
    return ()


def _login(credentials: Credentials) -> str:
    request = {"action": "auth", "key": credentials.key, "secret": credentials.secret}
    return msgspec.json.encode(request).decode()


def _anew(channel: str, symbol: str) -> Sequence[str]:
    return _text("unsubscribe", symbol, [channel]), _text("subscribe", symbol, [channel])


def _text(action: str, symbol: str, channels: Sequence[str]) -> str:
    return msgspec.json.encode({"action": action} | {channel: [symbol] for channel in channels}).decode()


ALPACA_IEX = AlpacaMarket(
    "alpaca_iex", "/v2/iex", ("trades", "quotes"), Capabilities(trades=True, quotes=True)
)
ALPACA_CRYPTO = AlpacaMarket(
    "alpaca_crypto",
    "/v1beta3/crypto/us",
    ("trades", "quotes", _BOOKS),
    Capabilities(trades=True, quotes=True, book_depth=20),
)

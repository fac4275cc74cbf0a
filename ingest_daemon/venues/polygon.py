"""The dialect of Polygon (now Massive), clusters of stocks and of crypto: login, subscriptions.

What lives here: the state of a session. What never does: the meaning of single items and the evidence for it
(`polygon_frames.py`), sockets, clocks.

A client logs in by a message; an account has one connection to a cluster. Each symbol is subscribed by a
request of its own: a refused one takes no others along. While markets are closed nothing comes, so an idle
client subscribes over again, which the venue acknowledges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ingest_daemon.errors import ConfigError, LoginRefused, VenueRefused
from ingest_daemon.events import FactRelation
from ingest_daemon.venues import polygon_frames as frames
from ingest_daemon.venues.base import Capabilities, Listing, Need
from ingest_daemon.venues.contracts import in_base_units
from ingest_daemon.venues.credentials import Credentials
from ingest_daemon.venues.fields import Reader
from ingest_daemon.venues.item_lists import Head, ItemListSession, first_head
from ingest_daemon.venues.logins import Login
from ingest_daemon.venues.roll import Stream
from ingest_daemon.venues.telling import Told, told

__all__ = ["POLYGON_CRYPTO", "POLYGON_STOCKS", "PolygonMarket", "PolygonSession"]

_READERS = {
    "T": frames.stock_trade_reader,
    "Q": frames.quote_reader,
    "XT": frames.crypto_trade_reader,
    "XQ": frames.quote_reader,
}
_CHANNEL_OF = {channel: channel for channel in _READERS}
_RELATIONS: Mapping[str, FactRelation] = {"T": "trades", "Q": "quotes", "XT": "trades", "XQ": "quotes"}
_ANSWER = "status"
_LOGGED_IN = "auth_success"
_SILENT = {"connected", "success", _LOGGED_IN}
_OF_THE_LOGIN = {"auth_failed", "auth_timeout", "max_connections"}


class PolygonMarket(msgspec.Struct, frozen=True):
    """One of Polygon's clusters: an entry of `VENUES`."""

    name: str
    path: str
    channels: tuple[str, ...]
    capabilities: Capabilities = Capabilities(trades=True, quotes=True)
    needs: tuple[Need, ...] = ("key",)
    keep_alive_s: float | None = 10.0
    longest_connection_s: float | None = None

    def open_session(
        self,
        venue: str,
        symbols: Mapping[str, Listing],
        channels: Sequence[str],
        credentials: Credentials | None = None,
    ) -> PolygonSession:
        """A fresh session; ConfigError names an unknown channel and those accepted."""
        for channel in channels:
            if channel not in self.channels:
                accepted = ", ".join(self.channels)
                raise ConfigError(f"channels: {self.name} has no channel {channel!r}; accepted: {accepted}")
        return PolygonSession(self.path, venue, symbols, tuple(dict.fromkeys(channels)), credentials)

    def tells(self, channels: Sequence[str]) -> Sequence[Told]:
        """Channel and relation of what these channels tell."""
        return told(channels, _RELATIONS)

    def symbol_of(self, stream: str) -> str:
        """What stands after the colon."""
        return stream.partition(":")[2]

    def recognises(self, frame: bytes) -> bool:
        """Whether its first item is of a channel of this cluster, with a symbol."""
        channel, symbol = first_head(frame, _head_of)
        return bool(symbol) and channel in self.channels


class PolygonSession(ItemListSession):
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
        self._venue = venue
        readers: dict[Head, Reader] = {}
        login = Login(
            None if credentials is None else [_text("auth", credentials.key)],
            [_subscription(symbol, channels) for symbol in symbols if channels],
        )
        super().__init__(login, readers, _CHANNEL_OF, _head_of, self._read_answer)
        for symbol, listing in symbols.items():
            for channel in channels:
                stream = Stream(channel, symbol, (listing.instrument_id,))
                read = in_base_units(listing, _READERS[channel](listing.instrument_id))
                again = [_text(action, f"{channel}.{symbol}") for action in ("unsubscribe", "subscribe")]
                self.roll.add(readers, (channel, symbol), stream, read, again)

    def path(self) -> str:
        """The cluster."""
        return self._path

    def _read_answer(self, kind: str, item: bytes) -> bool:
        if kind != _ANSWER:
            return False
        answer = _decode_status(item)
        is_of_the_login = answer.status in _OF_THE_LOGIN or not self.is_logged_in
        if answer.status not in _SILENT:
            refused = LoginRefused if is_of_the_login else VenueRefused
            raise refused(f"{self._venue} refused: {answer.status}: {answer.message}")
        if answer.status == _LOGGED_IN:
            self._login.succeed()
        return True


class _Head(msgspec.Struct, gc=False):
    ev: str
    sym: str = ""
    pair: str = ""


class _Status(msgspec.Struct, gc=False):
    status: str
    message: str = "no reason given"


_decode_head = msgspec.json.Decoder(_Head).decode
_decode_status = msgspec.json.Decoder(_Status).decode


def _head_of(item: msgspec.Raw) -> Head:
    head = _decode_head(item)
    return head.ev, head.pair if head.ev.startswith("X") else head.sym


def _subscription(symbol: str, channels: Sequence[str]) -> str:
    return _text("subscribe", ",".join(f"{channel}.{symbol}" for channel in channels))


def _text(action: str, params: str) -> str:
    return msgspec.json.encode({"action": action, "params": params}).decode()


POLYGON_STOCKS = PolygonMarket("polygon_stocks", "/stocks", ("T", "Q"))
POLYGON_CRYPTO = PolygonMarket("polygon_crypto", "/crypto", ("XT", "XQ"))

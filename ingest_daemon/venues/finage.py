"""The dialect of Finage: login by the address, subscriptions, who reads a frame.

What lives here: the state of a session. What never does: the meaning of single frames and the evidence for it
(`finage_frames.py`), sockets, clocks.

Each customer has addresses of their own, one a market; the socket key stands in the query. The venue greets,
connects to the market's adapter, and takes subscriptions then. One symbol is one request: a wrong one takes
no others along. A socket gives one stream a symbol, so there is one channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ingest_daemon.errors import ConfigError, LoginRefused, ParseError, VenueRefused
from ingest_daemon.events import Event
from ingest_daemon.venues import finage_frames as frames
from ingest_daemon.venues.base import Capabilities, Listing, Need
from ingest_daemon.venues.contracts import in_base_units
from ingest_daemon.venues.credentials import Credentials
from ingest_daemon.venues.fields import DECODE_ERRORS, VALUE_SHOWN, Reader
from ingest_daemon.venues.logins import Login
from ingest_daemon.venues.roll import Stream
from ingest_daemon.venues.stream_books import StreamSession
from ingest_daemon.venues.telling import Told

__all__ = ["FINAGE", "FinageMarket", "FinageSession"]

_CHANNELS = ("trades",)
_SYMBOL = b'{"s":"'
_OK = 200
_NOT_AUTHORISED = 401
_READY = "connected to the adapter"


class FinageMarket(msgspec.Struct, frozen=True):
    """The entry of `VENUES`."""

    name: str = "finage"
    capabilities: Capabilities = Capabilities(trades=True)
    needs: tuple[Need, ...] = ("key",)
    keep_alive_s: float | None = None
    longest_connection_s: float | None = None

    @property
    def channels(self) -> Sequence[str]:
        """The one that there is, by a name of ours."""
        return _CHANNELS

    def open_session(
        self,
        venue: str,
        symbols: Mapping[str, Listing],
        channels: Sequence[str],
        credentials: Credentials | None = None,
    ) -> FinageSession:
        """A fresh session; ConfigError names an unknown channel and those accepted."""
        for channel in channels:
            if channel not in _CHANNELS:
                accepted = ", ".join(_CHANNELS)
                raise ConfigError(f"channels: {self.name} has no channel {channel!r}; accepted: {accepted}")
        return FinageSession(venue, symbols if channels else {}, credentials)

    def tells(self, channels: Sequence[str]) -> Sequence[Told]:
        """Channel and relation of what these channels tell."""
        return [(channel, "trades") for channel in channels]

    def symbol_of(self, stream: str) -> str:
        """What stands after the colon."""
        return stream.partition(":")[2]

    def recognises(self, frame: bytes) -> bool:
        """Whether it has the fields of a trade, and none that says of what kind it is."""
        try:
            other = _decode_other(frame)
        except DECODE_ERRORS:
            return False
        has_size = other.q is not None or other.v is not None
        is_trade = bool(other.s) and other.p is not None and other.t is not None and has_size
        return is_trade and other.e is msgspec.UNSET


class FinageSession(StreamSession):
    """One socket's worth of state."""

    def __init__(self, venue: str, symbols: Mapping[str, Listing], credentials: Credentials | None) -> None:
        super().__init__()
        self._venue = venue
        self._path = "" if credentials is None else f"/?token={credentials.key}"
        self._login = Login(
            None if credentials is None else (), [_subscription(symbol) for symbol in symbols]
        )
        self._readers: dict[bytes, Reader] = {}
        for symbol, listing in symbols.items():
            stream = Stream(_CHANNELS[0], symbol, (listing.instrument_id,))
            read = in_base_units(listing, frames.trade_reader(symbol, listing.instrument_id))
            self.roll.add(self._readers, symbol.encode(), stream, read, [_subscription(symbol)])

    @property
    def is_logged_in(self) -> bool:
        """Whether data may come."""
        return self._login.is_done

    def path(self) -> str:
        """The socket key in the query."""
        return self._path

    def subscribe(self) -> Sequence[str]:
        """Nothing: the address logs in; without credentials the subscriptions."""
        return self._login.opening()

    def keep_alive(self) -> str | None:
        """None: the venue documents nothing."""
        return None

    def stream_of(self, frame: bytes) -> str:
        """`trades:symbol`; "" for answers and garbage."""
        try:
            symbol = _decode_other(frame).s
        except DECODE_ERRORS:
            return ""
        return f"{_CHANNELS[0]}:{symbol}" if symbol else ""

    def parse(self, frame: bytes, received_at: int) -> Sequence[Event]:
        """The events of one frame. ParseError names the field and its value; VenueRefused, what was asked."""
        symbol = frame[len(_SYMBOL) : frame.find(b'"', len(_SYMBOL))] if frame.startswith(_SYMBOL) else b""
        return self.read_with(self._readers.get(symbol, self._read_other), frame, received_at)

    def pending_messages(self) -> Sequence[str]:
        """The subscriptions once the venue is ready."""
        return self._login.pending_messages()

    def _read_other(self, frame: bytes, received_at: int) -> Sequence[Event]:
        """A frame that does not begin with a symbol subscribed to."""
        other = _decode_other(frame)
        if other.status_code is not None:
            self._take_answer(other.status_code, other.message)
            return ()
        read = self._readers.get(other.s.encode("utf-8", "surrogatepass"))
        if read is None:
            raise ParseError(f"the symbol {other.s!r:.{VALUE_SHOWN}} is not subscribed")
        return read(frame, received_at)

    def _take_answer(self, status: int, message: str) -> None:
        if status != _OK:
            refused = LoginRefused if status == _NOT_AUTHORISED else VenueRefused
            raise refused(f"{self._venue} refused: {message} (code {status})")
        if message.lower() == _READY:
            self._login.succeed()


class _Other(msgspec.Struct, gc=False):
    """What a frame may be."""

    s: str = ""
    p: float | str | None = None
    q: float | str | None = None
    v: float | str | None = None
    t: int | None = None
    e: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    status_code: int | None = None
    message: str = "no reason given"


_decode_other = msgspec.json.Decoder(_Other).decode


def _subscription(symbol: str) -> str:
    return msgspec.json.encode({"action": "subscribe", "symbols": symbol}).decode()


FINAGE = FinageMarket()

"""The dialect of Bybit v5, linear and inverse contracts: subscriptions, who reads a frame, lost books.

What lives here: the state of a session. What never does: the meaning of single frames and the evidence for it
(`bybit_frames.py`), the arithmetic of a book (`books.py`), sockets, clocks.

A message begins with its topic, {"topic":"publicTrade.BTCUSDT", which is looked up as it stands. Each symbol
is subscribed by a request of its own, whose `req_id` is the symbol: of a request with one wrong topic the
venue refuses all. A book that is lost is unsubscribed and subscribed again: its snapshot follows.
The client must say something every 20 s.

Spot speaks the same protocol and is not spoken here: its frames cannot be told from those of linear ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from ingest_daemon.books import BookBuilder, ContiguousIds
from ingest_daemon.errors import ConfigError, ParseError, VenueRefused
from ingest_daemon.events import Event, FactRelation
from ingest_daemon.venues import bybit_frames as frames
from ingest_daemon.venues.base import Capabilities, Listing
from ingest_daemon.venues.contracts import in_base_units
from ingest_daemon.venues.fields import DECODE_ERRORS, VALUE_SHOWN, Reader
from ingest_daemon.venues.roll import Stream
from ingest_daemon.venues.stream_books import StreamSession
from ingest_daemon.venues.telling import Told, told

__all__ = ["BYBIT_INVERSE", "BYBIT_LINEAR", "BybitMarket", "BybitSession"]

_BEST = "orderbook.1"
_CHANNELS = ("publicTrade", "tickers", _BEST, *(f"orderbook.{depth}" for depth in (50, 200, 500, 1000)))
_RELATIONS: Mapping[str, FactRelation] = {
    "publicTrade": "trades",
    "tickers": "reference_prices",
    _BEST: "quotes",
    **dict.fromkeys(_CHANNELS[3:], "books"),
}
_TOPIC = b'{"topic":"'
# BTCUSD, BTCUSDU23; but not BTCUSDT, BTCPERP, BTC-29DEC23.
_INVERSE = re.compile(r"USD([FGHJKMNQUVXZ]\d\d)?\Z")


class BybitMarket(msgspec.Struct, frozen=True):
    """One of Bybit's markets: an entry of `VENUES`."""

    name: str
    path: str
    is_inverse: bool
    capabilities: Capabilities = Capabilities(
        trades=True, quotes=True, book_depth=20, reference_prices=True, sequence_check=True
    )
    keep_alive_s: float | None = 15.0
    longest_connection_s: float | None = None

    @property
    def channels(self) -> Sequence[str]:
        """The venue's own words, all that `open_session` accepts."""
        return _CHANNELS

    def open_session(
        self, venue: str, symbols: Mapping[str, Listing], channels: Sequence[str]
    ) -> BybitSession:
        """A fresh session; ConfigError names an unknown channel and those accepted."""
        for channel in channels:
            if channel not in _CHANNELS:
                accepted = ", ".join(_CHANNELS)
                raise ConfigError(f"channels: {self.name} has no channel {channel!r}; accepted: {accepted}")
        return BybitSession(self, venue, symbols, tuple(dict.fromkeys(channels)))

    def tells(self, channels: Sequence[str]) -> Sequence[Told]:
        """Channel and relation of what these channels tell."""
        return told(channels, _RELATIONS, _CHANNELS[3:])

    def symbol_of(self, stream: str) -> str:
        """What stands after the last dot."""
        return stream.rpartition(".")[2]

    def recognises(self, frame: bytes) -> bool:
        """Whether it is data of a topic of this market, by the form of the symbol."""
        try:
            topic = _decode_other(frame).topic
        except DECODE_ERRORS:
            return False
        if topic is None or topic.rpartition(".")[0] not in _CHANNELS:
            return False
        return bool(_INVERSE.search(topic)) == self.is_inverse


class BybitSession(StreamSession):
    """One socket's worth of state."""

    def __init__(
        self, market: BybitMarket, venue: str, symbols: Mapping[str, Listing], channels: Sequence[str]
    ) -> None:
        super().__init__()
        self._venue = venue
        self._path = market.path
        self._symbols = symbols
        self._channels = channels
        self._readers: dict[bytes, Reader] = {}
        for symbol, listing in symbols.items():
            for channel in channels:
                key = _TOPIC + f'{channel}.{symbol}"'.encode()
                stream = Stream(channel, symbol, (listing.instrument_id,))
                read = in_base_units(listing, self._reader(channel, symbol, listing))
                self.roll.add(self._readers, key, stream, read, _anew(channel, symbol))

    def path(self) -> str:
        """The market's public topics."""
        return self._path

    def subscribe(self) -> Sequence[str]:
        """One request a symbol."""
        return [
            _text("subscribe", symbol, [f"{channel}.{symbol}" for channel in self._channels])
            for symbol in self._symbols
            if self._channels
        ]

    def keep_alive(self) -> str | None:
        """What the venue wants to hear from an idle client."""
        return '{"op":"ping"}'

    def stream_of(self, frame: bytes) -> str:
        """The topic; "" for answers and garbage."""
        if frame.startswith(_TOPIC):
            end = frame.find(b'"', len(_TOPIC))
            return frame[len(_TOPIC) : end].decode(errors="replace") if end > 0 else ""
        try:
            return _decode_other(frame).topic or ""
        except DECODE_ERRORS:
            return ""

    def parse(self, frame: bytes, received_at: int) -> Sequence[Event]:
        """The events of one frame. ParseError names the field and its value; VenueRefused, what was asked."""
        end = frame.find(b'"', len(_TOPIC)) + 1
        return self.read_with(self._readers.get(frame[:end], self._read_other), frame, received_at)

    def _reader(self, channel: str, symbol: str, listing: Listing) -> Reader:
        if channel == "publicTrade":
            return frames.trade_reader(symbol, listing.instrument_id)
        if channel == "tickers":
            return frames.ticker_reader(symbol, listing.instrument_id)
        builder = BookBuilder(
            self._venue,
            channel,
            listing.instrument_id,
            ContiguousIds(),
            # Without the best level's own topic the book is the only one to know the best prices.
            with_quotes=channel == _BEST or _BEST not in self._channels,
            with_books=channel != _BEST,
        )
        return self.books.add(builder, frames.update_reader(symbol), _anew(channel, symbol))

    def _read_other(self, frame: bytes, received_at: int) -> Sequence[Event]:
        """A frame that does not begin with a topic subscribed to."""
        other = _decode_other(frame)
        if other.topic is not None:
            read = self._readers.get(_TOPIC + f'{other.topic}"'.encode())
            if read is None:
                raise ParseError(f"topic {other.topic!r:.{VALUE_SHOWN}} is not subscribed")
            return read(frame, received_at)
        if other.success is None:
            raise ParseError("neither data of a topic nor an answer: no topic, no success")
        if not other.success:
            asked = f"to {other.op or 'do what was asked'}" + (f" for {other.req_id}" if other.req_id else "")
            raise VenueRefused(f"{self._venue} refused {asked}: {other.ret_msg}")
        return ()


class _Other(msgspec.Struct, gc=False):
    """What a frame may be."""

    topic: str | None = None
    success: bool | None = None
    ret_msg: str = ""
    op: str = ""
    req_id: str = ""


_decode_other = msgspec.json.Decoder(_Other).decode


def _anew(channel: str, symbol: str) -> Sequence[str]:
    topic = [f"{channel}.{symbol}"]
    return _text("unsubscribe", symbol, topic), _text("subscribe", symbol, topic)


def _text(operation: str, symbol: str, topics: Sequence[str]) -> str:
    return msgspec.json.encode({"op": operation, "req_id": symbol, "args": topics}).decode()


BYBIT_LINEAR = BybitMarket("bybit_linear", "/v5/public/linear", is_inverse=False)
BYBIT_INVERSE = BybitMarket("bybit_inverse", "/v5/public/inverse", is_inverse=True)

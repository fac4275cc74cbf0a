"""The dialect of Kraken's WebSocket v2: subscriptions, who reads a frame, how a lost book comes back.

What lives here: the state of a session. What never does: the meaning of single frames and the evidence for it
(`kraken_frames.py`), the arithmetic of a book (`books.py`), sockets, clocks.

A message names its channel first and its symbol in its data: both are looked for in the bytes, and by
decoding where they are not found there. A request is of one channel and all symbols; the venue answers for
each symbol, so a refused one takes no others along. A book that is lost is unsubscribed and subscribed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ingest_daemon.book_flow import FlowMeter
from ingest_daemon.books import BookBuilder, UnnumberedIds
from ingest_daemon.errors import ConfigError, ParseError, VenueRefused
from ingest_daemon.events import Event, FactRelation
from ingest_daemon.venues import kraken_frames as frames
from ingest_daemon.venues import kraken_history
from ingest_daemon.venues.base import Capabilities, History, Listing, MissingTrades, TradeRepair
from ingest_daemon.venues.contracts import in_base_units
from ingest_daemon.venues.fields import DECODE_ERRORS, VALUE_SHOWN, Reader
from ingest_daemon.venues.metering import meter_of, metered
from ingest_daemon.venues.roll import Stream
from ingest_daemon.venues.stream_books import StreamSession
from ingest_daemon.venues.telling import Told, told

__all__ = ["KRAKEN", "KrakenMarket", "KrakenSession"]

_CHANNELS = ("trade", "ticker", "book")
_DEPTH = 100  # levels a side of a book; the venue has 10, 25, 100, 500, 1000
# A snapshot of trades is of the past, of which nothing else is known here.
_OPTIONS: Mapping[str, Mapping[str, object]] = {
    "trade": {"snapshot": False},
    "ticker": {"event_trigger": "bbo"},
    "book": {"depth": _DEPTH},
}
_RELATIONS: Mapping[str, FactRelation] = {"trade": "trades", "ticker": "quotes", "book": "books"}
_CHANNEL = b'{"channel":"'
_SYMBOL = b'"symbol":"'
_SILENT_CHANNELS = {"heartbeat", "status"}


class KrakenMarket(msgspec.Struct, frozen=True):
    """The entry of `VENUES`."""

    name: str = "kraken"
    capabilities: Capabilities = Capabilities(
        trades=True, quotes=True, book_depth=20, checksum=True, trade_history=True
    )
    keep_alive_s: float | None = 30.0  # the venue closes after 60 without a word from either
    longest_connection_s: float | None = None
    history: History = kraken_history.HISTORY

    @property
    def channels(self) -> Sequence[str]:
        """The venue's own words, all that `open_session` accepts."""
        return _CHANNELS

    def open_session(
        self, venue: str, symbols: Mapping[str, Listing], channels: Sequence[str]
    ) -> KrakenSession:
        """A fresh session; ConfigError names an unknown channel and those accepted."""
        for channel in channels:
            if channel not in _CHANNELS:
                accepted = ", ".join(_CHANNELS)
                raise ConfigError(f"channels: {self.name} has no channel {channel!r}; accepted: {accepted}")
        return KrakenSession(venue, symbols, tuple(dict.fromkeys(channels)))

    def tells(self, channels: Sequence[str]) -> Sequence[Told]:
        """Channel and relation of what these channels tell."""
        return told(channels, _RELATIONS, ["book"])

    def open_repair(self, missing: MissingTrades) -> TradeRepair:
        """See `HistoryProtocol`."""
        return kraken_history.open_walk(missing)

    def symbol_of(self, stream: str) -> str:
        """What stands after the colon."""
        return stream.partition(":")[2]

    def recognises(self, frame: bytes) -> bool:
        """Whether it is data of a channel about symbols."""
        try:
            other = _decode_other(frame)
        except DECODE_ERRORS:
            return False
        return other.channel in _CHANNELS and bool(_symbol_in(other))


class KrakenSession(StreamSession):
    """One socket's worth of state."""

    def __init__(self, venue: str, symbols: Mapping[str, Listing], channels: Sequence[str]) -> None:
        super().__init__()
        self._venue = venue
        self._symbols = symbols
        self._channels = channels
        self._readers: dict[tuple[bytes, bytes], Reader] = {}
        for symbol, listing in symbols.items():
            meter = meter_of(listing, is_wanted={"trade", "book"} <= set(channels))
            for channel in channels:
                read = in_base_units(listing, self._reader(channel, symbol, listing, meter))
                stream = Stream(channel, symbol, (listing.instrument_id,))
                key = channel.encode(), symbol.encode()
                self.roll.add(self._readers, key, stream, read, _anew(channel, symbol))

    def path(self) -> str:
        """The second version."""
        return "/v2"

    def subscribe(self) -> Sequence[str]:
        """One request a channel."""
        return [
            _text("subscribe", channel, list(self._symbols)) for channel in self._channels if self._symbols
        ]

    def keep_alive(self) -> str | None:
        """What the venue wants to hear from an idle client."""
        return '{"method":"ping"}'

    def stream_of(self, frame: bytes) -> str:
        """`channel:symbol`; "" for answers and garbage."""
        try:
            other = _decode_other(frame)
        except DECODE_ERRORS:
            return ""
        symbol = _symbol_in(other)
        return f"{other.channel}:{symbol}" if other.channel in _CHANNELS and symbol else ""

    def parse(self, frame: bytes, received_at: int) -> Sequence[Event]:
        """The events of one frame. ParseError names the field and its value; VenueRefused, what was asked."""
        at = frame.find(_SYMBOL) + len(_SYMBOL)
        channel = frame[len(_CHANNEL) : frame.find(b'"', len(_CHANNEL))]
        read = self._readers.get((channel, frame[at : frame.find(b'"', at)]), self._read_other)
        return self.read_with(read, frame, received_at)

    def _reader(self, channel: str, symbol: str, listing: Listing, meter: FlowMeter | None) -> Reader:
        if channel == "trade":
            return metered(frames.trade_reader(symbol, listing.instrument_id), meter)
        if channel == "ticker":
            return frames.quote_reader(symbol, listing.instrument_id)
        builder = BookBuilder(
            self._venue,
            channel,
            listing.instrument_id,
            UnnumberedIds(),
            # Without the ticker the book is the only one to know the best prices.
            with_quotes="ticker" not in self._channels,
            checksum_rule=frames.AsksThenBidsCrc32(),
            kept_levels=_DEPTH,
            meter=meter,
        )
        return self.books.add(builder, frames.update_reader(symbol), _anew(channel, symbol))

    def _read_other(self, frame: bytes, received_at: int) -> Sequence[Event]:
        """A frame that does not begin with a channel, or is of no symbol subscribed to."""
        other = _decode_other(frame)
        if other.error:
            asked = f"to {other.method or 'do what was asked'}" + (f" {other.symbol}" if other.symbol else "")
            raise VenueRefused(f"{self._venue} refused {asked}: {other.error}")
        if other.channel in _SILENT_CHANNELS or (other.method and not other.channel):
            return ()
        symbol = _symbol_in(other)
        read = self._readers.get((other.channel.encode(), symbol.encode()))
        if read is None:
            found = f"{other.channel!r:.{VALUE_SHOWN}} of {symbol!r:.{VALUE_SHOWN}}"
            raise ParseError(f"channel {found} is not subscribed")
        return read(frame, received_at)


class _Named(msgspec.Struct, gc=False):
    symbol: str = ""


class _Other(msgspec.Struct, gc=False):
    """What a frame may be."""

    channel: str = ""
    data: list[_Named] = []
    method: str = ""
    symbol: str = ""
    error: str = ""


_decode_other = msgspec.json.Decoder(_Other).decode


def _symbol_in(other: _Other) -> str:
    return other.data[0].symbol if other.data else ""


def _anew(channel: str, symbol: str) -> Sequence[str]:
    return _text("unsubscribe", channel, [symbol]), _text("subscribe", channel, [symbol])


def _text(method: str, channel: str, symbols: Sequence[str]) -> str:
    options = _OPTIONS[channel]
    if method == "unsubscribe":
        options = {name: value for name, value in options.items() if name == "depth"}
    params: dict[str, object] = {"channel": channel, "symbol": symbols, **options}
    return msgspec.json.encode({"method": method, "params": params}).decode()


KRAKEN = KrakenMarket()

"""The dialect of Coinbase Exchange: subscriptions, who reads a frame, how a lost book comes back.

What lives here: the state of a session. What never does: the meaning of single frames and the evidence for it
(`coinbase_frames.py`), the arithmetic of a book (`books.py`), sockets, clocks.

A message has its type and its product among its fields, mostly {"type":… first: both are looked for in the
bytes, and by decoding where they are not found there. Each product is subscribed by a request of its own: of
a request with one wrong product the venue refuses all. A book that is lost is unsubscribed and subscribed
again: then the venue sends its snapshot. `level2_batch` needs no login; `level2` does, and is not spoken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ingest_daemon.book_flow import FlowMeter
from ingest_daemon.books import BookBuilder, UnnumberedIds
from ingest_daemon.errors import ConfigError, ParseError, VenueRefused
from ingest_daemon.events import Event, FactRelation
from ingest_daemon.venues import coinbase_frames as frames
from ingest_daemon.venues import coinbase_history
from ingest_daemon.venues.base import Capabilities, History, Listing, MissingTrades, TradeRepair
from ingest_daemon.venues.contracts import in_base_units
from ingest_daemon.venues.fields import DECODE_ERRORS, VALUE_SHOWN, Reader
from ingest_daemon.venues.metering import meter_of, metered
from ingest_daemon.venues.roll import Stream
from ingest_daemon.venues.stream_books import StreamSession
from ingest_daemon.venues.telling import Told, told

__all__ = ["COINBASE", "CoinbaseMarket", "CoinbaseSession"]

_CHANNELS = ("matches", "ticker", "level2_batch")
_CHANNEL_OF = {
    "match": "matches",
    "last_match": "matches",
    "ticker": "ticker",
    "snapshot": "level2_batch",
    "l2update": "level2_batch",
}
_RELATIONS: Mapping[str, FactRelation] = {
    "matches": "trades",
    "ticker": "quotes",
    "level2_batch": "books",
}
_TYPE = b'{"type":"'
_PRODUCT = b'"product_id":"'
_SILENT_TYPES = {"subscriptions", "heartbeat"}


class CoinbaseMarket(msgspec.Struct, frozen=True):
    """The entry of `VENUES`."""

    name: str = "coinbase"
    capabilities: Capabilities = Capabilities(
        trades=True, quotes=True, book_depth=20, sequence_check=True, trade_history=True
    )
    keep_alive_s: float | None = None
    longest_connection_s: float | None = None
    history: History = coinbase_history.HISTORY

    @property
    def channels(self) -> Sequence[str]:
        """The venue's own words, all that `open_session` accepts."""
        return _CHANNELS

    def open_session(
        self, venue: str, symbols: Mapping[str, Listing], channels: Sequence[str]
    ) -> CoinbaseSession:
        """A fresh session; ConfigError names an unknown channel and those accepted."""
        for channel in channels:
            if channel not in _CHANNELS:
                accepted = ", ".join(_CHANNELS)
                raise ConfigError(f"channels: {self.name} has no channel {channel!r}; accepted: {accepted}")
        return CoinbaseSession(venue, symbols, tuple(dict.fromkeys(channels)))

    def tells(self, channels: Sequence[str]) -> Sequence[Told]:
        """Channel and relation of what these channels tell."""
        return told(channels, _RELATIONS, ["level2_batch"])

    def open_repair(self, missing: MissingTrades) -> TradeRepair:
        """See `HistoryProtocol`."""
        return coinbase_history.open_walk(missing)

    def symbol_of(self, stream: str) -> str:
        """What stands after the colon."""
        return stream.partition(":")[2]

    def recognises(self, frame: bytes) -> bool:
        """Whether it is a message about a product."""
        try:
            other = _decode_other(frame)
        except DECODE_ERRORS:
            return False
        return other.type in _CHANNEL_OF and bool(other.product_id)


class CoinbaseSession(StreamSession):
    """One socket's worth of state."""

    def __init__(self, venue: str, symbols: Mapping[str, Listing], channels: Sequence[str]) -> None:
        super().__init__()
        self._venue = venue
        self._symbols = symbols
        self._channels = channels
        self._readers: dict[tuple[bytes, bytes], Reader] = {}
        for symbol, listing in symbols.items():
            meter = meter_of(listing, is_wanted={"matches", "level2_batch"} <= set(channels))
            for channel in channels:
                stream = Stream(channel, symbol, (listing.instrument_id,))
                for kind, read in self._read_kinds(channel, symbol, listing, meter).items():
                    key = kind, symbol.encode()
                    converted = in_base_units(listing, read)
                    self.roll.add(self._readers, key, stream, converted, _anew(channel, symbol))

    def path(self) -> str:
        """Nothing: the feed is at the address itself."""
        return ""

    def subscribe(self) -> Sequence[str]:
        """One request a product."""
        return [_text("subscribe", symbol, self._channels) for symbol in self._symbols if self._channels]

    def keep_alive(self) -> str | None:
        """None: the venue pings."""
        return None

    def stream_of(self, frame: bytes) -> str:
        """`channel:product`; "" for answers and garbage."""
        try:
            other = _decode_other(frame)
        except DECODE_ERRORS:
            return ""
        channel = _CHANNEL_OF.get(other.type, "")
        return f"{channel}:{other.product_id}" if channel and other.product_id else ""

    def parse(self, frame: bytes, received_at: int) -> Sequence[Event]:
        """The events of one frame. ParseError names the field and its value; VenueRefused, what was asked."""
        at = frame.find(_PRODUCT) + len(_PRODUCT)
        kind = frame[len(_TYPE) : frame.find(b'"', len(_TYPE))]
        read = self._readers.get((kind, frame[at : frame.find(b'"', at)]), self._read_other)
        return self.read_with(read, frame, received_at)

    def _read_kinds(
        self, channel: str, symbol: str, listing: Listing, meter: FlowMeter | None
    ) -> Mapping[bytes, Reader]:
        if channel == "matches":
            match, last = frames.match_readers(self._venue, channel, symbol, listing.instrument_id)
            return {b"match": metered(match, meter), b"last_match": last}
        if channel == "ticker":
            return {b"ticker": frames.quote_reader(symbol, listing.instrument_id)}
        builder = BookBuilder(
            self._venue,
            channel,
            listing.instrument_id,
            UnnumberedIds(),
            # Without the ticker the book is the only one to know the best prices.
            with_quotes="ticker" not in self._channels,
            meter=meter,
        )
        read = self.books.add(builder, frames.update_reader(symbol), _anew(channel, symbol))
        return {b"snapshot": read, b"l2update": read}

    def _read_other(self, frame: bytes, received_at: int) -> Sequence[Event]:
        """A frame that does not begin with a type, or is of no product subscribed to."""
        other = _decode_other(frame)
        if other.type == "error":
            raise VenueRefused(f"{self._venue} refused: {other.message}: {other.reason or 'no reason given'}")
        if other.type in _SILENT_TYPES:
            return ()
        read = self._readers.get((other.type.encode(), other.product_id.encode()))
        if read is None:
            found = f"{other.type!r:.{VALUE_SHOWN}} of {other.product_id!r:.{VALUE_SHOWN}}"
            raise ParseError(f"a message of type {found} is not subscribed")
        return read(frame, received_at)


class _Other(msgspec.Struct, gc=False):
    """What a frame may be."""

    type: str
    product_id: str = ""
    message: str = ""
    reason: str = ""


_decode_other = msgspec.json.Decoder(_Other).decode


def _anew(channel: str, symbol: str) -> Sequence[str]:
    return _text("unsubscribe", symbol, [channel]), _text("subscribe", symbol, [channel])


def _text(kind: str, symbol: str, channels: Sequence[str]) -> str:
    request = {"type": kind, "product_ids": [symbol], "channels": channels}
    return msgspec.json.encode(request).decode()


COINBASE = CoinbaseMarket()

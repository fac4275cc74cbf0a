"""The dialect of Bybit v5, spot, linear and inverse contracts: subscriptions, who reads a frame, lost books.

What lives here: the state of a session. What never does: the meaning of single frames and the evidence for it
(`bybit_frames.py`), the arithmetic of a book (`books.py`), sockets, clocks.

A message begins with its topic, {"topic":"publicTrade.BTCUSDT", which is looked up as it stands. Each symbol
is subscribed by a request of its own, whose `req_id` is the symbol: of a request with one wrong topic the
venue refuses all. A book that is lost is unsubscribed and subscribed again: its snapshot follows.
The client must say something every 20 s.

Frames of spot and of linear contracts are the same but for the trades, where linear ones say the direction of
the price (`L`). So of a recording only trades and tickers tell which it is, and a book tells nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec

from ingest_daemon.book_flow import FlowMeter
from ingest_daemon.books import BookBuilder, ContiguousIds
from ingest_daemon.errors import ConfigError, ParseError, VenueRefused
from ingest_daemon.events import Event, FactRelation
from ingest_daemon.venues import bybit_frames as frames
from ingest_daemon.venues import bybit_history
from ingest_daemon.venues.base import Capabilities, History, Listing, MissingTrades, TradeRepair
from ingest_daemon.venues.contracts import in_base_units
from ingest_daemon.venues.fields import DECODE_ERRORS, VALUE_SHOWN, Reader
from ingest_daemon.venues.metering import meter_of, metered
from ingest_daemon.venues.roll import Stream
from ingest_daemon.venues.stream_books import StreamSession
from ingest_daemon.venues.telling import Told, told

__all__ = ["BYBIT_INVERSE", "BYBIT_LINEAR", "BYBIT_SPOT", "BybitMarket", "BybitSession"]

Kind = Literal["spot", "linear", "inverse"]

_BEST = "orderbook.1"
_TRADES, _TICKERS = "publicTrade", "tickers"
_SPOT_DEPTHS = tuple(f"orderbook.{depth}" for depth in (50, 200, 1000))
_CONTRACT_DEPTHS = tuple(f"orderbook.{depth}" for depth in (50, 200, 500, 1000))
_SPOT_CHANNELS = (_TRADES, _BEST, *_SPOT_DEPTHS)
_CONTRACT_CHANNELS = (_TRADES, _TICKERS, _BEST, *_CONTRACT_DEPTHS)
_RELATIONS: Mapping[str, FactRelation] = {
    _TRADES: "trades",
    _TICKERS: "reference_prices",
    _BEST: "quotes",
    **dict.fromkeys(_CONTRACT_DEPTHS, "books"),
}
_TOPIC = b'{"topic":"'
# BTCUSD, BTCUSDU23; but not BTCUSDT, BTCPERP, BTC-29DEC23.
_INVERSE = re.compile(r"USD([FGHJKMNQUVXZ]\d\d)?\Z")


class BybitMarket(msgspec.Struct, frozen=True):
    """One of Bybit's markets: an entry of `VENUES`."""

    name: str
    kind: Kind
    channels: tuple[str, ...]
    capabilities: Capabilities
    keep_alive_s: float | None = 15.0
    longest_connection_s: float | None = None
    history: History = bybit_history.HISTORY

    @property
    def path(self) -> str:
        """The market's public topics."""
        return f"/v5/public/{self.kind}"

    def open_session(
        self, venue: str, symbols: Mapping[str, Listing], channels: Sequence[str]
    ) -> BybitSession:
        """A fresh session; ConfigError names an unknown channel and those accepted."""
        for channel in channels:
            if channel not in self.channels:
                accepted = ", ".join(self.channels)
                raise ConfigError(f"channels: {self.name} has no channel {channel!r}; accepted: {accepted}")
        return BybitSession(self, venue, symbols, tuple(dict.fromkeys(channels)))

    def tells(self, channels: Sequence[str]) -> Sequence[Told]:
        """Channel and relation of what these channels tell."""
        return told(channels, _RELATIONS, _CONTRACT_DEPTHS)

    def open_repair(self, missing: MissingTrades) -> TradeRepair:
        """See `HistoryProtocol`."""
        return bybit_history.open_walk(self.kind, missing)

    def symbol_of(self, stream: str) -> str:
        """What stands after the last dot."""
        return stream.rpartition(".")[2]

    def recognises(self, frame: bytes) -> bool:
        """Whether it is data of a topic of this market, by the form of the symbol and of a trade."""
        try:
            other = _decode_other(frame)
        except DECODE_ERRORS:
            return False
        channel, _, symbol = (other.topic or "").rpartition(".")
        return channel in _CONTRACT_CHANNELS and _kind_of(channel, symbol, frame) == self.kind


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
        # Of several depths of one book, the deepest has the flow of the others too.
        depths = [channel for channel in _CONTRACT_DEPTHS if channel in channels]
        self._deepest = depths[-1] if depths else None
        is_metered = self._deepest is not None and _TRADES in channels
        for symbol, listing in symbols.items():
            meter = meter_of(listing, is_wanted=is_metered)
            for channel in channels:
                key = _TOPIC + f'{channel}.{symbol}"'.encode()
                stream = Stream(channel, symbol, (listing.instrument_id,))
                read = in_base_units(listing, self._reader(channel, symbol, listing, meter))
                self.roll.add(self._readers, key, stream, read, _anew(channel, symbol))

    def path(self) -> str:
        """The market's public topics."""
        return self._path

    def subscribe(self) -> Sequence[str]:
        """One request a symbol, whose topics are never as many as one may ask for at a time."""
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

    def _reader(self, channel: str, symbol: str, listing: Listing, meter: FlowMeter | None) -> Reader:
        if channel == _TRADES:
            return metered(frames.trade_reader(symbol, listing.instrument_id), meter)
        if channel == _TICKERS:
            return frames.ticker_reader(symbol, listing.instrument_id)
        builder = BookBuilder(
            self._venue,
            channel,
            listing.instrument_id,
            ContiguousIds(),
            # Without the best level's own topic the book is the only one to know the best prices.
            with_quotes=channel == _BEST or _BEST not in self._channels,
            with_books=channel != _BEST,
            told_levels=int(channel.rpartition(".")[2]),
            meter=meter if channel == self._deepest else None,
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


class _TradeMarks(msgspec.Struct, gc=False):
    L: str | None = None  # the direction of the price: contracts only


class _Trades(msgspec.Struct, gc=False):
    data: Annotated[list[_TradeMarks], msgspec.Meta(min_length=1)]


_decode_other = msgspec.json.Decoder(_Other).decode
_decode_trades = msgspec.json.Decoder(_Trades).decode


def _kind_of(channel: str, symbol: str, frame: bytes) -> Kind | None:
    """The market that a frame is of; None where two send the same."""
    if _INVERSE.search(symbol):
        return "inverse"
    if channel == _TICKERS:
        return "linear"  # those of spot are not spoken: they have nothing that we keep
    if channel != _TRADES:
        return None
    try:
        return "spot" if _decode_trades(frame).data[0].L is None else "linear"
    except DECODE_ERRORS:
        return None


def _anew(channel: str, symbol: str) -> Sequence[str]:
    topic = [f"{channel}.{symbol}"]
    return _text("unsubscribe", symbol, topic), _text("subscribe", symbol, topic)


def _text(operation: str, symbol: str, topics: Sequence[str]) -> str:
    return msgspec.json.encode({"op": operation, "req_id": symbol, "args": topics}).decode()


_SPOT_GIVES = Capabilities(trades=True, quotes=True, book_depth=20, sequence_check=True, trade_history=True)
_CONTRACTS_GIVE = msgspec.structs.replace(_SPOT_GIVES, reference_prices=True)
BYBIT_SPOT = BybitMarket("bybit_spot", "spot", _SPOT_CHANNELS, _SPOT_GIVES)
BYBIT_LINEAR = BybitMarket("bybit_linear", "linear", _CONTRACT_CHANNELS, _CONTRACTS_GIVE)
BYBIT_INVERSE = BybitMarket("bybit_inverse", "inverse", _CONTRACT_CHANNELS, _CONTRACTS_GIVE)

"""The dialect of OKX v5: subscriptions, who reads a frame, how a lost book comes back.

What lives here: the state of a session. What never does: the meaning of single frames and the evidence for it
(`okx_frames.py`), the arithmetic of a book (`books.py`), sockets, clocks.

A message begins with the argument it was subscribed with, {"arg":{"channel":…,"instId":…}, which is looked up
as it stands. Each symbol is subscribed by a request of its own: a refused one takes no others along. A book
that is lost is unsubscribed and subscribed again: the venue then sends its snapshot. The client must not be
silent for 30 s; its "ping" is answered by "pong".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from ingest_daemon.book_flow import FlowMeter
from ingest_daemon.books import BookBuilder
from ingest_daemon.errors import ConfigError, ParseError, VenueRefused
from ingest_daemon.events import Event, FactRelation
from ingest_daemon.venues import okx_frames as frames
from ingest_daemon.venues import okx_history
from ingest_daemon.venues.base import Capabilities, History, Listing, MissingTrades, TradeRepair
from ingest_daemon.venues.contracts import in_base_units
from ingest_daemon.venues.fields import DECODE_ERRORS, VALUE_SHOWN, Reader
from ingest_daemon.venues.metering import meter_of, metered
from ingest_daemon.venues.roll import Stream
from ingest_daemon.venues.stream_books import StreamSession
from ingest_daemon.venues.telling import Told, told

__all__ = ["OKX", "OkxMarket", "OkxSession"]

_TRADES, _BOOKS, _INDEX, _FUNDING = "trades", "books", "index-tickers", "funding-rate"
_LEVELS_TOLD = 400  # a side, of channel books
_READERS: Mapping[str, Callable[[str, int], Reader]] = {
    _TRADES: frames.trade_reader,
    "bbo-tbt": frames.best_reader,
    "tickers": frames.ticker_reader,
    "books5": frames.top_reader,
    "mark-price": frames.mark_reader,
    _FUNDING: frames.funding_reader,
}
_CHANNELS = (*_READERS, _BOOKS, _INDEX)
_QUOTES = {"bbo-tbt", "tickers"}
_OF_DERIVATIVES = {"mark-price", _INDEX, _FUNDING}
_RELATIONS: Mapping[str, FactRelation] = {
    "trades": "trades",
    "bbo-tbt": "quotes",
    "tickers": "quotes",
    "books5": "books",
    _BOOKS: "books",
    "mark-price": "reference_prices",
    _INDEX: "reference_prices",
    _FUNDING: "reference_prices",
}
_ARGUMENT = b'{"arg":{"channel":"'
_NAMED = re.compile(rb'\{"arg":\{"channel":"([^"\\]*)","instId":"([^"\\]*)"\}')
_PONG = b"pong"
_SILENT_EVENTS = {"subscribe", "unsubscribe", "notice", "channel-conn-count"}


class OkxMarket(msgspec.Struct, frozen=True):
    """The entry of `VENUES`."""

    name: str = "okx"
    capabilities: Capabilities = Capabilities(
        trades=True,
        trade_history=True,
        quotes=True,
        book_depth=20,
        reference_prices=True,
        sequence_check=True,
        checksum=True,
    )
    keep_alive_s: float | None = 25.0  # the venue closes after 30
    longest_connection_s: float | None = None
    history: History = okx_history.HISTORY

    @property
    def channels(self) -> Sequence[str]:
        """The venue's own words, all that `open_session` accepts."""
        return _CHANNELS

    def open_session(self, venue: str, symbols: Mapping[str, Listing], channels: Sequence[str]) -> OkxSession:
        """A fresh session; ConfigError names an unknown channel and those accepted."""
        for channel in channels:
            if channel not in _CHANNELS:
                accepted = ", ".join(_CHANNELS)
                raise ConfigError(f"channels: {self.name} has no channel {channel!r}; accepted: {accepted}")
        return OkxSession(venue, symbols, tuple(dict.fromkeys(channels)))

    def tells(self, channels: Sequence[str]) -> Sequence[Told]:
        """Channel and relation of what these channels tell."""
        return told(channels, _RELATIONS, [_BOOKS])

    def open_repair(self, missing: MissingTrades) -> TradeRepair:
        """See `HistoryProtocol`."""
        return okx_history.open_walk(missing)

    def symbol_of(self, stream: str) -> str:
        """What stands after the colon; an index is no symbol of ours."""
        channel, _, symbol = stream.partition(":")
        return "" if channel == _INDEX else symbol

    def recognises(self, frame: bytes) -> bool:
        """Whether it is data of a channel; an acknowledgement is nobody's."""
        try:
            other = _decode_other(frame)
        except DECODE_ERRORS:
            return False
        return other.arg is not None and other.event is None and other.data is not msgspec.UNSET


class OkxSession(StreamSession):
    """One socket's worth of state."""

    def __init__(self, venue: str, symbols: Mapping[str, Listing], channels: Sequence[str]) -> None:
        super().__init__()
        self._venue = venue
        self._symbols = symbols
        self._readers: dict[bytes, Reader] = {}
        self._with_quotes = not _QUOTES & set(channels)
        self._requests: list[list[dict[str, str]]] = []
        for symbol, listing in symbols.items():
            mine = [channel for channel in channels if _has(symbol, channel)]
            meter = meter_of(listing, is_wanted={_TRADES, _BOOKS} <= set(channels))
            for channel in mine:
                stream = Stream(channel, symbol, (listing.instrument_id,))
                read = self._reader(channel, symbol, listing, meter)
                self.roll.add(self._readers, _key(channel, symbol), stream, read, _anew(channel, symbol))
            if mine:
                self._requests.append([_argument(channel, symbol) for channel in mine])
        if _INDEX in channels:
            self._add_indices()

    def path(self) -> str:
        """The public channels."""
        return "/ws/v5/public"

    def subscribe(self) -> Sequence[str]:
        """One request a symbol, one an index."""
        return [_text("subscribe", arguments) for arguments in self._requests]

    def keep_alive(self) -> str | None:
        """What the venue wants to hear from an idle client."""
        return "ping"

    def stream_of(self, frame: bytes) -> str:
        """`channel:instId`; "" for answers and garbage."""
        named = _NAMED.match(frame)
        if named is not None:
            return b":".join(named.groups()).decode(errors="replace")
        try:
            other = _decode_other(frame)
        except DECODE_ERRORS:
            return ""
        return "" if other.arg is None or other.event is not None else other.arg.stream

    def parse(self, frame: bytes, received_at: int) -> Sequence[Event]:
        """The events of one frame. ParseError names the field and its value; VenueRefused, what was asked."""
        read = self._readers.get(frame[: frame.find(b"}") + 1], self._read_other)
        return self.read_with(read, frame, received_at)

    def _reader(self, channel: str, symbol: str, listing: Listing, meter: FlowMeter | None) -> Reader:
        if channel != _BOOKS:
            read = _READERS[channel](symbol, listing.instrument_id)
            return in_base_units(listing, metered(read, meter if channel == _TRADES else None))
        builder = BookBuilder(
            self._venue,
            channel,
            listing.instrument_id,
            frames.PreviousIds(),
            # Without a ticker the book is the only one to know the best prices.
            with_quotes=self._with_quotes,
            checksum_rule=frames.InterleavedCrc32(),
            told_levels=_LEVELS_TOLD,
            meter=meter,
        )
        again = _anew(channel, symbol)
        return in_base_units(listing, self.books.add(builder, frames.update_reader(), again))

    def _add_indices(self) -> None:
        derived: dict[str, list[int]] = {}
        for symbol, listing in self._symbols.items():
            if _has(symbol, _FUNDING) or _has(symbol, "mark-price"):
                derived.setdefault(_index_of(symbol), []).append(listing.instrument_id)
        for index, instrument_ids in derived.items():
            stream = Stream(_INDEX, index, tuple(instrument_ids))
            read = frames.index_reader(index, instrument_ids)
            self.roll.add(self._readers, _key(_INDEX, index), stream, read, _anew(_INDEX, index))
            self._requests.append([_argument(_INDEX, index)])

    def _read_other(self, frame: bytes, received_at: int) -> Sequence[Event]:
        """A frame that does not begin with an argument subscribed with."""
        if frame == _PONG:
            return ()
        other = _decode_other(frame)
        if other.event is not None:
            if other.event in _SILENT_EVENTS:
                return ()
            asked = "a request" if other.arg is None else other.arg.stream
            why = f"{other.msg} (code {other.code})"
            raise VenueRefused(f"{self._venue} refused {asked}: {other.event}: {why}")
        if other.arg is None:
            raise ParseError("neither data of a channel nor an answer: no arg, no event")
        read = self._readers.get(_key(other.arg.channel, other.arg.inst_id))
        if read is None:
            raise ParseError(f"stream {other.arg.stream!r:.{VALUE_SHOWN}} is not subscribed")
        return read(frame, received_at)


class _Argument(msgspec.Struct, gc=False, rename="camel"):
    channel: str = ""
    inst_id: str = ""

    @property
    def stream(self) -> str:
        return f"{self.channel}:{self.inst_id}"


class _Other(msgspec.Struct, gc=False):
    """What a frame may be."""

    arg: _Argument | None = None
    event: str | None = None
    code: str = ""
    msg: str = ""
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_other = msgspec.json.Decoder(_Other).decode


def _has(symbol: str, channel: str) -> bool:
    """Whether the venue has the channel for the symbol: BTC-USDT, BTC-USDT-SWAP or BTC-USD-241227.

    An index is subscribed by its own name.
    """
    parts = symbol.split("-")
    if channel not in _OF_DERIVATIVES:
        return True
    return len(parts) > 2 and channel != _INDEX and (channel != _FUNDING or parts[-1] == "SWAP")


def _index_of(symbol: str) -> str:
    return "-".join(symbol.split("-")[:2])


def _key(channel: str, symbol: str) -> bytes:
    """How a message of a stream begins."""
    return _ARGUMENT + f'{channel}","instId":"{symbol}"}}'.encode()


def _argument(channel: str, symbol: str) -> dict[str, str]:
    return {"channel": channel, "instId": symbol}


def _anew(channel: str, symbol: str) -> Sequence[str]:
    argument = [_argument(channel, symbol)]
    return _text("unsubscribe", argument), _text("subscribe", argument)


def _text(operation: str, arguments: Sequence[Mapping[str, str]]) -> str:
    return msgspec.json.encode({"op": operation, "args": arguments}).decode()


OKX = OkxMarket()

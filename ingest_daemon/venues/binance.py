"""The dialect of Binance spot, USD-M and COIN-M futures: subscriptions, who reads a frame, what to fetch.

What lives here: the state of a session. What never does: the meaning of single frames and the evidence for it
(`binance_frames.py`), the arithmetic of a book (`books.py`), sockets, clocks, fetching.

A session uses one combined stream (`/stream`), where every message has the envelope {"stream": …, "data": …}
and answers to requests have none. A recording also has the REST snapshot of its book as a line without
envelope and without symbol: `parse` takes it as the answer for the one symbol of the session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ingest_daemon.book_flow import FlowMeter
from ingest_daemon.books import BookBuilder, ContiguousIds, LinkedIds, SequenceRule, Snapshot
from ingest_daemon.errors import ConfigError, ParseError, VenueRefused
from ingest_daemon.events import Event, FactRelation
from ingest_daemon.venues import binance_frames as frames
from ingest_daemon.venues import binance_history
from ingest_daemon.venues.base import Capabilities, History, Listing, MissingTrades, Request, TradeRepair
from ingest_daemon.venues.binance_kinds import Kind, kind_of
from ingest_daemon.venues.binance_requests import Subscriptions
from ingest_daemon.venues.contracts import Converter, in_base_units, to_base_units
from ingest_daemon.venues.fields import DECODE_ERRORS, VALUE_SHOWN, Reader, explanation
from ingest_daemon.venues.metering import meter_of, metered
from ingest_daemon.venues.roll import Roll, Stream
from ingest_daemon.venues.stream_books import Pauses
from ingest_daemon.venues.telling import Told, told

__all__ = ["BINANCE_COINM", "BINANCE_SPOT", "BINANCE_USDM", "BinanceMarket", "BinanceSession"]

_ENVELOPE = b'{"stream":"'  # how a message of a combined stream begins
_NAME_AT = len(_ENVELOPE)
_SNAPSHOT_LINE = b'{"lastUpdateId":'  # how a REST snapshot begins
_DAY_S = 86_400.0
_SNAPSHOT_LEVELS = 1_000  # of a side, at most
_ANEW = ("UNSUBSCRIBE", "SUBSCRIBE")


class _Channel(msgspec.Struct, frozen=True):
    """A kind of stream. Its name on the wire is the symbol in lower case, then a suffix."""

    live: str  # the suffix to subscribe to
    recorded: tuple[str, ...]  # further suffixes with the same frames, as found in recordings
    reader: frames.ReaderMaker | None  # None: diffs, which the symbol's book reads


_DEPTH = _Channel("@depth@100ms", ("@depth", "@depth@0ms", "@depth@250ms", "@depth@500ms"), None)
_SPOT_CHANNELS = {
    "trade": _Channel("@trade", (), frames.trade_reader),
    "aggTrade": _Channel("@aggTrade", (), frames.aggregate_reader),
    "bookTicker": _Channel("@bookTicker", (), frames.spot_quote_reader),
    "depth20": _Channel("@depth20@100ms", ("@depth20",), frames.spot_top_reader),
    "depth": _DEPTH,
}
_USDM_CHANNELS = {
    "trade": _Channel("@trade", (), frames.usdm_trade_reader),
    "aggTrade": _Channel("@aggTrade", (), frames.aggregate_reader),
    "bookTicker": _Channel("@bookTicker", (), frames.usdm_quote_reader),
    "depth20": _Channel(
        "@depth20@100ms", ("@depth20", "@depth20@250ms", "@depth20@500ms"), frames.usdm_top_reader
    ),
    "depth": _DEPTH,
    "markPrice": _Channel("@markPrice@1s", ("@markPrice",), frames.mark_price_reader),
}  # COIN-M has the same


_RELATIONS: Mapping[str, FactRelation] = {
    "trade": "trades",
    "aggTrade": "trades",
    "bookTicker": "quotes",
    "depth20": "books",
    "depth": "books",
    "markPrice": "reference_prices",
}


class BinanceMarket(msgspec.Struct, frozen=True):
    """One of Binance's markets: an entry of `VENUES`."""

    name: str
    kind: Kind
    capabilities: Capabilities
    channel_table: Mapping[str, _Channel]
    depth_path: str  # of the REST snapshot
    sequence_rule: SequenceRule
    read_diff: frames.DiffReader
    history: History
    keep_alive_s: float | None = None  # the venue pings, the client's library answers
    longest_connection_s: float | None = _DAY_S

    @property
    def channels(self) -> Sequence[str]:
        """The venue's own words, all that `open_session` accepts."""
        return tuple(self.channel_table)

    def open_session(
        self, venue: str, symbols: Mapping[str, Listing], channels: Sequence[str]
    ) -> BinanceSession:
        """A fresh session; ConfigError names an unknown channel and those accepted."""
        for channel in channels:
            if channel not in self.channel_table:
                accepted = ", ".join(self.channel_table)
                raise ConfigError(f"channels: {self.name} has no channel {channel!r}; accepted: {accepted}")
        return BinanceSession(self, venue, symbols, tuple(dict.fromkeys(channels)))

    def tells(self, channels: Sequence[str]) -> Sequence[Told]:
        """Channel and relation of what these channels tell."""
        return told(channels, _RELATIONS, ["depth"])

    def open_repair(self, missing: MissingTrades) -> TradeRepair:
        """See `HistoryProtocol`."""
        return binance_history.open_walk(self.kind, missing)

    def symbol_of(self, stream: str) -> str:
        """What stands before the @; the streams of the whole market (`!ticker@arr`) name no symbol."""
        symbol, at, _ = stream.partition("@")
        return symbol.upper() if at and not symbol.startswith("!") else ""

    def recognises(self, frame: bytes) -> bool:
        """Whether a recorded frame is of this market; no market owns an acknowledgement."""
        return kind_of(frame) == self.kind


class BinanceSession:
    """One socket's worth of state."""

    def __init__(
        self, market: BinanceMarket, venue: str, symbols: Mapping[str, Listing], channels: Sequence[str]
    ) -> None:
        self._venue = venue
        self._symbols = symbols
        self._channels = channels
        self.roll = Roll()
        table = market.channel_table
        self._subscriptions = Subscriptions(
            [symbol.lower() + table[channel].live for symbol in symbols for channel in channels]
        )
        self._readers: dict[bytes, Reader] = {}
        self._books: dict[str, _BookFeed] = {}
        self._requests: list[Request] = []
        # Each trade is in both channels: one of them is metered.
        self._metered = next((name for name in ("trade", "aggTrade") if name in channels), None)
        for symbol, listing in symbols.items():
            meter = meter_of(listing, is_wanted=self._metered is not None and "depth" in channels)
            for name in channels:
                self._add_readers(market, name, symbol, listing, meter)

    def path(self) -> str:
        """The combined stream; what it carries is subscribed to afterwards."""
        return "/stream"

    def subscribe(self) -> Sequence[str]:
        """A request for all streams, or few."""
        return self._subscriptions.opening()

    def keep_alive(self) -> str | None:
        """None: the venue pings."""
        return None

    def stream_of(self, frame: bytes) -> str:
        """The stream's name; `<symbol>@depthSnapshot` for a snapshot line; "" for answers and garbage."""
        if frame.startswith(_ENVELOPE):
            end = frame.find(b'"', len(_ENVELOPE))
            return frame[len(_ENVELOPE) : end].decode(errors="replace") if end > 0 else ""
        if frame.startswith(_SNAPSHOT_LINE) and len(self._symbols) == 1:
            return f"{next(iter(self._symbols)).lower()}@depthSnapshot"
        try:
            return _decode_other(frame).stream or ""
        except DECODE_ERRORS:
            return ""

    def parse(self, frame: bytes, received_at: int) -> Sequence[Event]:
        """The events of one frame. ParseError names the field and its value; VenueRefused, what was asked."""
        read = self._readers.get(frame[_NAME_AT : frame.find(b'"', _NAME_AT)], self._read_other)
        try:
            return read(frame, received_at)
        except DECODE_ERRORS as error:
            raise ParseError(explanation(frame, error)) from error

    def pending_requests(self) -> Sequence[Request]:
        """Snapshots to fetch, at most one outstanding for a symbol."""
        if not self._requests:
            return ()
        requests, self._requests = self._requests, []
        return requests

    def pending_messages(self) -> Sequence[str]:
        """A refused request in parts; a lost book is fetched."""
        return self._subscriptions.pending_messages()

    def answer(self, request: Request, body: bytes, received_at: int) -> Sequence[Event]:
        """Apply a snapshot. After ParseError or VenueRefused it is asked for again, after a pause."""
        book = self._books[request.key]
        try:
            return book.take_snapshot(body, received_at)
        except DECODE_ERRORS as error:
            refusal = _refusal_in(body)
            if refusal:
                raise VenueRefused(f"{self._venue} refused {request.path}: {refusal}") from error
            raise ParseError(f"answer to {request.path}: {explanation(body, error)}") from error

    def close(self, now: int) -> Sequence[Event]:
        """The gaps of books that are out of sync, and the flow that is open."""
        return [event for book in self._books.values() for event in book.builder.close(now)]

    def _add_readers(
        self, market: BinanceMarket, name: str, symbol: str, listing: Listing, meter: FlowMeter | None
    ) -> None:
        channel = market.channel_table[name]
        if channel.reader is None:
            read = self._depth_reader(market, name, symbol, listing, meter)
        else:
            read = channel.reader(symbol, listing.instrument_id)
            read = in_base_units(listing, metered(read, meter if name == self._metered else None))
        stream = Stream(name, symbol, (listing.instrument_id,))
        again = [_text(method, [symbol.lower() + channel.live], 0) for method in _ANEW]
        for suffix in (channel.live, *channel.recorded):
            self.roll.add(self._readers, (symbol.lower() + suffix).encode(), stream, read, again)

    def _depth_reader(
        self, market: BinanceMarket, name: str, symbol: str, listing: Listing, meter: FlowMeter | None
    ) -> Reader:
        builder = BookBuilder(
            self._venue,
            name,
            listing.instrument_id,
            market.sequence_rule,
            # Without the ticker the book is the only one to know the best prices.
            with_quotes="bookTicker" not in self._channels,
            meter=meter,
        )
        request = Request(symbol, f"{market.depth_path}?symbol={symbol}&limit={_SNAPSHOT_LEVELS}")
        book = self._books[symbol] = _BookFeed(symbol, builder, market.read_diff, to_base_units(listing))

        def read(frame: bytes, received_at: int) -> Sequence[Event]:
            events = book.read(frame, received_at)
            if book.should_ask(received_at):
                self._requests.append(request)
            return events

        return read

    def _read_other(self, frame: bytes, received_at: int) -> Sequence[Event]:
        """A frame that does not begin with the envelope of a stream subscribed to."""
        other = _decode_other(frame)
        if other.stream is not None:
            read = self._readers.get(other.stream.encode())
            if read is None:
                raise ParseError(self._why_unknown(other.stream))
            return read(frame, received_at)
        refusal = _refusal_of(other)
        if refusal:
            asked = self._subscriptions.refused(other.id)
            if asked is not None:
                raise VenueRefused(f"{self._venue} refused {asked}: {refusal}")
            return ()
        if other.result is not msgspec.UNSET:
            return ()
        if other.lastUpdateId is None:
            raise ParseError(
                "neither a message of a stream nor an answer: no stream, result, error or lastUpdateId"
            )
        if len(self._books) != 1 or len(self._symbols) != 1:
            watched = ", ".join(self._books) or "none"
            raise ParseError(
                f"a depth snapshot (lastUpdateId {other.lastUpdateId}) names no symbol: only a session of "
                f"one symbol with the channel depth can place it; books of this session: {watched}"
            )
        return next(iter(self._books.values())).take_snapshot(frame, received_at)

    def _why_unknown(self, stream: str) -> str:
        symbol = stream.partition("@")[0].upper()
        what = f"stream {stream!r:.{VALUE_SHOWN}}"
        return f"{what} is not subscribed" + ("" if symbol in self._symbols else f", nor is symbol {symbol}")


def _text(method: str, streams: Sequence[str], number: int) -> str:
    return msgspec.json.encode({"method": method, "params": streams, "id": number}).decode()


class _BookFeed:
    """The book of one symbol and the asking for its snapshot: one request at a time, with growing pauses."""

    def __init__(
        self, symbol: str, builder: BookBuilder, read_diff: frames.DiffReader, convert: Converter
    ) -> None:
        self.builder = builder
        self._convert = convert
        self._symbol = symbol
        self._read_diff = read_diff
        self._is_asked = False
        self._pauses = Pauses()

    def read(self, frame: bytes, received_at: int) -> Sequence[Event]:
        symbol, diff = self._read_diff(frame)
        if symbol != self._symbol:
            raise frames.foreign(self._symbol, symbol)
        return self._convert(self.builder.apply(diff, received_at))

    def take_snapshot(self, body: bytes, received_at: int) -> Sequence[Event]:
        """Apply an answer of the REST interface. Whatever it says, the request is answered."""
        self._is_asked = False
        data = frames.decode_snapshot(body)
        snapshot = Snapshot(
            data.lastUpdateId,
            data.bids,
            data.asks,
            is_bids_truncated=len(data.bids) >= _SNAPSHOT_LEVELS,
            is_asks_truncated=len(data.asks) >= _SNAPSHOT_LEVELS,
        )
        return self._convert(self.builder.apply_snapshot(snapshot, received_at))

    def should_ask(self, now: int) -> bool:
        """Whether to ask for a snapshot now; if so, it counts as asked."""
        if self._is_asked or not self.builder.wants_snapshot or not self._pauses.are_over(now):
            return False
        self._is_asked = True
        return True


class _Refusal(msgspec.Struct, gc=False):
    code: int
    msg: str = ""


class _Other(msgspec.Struct, gc=False):
    """What a frame may be that is no message of a stream."""

    stream: str | None = None
    lastUpdateId: int | None = None  # noqa: N815 - the venue's name
    id: int | str | None = None
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: _Refusal | None = None
    code: int | None = None
    msg: str = ""


_decode_other = msgspec.json.Decoder(_Other).decode


def _refusal_of(other: _Other) -> str:
    if other.error is not None:
        return f"{other.error.msg} (code {other.error.code})"
    return "" if other.code is None else f"{other.msg} (code {other.code})"


def _refusal_in(body: bytes) -> str:
    try:
        return _refusal_of(_decode_other(body))
    except DECODE_ERRORS:
        return ""


BINANCE_SPOT = BinanceMarket(
    name="binance_spot",
    kind="spot",
    capabilities=Capabilities(
        trades=True, quotes=True, book_depth=20, sequence_check=True, trade_history=True
    ),
    channel_table=_SPOT_CHANNELS,
    depth_path="/api/v3/depth",
    sequence_rule=ContiguousIds(),
    read_diff=frames.read_spot_diff,
    history=binance_history.OF_SPOT,
)
BINANCE_USDM = BinanceMarket(
    name="binance_usdm",
    kind="usdm",
    capabilities=Capabilities(
        trades=True,
        trade_history=True,
        quotes=True,
        book_depth=20,
        reference_prices=True,
        sequence_check=True,
    ),
    channel_table=_USDM_CHANNELS,
    depth_path="/fapi/v1/depth",
    sequence_rule=LinkedIds(),
    read_diff=frames.read_usdm_diff,
    history=binance_history.OF_FUTURES,
)
BINANCE_COINM = BinanceMarket(
    name="binance_coinm",
    kind="coinm",
    capabilities=BINANCE_USDM.capabilities,
    channel_table=_USDM_CHANNELS,
    depth_path="/dapi/v1/depth",
    sequence_rule=LinkedIds(),
    read_diff=frames.read_usdm_diff,
    history=binance_history.OF_FUTURES,
)

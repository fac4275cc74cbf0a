"""The text of the simulated venue's messages: Binance's public protocol, spot and USD-M futures.

What lives here: templates and their filling. What never does: what happens in the market, when a frame
arrives. Field by field as Binance documents and sends them: every frame in the envelope of a combined stream;
the spot `bookTicker` and partial book carry no event time, those of the futures do; spot numbers have eight
decimals, futures those of the instrument's tick and lot.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ingest_daemon.venues.simulated.instruments import SimulatedInstrument

TOP_LEVELS = 20

Side = Iterable[tuple[float, float]]  # price, size


def stream_name(instrument: SimulatedInstrument, channel: str) -> str:
    """The venue's name of a stream.

    >>> from ingest_daemon.venues.simulated.instruments import DEFAULT_INSTRUMENTS
    >>> stream_name(DEFAULT_INSTRUMENTS[0], "depth20")
    'btcusdt@depth20@100ms'
    """
    return f"{instrument.venue_symbol.lower()}@{_STREAM_SUFFIX[channel]}"


_STREAM_SUFFIX = {
    "trade": "trade",
    "bookTicker": "bookTicker",
    "depth20": "depth20@100ms",
    "depth": "depth@100ms",
    "markPrice": "markPrice@1s",
}


@dataclass(frozen=True, slots=True)
class Templates:
    """The messages of one instrument, to be filled with `%`; each says in its comment with what."""

    trade: str  # spot: E, t, p, q, T, m; futures: E, T, t, p, q, m
    book_ticker: str  # u, b, B, a, A; futures also: T, E
    top: str  # spot: lastUpdateId, levels; futures: E, T, U, u, pu, levels. 20 bids, 20 asks: price, size
    mark_price: str  # E, p, i, P, r, T
    diff: str  # spot: E, U, u, bids, asks; futures: E, T, U, u, pu, bids, asks. The sides as text
    level: str  # price, size


def templates_of(instrument: SimulatedInstrument) -> Templates:
    """The messages of `instrument`."""
    symbol = instrument.venue_symbol

    def envelope(channel: str, data: str) -> str:
        return f'{{"stream":"{stream_name(instrument, channel)}","data":{{{data}}}}}'

    if not instrument.is_perpetual:
        level = '["%.8f","%.8f"]'
        top = ",".join([level] * TOP_LEVELS)
        return Templates(
            trade=envelope(
                "trade",
                f'"e":"trade","E":%d,"s":"{symbol}","t":%d,"p":"%.8f","q":"%.8f","T":%d,"m":%s,"M":true',
            ),
            book_ticker=envelope(
                "bookTicker", f'"u":%d,"s":"{symbol}","b":"%.8f","B":"%.8f","a":"%.8f","A":"%.8f"'
            ),
            top=envelope("depth20", f'"lastUpdateId":%d,"bids":[{top}],"asks":[{top}]'),
            mark_price="",
            diff=envelope(
                "depth", f'"e":"depthUpdate","E":%d,"s":"{symbol}","U":%d,"u":%d,"b":[%s],"a":[%s]'
            ),
            level=level,
        )
    price, size = f'"%.{instrument.price_decimals}f"', f'"%.{instrument.size_decimals}f"'
    level = f"[{price},{size}]"
    top = ",".join([level] * TOP_LEVELS)
    update = f'"e":"depthUpdate","E":%d,"T":%d,"s":"{symbol}","U":%d,"u":%d,"pu":%d,'
    return Templates(
        trade=envelope(
            "trade",
            f'"e":"trade","E":%d,"T":%d,"s":"{symbol}","t":%d,"p":{price},"q":{size},"X":"MARKET","m":%s',
        ),
        book_ticker=envelope(
            "bookTicker",
            f'"e":"bookTicker","u":%d,"s":"{symbol}","b":{price},"B":{size},"a":{price},"A":{size},"T":%d,"E":%d',
        ),
        top=envelope("depth20", f'{update}"b":[{top}],"a":[{top}]'),
        mark_price=envelope(
            "markPrice",
            f'"e":"markPriceUpdate","E":%d,"s":"{symbol}","p":"%.8f","i":"%.8f","P":"%.8f","r":"%.8f","T":%d',
        ),
        diff=envelope("depth", f'{update}"b":[%s],"a":[%s]'),
        level=level,
    )


def levels_text(templates: Templates, side: Side) -> str:
    """One side of a book as JSON, without the outer brackets."""
    return ",".join([templates.level % level for level in side])


def snapshot_text(templates: Templates, is_perpetual: bool, update_id: int, bids: Side, asks: Side) -> str:
    """The answer of the REST interface to a request for the book; `update_id` is a time in microseconds."""
    event = f'"E":{update_id // 1000},"T":{update_id // 1000},' if is_perpetual else ""
    sides = f'"bids":[{levels_text(templates, bids)}],"asks":[{levels_text(templates, asks)}]'
    return f'{{"lastUpdateId":{update_id},{event}{sides}}}'


def fill(templates: Sequence[str], rows: Iterable[tuple[object, ...]]) -> list[bytes]:
    """Each template with its row."""
    return [(template % row).encode() for template, row in zip(templates, rows, strict=True)]

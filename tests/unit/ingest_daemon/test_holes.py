"""From a span of silence to the rows that say what is missing."""

from __future__ import annotations

from ingest_daemon.events import GapCause
from ingest_daemon.holes import Holes
from ingest_daemon.venues import VENUES, Listing, Stream

SYMBOLS = {"BTCUSDT": Listing(1), "ETHUSDT": Listing(2)}


def rows(holes: Holes) -> list[tuple[str | None, str | None, int | None]]:
    gaps = holes.of_all(10, 20, GapCause.DISCONNECTED, "lost")
    assert {(gap.venue, gap.started_at, gap.ended_at, gap.cause, gap.detail) for gap in gaps} == {
        ("here", 10, 20, GapCause.DISCONNECTED, "lost")
    }
    return [(gap.channel, gap.relation, gap.instrument_id) for gap in gaps]


def test_where_a_history_has_the_trades_their_gaps_are_by_instrument() -> None:
    assert rows(Holes("here", VENUES["binance_spot"], ["trade", "depth"], SYMBOLS)) == [
        ("trade", "trades", 1),
        ("trade", "trades", 2),
        ("depth", "books", None),
        ("depth", "quotes", None),
        ("depth", "book_flows", None),
    ]


def test_where_none_has_them_a_gap_is_of_all() -> None:
    # The futures tell single trades again only to an account.
    assert rows(Holes("here", VENUES["binance_usdm"], ["trade", "bookTicker"], SYMBOLS)) == [
        ("trade", "trades", None),
        ("bookTicker", "quotes", None),
    ]
    assert rows(Holes("here", VENUES["alpaca_crypto"], ["trades"], SYMBOLS)) == [("trades", "trades", None)]


def test_a_stream_lacks_what_its_channel_tells_of_its_instruments() -> None:
    holes = Holes("here", VENUES["okx"], ["trades", "books", "index-tickers"], {})
    book = Stream("books", "BTC-USDT", (7,))
    assert [
        (gap.channel, gap.relation, gap.instrument_id)
        for gap in holes.of_stream(book, 1, 2, GapCause.STALE, "silent")
    ] == [("books", "books", 7), ("books", "quotes", 7), ("books", "book_flows", 7)]
    index = Stream("index-tickers", "BTC-USDT", (7, 8))  # which two swaps share
    assert [
        (gap.relation, gap.instrument_id) for gap in holes.of_stream(index, 1, 2, GapCause.STALE, "")
    ] == [("reference_prices", 7), ("reference_prices", 8)]

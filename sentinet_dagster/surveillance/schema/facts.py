"""What the ingest daemon writes: the relations of schema `market`."""

from __future__ import annotations

from typing import Final

import polars as pl

from sentinet_dagster.surveillance.schema.relation import (
    INSTRUMENT_ID,
    LEVELS,
    TIME,
    Column,
    Relation,
    measure,
)

__all__ = [
    "BOOKS",
    "BOOK_FLOWS",
    "FEED_GAPS",
    "INSTRUMENTS",
    "QUOTES",
    "REFERENCE_PRICES",
    "REJECTED_FRAMES",
    "TRADES",
]

_TIME: Final = Column(
    "time", TIME, "occurred_at where the venue says when, else received_at; windows are cut on it"
)
_RECEIVED_AT: Final = Column("received_at", TIME, "when the bytes were seen")
_OCCURRED_AT: Final = Column("occurred_at", TIME, "when the venue says it happened", nullable=True)
_UPDATE_ID: Final = Column("update_id", pl.Int64, "the venue's number of the change; orders equal times")

INSTRUMENTS: Final = Relation(
    "market.instruments",
    (
        INSTRUMENT_ID,
        Column("venue", pl.String, "the operator's name of the venue, a key of config/venues.yaml"),
        Column("symbol", pl.String, "canonical: BTC-USDT, BTC-USDT-PERP; unique in a venue"),
        Column("venue_symbol", pl.String, "what the venue calls it"),
        Column("kind", pl.String, "spot, perpetual, future or equity"),
        Column("base", pl.String, "what is bought, e.g. BTC"),
        Column("quote", pl.String, "what it is paid in, e.g. USDT"),
        measure("tick_size", "least price step"),
        Column("contract_size", pl.Float64, "base units a contract; the facts are converted already"),
        Column("is_active", pl.Boolean, "whether it is watched: only these have windows"),
    ),
)

TRADES: Final = Relation(
    "market.trades",
    (
        INSTRUMENT_ID,
        Column("trade_id", pl.Int64, "the venue's number; orders equal times"),
        _TIME,
        Column("occurred_at", TIME, "when the venue says it happened"),
        _RECEIVED_AT,
        Column("price", pl.Float64, "quote currency a base unit"),
        Column("size", pl.Float64, "base units"),
        Column("aggressor", pl.Int16, "1 the buyer took liquidity, -1 the seller did, 0 unknown"),
        Column("fills", pl.Int32, "executions summed in this row"),
    ),
)

QUOTES: Final = Relation(
    "market.quotes",
    (
        INSTRUMENT_ID,
        _UPDATE_ID,
        _TIME,
        _OCCURRED_AT,
        _RECEIVED_AT,
        Column("bid_price", pl.Float64, "best bid"),
        Column("bid_size", pl.Float64, "base units at the best bid"),
        Column("ask_price", pl.Float64, "best ask"),
        Column("ask_size", pl.Float64, "base units at the best ask"),
    ),
)

BOOKS: Final = Relation(
    "market.books",
    (
        INSTRUMENT_ID,
        _UPDATE_ID,
        _TIME,
        _OCCURRED_AT,
        _RECEIVED_AT,
        Column("bid_prices", LEVELS, "best first, at most 20"),
        Column("bid_sizes", LEVELS, "base units, parallel to bid_prices"),
        Column("ask_prices", LEVELS, "best first, at most 20"),
        Column("ask_sizes", LEVELS, "base units, parallel to ask_prices"),
    ),
)

BOOK_FLOWS: Final = Relation(
    "market.book_flows",
    (
        INSTRUMENT_ID,
        Column("side", pl.Int16, "1 the bids, -1 the asks"),
        Column(
            "distance_bps",
            pl.Int16,
            "beyond so far from the touch (0: from it on), up to the next of 0, 1, 2, 5, 10, 25",
        ),
        Column("is_partial", pl.Boolean, "the book was not in sync throughout: not to be trusted"),
        Column("time", TIME, "start of the second"),
        Column("received_at", TIME, "when the bytes were seen that closed it"),
        Column("added", pl.Float64, "base units by which levels grew, update by update"),
        Column("removed", pl.Float64, "base units by which levels shrank"),
        Column("cancelled", pl.Float64, "base units of what is removed that no trade explains"),
        Column("traded", pl.Float64, "base units executed against this side"),
        Column("adds", pl.Int32, "times a level grew"),
        Column("cancels", pl.Int32, "times a level shrank and trades do not explain all of it"),
        Column("levels", pl.Int32, "different prices that grew or shrank"),
        Column("largest_added", pl.Float64, "base units: the most that one level grew at once"),
        Column("fleeting", pl.Float64, "base units placed and, within 10 s, withdrawn whole and untraded"),
        Column("withdrawn", pl.Float64, "base units: the largest of these orders"),
        Column(
            "withdrawn_life_us",
            pl.Int64,
            "microseconds that it stood; null where there is none",
            nullable=True,
        ),
        Column("layers", pl.Int32, "levels of the largest group of them placed and withdrawn together"),
        Column("layered", pl.Float64, "base units: the size of that group"),
    ),
)

REFERENCE_PRICES: Final = Relation(
    "market.reference_prices",
    (
        INSTRUMENT_ID,
        _TIME,
        Column(
            "occurred_at",
            TIME,
            "when the venue says it was so; null where it names the day only",
            nullable=True,
        ),
        _RECEIVED_AT,
        measure("mark_price", "what positions are valued at"),
        measure("index_price", "the underlying's price over several venues"),
        measure("funding_rate", "fraction a funding interval"),
        Column("next_funding_at", TIME, "when funding is paid next", nullable=True),
    ),
)

FEED_GAPS: Final = Relation(
    "market.feed_gaps",
    (
        Column("gap_id", pl.Int64, "identity"),
        Column("venue", pl.String, "whose data is missing"),
        Column("channel", pl.String, "the venue's word; null: not one of its channels", nullable=True),
        Column("instrument_id", pl.Int16, "null: every instrument of the venue", nullable=True),
        Column("started_at", TIME, "start of the hole, included"),
        Column("ended_at", TIME, "end of the hole, excluded"),
        Column("cause", pl.String, "ingest_daemon.events.GapCause"),
        Column("detail", pl.String, "for a human"),
        Column("lost_events", pl.Int64, "null: nobody can know", nullable=True),
        Column(
            "repaired_at", TIME, "when the missing data was fetched; null: it is missing still", nullable=True
        ),
        Column(
            "relation",
            pl.String,
            "the table of schema market that lacks the data; null: any may",
            nullable=True,
        ),
    ),
)

REJECTED_FRAMES: Final = Relation(
    "market.rejected_frames",
    (
        Column("rejected_frame_id", pl.Int64, "identity"),
        Column("venue", pl.String, "who sent it"),
        Column("channel", pl.String, "null: not known", nullable=True),
        Column(
            "instrument_id", pl.Int16, "null: not known, so it may concern each of the venue's", nullable=True
        ),
        _RECEIVED_AT,
        Column("error", pl.String, "why it was refused"),
        Column(
            "frames",
            pl.Int32,
            "frames that the row stands for: 1, or as many of one window as were not kept one by one",
        ),
    ),
)

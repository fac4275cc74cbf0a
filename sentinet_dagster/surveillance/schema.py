"""Every frame that goes into this package or comes out of it: columns in order, dtype, unit, meaning.

What lives here: the relations as polars schemas. What never does: arithmetic, reading, writing.

A relation has the columns of its table in `sql/migrations/`, in the same order, without those that only the
database writes (`computed_at`, `created_at`, `changed_at`, `recorded_at`, what became of an alert) and
without the bytes of a refused frame. A test keeps the two equal. Conventions, for every relation

    time columns    Datetime("us", "UTC"); windows are [window_start, window_start + 5 s)
    prices          in the instrument's quote currency; sizes in its base currency
    *_bps           basis points, 1e-4
    *_z             standard deviations from the mean of the instrument's own past; null while that is too
    short
    uuid            String, the canonical 36 characters; jsonb: String
    null            not known; it is never 0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import polars as pl

__all__ = [
    "ALERTS",
    "ALERT_SPANS",
    "BOOKS",
    "BOOK_FLOWS",
    "CORRELATIONS",
    "FEATURES",
    "FEED_GAPS",
    "FINDINGS",
    "FIRINGS",
    "INCIDENTS",
    "INSTRUMENTS",
    "KNOWN_INCIDENTS",
    "PAST_WINDOWS",
    "QUOTES",
    "REFERENCE_PRICES",
    "REJECTED_FRAMES",
    "RELATIONS",
    "SCORES",
    "SESSIONS",
    "STANDING",
    "TIME",
    "TRADES",
    "VERDICTS",
    "WINDOW",
    "WINDOWS",
    "WINDOW_US",
    "Column",
    "Relation",
]

WINDOW: Final = timedelta(seconds=5)
"""The length of a window. Windows are half-open and aligned to 1970-01-01 UTC."""

WINDOW_US: Final = 5_000_000
"""`WINDOW` in microseconds, the unit of every time inside a kernel."""

TIME: Final = pl.Datetime("us", "UTC")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its dtype, its meaning with the unit, and whether it may be null."""

    name: str
    dtype: pl.DataType | type[pl.DataType]
    meaning: str
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Relation:
    """A frame's shape. `name` is the table it is stored in, or "" for a frame that lives in memory only."""

    name: str
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pl.Schema:
        """Name → dtype, in order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @property
    def names(self) -> Sequence[str]:
        """The column names, in order."""
        return [column.name for column in self.columns]

    def empty(self) -> pl.DataFrame:
        """A frame of this shape without rows."""
        return pl.DataFrame(schema=self.schema)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` with exactly these columns, in this order, of these dtypes; further columns are left out.

        Raises:
            ValueError: a column is missing, cannot be cast without loss, or is null where it must not be.
        """
        missing = [name for name in self.names if name not in frame.columns]
        if missing:
            raise ValueError(f"{self.name or 'frame'} lacks the columns {', '.join(missing)}")
        try:
            shaped = frame.select(pl.col(column.name).cast(column.dtype) for column in self.columns)
        except pl.exceptions.InvalidOperationError as error:
            raise ValueError(f"{self.name or 'frame'} does not fit its schema: {error}") from error
        required = [column.name for column in self.columns if not column.nullable]
        for name, nulls in zip(required, shaped.select(required).null_count().row(0), strict=True):
            if nulls:
                raise ValueError(f"{self.name or 'frame'}.{name} is null in {nulls} rows")
        return shaped


_INSTRUMENT_ID: Final = Column("instrument_id", pl.Int16, "market.instruments.instrument_id")
_WINDOW_START: Final = Column("window_start", TIME, "start of the window, included")
_TIME: Final = Column(
    "time", TIME, "occurred_at where the venue says when, else received_at; windows are cut on it"
)
_RECEIVED_AT: Final = Column("received_at", TIME, "when the bytes were seen")
_OCCURRED_AT: Final = Column("occurred_at", TIME, "when the venue says it happened", nullable=True)
_UPDATE_ID: Final = Column("update_id", pl.Int64, "the venue's number of the change; orders equal times")
_LEVELS: Final = pl.List(pl.Float64)


def _measure(name: str, meaning: str) -> Column:
    """A float that is null where nothing could be measured."""
    return Column(name, pl.Float64, meaning, nullable=True)


INSTRUMENTS: Final = Relation(
    "market.instruments",
    (
        _INSTRUMENT_ID,
        Column("venue", pl.String, "the operator's name of the venue, a key of config/venues.yaml"),
        Column("symbol", pl.String, "canonical: BTC-USDT, BTC-USDT-PERP; unique in a venue"),
        Column("venue_symbol", pl.String, "what the venue calls it"),
        Column("kind", pl.String, "spot, perpetual, future or equity"),
        Column("base", pl.String, "what is bought, e.g. BTC"),
        Column("quote", pl.String, "what it is paid in, e.g. USDT"),
        _measure("tick_size", "least price step"),
        Column("contract_size", pl.Float64, "base units a contract; the facts are converted already"),
        Column("is_active", pl.Boolean, "whether it is watched: only these have windows"),
    ),
)

TRADES: Final = Relation(
    "market.trades",
    (
        _INSTRUMENT_ID,
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
        _INSTRUMENT_ID,
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
        _INSTRUMENT_ID,
        _UPDATE_ID,
        _TIME,
        _OCCURRED_AT,
        _RECEIVED_AT,
        Column("bid_prices", _LEVELS, "best first, at most 20"),
        Column("bid_sizes", _LEVELS, "base units, parallel to bid_prices"),
        Column("ask_prices", _LEVELS, "best first, at most 20"),
        Column("ask_sizes", _LEVELS, "base units, parallel to ask_prices"),
    ),
)

BOOK_FLOWS: Final = Relation(
    "market.book_flows",
    (
        _INSTRUMENT_ID,
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
        _INSTRUMENT_ID,
        _TIME,
        Column(
            "occurred_at",
            TIME,
            "when the venue says it was so; null where it names the day only",
            nullable=True,
        ),
        _RECEIVED_AT,
        _measure("mark_price", "what positions are valued at"),
        _measure("index_price", "the underlying's price over several venues"),
        _measure("funding_rate", "fraction a funding interval"),
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

_FLOW_COLUMNS: Final = (
    ("added_near", "base units added within 10 bps of the best {}"),
    ("cancelled_near", "base units taken back there that no trade explains"),
    ("traded_near", "base units executed against the {}s there"),
    ("cancel_share", "share of what left there that no trade explains, 0 to 1"),
    ("fleeting_near", "base units placed there and, within 10 s, withdrawn whole and untraded"),
    ("withdrawn_max", "base units: the largest order so withdrawn"),
    ("withdrawn_life_s", "seconds that it stood; null where there is none"),
    ("layered_max", "base units: the largest group of such orders, on 3 levels or more, placed together and "
     "withdrawn together"),
)  # fmt: skip

WINDOWS: Final = Relation(
    "surveillance.windows",
    (
        _INSTRUMENT_ID,
        _WINDOW_START,
        _measure("open", "price of the first trade by (time, trade_id)"),
        _measure("high", "greatest trade price"),
        _measure("low", "least trade price"),
        _measure("close", "price of the last trade"),
        Column("volume", pl.Float64, "base units traded"),
        Column("buy_volume", pl.Float64, "base units where the buyer took liquidity"),
        Column("sell_volume", pl.Float64, "base units where the seller did; the rest is of unknown side"),
        Column("notional", pl.Float64, "sum of price x size, quote currency"),
        _measure("vwap", "notional / volume"),
        Column("trade_count", pl.Int32, "executions: the sum of fills, so an aggregate counts what it sums"),
        Column("quote_count", pl.Int32, "quotes"),
        Column("book_count", pl.Int32, "books"),
        _measure("mid_close", "(bid + ask) / 2 of the last quote"),
        _measure("spread_bps_mean", "(ask - bid) / mid over the quotes"),
        _measure("spread_bps_min", "least"),
        _measure("spread_bps_max", "greatest"),
        _measure("spread_bps_std", "population standard deviation; 0 with one quote"),
        _measure("imbalance_mean", "(bid_size - ask_size) / (bid_size + ask_size) over the quotes, -1 to 1"),
        _measure("bid_depth_10bps", "quote currency bid within 10 bps of the mid, mean over the books"),
        _measure("ask_depth_10bps", "quote currency asked within 10 bps of the mid, mean over the books"),
        Column("order_trade_ratio", pl.Float64, "(quotes + books) / max(executions, 1)"),
        _measure(
            "latency_ms_mean",
            "received_at - occurred_at over the rows whose venue says when; may be negative",
        ),
        _measure("latency_ms_max", "greatest"),
        Column(
            "completeness", pl.Float64, "share of the window outside gaps x accepted / (accepted + refused)"
        ),
        Column("book_completeness", pl.Float64, "completeness, gaps of the books counted too"),
        Column(
            "gap_seconds",
            pl.Float64,
            "seconds of the window inside a gap that concerns the instrument, and more than its books",
        ),
        Column(
            "refused_frames",
            pl.Int32,
            "frames received in the window that could not be parsed, and facts of it that are set aside",
        ),
        Column("trade_completeness", pl.Float64, "completeness, only gaps of the trades counted"),
        Column(
            "flow_seconds", pl.Int32, "seconds with book flows, seen whole; the columns below are of these"
        ),
        Column("partial_flow_seconds", pl.Int32, "seconds with book flows that were seen in part only"),
        Column("flow_changes", pl.Int32, "times that a level of the book grew or was cancelled from"),
        *(
            _measure(f"{side}_{name}", meaning.format(side))
            for name, meaning in _FLOW_COLUMNS
            for side in ("bid", "ask")
        ),
        Column("bid_layers", pl.Int32, "levels of the group of bid_layered_max; 0: none", nullable=True),
        Column("ask_layers", pl.Int32, "levels of the group of ask_layered_max; 0: none", nullable=True),
        Column(
            "buy_sweep_count",
            pl.Int32,
            "buying orders with several fills: executions of one side in one millisecond",
        ),
        Column("sell_sweep_count", pl.Int32, "selling orders with several fills"),
        Column(
            "matched_count",
            pl.Int32,
            "trades in pairs of equal size and opposite sides, at most a second apart",
        ),
        Column("matched_volume", pl.Float64, "base units traded in such pairs, both sides counted"),
        _measure("mark_close", "the last mark price"),
        _measure("index_close", "the last index price"),
        _measure("funding_rate", "the last funding rate: fraction a funding interval"),
    ),
)

_OF_THE_PAST: Final = (
    "instrument_id",
    "window_start",
    "close",
    "volume",
    "buy_volume",
    "sell_volume",
    "trade_count",
    "quote_count",
    "book_count",
    "spread_bps_mean",
    "spread_bps_std",
    "imbalance_mean",
    "bid_depth_10bps",
    "ask_depth_10bps",
    "latency_ms_mean",
    "completeness",
    "book_completeness",
    "trade_completeness",
    "flow_changes",
    "buy_sweep_count",
    "sell_sweep_count",
    "matched_count",
    "matched_volume",
    "mark_close",
    "index_close",
    "funding_rate",
)

PAST_WINDOWS: Final = Relation("", tuple(column for column in WINDOWS.columns if column.name in _OF_THE_PAST))
"""What detectors may know of the windows before those they judge: an hour is read every few seconds."""

FEATURES: Final = Relation(
    "surveillance.features",
    (
        _INSTRUMENT_ID,
        _WINDOW_START,
        _measure("price", "mid_close, else close, carried forward at most 60 s"),
        _measure("return_bps", "log return from the window before"),
        _measure("return_z", "return_bps against the 60 windows before"),
        _measure(
            "price_z",
            "price against the 60 windows (5 min) before; the window itself is not part of its past",
        ),
        Column(
            "price_z_samples", pl.Int32, "prices that past has since the last gap; below 30 the score is null"
        ),
        _measure("rsi_14", "relative strength over 14 changes, simple averages, 0 to 100"),
        _measure("volatility_20_bps", "sample standard deviation of the last 20 log returns"),
        _measure("volume_change", "volume / mean volume of the 20 windows before - 1"),
        _measure("volume_z", "volume against the 60 windows before"),
        _measure("spread_bps_mean", "as in surveillance.windows"),
        _measure("spread_bps_z", "spread_bps_mean against the 60 windows before"),
        _measure("imbalance_mean", "as in surveillance.windows"),
        _measure("depth_imbalance", "(bid_depth - ask_depth) / (bid_depth + ask_depth), -1 to 1"),
        _measure("buy_share", "buy_volume / (buy_volume + sell_volume)"),
        _measure("order_trade_ratio", "as in surveillance.windows"),
        _measure("price_move_bps", "greatest - least price of this window and the 3 before, over the price"),
        Column("completeness", pl.Float64, "as in surveillance.windows"),
        Column(
            "warm_up",
            pl.String,
            'why scores are null: "warming up 15/30", "data not whole", "no price"',
            True,
        ),
    ),
)

CORRELATIONS: Final = Relation(
    "surveillance.correlations",
    (
        _WINDOW_START,
        Column("instrument_a", pl.List(pl.Int16), "the lesser instrument_id of each pair"),
        Column("instrument_b", pl.List(pl.Int16), "the greater"),
        Column(
            "correlation",
            _LEVELS,
            "Pearson of 5 s log returns over 24 windows (2 min); null elements warm up",
        ),
        Column(
            "correlation_slow", _LEVELS, "mean of the 20 minutes of correlation that share no return with it"
        ),
    ),
)

SCORES: Final = Relation(
    "surveillance.scores",
    (
        _INSTRUMENT_ID,
        _WINDOW_START,
        Column("model", pl.String, "isolation_forest"),
        Column("model_id", pl.String, "model.models.model_id; null: none was in force", nullable=True),
        _measure("score", "the more unusual, the greater; 0 to 1"),
        _measure("threshold", "what the model's training data leaves above it on purpose"),
        Column("reason", pl.String, "why score is null", nullable=True),
    ),
)

VERDICTS: Final = Relation(
    "",
    (
        _INSTRUMENT_ID,
        _WINDOW_START,
        Column("score", pl.Float64, "the number the detector judged; the graver, the greater"),
        Column("threshold", pl.Float64, "what it was held against"),
        Column("severity", pl.String, "info, warning or critical, before completeness is weighed"),
        Column("fires", pl.Boolean, "whether every condition held"),
    ),
)
"""What a detector says of a window, followed by `evidence`: a struct of the detector's own numbers."""

_SEVERITY: Final = Column("severity", pl.String, "info, warning or critical; lowered where data is not whole")
_DETECTOR: Final = (
    Column("detector", pl.String, "a key of DETECTORS"),
    Column("detector_version", pl.Int32, "changes when the detector's meaning does"),
)
_JUDGED: Final = (
    Column("score", pl.Float64, "the number the detector judged; the graver, the greater"),
    Column("threshold", pl.Float64, "what it was held against"),
    Column("summary", pl.String, "one sentence with the numbers"),
    Column("evidence", pl.String, "JSON: numbers, window, ticks, completeness, downgraded"),
    Column("evidence_level", pl.String, "trades, L1, L2 or derived"),
    Column("completeness", pl.Float64, "of the data that the evidence level stands on, 0 to 1"),
    Column("model_id", pl.String, "the model that scored, for learnt detectors", nullable=True),
    Column("code_hash", pl.String, "of this package's sources"),
    Column("config_hash", pl.String, "of the thresholds in force"),
)

FINDINGS: Final = Relation(
    "surveillance.findings",
    (*_DETECTOR, _INSTRUMENT_ID, _WINDOW_START, _SEVERITY, *_JUDGED),
)
"""A window in which a detector fires."""

FIRINGS: Final = Relation(
    "",
    (
        *_DETECTOR,
        _INSTRUMENT_ID,
        _WINDOW_START,
        _SEVERITY,
        Column("score", pl.Float64, "as in surveillance.findings"),
        Column("completeness", pl.Float64, "as in surveillance.findings"),
    ),
)
"""Of a finding only what decides to which alert it belongs, and what that comes to."""

_GROWTH: Final = (
    Column("last_window_start", TIME, "start of the last window that fired"),
    Column("closes_at", TIME, "a window that fires joins the alert if it ends no later than this"),
    Column("windows_fired", pl.Int32, "windows that fired, the first included"),
    Column("peak_score", pl.Float64, "the greatest score of these windows"),
    Column("peak_window_start", TIME, "the window that had it; of several the first"),
)

SESSIONS: Final = Relation(
    "",
    (
        *_DETECTOR,
        _INSTRUMENT_ID,
        _WINDOW_START,
        Column(
            "paused_since",
            TIME,
            "the window that fired before the pause it ends; null: not known, or it follows a full alert",
            nullable=True,
        ),
        _SEVERITY,
        Column("completeness", pl.Float64, "the least of the windows that fired"),
        *_GROWTH,
    ),
)
"""Firings that are one alert: it opens at `window_start`."""

STANDING: Final = Relation(
    "",
    (
        Column("alert_id", pl.String, "as in surveillance.alerts"),
        *_DETECTOR,
        _INSTRUMENT_ID,
        _WINDOW_START,
        Column("last_window_start", TIME, "as in surveillance.alerts"),
    ),
)
"""Of a stored alert that is not retracted what says whether it is still one."""

_OF_AN_ALERT: Final = {
    "summary": "one sentence with the numbers of the window that had the peak",
    "evidence": "JSON: as in surveillance.findings, of the first window; and `peak`: score, window, numbers",
    "completeness": "the least of the windows that fired",
    "evidence_level": "trades, L1, L2 or derived",
}

ALERTS: Final = Relation(
    "surveillance.alerts",
    (
        Column("alert_id", pl.String, "uuid5 of detector, version, instrument, first window"),
        *_DETECTOR,
        _INSTRUMENT_ID,
        Column("window_start", TIME, "start of the first window that fired"),
        Column("window_end", TIME, "end of that window, excluded"),
        Column("raised_at", TIME, "window_end: the first moment at which the window was known"),
        Column("severity", pl.String, "the gravest of the windows that fired"),
        *(
            replace(column, meaning=_OF_AN_ALERT.get(column.name, f"{column.meaning}, of the first window"))
            for column in _JUDGED
        ),
        *_GROWTH,
    ),
)

ALERT_SPANS: Final = Relation(
    "",
    (
        Column("alert_id", pl.String, "as in surveillance.alerts"),
        Column("base", pl.String, "what its instrument buys: BTC, wherever it is traded"),
        Column("venue", pl.String, "where"),
        _INSTRUMENT_ID,
        Column("detector", pl.String, "a key of DETECTORS"),
        _SEVERITY,
        _WINDOW_START,
        Column("last_window_start", TIME, "as in surveillance.alerts"),
    ),
)
"""Of an alert that is not retracted what says to which incident it belongs."""

INCIDENTS: Final = Relation(
    "surveillance.incidents",
    (
        Column("incident_id", pl.String, "uuid5 of its earliest alert"),
        Column("base", pl.String, "the asset that its alerts have in common"),
        Column("started_at", TIME, "start of the first window that fired"),
        Column("ended_at", TIME, "end of the last"),
        Column("severity", pl.String, "the gravest of its alerts"),
        Column("alert_ids", pl.List(pl.String), "its alerts, the earliest first"),
        Column("detectors", pl.List(pl.String), "who raised them"),
        Column("venues", pl.List(pl.String), "where"),
        Column("instrument_ids", pl.List(pl.Int16), "on what"),
    ),
)

KNOWN_INCIDENTS: Final = Relation("", INCIDENTS.columns[:4])
"""Of a stored incident what says whether it is still one."""

RELATIONS: Final = (
    INSTRUMENTS,
    TRADES,
    QUOTES,
    BOOKS,
    BOOK_FLOWS,
    REFERENCE_PRICES,
    FEED_GAPS,
    REJECTED_FRAMES,
    WINDOWS,
    FEATURES,
    CORRELATIONS,
    SCORES,
    FINDINGS,
    ALERTS,
    INCIDENTS,
)
"""Those that are stored."""

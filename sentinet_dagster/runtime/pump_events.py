"""`sentinet evaluate pump-events`: a folder of recorded trades and labels, judged as live data would be.

What lives here: reading the folder, and trades → windows → features → the detector, an event at a time.
What never does: the arithmetic of the score (`surveillance/evaluation.py`), and anything learnt from the
events: what judges is the detector of production with the thresholds it is given.

The folder holds `labels.csv` (file, symbol, announced_utc, label_chunk_5s_utc, …15s…, …25s…) and one
`<file>.parquet` an event: symbol, timestamp (ms since 1970 UTC), side of the taker (buy or sell), price
(quote currency), amount (base units). Rows that repeat another one exactly are left out: the pages of such
captures overlap. An event starts with its finest label; one without any, when it was announced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import polars as pl
import polars.selectors as cs
import structlog

from sentinet_dagster.resources import SurveillanceConfig
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.settings import SETTINGS
from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.detectors import DETECTORS
from sentinet_dagster.surveillance.evaluation import LabelledEvent, ScoredEvent, score_event
from sentinet_dagster.surveillance.facts import Facts
from sentinet_dagster.surveillance.features import build_features
from sentinet_dagster.surveillance.findings import build_findings
from sentinet_dagster.surveillance.grid import aligned
from sentinet_dagster.surveillance.schema import TIME, WINDOW
from sentinet_dagster.surveillance.settings import SurveillanceSettings

__all__ = ["PumpEvent", "read_pump_events", "score_pump_event", "score_pump_events"]

_LABELS: Final = ("label_chunk_5s_utc", "label_chunk_15s_utc", "label_chunk_25s_utc", "announced_utc")
_TRADE_COLUMNS: Final = {
    "timestamp": cs.integer(),
    "side": cs.string(),
    "price": cs.numeric(),
    "amount": cs.numeric(),
}
_VENUE: Final = "binance"
_NO_CODE: Final = ""  # the hash of the code matters to alerts that are stored
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PumpEvent:
    """One labelled event and its file of trades."""

    name: str
    symbol: str  # as the labels have it: ADX
    start: datetime
    path: Path


def score_pump_events(directory: Path) -> list[ScoredEvent]:
    """Every event of `directory`, judged with the thresholds of config/surveillance.yaml.

    Raises:
        UserError: as `read_pump_events` and `score_pump_event`.
    """
    settings = SurveillanceConfig(directory=str(SETTINGS.config_dir)).load()
    return [score_pump_event(event, settings) for event in read_pump_events(directory)]


def read_pump_events(directory: Path) -> Sequence[PumpEvent]:
    """The events of `directory`, in the order of their start. A file of trades without a label is left out.

    Raises:
        UserError: no labels.csv, a column is missing, a label cannot be read, or a file is not there.
    """
    path = directory / "labels.csv"
    if not path.is_file():
        raise UserError(f"{path} is missing: the folder needs labels.csv and one parquet file an event")
    try:
        labels = pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{path} cannot be read as CSV: {error}") from error
    lacking = [name for name in ("file", "symbol", *_LABELS) if name not in labels.columns]
    if lacking:
        raise UserError(f"{path} lacks the columns {', '.join(lacking)}")
    events = [_event(row, directory) for row in labels.iter_rows(named=True)]
    unlabelled = {each.stem for each in directory.glob("*.parquet")} - {event.name for event in events}
    if unlabelled:
        log.warning("files of trades without a label are left out", files=sorted(unlabelled))
    return sorted(events, key=lambda event: (event.start, event.name))


def score_pump_event(event: PumpEvent, settings: SurveillanceSettings) -> ScoredEvent:
    """Judge the trades of one event by `pump_and_dump` and score the alerts.

    Raises:
        UserError: the file cannot be read as trades.
    """
    trades = _trades(event.path)
    begin, end = trades["time"].min(), trades["time"].max()
    if not isinstance(begin, datetime) or not isinstance(end, datetime):
        raise UserError(f"{event.path} holds no trades")
    labelled = LabelledEvent(event.name, event.symbol, event.start, begin, end)
    return score_event(labelled, _raised_at(trades, event.symbol, begin, end, settings))


def _event(row: dict[str, str | None], directory: Path) -> PumpEvent:
    start = next((row[label] for label in _LABELS if row[label]), None)
    path = directory / f"{row['file']}.parquet"
    if start is None:
        raise UserError(f"{directory / 'labels.csv'}: {row['file']} has neither a label nor an announcement")
    if not path.is_file():
        raise UserError(f"{path} is missing, and labels.csv names it")
    try:
        moment = datetime.fromisoformat(start)
    except ValueError as error:
        raise UserError(f"{directory / 'labels.csv'}: {start!r} of {row['file']} is no ISO time") from error
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return PumpEvent(str(row["file"]), str(row["symbol"]), moment, path)


def _trades(path: Path) -> pl.DataFrame:
    """schema.TRADES of the file's distinct rows, numbered in their order."""
    try:
        raw = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{path} is no parquet file: {error}") from error
    unfit = [name for name, kind in _TRADE_COLUMNS.items() if name not in cs.expand_selector(raw, kind)]
    if unfit:
        raise UserError(
            f"{path}: {', '.join(unfit)} missing or of another type; needed are timestamp (whole ms), "
            "side (buy or sell), price and amount (numbers)"
        )
    others = set(raw["side"].unique()) - {"buy", "sell"}
    if others:
        raise UserError(f"{path}: the side of a trade is buy or sell, not {' or '.join(map(repr, others))}")
    time = pl.from_epoch("timestamp", "ms").cast(TIME)
    rows = raw.unique(maintain_order=True).sort("timestamp", maintain_order=True)
    return schema.TRADES.conform(
        rows.select(
            pl.lit(1).alias("instrument_id"),
            pl.int_range(pl.len()).alias("trade_id"),
            time.alias("time"),
            time.alias("occurred_at"),
            time.alias("received_at"),
            "price",
            pl.col("amount").alias("size"),
            pl.when(pl.col("side") == "buy").then(1).otherwise(-1).alias("aggressor"),
            pl.lit(1).alias("fills"),
        )
    )


def _raised_at(
    trades: pl.DataFrame, symbol: str, begin: datetime, end: datetime, settings: SurveillanceSettings
) -> Iterator[datetime]:
    """The ends of the windows in which the detector fires."""
    start, stop = aligned(begin), aligned(end) + WINDOW
    facts = replace(Facts.none_of(_instrument(symbol)), trades=trades)
    windows = facts.windows(start, stop)
    found = build_findings(
        windows,
        build_features(windows, start, stop, settings.completeness_floor),
        schema.CORRELATIONS.empty(),
        schema.SCORES.empty(),
        facts.instruments,
        settings,
        start,
        stop,
        _NO_CODE,
        [DETECTORS["pump_and_dump"]],
    )
    for window_start in found["window_start"]:
        yield window_start + WINDOW


def _instrument(symbol: str) -> pl.DataFrame:
    row = {
        "instrument_id": 1,
        "venue": _VENUE,
        "symbol": f"{symbol}-BTC",
        "venue_symbol": f"{symbol}BTC",
        "kind": "spot",
        "base": symbol,
        "quote": "BTC",
        "tick_size": None,
        "contract_size": 1.0,
        "is_active": True,
    }
    return pl.DataFrame([row], schema=schema.INSTRUMENTS.schema)

"""`surveillance/*`: facts become windows, features, correlations, scores, alerts.

What lives here: read → pure function → replace the range → report. What never does: arithmetic on market data
(it is in `surveillance/`), SQL (it is in `queries.sql`), deciding what is due (it is in `planning.py`).

A run is about the windows of its partition: all that are closed, or the range in its tags. Whatever the
range, a window's rows are the same: each function is given the look-back that it declares.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of decorated functions as objects.

import json
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import polars as pl
from dagster import (
    AssetDep,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    BackfillPolicy,
    BetaWarning,
    Failure,
    MaterializeResult,
    asset,
)

from sentinet_dagster.assets.market import MARKET_ASSETS, column_schema
from sentinet_dagster.partitions import (
    HOURS,
    RULES,
    SILENCE,
    WITH_PREVIOUS_HOUR,
    hour_ranges,
    in_microseconds,
    moment,
    slices,
    tagged_range,
)
from sentinet_dagster.planning import closed_until
from sentinet_dagster.resources import ModelStore, SurveillanceConfig, Timescale, surveillance_code_hash
from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.alerts import ALERT_LOOKBACK, build_alerts
from sentinet_dagster.surveillance.correlation import CORRELATION_LOOKBACK, build_correlations
from sentinet_dagster.surveillance.features import FEATURE_LOOKBACK, build_features
from sentinet_dagster.surveillance.models import ISOLATION_FOREST, build_scores
from sentinet_dagster.surveillance.windows import build_windows

__all__ = ["SURVEILLANCE_ASSETS"]

_CODE_HASH: Final = surveillance_code_hash()
_READ_AT_ONCE: Final = timedelta(minutes=10)  # bounds the memory of a whole hour: millions of facts
_Facts = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]

# Up to a day of hours in one run, judged one after the other: a run's start is paid once.
_BACKFILL: Final = BackfillPolicy.multi_run(max_partitions_per_run=24)


def _judged(
    relation: schema.Relation, *deps: AssetDep, description: str
) -> Callable[[Callable[..., MaterializeResult[None]]], AssetsDefinition]:
    """The decorator of an asset of this room."""
    with warnings.catch_warnings():
        # backfill_policy is beta in Dagster 1.13; pyproject holds Dagster below 1.14.
        warnings.simplefilter("ignore", BetaWarning)
        return asset(
            key=AssetKey(relation.name.split(".")),
            deps=deps,
            description=description,
            metadata={"dagster/table_name": relation.name, "dagster/column_schema": column_schema(relation)},
            kinds={"polars", "postgres"},
            owners=["team:surveillance"],
            group_name="surveillance",
            partitions_def=HOURS,
            backfill_policy=_BACKFILL,
            code_version=_CODE_HASH[:12],
        )


def _looking_back(relation: schema.Relation) -> AssetDep:
    return AssetDep(AssetKey(relation.name.split(".")), partition_mapping=WITH_PREVIOUS_HOUR)


@_judged(
    schema.WINDOWS,
    *(AssetDep(spec) for spec in MARKET_ASSETS if spec.key.path[-1] != "reference_prices"),
    description="What happened in each 5 s window of each instrument, and how whole its data was.",
)
def windows(context: AssetExecutionContext, timescale: Timescale) -> MaterializeResult[None]:
    """Facts → windows. No look-back, but for telling silence."""

    def build(start: datetime, end: datetime) -> pl.DataFrame:
        parts = slices(start, end, _READ_AT_ONCE)
        return pl.concat([build_windows(*_facts(timescale, low, high), low, high) for low, high in parts])

    def judge(start: datetime, end: datetime) -> pl.DataFrame:
        frame = build(start, end)
        if start not in _with_facts(frame):
            frame = pl.concat([build(start - SILENCE, start), frame])
        return _without_silence(frame).filter(pl.col("window_start") >= start)

    return _replace(context, timescale, schema.WINDOWS, judge)


@_judged(
    schema.FEATURES,
    _looking_back(schema.WINDOWS),
    description="Each window against its instrument's own past: z-scores, RSI, volatility, volume.",
)
def features(
    context: AssetExecutionContext, timescale: Timescale, surveillance_config: SurveillanceConfig
) -> MaterializeResult[None]:
    """Windows → features."""
    settings = surveillance_config.load()

    def judge(start: datetime, end: datetime) -> pl.DataFrame:
        seen = timescale.read(schema.WINDOWS, "windows", start=start - FEATURE_LOOKBACK, end=end)
        return build_features(seen, start, end, settings.completeness_floor)

    return _replace(context, timescale, schema.FEATURES, judge)


@_judged(
    schema.CORRELATIONS,
    _looking_back(schema.FEATURES),
    description="How each pair of instruments moves together now, and on the slow average.",
)
def correlations(context: AssetExecutionContext, timescale: Timescale) -> MaterializeResult[None]:
    """Features → correlations."""

    def judge(start: datetime, end: datetime) -> pl.DataFrame:
        seen = timescale.read(schema.FEATURES, "features", start=start - CORRELATION_LOOKBACK, end=end)
        return build_correlations(seen, start, end)

    return _replace(context, timescale, schema.CORRELATIONS, judge)


@_judged(
    schema.SCORES,
    AssetDep(AssetKey(["surveillance", "features"])),
    description="How unusual each window is to the model in force, or why that is not known.",
)
def scores(
    context: AssetExecutionContext,
    timescale: Timescale,
    surveillance_config: SurveillanceConfig,
) -> MaterializeResult[None]:
    """Features → scores. Models are not among the dependencies: a new one judges later windows only."""
    settings = surveillance_config.load()
    model_store = ModelStore(timescale)

    def judge(start: datetime, end: datetime) -> pl.DataFrame:
        seen = timescale.read(schema.FEATURES, "features", start=start, end=end)
        models = model_store.in_force(ISOLATION_FOREST, start, end)
        return build_scores(seen, start, end, models, settings.completeness_floor)

    with model_store.unchanged():
        return _replace(context, timescale, schema.SCORES, judge)


@_judged(
    schema.ALERTS,
    *map(_looking_back, (schema.WINDOWS, schema.FEATURES, schema.CORRELATIONS, schema.SCORES)),
    description="What a human should look at, with the evidence. Its life: surveillance.alert_events.",
)
def alerts(
    context: AssetExecutionContext, timescale: Timescale, surveillance_config: SurveillanceConfig
) -> MaterializeResult[None]:
    """Windows, features, correlations, scores → alerts."""
    settings = surveillance_config.load()
    instruments = timescale.read(schema.INSTRUMENTS, "instruments")

    def judge(start: datetime, end: datetime) -> pl.DataFrame:
        read = partial(timescale.read, start=start - ALERT_LOOKBACK, end=end)
        return build_alerts(
            read(schema.WINDOWS, "windows"),
            read(schema.FEATURES, "features"),
            read(schema.CORRELATIONS, "correlations"),
            read(schema.SCORES, "scores"),
            instruments,
            settings,
            start,
            end,
            _CODE_HASH,
        )

    note = f"run {context.run.run_id}"
    return _replace(context, timescale, schema.ALERTS, judge, write=partial(_record_alerts, timescale, note))


def _replace(
    context: AssetExecutionContext,
    timescale: Timescale,
    relation: schema.Relation,
    judge: Callable[[datetime, datetime], pl.DataFrame],
    write: Callable[[pl.DataFrame, datetime, datetime], None] | None = None,
) -> MaterializeResult[None]:
    """Judge the run's range, each hour alone and in order, and report."""
    began = time.perf_counter()
    start, end = _range(context, timescale)
    written = []
    for low, high in hour_ranges(start, end):
        _refuse_without_facts(timescale, low, high)
        with timescale.hour_lock(relation, low):
            frame = judge(low, high)
            if write is None:
                timescale.replace(relation, frame, low, high)
            else:
                write(frame, low, high)
        written.append(frame)
    return MaterializeResult(
        metadata={
            "dagster/partition_row_count": sum(map(len, written)),
            "range_start": start.isoformat(),
            "range_end": end.isoformat(),
            "seconds": round(time.perf_counter() - began, 3),
            **_completeness(written),
        }
    )


def _refuse_without_facts(timescale: Timescale, start: datetime, end: datetime) -> None:
    """Judgement outlives facts: judging again what they are gone of would take back what was found."""
    (facts,) = timescale.fetch("facts_are_gone", start=start, end=end)
    if facts["are_gone"]:
        raise Failure(
            f"The facts of {start} to {end} are no longer kept (retention.facts of config/storage.yaml): "
            "what was judged on them stays.",
            allow_retries=False,
        )


def _range(context: AssetExecutionContext, timescale: Timescale) -> tuple[datetime, datetime]:
    """The windows the run is about: the range in its tags, or all closed windows of its hours."""
    hours = context.partition_time_window
    tagged = tagged_range(context.run.tags)
    if tagged is not None:
        start, end = tagged
        if start < hours.start or end > hours.end:
            raise ValueError(
                f"the range {start} to {end} in the run's tags is not inside {hours.start} to {hours.end}"
            )
        return start, end
    (edge,) = timescale.fetch("ledger_edge")
    received_until, committed_at = (
        in_microseconds(edge[key]) if edge[key] is not None else 0
        for key in ("received_until", "committed_at")
    )
    closed = moment(closed_until(received_until, committed_at, in_microseconds(edge["clock"]), RULES))
    return hours.start, max(hours.start, min(hours.end, closed))


def _completeness(written: Sequence[pl.DataFrame]) -> dict[str, float]:
    """The worst completeness among the rows, where the relation says it and there are rows."""
    found = [
        frame["completeness"].min() for frame in written if "completeness" in frame.columns and len(frame)
    ]
    return {"completeness_min": min(found)} if found else {}  # type: ignore[type-var, dict-item]


def _facts(timescale: Timescale, start: datetime, end: datetime) -> _Facts:
    """What `build_windows` takes, in its order."""
    read = partial(timescale.read, start=start, end=end)
    return (
        read(schema.TRADES, "trades"),
        read(schema.QUOTES, "quotes"),
        read(schema.BOOKS, "books"),
        read(schema.FEED_GAPS, "feed_gaps"),
        read(schema.REJECTED_FRAMES, "rejected_frames"),
        timescale.read(schema.INSTRUMENTS, "instruments"),
    )


def _with_facts(frame: pl.DataFrame) -> pl.Series:
    """The starts of the windows in which anything is known to have happened, a gap included, ascending."""
    counts = pl.col("trade_count") + pl.col("quote_count") + pl.col("book_count") + pl.col("refused_frames")
    known = (counts > 0) | (pl.col("book_completeness") < 1)
    return frame.filter(known)["window_start"].unique().sort()


def _without_silence(frame: pl.DataFrame) -> pl.DataFrame:
    """The windows at most SILENCE after one with facts: while nobody feeds us there is nothing to judge.

    It depends on the facts of the last SILENCE alone, so that a backfill of the hour leaves out the same
    windows.
    """
    heard = _with_facts(frame).to_frame("heard_at")
    return (
        frame.sort("window_start", "instrument_id")
        .join_asof(heard, left_on="window_start", right_on="heard_at", strategy="backward", tolerance=SILENCE)
        .filter(pl.col("heard_at").is_not_null())
        .drop("heard_at", strict=False)
    )


def _record_alerts(
    timescale: Timescale, note: str, frame: pl.DataFrame, start: datetime, end: datetime
) -> None:
    """Open, bring up to date, reopen, retract: never delete."""
    rows = [{**row, "evidence": json.loads(row["evidence"])} for row in frame.iter_rows(named=True)]
    timescale.fetch(
        "record_alerts",
        alerts=json.dumps(rows, default=datetime.isoformat),
        start=start,
        end=end,
        actor="sentinet",
        note=note,
    )


SURVEILLANCE_ASSETS: Final = [windows, features, correlations, scores, alerts]

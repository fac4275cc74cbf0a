"""`surveillance/*`: facts become windows, features, correlations, scores, findings, alerts.

What lives here: read → pure function → replace the range → report. What never does: arithmetic on market data
(it is in `surveillance/`), SQL (it is in `queries.sql`), deciding what is due (it is in `planning.py`).

A run is about the windows of its partitions: all that are closed, or the range in its tags. Whatever the
range, a window's rows are the same: each function is given the look-back that it declares. Two tags spare
reading facts: TOUCHED_TAG, the parts of the range that changed since they were built; INSTRUMENTS_TAG, the
instruments whose facts did. What is judged from windows is judged for the whole range and for everybody: it
looks at the past and at the others, and costs little.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of decorated functions as objects.

import time
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import polars as pl
from dagster import (
    AssetCheckSpec,
    AssetDep,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    BackfillPolicy,
    BetaWarning,
    FreshnessPolicy,
    MaterializeResult,
    asset,
)

from sentinet_dagster.assets.building import READ_AT_ONCE, build, build_for
from sentinet_dagster.assets.market import MARKET_ASSETS, column_schema
from sentinet_dagster.assets.settling import settle_alerts
from sentinet_dagster.assets.soundness import SOUNDNESS, Soundness
from sentinet_dagster.partitions import (
    HOUR,
    HOURS,
    RULES,
    hour_ranges,
    in_microseconds,
    is_whole,
    looking_back,
    moment,
    slices,
    tagged_instruments,
    tagged_pieces,
    tagged_range,
)
from sentinet_dagster.planning import closed_until
from sentinet_dagster.resources import ModelStore, SurveillanceConfig, Timescale, surveillance_code_hash
from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.alerts import REACH
from sentinet_dagster.surveillance.correlation import CORRELATION_LOOKBACK, build_correlations
from sentinet_dagster.surveillance.detectors import WIDEST_LOOKBACK
from sentinet_dagster.surveillance.features import FEATURE_LOOKBACK, build_features
from sentinet_dagster.surveillance.findings import build_findings, detector_lookback
from sentinet_dagster.surveillance.models import ISOLATION_FOREST, build_scores

__all__ = ["CODE_HASH", "SURVEILLANCE_ASSETS"]

CODE_HASH: Final = surveillance_code_hash()
"""Says, in each alert, which code judged."""

# A backfill is one run, whatever it spans: judging is fast and starting a run is not, and Dagster would run
# the assets of more than one run one after the other, because they look back on the hour before.
_BACKFILL: Final = BackfillPolicy.single_run()

# While a feed is live there is a run every five seconds, alerts or none. Dagster's daemon looks each 30 s.
_FRESH: Final = FreshnessPolicy.time_window(
    fail_window=timedelta(minutes=15), warn_window=timedelta(minutes=2)
)


def _judged(
    relation: schema.Relation,
    *deps: AssetDep,
    description: str,
    freshness_policy: FreshnessPolicy | None = None,
    checks: Sequence[AssetCheckSpec] = (),
) -> Callable[[Callable[..., MaterializeResult[None]]], AssetsDefinition]:
    """The decorator of an asset of this room."""
    with warnings.catch_warnings():
        # backfill_policy is beta in Dagster 1.13; pyproject holds Dagster below 1.14.
        warnings.simplefilter("ignore", BetaWarning)
        return asset(
            key=AssetKey(relation.name.split(".")),
            deps=deps,
            check_specs=checks,
            description=description,
            metadata={"dagster/table_name": relation.name, "dagster/column_schema": column_schema(relation)},
            kinds={"polars", "postgres"},
            owners=["team:surveillance"],
            group_name="surveillance",
            partitions_def=HOURS,
            backfill_policy=_BACKFILL,
            code_version=CODE_HASH[:12],
            freshness_policy=freshness_policy,
        )


def _looking_back(relation: schema.Relation, span: timedelta) -> AssetDep:
    return AssetDep(AssetKey(relation.name.split(".")), partition_mapping=looking_back(span))


@_judged(
    schema.WINDOWS,
    *map(AssetDep, MARKET_ASSETS),
    description="What happened in each 5 s window of each instrument, and how whole its data was.",
    checks=SOUNDNESS,
)
# Beside checks, Dagster takes the bare class only.
def windows(context: AssetExecutionContext, timescale: Timescale) -> MaterializeResult:  # type: ignore[type-arg]
    """Facts → windows. No look-back, but for telling silence."""
    tags = context.run.tags
    start, end = _range(context, timescale)
    pieces, instruments = tagged_pieces(tags), tagged_instruments(tags)
    soundness = Soundness(timescale)
    if is_whole(tags):
        timescale.fetch("claim_late_hours", run_id=context.run.run_id, start=start, end=end)

    def judge(low: datetime, high: datetime) -> pl.DataFrame:
        soundness.check_facts(low, high)
        built = (
            build(timescale, low, high)
            if instruments is None
            else build_for(timescale, instruments, low, high)
        )
        timescale.replace(schema.WINDOWS, built.frame, low, high, built.instruments)
        soundness.check_windows(low, high)
        return built.frame

    wanted = [(start, end)] if pieces is None else pieces
    parts = _with_facts(
        context, timescale, [part for piece in wanted for part in slices(*piece, READ_AT_ONCE)]
    )
    judged = _in_turn(context, timescale, schema.WINDOWS, (start, end), parts, judge)
    return judged._replace(check_results=soundness.results())


@_judged(
    schema.FEATURES,
    _looking_back(schema.WINDOWS, FEATURE_LOOKBACK),
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
    _looking_back(schema.FEATURES, CORRELATION_LOOKBACK),
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
    schema.FINDINGS,
    _looking_back(schema.WINDOWS, WIDEST_LOOKBACK.windows),
    _looking_back(schema.FEATURES, WIDEST_LOOKBACK.features),
    _looking_back(schema.CORRELATIONS, WIDEST_LOOKBACK.correlations),
    _looking_back(schema.SCORES, WIDEST_LOOKBACK.scores),
    description="Each window in which a detector fires, with the evidence.",
)
def findings(
    context: AssetExecutionContext, timescale: Timescale, surveillance_config: SurveillanceConfig
) -> MaterializeResult[None]:
    """Windows, features, correlations, scores → findings."""
    settings = surveillance_config.load()
    instruments = timescale.read(schema.INSTRUMENTS, "instruments")
    lookback = detector_lookback(settings, instruments)

    def judge(start: datetime, end: datetime) -> pl.DataFrame:
        past = timescale.read(schema.PAST_WINDOWS, "past_windows", start=start - lookback.windows, end=start)
        now = timescale.read(schema.WINDOWS, "windows", start=start, end=end)
        return build_findings(
            pl.concat([past, now], how="diagonal"),
            timescale.read(schema.FEATURES, "features", start=start - lookback.features, end=end),
            timescale.read(schema.CORRELATIONS, "correlations", start=start - lookback.correlations, end=end),
            timescale.read(schema.SCORES, "scores", start=start - lookback.scores, end=end),
            instruments,
            settings,
            start,
            end,
            CODE_HASH,
        )

    return _replace(context, timescale, schema.FINDINGS, judge)


@_judged(
    schema.ALERTS,
    _looking_back(schema.FINDINGS, REACH),
    description="What a human should look at: findings of one cause. Its life: surveillance.alert_events.",
    freshness_policy=_FRESH,
)
def alerts(
    context: AssetExecutionContext, timescale: Timescale, surveillance_config: SurveillanceConfig
) -> MaterializeResult[None]:
    """Findings → alerts."""
    settle = partial(
        settle_alerts, timescale, surveillance_config.load(), f"run {context.run.run_id}", CODE_HASH
    )
    whole = _range(context, timescale)
    result = _in_turn(context, timescale, schema.ALERTS, whole, list(hour_ranges(*whole)), settle)
    if is_whole(context.run.tags):
        timescale.fetch("settle_late_hours", run_id=context.run.run_id)
    timescale.fetch("note_latency")
    return result


def _replace(
    context: AssetExecutionContext,
    timescale: Timescale,
    relation: schema.Relation,
    judge: Callable[[datetime, datetime], pl.DataFrame],
) -> MaterializeResult[None]:
    """Judge the run's range, each hour alone and in order: its rows become what `judge` says."""

    def replaced(start: datetime, end: datetime) -> pl.DataFrame:
        frame = judge(start, end)
        timescale.replace(relation, frame, start, end)
        return frame

    whole = _range(context, timescale)
    return _in_turn(context, timescale, relation, whole, list(hour_ranges(*whole)), replaced)


def _in_turn(
    context: AssetExecutionContext,
    timescale: Timescale,
    relation: schema.Relation,
    whole: tuple[datetime, datetime],
    parts: Sequence[tuple[datetime, datetime]],
    judge: Callable[[datetime, datetime], pl.DataFrame],
) -> MaterializeResult[None]:
    """Judge the parts one by one, each under the lock of its hour, and report what came of the whole."""
    began, rows = time.perf_counter(), 0
    completeness: list[float] = []
    for number, (low, high) in enumerate(parts, start=1):
        with timescale.hour_lock(relation, low):
            frame = judge(low, high)
        rows += len(frame)
        if "completeness" in frame.columns and len(frame):
            completeness.append(frame["completeness"].min())  # type: ignore[arg-type]
        if (
            high - whole[0] > HOUR and high.minute == 0
        ):  # a backfill says how far it is, a micro-batch nothing
            context.log.info(
                f"{relation.name} judged to {high:%Y-%m-%d %H:%M}, part {number} of {len(parts)}"
            )
    return MaterializeResult(
        metadata={
            "dagster/partition_row_count": rows,
            "range_start": whole[0].isoformat(),
            "range_end": whole[1].isoformat(),
            "seconds": round(time.perf_counter() - began, 3),
            **({"completeness_min": min(completeness)} if completeness else {}),
        }
    )


def _with_facts(
    context: AssetExecutionContext, timescale: Timescale, parts: Sequence[tuple[datetime, datetime]]
) -> list[tuple[datetime, datetime]]:
    """The parts without those whose facts are no longer kept: their windows stay as they were built.

    Windows outlive facts (config/storage.yaml): built again of nothing they would take back what was found.
    """
    kept = [
        (low, high)
        for low, high in parts
        if not timescale.fetch("facts_are_gone", start=low, end=high)[0]["are_gone"]
    ]
    if len(kept) < len(parts):
        context.log.warning(
            f"{len(parts) - len(kept)} of {len(parts)} parts stay as they are: their facts are no longer kept"
        )
    return kept


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


SURVEILLANCE_ASSETS: Final = [windows, features, correlations, scores, findings, alerts]

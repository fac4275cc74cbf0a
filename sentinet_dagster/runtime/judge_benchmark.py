"""How fast the judgement is: what `sentinet benchmark judge` prints.

What lives here: a market of many instruments in memory, the rounds and the clock. What never does: judging a
number, the database; what is measured are the functions of production.

The market is drawn, not played: trades and quotes at random times of the day with prices that wander, so that
millions of them are there at once. The way of the usual tutorials is `deque_reference.py`, on the same
events. What counts is processor time, of all threads together: of one core, then, whatever else the machine
does meanwhile. The fastest round counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import numpy as np
import polars as pl

from sentinet_dagster.runtime.deque_reference import judge_one_by_one
from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.correlation import CORRELATION_LOOKBACK, build_correlations
from sentinet_dagster.surveillance.detectors import DETECTORS, Inputs
from sentinet_dagster.surveillance.facts import Facts
from sentinet_dagster.surveillance.features import FEATURE_LOOKBACK, build_features
from sentinet_dagster.surveillance.findings import JUDGE_LOOKBACK, build_findings, detector_lookback
from sentinet_dagster.surveillance.models import ModelInForce, build_scores, fit
from sentinet_dagster.surveillance.schema import TIME, WINDOW
from sentinet_dagster.surveillance.settings import SurveillanceSettings, load_settings

__all__ = ["Options", "drawn_facts", "measure_judging"]

_START: Final = datetime(2026, 1, 31, tzinfo=UTC)
_HOUR: Final = timedelta(hours=1)
_NO_CODE: Final = ""


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured on how much."""

    instruments: int = 100
    trades: int = 5_000_000  # of the windows alone, within an hour
    events_per_s: float = 20.0  # trades and quotes of an instrument, for the way from end to end
    hours: int = 24  # of the day, at a trade and a quote a second and instrument
    rounds: int = 3
    reference_events: int = 300_000  # 150 s of the market: every deque is full, and correlations are told


def measure_judging(options: Options) -> dict[str, Any]:
    """Everything; the module says what each number is of."""
    settings = load_settings({})
    end_to_end = _measure_end_to_end(options, settings)
    reference = _measure_reference(options)
    return {
        "windows_trades_per_s": _measure_windows(options),
        "events_per_s": end_to_end["events_per_s"],
        "reference_events_per_s": reference,
        "ratio_to_deque": round(end_to_end["events_per_s"] / reference, 1),
        "day_100_instruments_s": _measure_day(options, settings),
        "hours_of_the_day": options.hours,
        "instruments": options.instruments,
        "seconds_by_events": end_to_end["seconds_by_events"],
        "micro_batch": _measure_micro_batch(options, settings),
    }


def drawn_facts(
    instruments: int, start: datetime, length: timedelta, trades: int, quotes: int, seed: int = 1
) -> Facts:
    """So many trades and quotes in all, by instrument and time, of prices that wander."""
    random = np.random.default_rng(seed)
    trade = _drawn(random, instruments, start, length, trades)
    quote = _drawn(random, instruments, start, length, quotes)
    half = quote["price"] * pl.Series(random.uniform(0.5e-4, 1.5e-4, quotes))
    sizes = random.exponential(1.0, (3, max(trades, quotes)))
    return replace(
        Facts.none_of(_instruments(instruments)),
        trades=schema.TRADES.conform(
            trade.with_columns(
                pl.int_range(pl.len()).alias("trade_id"),
                pl.Series("size", sizes[0, :trades]),
                pl.Series("aggressor", random.choice([1, -1], trades)),
                pl.lit(1).alias("fills"),
            )
        ),
        quotes=schema.QUOTES.conform(
            quote.with_columns(
                pl.int_range(pl.len()).alias("update_id"),
                (pl.col("price") - half).alias("bid_price"),
                (pl.col("price") + half).alias("ask_price"),
                pl.Series("bid_size", sizes[1, :quotes] + 0.1),
                pl.Series("ask_size", sizes[2, :quotes] + 0.1),
            )
        ),
    )


def _drawn(
    random: np.random.Generator, instruments: int, start: datetime, length: timedelta, rows: int
) -> pl.DataFrame:
    """Times and prices, by (instrument, time), as the database gives them."""
    span = length // timedelta(microseconds=1)
    owner = np.sort(random.integers(0, instruments, rows))
    times = random.integers(0, span, rows)
    times = times[np.lexsort((times, owner))]
    # A factor that all share, and one of each instrument's own, by the second.
    seconds = span // 1_000_000 + 1
    steps = random.normal(0, 2e-5, (instruments, seconds)) + random.normal(0, 3e-5, seconds)
    paths = 100 * np.exp(np.cumsum(steps, axis=1))
    moment = pl.Series(times).cast(pl.Duration("us")) + pl.lit(start, dtype=TIME)
    return pl.DataFrame({"instrument_id": owner + 1, "price": paths[owner, times // 1_000_000]}).with_columns(
        time=moment, occurred_at=moment, received_at=moment
    )


def _instruments(count: int) -> pl.DataFrame:
    rows = [
        {
            "instrument_id": number,
            "venue": "drawn",
            "symbol": f"Z{number:03d}-USDT",
            "venue_symbol": f"Z{number:03d}USDT",
            "kind": "spot",
            "base": f"Z{number:03d}",
            "quote": "USDT",
            "tick_size": 0.01,
            "contract_size": 1.0,
            "is_active": True,
        }
        for number in range(1, count + 1)
    ]
    return schema.INSTRUMENTS.conform(pl.DataFrame(rows))


def _fastest(rounds: int, work: Callable[[], object]) -> float:
    """CPU seconds of the fastest round."""
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


# --- what is measured


def _measure_windows(options: Options) -> int:
    """Trades a second, facts → windows, all of an hour at once."""
    facts = drawn_facts(options.instruments, _START, _HOUR, options.trades, 0)
    return round(options.trades / _fastest(options.rounds, partial(facts.windows, _START, _START + _HOUR)))


def _measure_end_to_end(options: Options, settings: SurveillanceSettings) -> dict[str, Any]:
    """Facts → windows → features → correlations → all detectors, over 20 minutes and over twice as long:
    twice the events take twice the time if the cost is linear."""
    span = timedelta(minutes=20)
    base = round(options.events_per_s * options.instruments * span.total_seconds())
    taken = {}
    for factor, length in ((1, span), (2, 2 * span)):
        events = base * factor
        facts = drawn_facts(options.instruments, _START, length, events // 2, events - events // 2)
        taken[events] = _fastest(options.rounds, partial(_judge, facts, settings, length))
    return {
        "events_per_s": round(base / taken[base]),
        "seconds_by_events": {str(events): round(seconds, 3) for events, seconds in taken.items()},
    }


def _judge(facts: Facts, settings: SurveillanceSettings, length: timedelta) -> pl.DataFrame:
    """One range from its facts to its findings."""
    end = _START + length
    windows = facts.windows(_START, end)
    features = build_features(windows, _START, end)
    correlations = build_correlations(features, _START, end)
    return build_findings(
        windows,
        features,
        correlations,
        build_scores(features, _START, end, []),
        facts.instruments,
        settings,
        _START,
        end,
        _NO_CODE,
    )


def _measure_reference(options: Options) -> float:
    """Events a second of the way one by one, on the first events of the same market."""
    span = timedelta(minutes=20)
    events = round(options.events_per_s * options.instruments * span.total_seconds())
    facts = drawn_facts(options.instruments, _START, span, events // 2, events - events // 2)
    said = ("time", "instrument_id", "price", "size", "aggressor", "ask")
    trades = facts.trades.with_columns(ask=pl.lit(None, dtype=pl.Float64)).select(said)
    quotes = facts.quotes.with_columns(aggressor=pl.lit(None, dtype=pl.Int16)).select(
        "time", "instrument_id", "bid_price", "bid_size", "aggressor", "ask_price"
    )
    quotes.columns = list(said)
    rows = (
        pl.concat([trades, quotes])
        .sort("time")
        .head(options.reference_events)
        .with_columns(pl.col("time").to_physical() / 1e6)
        .rows()
    )
    return round(len(rows) / _fastest(options.rounds, lambda: judge_one_by_one(rows)), 1)


def _measure_day(options: Options, settings: SurveillanceSettings) -> float:
    """Seconds for the hours of a day, each as a backfill judges it: with its look-back, and alone."""
    a_second = options.instruments * 3600
    lookback = detector_lookback(settings, _instruments(options.instruments))
    past: dict[str, pl.DataFrame] = {}
    total = 0.0
    for hour in range(options.hours):
        start = _START + hour * _HOUR
        facts = drawn_facts(options.instruments, start, _HOUR, a_second, a_second, seed=hour)
        began = time.process_time()
        past = _judge_hour(facts, settings, start, past)
        total += time.process_time() - began
        kept = start + _HOUR - max(JUDGE_LOOKBACK, lookback.windows)
        past = {name: frame.filter(pl.col("window_start") >= kept) for name, frame in past.items()}
    return round(total, 2)


def _judge_hour(
    facts: Facts, settings: SurveillanceSettings, start: datetime, past: dict[str, pl.DataFrame]
) -> dict[str, pl.DataFrame]:
    """Windows, features and correlations of the hour after those before it."""
    end = start + _HOUR

    def after(name: str, frame: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([past[name], frame]) if name in past else frame

    windows = after("windows", facts.windows(start, end))
    recent = windows.filter(pl.col("window_start") >= start - FEATURE_LOOKBACK)
    features = after("features", build_features(recent, start, end))
    moving = features.filter(pl.col("window_start") >= start - CORRELATION_LOOKBACK)
    correlations = after("correlations", build_correlations(moving, start, end))
    scores = build_scores(features, start, end, [])
    build_findings(windows, features, correlations, scores, facts.instruments, settings, start, end, _NO_CODE)
    return {"windows": windows, "features": features, "correlations": correlations}


def _measure_micro_batch(options: Options, settings: SurveillanceSettings) -> dict[str, Any]:
    """The newest window of all instruments after an hour and a half: milliseconds of each step and detector.

    What lies before it is there already, as the database gives it.
    """
    length, count = timedelta(minutes=90), options.instruments
    rows = round(length.total_seconds()) * count
    facts = drawn_facts(count, _START, length, rows, rows)
    end = _START + length
    start = end - WINDOW
    windows = facts.windows(_START, end)
    features = build_features(windows, _START, end)
    correlations = build_correlations(features, end - 2 * CORRELATION_LOOKBACK, end)
    learnt = features.filter(pl.col("window_start") < _START + _HOUR)
    model = ModelInForce("", _START + _HOUR, fit(learnt, settings.isolation_forest, seed=1))
    scores = build_scores(features, start, end, [model])
    lookback = detector_lookback(settings, facts.instruments)

    def since(frame: pl.DataFrame, span: timedelta) -> pl.DataFrame:
        return frame.filter(pl.col("window_start") >= start - span)

    now = facts.between(start, end)
    frames = (
        since(windows, lookback.windows),
        since(features, lookback.features),
        since(correlations, lookback.correlations),
        scores,
    )
    recent, moving = since(windows, FEATURE_LOOKBACK), since(features, CORRELATION_LOOKBACK)
    fresh = features.filter(pl.col("window_start") == start)
    steps: Sequence[tuple[str, Callable[[], object]]] = (
        ("windows", lambda: now.windows(start, end)),
        ("features", lambda: build_features(recent, start, end)),
        ("correlations", lambda: build_correlations(moving, start, end)),
        ("scores", lambda: build_scores(fresh, start, end, [model])),
        (
            "findings",
            lambda: build_findings(*frames, facts.instruments, settings, start, end, _NO_CODE),
        ),
    )
    rounds = max(3, 3 * options.rounds)
    taken = {name: round(1e3 * _fastest(rounds, work), 2) for name, work in steps}
    inputs = Inputs(*frames, facts.instruments, start, end, settings.completeness_floor)
    detectors = {}
    for name, detector in DETECTORS.items():
        asked = partial(detector.detect, inputs, settings.thresholds(detector, facts.instruments))
        detectors[name] = round(1e3 * _fastest(rounds, asked), 2)
    return {"ms": round(sum(taken.values()), 2), "steps_ms": taken, "detectors_ms": detectors}

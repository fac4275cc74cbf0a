"""`sentinet evaluate injected`: abuse of known time and size in calm markets, judged as live data would be.

What lives here: which markets, when and on whom, and facts → windows → features → the detector. What never
does: the abuses (`surveillance/injection.py`), the arithmetic of the score (`surveillance/evaluation.py`).

Markets are the simulator's, one of trades and quotes and a shorter one with books for each seed, and
recordings if any are given. An episode plays on every instrument of a market at once, each in a direction of
its own; only the detector that is for it is asked. What any detector raises on the same markets without an
episode is false, from the moment on when it has a past. Everything is drawn from the seeds: the same options
give the same scorecard.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np
import polars as pl

from ingest_daemon.venues.simulated import DEFAULT_INSTRUMENTS
from sentinet_dagster.resources import SurveillanceConfig
from sentinet_dagster.runtime.calm_markets import CalmMarket, recorded_markets, simulated_market
from sentinet_dagster.runtime.scorecard import GRACE
from sentinet_dagster.settings import SETTINGS
from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.alerts import alerts_of
from sentinet_dagster.surveillance.correlation import build_correlations
from sentinet_dagster.surveillance.detectors import DETECTORS
from sentinet_dagster.surveillance.evaluation import InjectedEpisode, calm_alerts, recall_at_size
from sentinet_dagster.surveillance.facts import Facts, joined
from sentinet_dagster.surveillance.features import build_features
from sentinet_dagster.surveillance.findings import build_findings
from sentinet_dagster.surveillance.grid import aligned
from sentinet_dagster.surveillance.injection import ABUSES, Abuse, Episode, usual_of
from sentinet_dagster.surveillance.models import (
    ISOLATION_FOREST,
    ModelInForce,
    NotEnoughData,
    build_scores,
    fit,
)
from sentinet_dagster.surveillance.schema import WINDOW
from sentinet_dagster.surveillance.settings import SurveillanceSettings

__all__ = ["FULL", "SHORT", "Extent", "evaluate_injected"]

_MIDNIGHT: Final = datetime(2026, 1, 31, tzinfo=UTC)  # of the simulated markets
_WARM: Final = timedelta(minutes=10)  # what is raised before is not counted, nor is the time
_NO_CODE: Final = ""  # the hash of the code matters to alerts that are stored


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is played."""

    seeds: int
    instruments: int  # of the simulator's twelve, the most liquid ones first
    before_midnight: timedelta  # of the market of trades and quotes
    after_midnight: timedelta
    with_books: timedelta  # the length of the market with books
    sizes: int  # of each abuse, the greatest first


FULL: Final = Extent(3, 12, timedelta(minutes=25), timedelta(minutes=35), timedelta(minutes=10), 3)
SHORT: Final = Extent(1, 5, timedelta(minutes=17), timedelta(minutes=14), timedelta(minutes=8), 2)


def evaluate_injected(extent: Extent, recordings: Sequence[Path] = ()) -> dict[str, Any]:
    """The scorecard: of each abuse recall by size and delay, of each detector its alerts in calm.

    Raises:
        UserError: a recording cannot be read.
    """
    settings = SurveillanceConfig(directory=str(SETTINGS.config_dir)).load()
    episodes: list[InjectedEpisode] = []
    raised: Counter[str] = Counter()
    days: defaultdict[str, float] = defaultdict(float)
    markets = []
    for market in _markets(extent, recordings):
        calm = _calm(market, settings)
        for detector, (alerts, symbol_days) in calm.items():
            raised[detector] += alerts
            days[detector] += symbol_days
        for name, abuse in ABUSES.items():
            for size in abuse.sizes[-extent.sizes :]:
                episodes += _play(market, name, abuse, size, settings)
        markets.append(
            {
                "market": market.name,
                "symbol_days": round(market.symbol_days, 4),
                "alerts": sum(alerts for alerts, _ in calm.values()),
            }
        )
    return {
        "markets": markets,
        "injected": {name: _scored(name, abuse, episodes) for name, abuse in ABUSES.items()},
        "calm": {name: asdict(calm_alerts(raised[name], days[name])) for name in sorted(days)},
    }


def _markets(extent: Extent, recordings: Sequence[Path]) -> Iterator[CalmMarket]:
    some = DEFAULT_INSTRUMENTS[: extent.instruments]
    for seed in range(1, extent.seeds + 1):
        start = _MIDNIGHT - extent.before_midnight
        length = extent.before_midnight + extent.after_midnight
        yield simulated_market(seed, start, length, books=False, instruments=some)
        yield simulated_market(seed, _MIDNIGHT, extent.with_books, books=True, instruments=some)
    if recordings:
        yield from recorded_markets(recordings, SETTINGS.config_dir)


def _scored(name: str, abuse: Abuse, episodes: Sequence[InjectedEpisode]) -> dict[str, Any]:
    mine = [each for each in episodes if each.detector == name]
    sizes = [size for size in abuse.sizes if any(each.size == size for each in mine)]
    by_size = [recall_at_size(size, [each for each in mine if each.size == size]) for size in sizes]
    return {"size": abuse.size, "by_size": [asdict(each) for each in by_size]}


# --- without an episode


def _calm(market: CalmMarket, settings: SurveillanceSettings) -> dict[str, tuple[int, float]]:
    """Of each detector that could judge here: its alerts, and the symbol-days in which it could."""
    warm_from = aligned(market.start + min(_WARM, (market.end - market.start) / 2))
    features = build_features(market.windows, market.start, market.end, settings.completeness_floor)
    model = _model(features, market, settings)
    models = [] if model is None else [model]
    instruments = market.facts.instruments
    findings = build_findings(
        market.windows,
        features,
        build_correlations(features, market.start, market.end),
        build_scores(features, market.start, market.end, models, settings.completeness_floor),
        instruments,
        settings,
        market.start,
        market.end,
        _NO_CODE,
    )
    alerts = alerts_of(findings, settings.cool_downs(findings["detector"], instruments))
    counts = Counter(alerts.filter(pl.col("window_start") >= warm_from)["detector"].to_list())
    found = {}
    for name, detector in DETECTORS.items():
        judged_from = warm_from
        if name == ISOLATION_FOREST and model is not None:
            judged_from = max(warm_from, model.effective_from)
        blind = (detector.evidence_level == "L2" and not market.has_books) or (
            name == ISOLATION_FOREST and model is None
        )
        if not blind:
            share = (market.end - judged_from) / (market.end - market.start)
            found[name] = counts[name], share * market.symbol_days
    return found


def _model(features: pl.DataFrame, market: CalmMarket, settings: SurveillanceSettings) -> ModelInForce | None:
    """Learnt on the first half of the market, for the second; None where that is too little."""
    half = aligned(market.start + (market.end - market.start) / 2)
    try:
        fitted = fit(features.filter(pl.col("window_start") < half), settings.isolation_forest, seed=1)
    except NotEnoughData:
        return None
    return ModelInForce("00000000-0000-4000-8000-000000000001", half, fitted)


# --- with an episode


def _play(
    market: CalmMarket, name: str, abuse: Abuse, size: float, settings: SurveillanceSettings
) -> list[InjectedEpisode]:
    """One abuse of one size on every instrument of a market; of none where the market is too short for it,
    or has no books."""
    random = np.random.default_rng(crc32(f"{market.name} {name} {size}".encode()))
    at = _begin(market, abuse, random)
    if at is None or (abuse.needs_books and not market.has_books):
        return []
    until = at + abuse.lasts
    low, high = aligned(at), min(aligned(until + GRACE) + WINDOW, market.end)
    touched = market.facts.between(low, high)
    sides = random.choice(abuse.sides, market.facts.instruments.height).tolist()
    parts, played = [], []
    for (number, symbol), side in zip(
        market.facts.instruments.select("instrument_id", "symbol").iter_rows(), sides, strict=True
    ):
        own, usual = touched.of(number), usual_of(market.windows, number, low)
        if usual is None:
            parts.append(own)
            continue
        abused = abuse.play(Episode(own.between(at, until), number, at, until, side, size, usual))
        parts.append(joined([abused, own.between(low, at), own.between(until, high)]))
        played.append((number, symbol))
    first = _first_firings(market, name, joined(parts), low, high, at, until, settings)
    return [
        InjectedEpisode(
            name,
            size,
            market.name,
            symbol,
            (first[number] - at).total_seconds() if number in first else None,
        )
        for number, symbol in played
    ]


def _begin(market: CalmMarket, abuse: Abuse, random: np.random.Generator) -> datetime | None:
    """A moment with enough past and enough time left; None: there is none."""
    earliest, latest = market.start + abuse.past, market.end - abuse.lasts - GRACE
    if abuse.ends_at_midnight:
        midnight = market.end.replace(hour=0, minute=0, second=0, microsecond=0)
        earliest = latest = midnight - abuse.lasts
        if earliest < market.start + abuse.past:
            return None
    if latest < earliest:
        return None
    span = (latest - earliest) // timedelta(milliseconds=1)
    return earliest + timedelta(milliseconds=int(random.integers(0, span + 1)))


def _first_firings(
    market: CalmMarket,
    name: str,
    facts: Facts,
    low: datetime,
    high: datetime,
    at: datetime,
    until: datetime,
    settings: SurveillanceSettings,
) -> dict[int, datetime]:
    """Instrument → end of the first window of the episode in which the detector fires."""
    detector, instruments = DETECTORS[name], market.facts.instruments
    before = market.windows.filter(pl.col("window_start") < low)
    windows = pl.concat([before, facts.windows(low, high)])
    features = build_features(windows, low - detector.lookback.features, high, settings.completeness_floor)
    empty = schema.CORRELATIONS.empty(), schema.SCORES.empty()
    found = build_findings(
        windows, features, *empty, instruments, settings, low, high, _NO_CODE, [detector]
    ).with_columns(raised_at=pl.col("window_start") + WINDOW)
    inside = found.filter(pl.col("raised_at") > at, pl.col("raised_at") <= until + GRACE)
    return dict(inside.group_by("instrument_id").agg(pl.col("raised_at").min()).iter_rows())

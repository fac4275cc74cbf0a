"""What every detector must do. Every entry of DETECTORS is tested here; none can be added untested."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from ingest_daemon.venues.simulated import EpisodeKind
from sentinet_dagster.surveillance.detectors import DETECTORS, Detector, Inputs
from sentinet_dagster.surveillance.schema import PAST_WINDOWS, VERDICTS, WINDOW
from sentinet_dagster.surveillance.settings import load_settings
from tests.unit.sentinet_dagster.surveillance.simulation import (
    CALM_FROM,
    END,
    LIVE_FROM,
    Judged,
    episodes,
    instrument_ids,
    instruments,
    judge,
    judged,
    windows,
)

# The episode of the simulator that a detector is for.
SCRIPTED: Mapping[str, EpisodeKind] = {
    "decoupling": EpisodeKind.DECOUPLING,
    "isolation_forest": EpisodeKind.SPREAD_BLOW_OUT,
    "pump_and_dump": EpisodeKind.PUMP_AND_DUMP,
    "spoofing": EpisodeKind.SPOOFING,
    "spread_stress": EpisodeKind.SPREAD_BLOW_OUT,
    "volatility_spike": EpisodeKind.VOLATILITY_SPIKE,
}
# Alerts in an hour of 12 calm instruments; what is not named: none.
CALM_ALERTS: Mapping[str, int] = {"spread_stress": 1, "favourable_execution": 5}  # the latter is good news
# Those whose verdict rests on the window alone, with nothing to warm up.
WITHOUT_PAST = {"spoofing"}

PYPROJECT = Path(__file__).resolve().parents[5] / "pyproject.toml"
RELATIONS = ("windows", "features", "correlations", "scores")

every = pytest.mark.parametrize("detector", DETECTORS.values(), ids=lambda detector: detector.name)
# The others are in test_abuses.py.
scripted = pytest.mark.parametrize(
    "detector", [DETECTORS[name] for name in SCRIPTED], ids=lambda each: each.name
)


def said(detector: Detector, market: Judged, start: datetime, end: datetime = END) -> pl.DataFrame:
    frames = market.windows, market.features, market.correlations, market.scores
    inputs = Inputs(*frames, instruments(), start, end, completeness_floor=0.8)
    return detector.detect(inputs, load_settings({}).thresholds(detector, instruments()))


@cache
def torn() -> Judged:
    """The same market with half of every window missing."""
    half = dict.fromkeys(("completeness", "trade_completeness", "book_completeness"), pl.lit(0.5))
    return judge(windows().with_columns(gap_seconds=pl.lit(2.5), **half))


def only(market: Judged, since: datetime) -> Judged:
    """The market as if its data began at `since`."""
    return judge(market.windows.filter(pl.col("window_start") >= since))


@every
def test_it_is_named_after_its_file_and_says_what_it_is(detector: Detector) -> None:
    module = importlib.import_module(f"sentinet_dagster.surveillance.detectors.{detector.name}")
    assert DETECTORS[detector.name] is detector
    assert module.__doc__ is not None
    lines = module.__doc__.splitlines()
    for section in ("What: ", "Evidence level: ", "Blind: ", "Example: ", "Source: ", ">>> "):
        assert any(line.startswith(section) for line in lines), section
    assert f"Evidence level: {detector.evidence_level}" in module.__doc__
    assert detector.version >= 1
    assert min(getattr(detector.lookback, name) for name in RELATIONS) >= timedelta(0)


def test_the_linter_keeps_every_detector_from_the_others() -> None:
    contracts = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (modules,) = (
        each["modules"] for each in contracts if each["name"] == "Detectors do not import detectors"
    )
    assert [module.rpartition(".")[2] for module in modules] == sorted(DETECTORS)


@every
def test_its_answer_has_the_shape(detector: Detector) -> None:
    answer = said(detector, judged(), LIVE_FROM)
    assert answer.drop("evidence").schema == VERDICTS.schema
    assert isinstance(answer.schema["evidence"], pl.Struct)
    assert answer.select("instrument_id", "window_start").is_unique().all()
    assert answer["window_start"].is_between(LIVE_FROM, END, closed="left").all()
    assert set(answer["severity"]) <= {"info", "warning", "critical"}


@every
def test_it_is_deterministic_and_does_not_depend_on_the_order_of_rows(detector: Detector) -> None:
    market = judged()
    mixed = Judged(*(getattr(market, name).sample(fraction=1, shuffle=True, seed=1) for name in RELATIONS))
    by = "window_start", "instrument_id"
    once = said(detector, market, LIVE_FROM).sort(by)
    assert said(detector, market, LIVE_FROM).sort(by).equals(once)
    assert said(detector, mixed, LIVE_FROM).sort(by).equals(once)


@every
def test_its_verdict_depends_on_its_look_back_only(detector: Detector) -> None:
    since = LIVE_FROM + timedelta(seconds=65)
    market = judged()
    cut = Judged(
        *(
            getattr(market, name).filter(pl.col("window_start") >= since - getattr(detector.lookback, name))
            for name in RELATIONS
        )
    )
    old = cut.windows.filter(pl.col("window_start") < since).select(PAST_WINDOWS.names)
    now = cut.windows.filter(pl.col("window_start") >= since)
    cut = replace(cut, windows=pl.concat([old, now], how="diagonal"))
    by = "window_start", "instrument_id"
    whole = said(detector, market, LIVE_FROM).filter(pl.col("window_start") >= since).sort(by)
    assert said(detector, cut, since).sort(by).equals(whole)


@scripted
def test_it_finds_what_it_is_for(detector: Detector) -> None:
    found = said(detector, judged(), LIVE_FROM).filter("fires")
    played = [episode for episode in episodes() if episode.kind is SCRIPTED[detector.name]]
    opening = [episode for episode in played if episode.starts_at <= LIVE_FROM.timestamp() * 1e6 + 150e6]
    assert opening
    for episode in opening:
        started = datetime.fromtimestamp(episode.starts_at / 1e6, LIVE_FROM.tzinfo)
        ended = datetime.fromtimestamp(episode.ends_at / 1e6, LIVE_FROM.tzinfo)
        window_end = pl.col("window_start") + WINDOW
        hits = found.filter(
            pl.col("instrument_id").is_in(instrument_ids(episode)),
            (window_end > started) & (window_end <= ended + timedelta(seconds=30)),
        )
        assert not hits.is_empty(), episode


@scripted
def test_it_is_silent_while_it_warms_up(detector: Detector) -> None:
    kind = SCRIPTED[detector.name]
    started = min(episode.starts_at for episode in episodes() if episode.kind is kind)
    window = datetime.fromtimestamp(started // 5_000_000 * 5, LIVE_FROM.tzinfo)
    cold = said(detector, only(judged(), window - 10 * WINDOW), window, window + 20 * WINDOW).filter("fires")
    assert cold.is_empty() is (detector.name not in WITHOUT_PAST)


@every
def test_it_is_silent_on_a_calm_hour(detector: Detector) -> None:
    alerts = judged().alerts(CALM_FROM, LIVE_FROM).filter(pl.col("detector") == detector.name)
    assert len(alerts) <= CALM_ALERTS.get(detector.name, 0), alerts["summary"].to_list()


@every
def test_it_raises_nothing_on_data_that_is_not_whole(detector: Detector) -> None:
    raised = not torn().alerts().filter(pl.col("detector") == detector.name).is_empty()
    assert raised is (detector.name == "feed_gap")


@every
def test_it_can_be_switched_off(detector: Detector) -> None:
    off = load_settings({"detectors": {"default": {detector.name: {"enabled": False}}}})
    assert off.thresholds(detector, instruments()).is_empty()


@scripted
def test_its_summary_says_numbers(detector: Detector) -> None:
    finding = said(detector, judged(), LIVE_FROM).filter("fires").row(0, named=True)
    summary = detector.summary(
        "ABC-USDT", finding["evidence"] | {"score": finding["score"], "threshold": finding["threshold"]}
    )
    assert summary.startswith("ABC-USDT ")
    assert any(letter.isdigit() for letter in summary)

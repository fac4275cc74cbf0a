"""Each detector on the abuse that it is for, in a calm market: found, not found before, not found unseen."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

import polars as pl
import pytest

from sentinet_dagster.surveillance.detectors import DETECTORS, Inputs
from sentinet_dagster.surveillance.schema import WINDOW
from sentinet_dagster.surveillance.settings import load_settings
from tests.unit.sentinet_dagster.surveillance.abuses import ABUSES, AT, UNTIL, judged
from tests.unit.sentinet_dagster.surveillance.detectors.test_contract import SCRIPTED
from tests.unit.sentinet_dagster.surveillance.simulation import CALM_FROM, Judged

# What needs no past, and is told of the window itself.
AT_ONCE = {"crossed_market", "feed_gap", "funding_anomaly", "venue_divergence"}
OF_PAIRS = {"pair_divergence", "systemic_decoupling"}

pytestmark = pytest.mark.parametrize("name", ABUSES)


@cache
def market(name: str) -> Judged:
    return judged(ABUSES[name].windows(), name in OF_PAIRS)


def said(name: str, of: Judged, start=CALM_FROM + timedelta(minutes=1), end=UNTIL) -> pl.DataFrame:
    detector, scene = DETECTORS[name], ABUSES[name]
    known = scene.instruments()
    settings = load_settings({"detectors": {"default": {name: dict(scene.settings)}}})
    frames = of.windows, of.features, of.correlations, of.scores
    return detector.detect(Inputs(*frames, known, start, end, 0.8), settings.thresholds(detector, known))


def fired(name: str, of: Judged) -> pl.DataFrame:
    return said(name, of).filter("fires").filter(pl.col("instrument_id").is_in(ABUSES[name].found_on))


def test_its_abuse_is_found_and_nothing_before_it(name: str) -> None:
    found = fired(name, market(name))
    assert not found.is_empty()
    assert AT <= found["window_start"].min() < AT + ABUSES[name].found_within


def test_its_summary_says_numbers(name: str) -> None:
    finding = fired(name, market(name)).row(0, named=True)
    numbers = finding["evidence"] | {"score": finding["score"], "threshold": finding["threshold"]}
    summary = DETECTORS[name].summary("ABC-USDT", numbers)
    assert summary.startswith("ABC-USDT ")
    assert any(letter.isdigit() for letter in summary)
    assert finding["score"] >= 0


def test_without_a_past_it_is_silent(name: str) -> None:
    seen = ABUSES[name].windows().filter(pl.col("window_start") >= AT - 10 * WINDOW)
    cut = judged(seen, name in OF_PAIRS)
    found = fired(name, cut).filter(pl.col("window_start") < AT + 15 * WINDOW)
    assert found.is_empty() is (name not in AT_ONCE)


def test_every_detector_has_its_abuse(name: str) -> None:
    assert (name in ABUSES) is (name not in SCRIPTED)
    assert ABUSES.keys() | SCRIPTED.keys() == DETECTORS.keys()

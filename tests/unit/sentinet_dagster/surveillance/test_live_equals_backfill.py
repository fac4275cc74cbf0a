"""Judged in pieces, each with its declared look-back, is judged at once: to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinet_dagster.surveillance.correlation import CORRELATION_LOOKBACK, build_correlations
from sentinet_dagster.surveillance.facts import Facts
from sentinet_dagster.surveillance.features import FEATURE_LOOKBACK, build_features
from sentinet_dagster.surveillance.findings import JUDGE_LOOKBACK, build_findings, detector_lookback
from sentinet_dagster.surveillance.models import ModelInForce, ModelParameters, build_scores, fit
from sentinet_dagster.surveillance.schema import WINDOW
from sentinet_dagster.surveillance.settings import load_settings
from tests.unit.sentinet_dagster.surveillance.facts import START, random_facts
from tests.unit.sentinet_dagster.surveillance.simulation import END, LIVE_FROM, instruments, judged

MINUTES = 45
WINDOWS = MINUTES * 12
CUTS = st.lists(st.integers(1, WINDOWS - 1), max_size=5, unique=True).map(sorted)
LIVE = (END - LIVE_FROM) // WINDOW


def judge_in_pieces(
    build: Callable[[datetime, datetime], pl.DataFrame], start: datetime, count: int, cuts: list[int]
) -> pl.DataFrame:
    edges = [0, *cuts, count]
    return pl.concat([build(start + a * WINDOW, start + b * WINDOW) for a, b in pairwise(edges)])


def since(frame: pl.DataFrame, start: datetime, end: datetime, time: str = "window_start") -> pl.DataFrame:
    return frame.filter(pl.col(time).is_between(start, end, closed="left"))


def read(facts: Facts, start: datetime, end: datetime) -> Facts:
    """Only the facts of the range, as a database would give them."""
    return replace(
        facts.between(start, end),
        feed_gaps=facts.feed_gaps.filter((pl.col("started_at") < end) & (pl.col("ended_at") > start)),
        rejected_frames=since(facts.rejected_frames, start, end, "received_at"),
    )


@settings(max_examples=10, deadline=None)
@given(cuts=CUTS, seed=st.integers(0, 3))
def test_windows_features_correlations_and_scores(cuts: list[int], seed: int) -> None:
    facts, end = random_facts(seed, MINUTES), START + WINDOWS * WINDOW
    windows = facts.windows(START, end)
    assert judge_in_pieces(lambda a, b: read(facts, a, b).windows(a, b), START, WINDOWS, cuts).equals(windows)

    features = build_features(windows, START, end)
    pieces = judge_in_pieces(
        lambda a, b: build_features(since(windows, a - FEATURE_LOOKBACK, b), a, b), START, WINDOWS, cuts
    )
    assert pieces.equals(features)

    correlations = build_correlations(features, START, end)
    pieces = judge_in_pieces(
        lambda a, b: build_correlations(since(features, a - CORRELATION_LOOKBACK, b), a, b),
        START,
        WINDOWS,
        cuts,
    )
    assert pieces.equals(correlations)
    assert correlations["correlation_slow"].explode().is_not_null().any()

    fitted = fit(features, ModelParameters(trees=10, min_samples=100), seed=1)
    models = [ModelInForce("a", START, fitted), ModelInForce("b", START + timedelta(minutes=20), fitted)]
    scores = build_scores(features, START, end, models)
    pieces = judge_in_pieces(
        lambda a, b: build_scores(since(features, a, b), a, b, models), START, WINDOWS, cuts
    )
    assert pieces.equals(scores)
    assert scores["score"].is_not_null().any()


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(1, LIVE - 1), max_size=8, unique=True).map(sorted))
def test_findings(cuts: list[int]) -> None:
    market, config, known = judged(), load_settings({}), instruments()
    lookback = detector_lookback(config, known)

    def build(start: datetime, end: datetime) -> pl.DataFrame:
        seen = (
            since(getattr(market, name), start - getattr(lookback, name), end)
            for name in ("windows", "features", "correlations", "scores")
        )
        return build_findings(*seen, known, config, start, end, "code")

    whole = build(LIVE_FROM, END)
    assert whole["detector"].n_unique() >= 6
    assert judge_in_pieces(build, LIVE_FROM, LIVE, cuts).equals(whole)


def test_nothing_after_the_look_back_changes() -> None:
    """What a late fact can touch ends JUDGE_LOOKBACK after it."""
    facts, late = random_facts(9, 60), START + timedelta(minutes=4)
    end = START + timedelta(minutes=60)
    before = facts.windows(START, end)
    after = before.with_columns(
        mid_close=pl.when(pl.col("window_start") == late)
        .then(pl.col("mid_close") * 1.01)
        .otherwise("mid_close")
    )
    first, second = (build_features(windows, START, end) for windows in (before, after))
    assert not first.equals(second)
    old, new = (build_correlations(features, START, end) for features in (first, second))
    assert not old.equals(new)
    unchanged = late + JUDGE_LOOKBACK + WINDOW
    assert since(old, unchanged, end).equals(since(new, unchanged, end))
    assert since(first, late + FEATURE_LOOKBACK + WINDOW, end).equals(
        since(second, late + FEATURE_LOOKBACK + WINDOW, end)
    )

"""Correlations against the plain definition, and where they are silent."""

from __future__ import annotations

from statistics import correlation, fmean

import numpy as np
import polars as pl
import pytest

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.correlation import build_correlations
from sentinet_dagster.surveillance.schema import WINDOW
from tests.unit.sentinet_dagster.surveillance.facts import START, frame

COUNT = 320


def features(returns: np.ndarray) -> pl.DataFrame:
    """One row an instrument and window from a matrix of returns in bps; NaN is null."""
    rows = [
        {
            "instrument_id": row + 1,
            "window_start": START + column * WINDOW,
            "return_bps": None if np.isnan(value) else value,
        }
        for (row, column), value in np.ndenumerate(returns)
    ]
    return frame(schema.FEATURES, rows, price_z_samples=60, order_trade_ratio=1.0, completeness=1.0)


def pair(returns: np.ndarray) -> list[tuple[float | None, float | None]]:
    """(fast, slow) of the first pair, one a window."""
    said = build_correlations(features(returns), START, START + returns.shape[1] * WINDOW)
    return [(row["correlation"][0], row["correlation_slow"][0]) for row in said.to_dicts()]


def common(seed: int = 4, count: int = COUNT) -> np.ndarray:
    random = np.random.default_rng(seed)
    market = random.normal(0, 2, count)
    return np.stack([market + random.normal(0, 0.5, count) for _ in range(2)])


def test_the_fast_one_is_pearsons_over_24_returns() -> None:
    returns = common()
    said = pair(returns)
    assert [fast is None for fast, _ in said[:25]] == [True] * 23 + [False] * 2
    for now in (23, 24, 100, 319):
        a, b = (list(side[now - 23 : now + 1]) for side in returns)
        assert said[now][0] == pytest.approx(correlation(a, b), abs=1e-6)


def test_the_slow_one_is_the_mean_of_twenty_that_share_no_return_with_the_fast_one() -> None:
    said = pair(common())
    now = 310
    earlier = [said[now - 24 - 12 * step][0] for step in range(20)]
    assert said[now][1] == pytest.approx(fmean(earlier))
    first = next(number for number, (_, slow) in enumerate(said) if slow is not None)
    assert first == 23 + 24 + 9 * 12  # ten of them


def test_a_break_does_not_eat_its_own_baseline() -> None:
    returns = common()
    returns[0, -24:] *= -1
    fast, slow = pair(returns)[-1]
    assert fast is not None
    assert slow is not None
    assert fast < -0.8 < 0.8 < slow


def test_an_unknown_or_constant_return_makes_it_unknown() -> None:
    returns = common(count=60)
    returns[0, 40] = np.nan
    assert [fast is None for fast, _ in pair(returns)][38:] == [False] * 2 + [True] * 20
    returns[0] = 0.0
    assert {fast for fast, _ in pair(returns)} == {None}


def test_pairs_are_those_of_the_window() -> None:
    known = features(np.vstack([common(count=30), common(5, count=30)[:1]]))
    late = known.filter((pl.col("instrument_id") != 2) | (pl.col("window_start") >= START + 10 * WINDOW))
    said = build_correlations(late, START, START + 30 * WINDOW)
    assert said["instrument_a"].to_list()[9:11] == [[1], [1, 1, 2]]
    assert said["instrument_b"].to_list()[9:11] == [[3], [2, 3, 3]]


def test_one_instrument_has_no_pairs() -> None:
    assert build_correlations(features(common(count=5)[:1]), START, START + 5 * WINDOW).is_empty()
    assert build_correlations(schema.FEATURES.empty(), START, START + 5 * WINDOW).is_empty()

"""Kernels against the plain definitions."""

from __future__ import annotations

from statistics import fmean, median_low, pstdev, stdev

import numpy as np
import pytest

from sentinet_dagster.surveillance.rolling import (
    Runs,
    carry_forward,
    lagged_deciles,
    lagged_moments,
    lagged_range,
    lagged_sums,
    z_score,
)

NAN = float("nan")


def test_runs_reduce_each_key_and_leave_the_others_empty() -> None:
    runs = Runs(np.array([1, 1, 1, 3]), 5)
    values = np.array([2.0, 4.0, 9.0, 7.0])
    assert runs.count().tolist() == [0, 3, 0, 1, 0]
    assert runs.total(values).tolist() == [0, 15, 0, 7, 0]
    np.testing.assert_equal(runs.mean(values), [NAN, 5, NAN, 7, NAN])
    np.testing.assert_equal(runs.first(values), [NAN, 2, NAN, 7, NAN])
    np.testing.assert_equal(runs.last(values), [NAN, 9, NAN, 7, NAN])
    np.testing.assert_equal(runs.least(values), [NAN, 2, NAN, 7, NAN])
    np.testing.assert_equal(runs.greatest(values), [NAN, 9, NAN, 7, NAN])
    np.testing.assert_allclose(runs.deviation(values), [NAN, pstdev([2, 4, 9]), NAN, 0, NAN])


def test_runs_of_nothing() -> None:
    assert Runs(np.array([], dtype=np.int64), 2).total(np.array([])).tolist() == [0, 0]


def past_of(values: np.ndarray, broken: np.ndarray, row: int, column: int, length: int) -> list[float]:
    """The samples of one window, by the definition."""
    samples: list[float] = []
    if broken[row, column]:
        return samples
    for earlier in range(column - 1, column - length - 1, -1):
        if broken[row, earlier]:
            break
        if not np.isnan(values[row, earlier]):
            samples.append(values[row, earlier])
    return samples


def test_moments_and_deciles_are_of_the_samples_since_the_last_break() -> None:
    random = np.random.default_rng(3)
    values = np.where(random.random((4, 40)) < 0.1, np.nan, random.normal(100, 1, (4, 40)))
    broken = random.random((4, 40)) < 0.08
    moments = lagged_moments(values, broken, 8, 30)
    medians, ninths, greatest = lagged_deciles(values, broken, 8, 3, 30, [5, 9, 10])
    for row in range(4):
        for column in range(30):
            samples = past_of(values, broken, row, column + 10, 8)
            assert moments.samples[row, column] == len(samples)
            mean = fmean(samples) if samples else NAN
            deviation = stdev(samples) if len(samples) > 1 else NAN
            middle = median_low(samples) if len(samples) >= 3 else NAN
            assert moments.mean[row, column] == pytest.approx(mean, nan_ok=True)
            assert moments.deviation[row, column] == pytest.approx(deviation, nan_ok=True)
            assert medians[row, column] == pytest.approx(middle, nan_ok=True)
            high = sorted(samples)[(len(samples) - 1) * 9 // 10] if len(samples) >= 3 else NAN
            assert ninths[row, column] == pytest.approx(high, nan_ok=True)
            most = max(samples) if len(samples) >= 3 else NAN
            assert greatest[row, column] == pytest.approx(most, nan_ok=True)


def test_z_score_needs_samples_and_a_past_that_moved() -> None:
    values = np.array([[0.1] * 60 + [0.2]])
    still = lagged_moments(values, np.zeros(values.shape, bool), 60, 1)
    assert np.isnan(z_score(values[:, -1:], still, 30)).all()
    values = np.array([[1.0, 2.0, 3.0, 4.0]])
    moved = lagged_moments(values, np.zeros(values.shape, bool), 3, 1)
    assert z_score(values[:, -1:], moved, 3).tolist() == [[2.0]]
    assert np.isnan(z_score(values[:, -1:], moved, 4)).all()


def test_sums_are_unknown_as_soon_as_one_element_is() -> None:
    np.testing.assert_equal(lagged_sums(np.array([[1.0, NAN, 3.0, 4.0, 5.0]]), 3, 3), [[NAN, NAN, 12.0]])


def test_range_passes_over_unknown_values_and_stops_at_a_break() -> None:
    values = np.array([[9.0, 1.0, NAN, 4.0]])
    calm, torn = np.zeros((1, 4), bool), np.array([[False, True, False, False]])
    assert lagged_range(values, calm, 3, 1).tolist() == [[3.0]]
    assert lagged_range(values, calm, 4, 1).tolist() == [[8.0]]
    assert lagged_range(values, torn, 4, 1).tolist() == [[0.0]]
    assert np.isnan(lagged_range(values, np.ones((1, 4), bool), 2, 1)).all()


def test_a_value_is_carried_so_far_and_not_over_a_break() -> None:
    values = np.array([[7.0, NAN, NAN, NAN]])
    calm, torn = np.zeros((1, 4), bool), np.array([[False, False, True, False]])
    np.testing.assert_equal(carry_forward(values, calm, 2, 2), [[7.0, NAN]])
    np.testing.assert_equal(carry_forward(values, torn, 2, 2), [[NAN, NAN]])
    np.testing.assert_equal(carry_forward(values, np.array([[True, False, False, False]]), 3, 1), [[7.0]])

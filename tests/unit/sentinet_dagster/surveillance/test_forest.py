"""The forest as arrays scores as scikit-learn's own does, and refuses arrays that are none."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from sentinet_dagster.surveillance.forest import Forest, grow

ROWS = np.random.default_rng(0).normal(size=(600, 3))


def test_scores_equal_scikit_learns() -> None:
    own = grow(ROWS, trees=30, sample=128, seed=5).score(ROWS)
    theirs = IsolationForest(n_estimators=30, max_samples=128, random_state=5).fit(ROWS).score_samples(ROWS)
    np.testing.assert_allclose(own, -theirs, atol=1e-5)


def test_a_score_does_not_depend_on_the_rows_beside_it() -> None:
    forest = grow(ROWS, trees=30, sample=128, seed=5)
    alone = np.concatenate([forest.score(ROWS[number : number + 1]) for number in range(50)])
    assert (alone == forest.score(ROWS)[:50]).all()
    assert forest.score(ROWS[:0]).shape == (0,)


def test_what_lies_far_out_scores_higher() -> None:
    scores = grow(ROWS, trees=50, sample=256, seed=1).score(np.array([[0.0, 0, 0], [9.0, 9, 9]]))
    assert scores[0] < 0.5 < scores[1]


@pytest.mark.parametrize(
    "change",
    [
        {"left": np.array([10**6])},
        {"feature": np.full(1, 3)},
        {"depth": np.array(-1)},
        {"normal_path": np.array(0.0)},
    ],
)
def test_arrays_that_would_be_read_outside_are_refused(change: dict[str, np.ndarray]) -> None:
    arrays = grow(ROWS, trees=2, sample=16, seed=1).arrays()
    for name, value in change.items():
        table = arrays[name].copy()
        arrays[name] = value if table.ndim == 0 else np.concatenate([value, table[1:]])
    with pytest.raises(ValueError, match="not a forest"):
        Forest.from_arrays(arrays, 3)


def test_missing_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="not a forest: 'roots'"):
        Forest.from_arrays({}, 3)

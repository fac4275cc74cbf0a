"""An isolation forest as plain arrays: grown by scikit-learn, kept and read without it.

What lives here: growing, scoring, and the bytes of a forest. What never does: features, thresholds,
instruments.

Why not scikit-learn's own object: reading one back means pickle, which runs code, or trusting raw tree
nodes that its kernel follows without bounds checks; and importing it costs every judging process more than
a second. These arrays are checked when they are read, scoring is numpy, and path lengths are added up as
integers, so that a row's score does not depend on the rows beside it.

Source: Liu, Ting, Zhou, "Isolation Forest", ICDM 2008.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from sentinet_dagster.surveillance.rolling import Floats, Ints

__all__ = ["Forest", "grow"]

_PATH_UNITS: Final = 1 << 20  # path lengths are kept in this fraction of a split
_BLOCK: Final = 4_096  # rows scored at once
_EULER: Final = 0.5772156649015329


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """All nodes of all trees in one table; children are row numbers, a leaf is its own child."""

    roots: npt.NDArray[np.int32]
    feature: npt.NDArray[np.int16]
    cut: Floats  # a row goes left where its value, as float32, is at most this
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    path: npt.NDArray[np.int32]  # of a leaf: splits to it and expected below it, in 1 / 2**20
    normal_path: float  # the expected path of a row of the training data
    depth: int  # the longest way from a root to a leaf

    def score(self, rows: Floats) -> Floats:
        """How unusual each row is: 2 ** (-mean path / normal path), 0 to 1, near 0.5 for the usual."""
        blocks = [self._mean_path(rows[at : at + _BLOCK]) for at in range(0, len(rows), _BLOCK)]
        paths = np.concatenate(blocks) if blocks else np.empty(0)
        return np.exp2(-paths / self.normal_path)

    def _mean_path(self, rows: Floats) -> Floats:
        values = rows.astype(np.float32)
        row = np.arange(len(rows))[:, None]
        node = np.tile(self.roots, (len(rows), 1))
        for _ in range(self.depth):
            goes_left = values[row, self.feature[node]] <= self.cut[node]
            node = np.where(goes_left, self.left[node], self.right[node])
        total: Ints = self.path[node].sum(axis=1, dtype=np.int64)
        return total / (_PATH_UNITS * len(self.roots))

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """The fields as arrays, for `from_arrays`."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[np.generic]], feature_count: int) -> Forest:
        """The forest of `arrays()`, checked: scoring it ends, and reads nothing outside its tables.

        Raises:
            ValueError: the arrays are not a forest over `feature_count` features.
        """
        try:
            forest = cls(
                roots=arrays["roots"].astype(np.int32),
                feature=arrays["feature"].astype(np.int16),
                cut=arrays["cut"].astype(np.float64),
                left=arrays["left"].astype(np.int32),
                right=arrays["right"].astype(np.int32),
                path=arrays["path"].astype(np.int32),
                normal_path=float(arrays["normal_path"]),
                depth=int(arrays["depth"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a forest: {error}") from error
        nodes = len(forest.cut)
        tables = (forest.feature, forest.left, forest.right, forest.path)
        indices = np.concatenate((forest.roots, forest.left, forest.right))
        is_sound = (
            all(table.shape == (nodes,) for table in tables)
            and len(forest.roots) > 0
            and indices.min() >= 0
            and indices.max() < nodes
            and forest.feature.min() >= 0
            and forest.feature.max() < feature_count
            and forest.normal_path > 0
            and 0 <= forest.depth <= nodes
        )
        if not is_sound:
            raise ValueError("not a forest: its tables do not fit together")
        return forest


def grow(rows: Floats, trees: int, sample: int, seed: int) -> Forest:
    """A forest over `rows`, each tree grown on `sample` of them. The same arguments give the same forest."""
    from sklearn.ensemble import IsolationForest  # a second and a half: only where something is learnt

    sample = min(sample, len(rows))
    grown = IsolationForest(n_estimators=trees, max_samples=sample, random_state=seed, n_jobs=1).fit(rows)
    parts: dict[str, list[npt.NDArray[np.generic]]] = {
        name: [] for name in ("feature", "cut", "left", "right", "path")
    }
    roots, depth, offset = [], 0, 0
    for estimator in grown.estimators_:
        tree = estimator.tree_
        own = np.arange(tree.node_count)
        is_leaf = tree.children_left < 0
        depths = _node_depths(tree.children_left, tree.children_right)
        parts["feature"].append(np.where(is_leaf, 0, tree.feature))
        parts["cut"].append(np.where(is_leaf, 0.0, tree.threshold))
        parts["left"].append(np.where(is_leaf, own, tree.children_left) + offset)
        parts["right"].append(np.where(is_leaf, own, tree.children_right) + offset)
        parts["path"].append(np.rint((depths + _expected_path(tree.n_node_samples)) * _PATH_UNITS))
        roots.append(offset)
        depth, offset = max(depth, int(depths.max())), offset + tree.node_count
    tables = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    normal_path = _expected_path(np.array([sample]))[0]
    scalars = {"roots": np.array(roots), "normal_path": normal_path, "depth": np.int64(depth)}
    return Forest.from_arrays(tables | scalars, rows.shape[1])


def _node_depths(left: npt.NDArray[np.integer], right: npt.NDArray[np.integer]) -> Ints:
    """Splits above each node. A tree's nodes are numbered parents first."""
    depths = np.zeros(len(left), dtype=np.int64)
    for node in np.flatnonzero(left >= 0):
        depths[[left[node], right[node]]] = depths[node] + 1
    return depths


def _expected_path(samples: npt.NDArray[np.integer]) -> Floats:
    """The mean path of a failed search in a binary tree of so many samples (Liu et al., equation 1)."""
    count = np.maximum(samples.astype(np.float64), 1.0)
    many = np.maximum(count, 3.0)
    expected = 2.0 * (np.log(many - 1.0) + _EULER) - 2.0 * (many - 1.0) / many
    return np.where(count <= 1.0, 0.0, np.where(count == 2.0, 1.0, expected))

"""Learnt scores: fit, store, score. sklearn is imported inside functions (3 s)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from pydantic import BaseModel

__all__ = ["FittedModel", "ModelInForce", "ModelParameters", "build_scores", "fit", "from_bytes", "to_bytes"]


class ModelParameters(BaseModel, frozen=True, extra="forbid"):
    """How `isolation_forest` is fitted. Values come from config/surveillance.yaml (`settings.isolation_forest`)."""

    trees: int = 200
    quantile: float = 0.999
    margin: float = 0.02
    min_samples: int = 1_000


@dataclass(frozen=True, slots=True)
class FittedModel:
    """What `model.models` stores: name, feature_names, threshold, samples, parameters."""

    model: str
    feature_names: tuple[str, ...]
    threshold: float
    samples: int
    parameters: dict[str, object]


@dataclass(frozen=True, slots=True)
class ModelInForce:
    """A stored model and from when on it judges."""

    model_id: str
    effective_from: datetime
    fitted: FittedModel


def fit(features: pl.DataFrame, parameters: ModelParameters, seed: int) -> FittedModel:
    """Fit on all rows of `features` (schema.FEATURES) that are whole and warm.

    Raises:
        NotEnoughData: fewer than `parameters.min_samples` such rows (a ValueError).
    """
    raise NotImplementedError


def to_bytes(model: FittedModel) -> bytes:
    """The artefact (skops: no code runs when it is read)."""
    raise NotImplementedError


def from_bytes(artefact: bytes) -> FittedModel:
    """The model of `to_bytes`. Raises ValueError for anything else."""
    raise NotImplementedError


def build_scores(
    features: pl.DataFrame,
    start: datetime,
    end: datetime,
    models: Sequence[ModelInForce],
    completeness_floor: float = 0.8,
) -> pl.DataFrame:
    """One row for every row of `features` in [start, end): `schema.SCORES`, by the newest model with
    effective_from <= window_start. No look-back. Without a model: score null, reason "no model in force".
    """
    raise NotImplementedError

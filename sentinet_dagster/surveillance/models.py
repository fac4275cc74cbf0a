"""Learnt scores: fitted on features, stored with what they were fitted on, asked about later windows.

What lives here: which numbers a model sees, how they are made comparable between instruments, its
threshold, its bytes. What never does: which windows to train on, where models are kept, and whether a score
is an alert.

A model does not know prices or names. Each input is measured against the median and spread that the same
instrument had in the training data, so one forest serves liquid and illiquid instruments alike.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, Field

from sentinet_dagster.surveillance.forest import Forest, grow
from sentinet_dagster.surveillance.rolling import Flags, Floats
from sentinet_dagster.surveillance.schema import SCORES

__all__ = [
    "ISOLATION_FOREST",
    "FittedModel",
    "ModelInForce",
    "ModelParameters",
    "NotEnoughData",
    "build_scores",
    "fit",
    "from_bytes",
    "to_bytes",
]

ISOLATION_FOREST: Final = "isolation_forest"

_INPUTS: Final[Mapping[str, tuple[pl.Expr, float]]] = {
    "rsi_14": (pl.col("rsi_14"), 5.0),
    "volatility_20_bps": ((pl.col("volatility_20_bps") + 0.1).log(), 0.1),
    "volume_change": ((pl.col("volume_change") + 1.1).log(), 0.3),
    "return_z": (pl.col("return_z").abs(), 0.3),
    "spread_bps_mean": (pl.max_horizontal("spread_bps_mean", pl.lit(1e-3)).log(), 0.05),
    "spread_bps_z": (pl.col("spread_bps_z"), 0.5),
    "imbalance_mean": (pl.col("imbalance_mean").abs(), 0.05),
    "order_trade_ratio": ((pl.col("order_trade_ratio") + 1).log(), 0.2),
    # Half of nothing is bought and half sold: a window without trades is not unusual for it.
    "buy_share": ((pl.col("buy_share").fill_null(0.5) - 0.5).abs(), 0.1),
}
"""What the forest sees: a function of the feature of that name, and the least spread it is measured in.

Logarithms where the feature is a scale; the least spread so that an input that hardly ever moved does not
make every small move strange.
"""

_FEATURES: Final = (
    "rsi_14",
    "volatility_20_bps",
    "volume_change",
    "return_z",
    "spread_bps_mean",
    "spread_bps_z",
)
"""Those that may be null: a row is scored only with all of them."""

_MIN_ROWS_AN_INSTRUMENT: Final = 60
_LIMIT: Final = 20.0  # scaled inputs beyond it are equally strange
_MAD_TO_SIGMA: Final = 1.4826


class NotEnoughData(ValueError):
    """There are fewer whole and warm windows than a model needs; the message says how many there are."""


class ModelParameters(BaseModel, frozen=True, extra="forbid"):
    """How `isolation_forest` is fitted: the section `isolation_forest` of config/surveillance.yaml."""

    trees: int = Field(default=200, ge=10, le=1_000)
    sample: int = Field(default=256, ge=16, le=4_096)
    """Rows a tree is grown on."""
    quantile: float = Field(default=0.999, gt=0.5, lt=1)
    """The share of the training data that lies below the threshold, before the margin."""
    margin: float = Field(default=0.04, ge=0, lt=0.5)
    """Added to that quantile: the calm of tomorrow strays a little further than that of the training data."""
    background: float = Field(default=0.2, ge=0, le=1)
    """Rows of uniform noise added to the training data, as a share of it. Cuts fall inside the range of what
    a forest has seen, so alone it cannot tell a spread eight times the usual from the widest usual one; the
    noise makes the range wide."""
    min_samples: int = Field(default=1_000, ge=100)


@dataclass(frozen=True, slots=True, eq=False)
class FittedModel:
    """A model as `model.models` stores it."""

    model: str
    feature_names: tuple[str, ...]
    parameters: Mapping[str, float]  # ModelParameters and the seed
    library_versions: Mapping[str, str]
    threshold: float
    samples: int
    instrument_ids: npt.NDArray[np.int64]  # ascending: those it knows
    centres: Floats  # (instrument, input): median of the training data
    spreads: Floats  # and its median absolute deviation, as a standard deviation
    forest: Forest


@dataclass(frozen=True, slots=True)
class ModelInForce:
    """A stored model and from when on it judges, until a newer one does."""

    model_id: str
    effective_from: datetime
    fitted: FittedModel


def fit(features: pl.DataFrame, parameters: ModelParameters, seed: int) -> FittedModel:
    """Fit on all rows that are whole and warm. The same rows, parameters and seed give the same model.

    Args:
        features: schema.FEATURES, in any order. Should be calm: what is in here is usual by definition.

    Raises:
        NotEnoughData: fewer than `parameters.min_samples` such rows.
    """
    from importlib.metadata import version

    usable = features.filter(_is_usable()).sort("window_start", "instrument_id")
    counts = usable["instrument_id"].value_counts().filter(pl.col("count") >= _MIN_ROWS_AN_INSTRUMENT)
    ids = counts["instrument_id"].cast(pl.Int64).sort().to_numpy()
    usable = usable.filter(pl.col("instrument_id").cast(pl.Int64).is_in(ids.tolist()))
    if len(usable) < parameters.min_samples:
        raise NotEnoughData(f"{len(usable)} windows are whole and warm; {parameters.min_samples} are needed")
    raw, known = _raw_inputs(usable), usable["instrument_id"].to_numpy()
    centres = np.stack([np.median(raw[known == i], axis=0) for i in ids])
    deviations = [
        np.median(np.abs(raw[known == i] - centre), axis=0) for i, centre in zip(ids, centres, strict=True)
    ]
    spreads = np.maximum(np.stack(deviations) * _MAD_TO_SIGMA, [least for _, least in _INPUTS.values()])
    scaled = _scaled(raw, np.searchsorted(ids, known), centres, spreads)
    noise = np.random.default_rng(seed).uniform(
        -_LIMIT, _LIMIT, (int(len(scaled) * parameters.background), scaled.shape[1])
    )
    forest = grow(np.concatenate((scaled, noise)), parameters.trees, parameters.sample, seed)
    return FittedModel(
        model=ISOLATION_FOREST,
        feature_names=tuple(_INPUTS),
        parameters={**parameters.model_dump(), "seed": seed},
        library_versions={name: version(name) for name in ("numpy", "polars", "scikit-learn")},
        threshold=float(np.quantile(forest.score(scaled), parameters.quantile)) + parameters.margin,
        samples=len(usable),
        instrument_ids=ids,
        centres=centres,
        spreads=spreads,
        forest=forest,
    )


def to_bytes(model: FittedModel) -> bytes:
    """The artefact: an npz of arrays and a JSON header; reading it runs no code. Same model, same bytes."""
    header = {
        "model": model.model,
        "feature_names": list(model.feature_names),
        "parameters": dict(model.parameters),
        "library_versions": dict(model.library_versions),
        "threshold": model.threshold,
        "samples": model.samples,
    }
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        header=np.frombuffer(json.dumps(header, sort_keys=True).encode(), dtype=np.uint8),
        instrument_ids=model.instrument_ids,
        centres=model.centres,
        spreads=model.spreads,
        **model.forest.arrays(),
    )
    return buffer.getvalue()


def from_bytes(artefact: bytes) -> FittedModel:
    """The model of `to_bytes`.

    Raises:
        ValueError: these are not the bytes of a model that this version can ask.
    """
    try:
        with np.load(io.BytesIO(artefact), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays.pop("header").tobytes())
        names = tuple(header["feature_names"])
        model = FittedModel(
            model=header["model"],
            feature_names=names,
            parameters=header["parameters"],
            library_versions=header["library_versions"],
            threshold=float(header["threshold"]),
            samples=int(header["samples"]),
            instrument_ids=arrays.pop("instrument_ids"),
            centres=arrays.pop("centres"),
            spreads=arrays.pop("spreads"),
            forest=Forest.from_arrays(arrays, len(names)),
        )
    except (KeyError, TypeError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"not a model's artefact: {error}") from error
    if names != tuple(_INPUTS):
        raise ValueError(f"a model of {', '.join(names)}; this version asks models of {', '.join(_INPUTS)}")
    shape = (len(model.instrument_ids), len(names))
    if model.centres.shape != shape or model.spreads.shape != shape:
        raise ValueError("not a model's artefact: its tables do not fit together")
    return model


def build_scores(
    features: pl.DataFrame,
    start: datetime,
    end: datetime,
    models: Sequence[ModelInForce],
    completeness_floor: float = 0.8,
) -> pl.DataFrame:
    """One row for every row of `features` in [start, end), by the newest model effective at window_start.

    A score is null, with the reason, without a model, for an instrument the model has not seen, while data
    is not whole or features warm up. No look-back.

    Returns:
        schema.SCORES, sorted by (window_start, instrument_id).
    """
    in_range = features.filter(pl.col("window_start").is_between(start, end, closed="left"))
    ordered = sorted(models, key=lambda model: model.effective_from)
    limits = [start, *(min(max(model.effective_from, start), end) for model in ordered), end]
    spans = zip([None, *ordered], limits[:-1], limits[1:], strict=True)
    parts = [
        _scored(
            in_range.filter(pl.col("window_start").is_between(since, until, closed="left")),
            model,
            completeness_floor,
        )
        for model, since, until in spans
    ]
    return SCORES.conform(pl.concat(parts)).sort("window_start", "instrument_id")


def _scored(features: pl.DataFrame, model: ModelInForce | None, completeness_floor: float) -> pl.DataFrame:
    known = features["instrument_id"].is_in(model.fitted.instrument_ids.tolist() if model else [])
    missing = pl.concat_str(
        [pl.when(pl.col(name).is_null()).then(pl.lit(name)) for name in (*_FEATURES, "imbalance_mean")],
        separator=", ",
        ignore_nulls=True,
    )
    reason = (
        pl.when(pl.lit(model is None))
        .then(pl.lit("no model in force"))
        .when(pl.col("completeness") < completeness_floor)
        .then(pl.lit("data not whole"))
        .when(pl.col("warm_up").is_not_null())
        .then(pl.col("warm_up"))
        .when(missing != "")
        .then(pl.format("without {}", missing))
        .when(~pl.lit(known))
        .then(pl.lit("unknown to the model"))
    )
    judged = features.with_columns(reason.alias("reason"))
    scores = np.full(len(judged), np.nan)
    asked: Flags = judged["reason"].is_null().to_numpy()
    if model is not None and asked.any():
        scores[asked] = _score_rows(model.fitted, judged.filter(pl.Series(asked)))
    return judged.select(
        "instrument_id",
        "window_start",
        pl.lit(ISOLATION_FOREST).alias("model"),
        pl.lit(model.model_id if model else None, dtype=pl.String).alias("model_id"),
        pl.Series("score", scores).fill_nan(None),
        pl.lit(model.fitted.threshold if model else None, dtype=pl.Float64).alias("threshold"),
        "reason",
    )


def _score_rows(model: FittedModel, features: pl.DataFrame) -> Floats:
    place = np.searchsorted(model.instrument_ids, features["instrument_id"].to_numpy())
    return model.forest.score(_scaled(_raw_inputs(features), place, model.centres, model.spreads))


def _is_usable() -> pl.Expr:
    return pl.all_horizontal(
        pl.col("warm_up").is_null(), *(pl.col(name).is_not_null() for name in (*_FEATURES, "imbalance_mean"))
    )


def _raw_inputs(features: pl.DataFrame) -> Floats:
    raw: Floats = features.select(
        expression.alias(name) for name, (expression, _) in _INPUTS.items()
    ).to_numpy()
    return raw


def _scaled(raw: Floats, place: npt.NDArray[np.integer], centres: Floats, spreads: Floats) -> Floats:
    scaled: Floats = ((raw - centres[place]) / spreads[place]).clip(-_LIMIT, _LIMIT)
    return scaled

"""Models: what they are fitted on, how they are kept, and when they have nothing to say."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.models import (
    ModelInForce,
    ModelParameters,
    NotEnoughData,
    build_scores,
    fit,
    from_bytes,
    to_bytes,
)
from sentinet_dagster.surveillance.schema import WINDOW
from tests.unit.sentinet_dagster.surveillance.facts import START, frame

PARAMETERS = ModelParameters(trees=20, min_samples=200)
COUNT = 200


def features(seed: int = 1) -> pl.DataFrame:
    """Two instruments, 200 windows of calm."""
    random = np.random.default_rng(seed)
    rows = [
        {
            "instrument_id": instrument,
            "window_start": START + number * WINDOW,
            "rsi_14": random.uniform(30, 70),
            "volatility_20_bps": random.uniform(1, 2),
            "volume_change": random.uniform(-0.5, 0.5),
            "return_z": random.normal(),
            "spread_bps_mean": random.uniform(1, 1.2) * instrument * 5,
            "spread_bps_z": random.normal(),
            "imbalance_mean": random.uniform(-0.2, 0.2),
            "buy_share": random.uniform(0.3, 0.7),
        }
        for number in range(COUNT)
        for instrument in (1, 2)
    ]
    return frame(schema.FEATURES, rows, price_z_samples=60, order_trade_ratio=4.0, completeness=1.0)


def in_force(number: int = 0, model_id: str = "a") -> ModelInForce:
    return ModelInForce(model_id, START + number * WINDOW, fit(features(), PARAMETERS, seed=3))


def scores(rows: pl.DataFrame, *models: ModelInForce) -> pl.DataFrame:
    return build_scores(rows, START, START + COUNT * WINDOW, models)


def test_the_same_data_and_seed_give_the_same_model() -> None:
    once, again = (
        fit(rows, PARAMETERS, seed=3)
        for rows in (features(), features().sample(fraction=1, shuffle=True, seed=1))
    )
    assert to_bytes(once) == to_bytes(again)
    assert to_bytes(once) != to_bytes(fit(features(), PARAMETERS, seed=4))
    assert (once.samples, once.parameters["seed"], list(once.instrument_ids)) == (2 * COUNT, 3, [1, 2])


def test_bytes_and_back() -> None:
    model = in_force()
    kept = replace(model, fitted=from_bytes(to_bytes(model.fitted)))
    assert scores(features(2), kept).equals(scores(features(2), model))
    assert to_bytes(kept.fitted) == to_bytes(model.fitted)


@pytest.mark.parametrize("artefact", [b"", b"PK\x03\x04", b"\x80\x04N.", to_bytes(in_force().fitted)[:-200]])
def test_other_bytes_are_refused(artefact: bytes) -> None:
    with pytest.raises(ValueError, match="not a model's artefact"):
        from_bytes(artefact)


def test_too_little_data_is_said() -> None:
    cold = features().with_columns(warm_up=pl.lit("warming up 3/30"))
    with pytest.raises(NotEnoughData, match="0 windows are whole and warm; 200 are needed"):
        fit(cold, PARAMETERS, seed=3)


def test_instruments_are_measured_against_themselves() -> None:
    wide = features(2).with_columns(
        spread_bps_mean=pl.when((pl.col("instrument_id") == 1) & (pl.col("window_start") == START))
        .then(10.0)
        .otherwise("spread_bps_mean")
    )
    said = scores(wide, in_force())
    assert said["score"][0] > said["score"][1:].max()  # 10 bps is usual for instrument 2, not for 1


def test_the_newest_model_in_force_judges() -> None:
    said = scores(features(), in_force(20, "second"), in_force(10, "first"), in_force(500, "later"))
    per_window = said.filter(pl.col("instrument_id") == 1)
    assert per_window["model_id"].to_list() == [None] * 10 + ["first"] * 10 + ["second"] * (COUNT - 20)
    assert per_window["reason"].to_list() == ["no model in force"] * 10 + [None] * (COUNT - 10)
    assert per_window["score"].is_null().to_list() == [True] * 10 + [False] * (COUNT - 10)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("completeness", 0.79, "data not whole"),
        ("warm_up", "warming up 3/30", "warming up 3/30"),
        ("spread_bps_mean", None, "without spread_bps_mean"),
        ("imbalance_mean", None, "without imbalance_mean"),
        ("instrument_id", 9, "unknown to the model"),
    ],
)
def test_a_score_that_is_missing_says_why(column: str, value: object, reason: str) -> None:
    rows = (
        features()
        .with_columns(pl.lit(value).cast(schema.FEATURES.schema[column]).alias(column))
        .unique("window_start")
    )
    said = scores(rows, in_force())
    assert said["score"].null_count() == COUNT
    assert set(said["reason"]) == {reason}


def test_scores_need_no_look_back() -> None:
    model, middle = in_force(), START + timedelta(seconds=300)
    whole = scores(features(), model)
    late = build_scores(
        features().filter(pl.col("window_start") >= middle), middle, START + COUNT * WINDOW, [model]
    )
    assert late.equals(whole.filter(pl.col("window_start") >= middle))

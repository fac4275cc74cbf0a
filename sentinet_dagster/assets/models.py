"""`model/*`: what is learnt from judged features: read, fit, store. When it takes force is `planning.py`'s
rule."""

# No `from __future__ import annotations`: Dagster reads the annotations of decorated functions as objects.

import time
from datetime import timedelta
from typing import Final

from dagster import AssetDep, AssetExecutionContext, AssetKey, Failure, MaterializeResult, asset

from sentinet_dagster.resources import ModelStore, SurveillanceConfig, Timescale, surveillance_code_hash
from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.models import ISOLATION_FOREST, NotEnoughData, fit

__all__ = ["MODEL_ASSETS"]

_MEMORY: Final = timedelta(days=1)  # a day of every instrument: quarter of a million windows for 16 of them
_SEED: Final = 20240808  # the same features make the same model


@asset(
    key=AssetKey(["model", ISOLATION_FOREST]),
    deps=[AssetDep(AssetKey(["surveillance", "features"]))],
    description="Isolation forest over the features of the last day; takes force at the next window.",
    kinds={"scikitlearn", "postgres"},
    owners=["team:surveillance"],
    group_name="model",
    code_version=surveillance_code_hash()[:12],
)
def isolation_forest(
    context: AssetExecutionContext,
    timescale: Timescale,
    surveillance_config: SurveillanceConfig,
) -> MaterializeResult[None]:
    """Features → model."""
    began = time.perf_counter()
    (span,) = timescale.fetch("feature_span")
    if span["last_window"] is None:
        raise Failure("No features are judged yet: there is nothing to learn from.", allow_retries=False)
    trained_through = span["last_window"] + schema.WINDOW
    trained_from = max(span["first_window"], trained_through - _MEMORY)
    features = timescale.read(schema.FEATURES, "features", start=trained_from, end=trained_through)
    try:
        fitted = fit(features, surveillance_config.load().isolation_forest, _SEED)
    except NotEnoughData as error:
        raise Failure(str(error), allow_retries=False) from error
    model_id, first = ModelStore(timescale).register(fitted, trained_from, trained_through)
    if model_id is None:
        context.log.warning(
            "A model that judges from the same window on is stored already; this one is not kept."
        )
    return MaterializeResult(
        metadata={
            "model_id": model_id or "not kept",
            "effective_from": first.isoformat(),
            "trained_from": trained_from.isoformat(),
            "trained_through": trained_through.isoformat(),
            "samples": fitted.samples,
            "threshold": fitted.threshold,
            "seconds": round(time.perf_counter() - began, 3),
        }
    )


MODEL_ASSETS: Final = [isolation_forest]

"""Which windows are findings, and what a finding carries."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.correlation import CORRELATION_LOOKBACK
from sentinet_dagster.surveillance.detectors import DETECTORS, WIDEST_LOOKBACK
from sentinet_dagster.surveillance.features import FEATURE_LOOKBACK
from sentinet_dagster.surveillance.findings import JUDGE_LOOKBACK, build_findings, detector_lookback
from sentinet_dagster.surveillance.schema import WINDOW
from sentinet_dagster.surveillance.settings import load_settings
from tests.unit.sentinet_dagster.surveillance.facts import START, frame, instruments

COUNT = 40


def findings(
    fires: set[int],
    whole: dict[int, dict[str, float]] | None = None,
    first: int = 0,
    config: dict[str, Any] | None = None,
) -> pl.DataFrame:
    """What `volatility_spike` says of instrument 1 where the windows `fires` are spikes."""
    windows, features = [], []
    for number in range(COUNT):
        key = {"instrument_id": 1, "window_start": START + number * WINDOW}
        windows.append(key | (whole or {}).get(number, {}))
        z = 4.0 if number in fires else 0.5
        features.append(key | {"price": 100.0, "price_z": z, "return_z": 3 * z, "return_bps": 10 * z})
    known = dict.fromkeys(column.name for column in schema.WINDOWS.columns if not column.nullable)
    filled = known | dict.fromkeys(("completeness", "book_completeness", "trade_completeness"), 1.0)
    filled = {name: 0 if value is None else value for name, value in filled.items()}
    filled |= {"trade_count": 3, "quote_count": 7}
    said = build_findings(
        frame(schema.WINDOWS, windows, **filled),
        frame(schema.FEATURES, features, price_z_samples=60, order_trade_ratio=1.0, completeness=1.0),
        schema.CORRELATIONS.empty(),
        schema.SCORES.empty(),
        instruments(1),
        load_settings(config or {}),
        START + first * WINDOW,
        START + COUNT * WINDOW,
        "code",
    )
    return said.filter(pl.col("detector") == "volatility_spike")


def fired(said: pl.DataFrame) -> list[int]:
    return [(moment - START) // WINDOW for moment in said["window_start"]]


def test_every_window_that_fires_is_one() -> None:
    said = findings({3, 4, 6})
    assert said.schema == schema.FINDINGS.schema
    assert fired(said) == [3, 4, 6]
    assert fired(findings({3, 4, 6}, first=4)) == [4, 6]
    assert findings(set()).equals(schema.FINDINGS.empty())


def test_data_less_whole_than_the_floor_is_silence() -> None:
    assert fired(findings({3, 4}, {3: {"completeness": 0.79}})) == [4]
    assert fired(findings({3}, {3: {"completeness": 0.79}}, config={"completeness_floor": 0.5})) == [3]


def test_the_completeness_that_counts_is_of_what_the_verdict_stands_on() -> None:
    """volatility_spike stands on quotes: a hole in the books is nothing to it."""
    (row,) = findings({3}, {3: {"book_completeness": 0.1}}).iter_rows(named=True)
    assert (row["evidence_level"], row["completeness"], row["severity"]) == ("L1", 1.0, "warning")


def test_data_that_is_not_quite_whole_lowers_the_severity_and_says_so() -> None:
    whole, torn = (findings({3}, {3: {"completeness": share}}).row(0, named=True) for share in (1.0, 0.9))
    assert (whole["severity"], torn["severity"]) == ("warning", "info")
    assert json.loads(whole["evidence"])["downgraded"] is None
    assert json.loads(torn["evidence"])["downgraded"] == "data 90.0% whole: warning lowered to info"
    assert torn["completeness"] == 0.9


def test_a_finding_carries_its_evidence() -> None:
    row = findings({3}).row(0, named=True)
    moment = START + 3 * WINDOW
    assert (
        row["summary"]
        == "S1-USDT price 4.0 σ above its 5-minute mean after a move of +40.0 bps in 5 s (12.0 σ)"
    )
    assert (row["score"], row["threshold"], row["model_id"]) == (4.0, 3.0, None)
    assert (row["code_hash"], row["config_hash"]) == ("code", load_settings({}).config_hash)
    evidence = json.loads(row["evidence"])
    assert evidence["numbers"]["price_z"] == 4.0
    assert evidence["window"] == {"start": moment.isoformat(), "end": (moment + WINDOW).isoformat()}
    assert evidence["ticks"] == {"trade": 3, "quote": 7, "book": 0}


@pytest.mark.parametrize("relation", ["windows", "features", "correlations", "scores"])
def test_of_each_relation_only_what_is_enabled_is_looked_back_on(relation: str) -> None:
    everybody = detector_lookback(load_settings({}), instruments())
    assert everybody == WIDEST_LOOKBACK
    off = {name: {"enabled": False} for name in DETECTORS if name != "spoofing"}
    alone = detector_lookback(load_settings({"detectors": {"default": off}}), instruments())
    assert getattr(alone, relation) == getattr(DETECTORS["spoofing"].lookback, relation)
    assert alone.windows == WINDOW < everybody.windows


def test_how_long_a_window_matters_is_the_longest_chain() -> None:
    chains = {
        "windows": WIDEST_LOOKBACK.windows,
        "features": FEATURE_LOOKBACK + WIDEST_LOOKBACK.features,
        "correlations": FEATURE_LOOKBACK + CORRELATION_LOOKBACK + WIDEST_LOOKBACK.correlations,
        "scores": FEATURE_LOOKBACK + WIDEST_LOOKBACK.scores,
    }
    assert max(chains.values()) == JUDGE_LOOKBACK
    # What is wide looks back for little: a pair of every two instruments, for every window.
    assert WIDEST_LOOKBACK.correlations <= timedelta(minutes=5)

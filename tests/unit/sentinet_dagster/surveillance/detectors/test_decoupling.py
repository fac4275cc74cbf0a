"""Whose break it is, and which pairs can break."""

from __future__ import annotations

import polars as pl

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.detectors import Inputs
from sentinet_dagster.surveillance.detectors.decoupling import DECOUPLING
from sentinet_dagster.surveillance.schema import WINDOW
from sentinet_dagster.surveillance.settings import load_settings
from tests.unit.sentinet_dagster.surveillance.facts import START, frame, instruments

Pairs = dict[tuple[int, int], tuple[float | None, float | None]]


def said(pairs: Pairs, config: dict | None = None) -> list[dict]:
    """Findings on one window from {(a, b): (correlation, usually)}."""
    row = {
        "window_start": START,
        "instrument_a": [a for a, _ in pairs],
        "instrument_b": [b for _, b in pairs],
        "correlation": [now for now, _ in pairs.values()],
        "correlation_slow": [slow for _, slow in pairs.values()],
    }
    nothing = schema.WINDOWS.empty(), schema.FEATURES.empty()
    correlations = frame(schema.CORRELATIONS, [row])
    known = instruments(4)
    inputs = Inputs(*nothing, correlations, schema.SCORES.empty(), known, START, START + WINDOW, 0.8)
    thresholds = load_settings({"detectors": config or {}}).thresholds(DECOUPLING, known)
    return DECOUPLING.detect(inputs, thresholds).filter(pl.col("fires")).to_dicts()


def test_it_is_the_one_that_left_all_its_mates() -> None:
    found = said({(1, 2): (0.1, 0.9), (2, 3): (-0.2, 0.85), (1, 3): (0.9, 0.9)})
    assert [row["instrument_id"] for row in found] == [2]
    evidence = found[0]["evidence"]
    assert (evidence["mates"], evidence["correlation"], evidence["correlation_slow"]) == (2, -0.2, 0.85)
    assert [pair["mate"] for pair in evidence["pairs"]] == [1, 3]


def test_with_equally_many_breaks_it_is_the_one_that_moves_least_with_all_mates() -> None:
    found = said({(1, 2): (0.1, 0.9), (1, 3): (0.9, 0.9), (2, 4): (0.5, 0.9)})
    assert [row["instrument_id"] for row in found] == [2]


def test_with_nothing_between_them_it_is_the_lesser_id() -> None:
    assert [row["instrument_id"] for row in said({(3, 4): (0.1, 0.9)})] == [3]


def test_pairs_that_never_moved_together_or_are_unknown_do_not_break() -> None:
    assert said({(1, 2): (0.1, 0.79), (1, 3): (None, 0.9), (2, 3): (0.1, None), (2, 4): (0.2, 0.9)}) == []


def test_the_stricter_threshold_of_a_pair_holds() -> None:
    strict = {"instruments": {"north/S2-USDT": {"decoupling": {"correlation_slow": 0.95}}}}
    assert said({(1, 2): (0.1, 0.9)}, strict) == []
    off = {"instruments": {"north/S2-USDT": {"decoupling": {"enabled": False}}}}
    assert said({(1, 2): (0.1, 0.9)}, off) == []

"""Thresholds are inherited from the wider scope to the narrower, and wrong keys are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from sentinet_dagster.surveillance.detectors import DETECTORS
from sentinet_dagster.surveillance.detectors.base import limit
from sentinet_dagster.surveillance.models import ModelParameters
from sentinet_dagster.surveillance.settings import SettingsError, load_settings
from tests.unit.sentinet_dagster.surveillance.facts import instruments

CONFIG = Path(__file__).resolve().parents[4] / "config" / "surveillance.yaml"
SPOOFING = DETECTORS["spoofing"]


def scopes(**overrides: Any) -> dict[str, Any]:
    return {"detectors": overrides}


def test_the_narrower_scope_wins() -> None:
    known = instruments(4).with_columns(
        venue=pl.Series(["south", "north", "north", "north"]),
        kind=pl.Series(["spot", "spot", "perpetual", "perpetual"]),
    )
    settings = load_settings(
        scopes(
            default={"spoofing": {"imbalance": 0.61, "quotes": 9}},
            venues={"north": {"spoofing": {"imbalance": 0.62}}},
            kinds={"perpetual": {"spoofing": {"imbalance": 0.63}}},
            instruments={"north/S4-USDT": {"spoofing": {"imbalance": 0.64}}},
        )
    )
    said = settings.thresholds(SPOOFING, known)
    assert said[limit("imbalance")].to_list() == [0.61, 0.62, 0.63, 0.64]
    assert said[limit("quotes")].to_list() == [9.0] * 4
    assert said[limit("price_move_bps")].to_list() == [10.0] * 4


def test_a_detector_can_be_off_for_a_scope() -> None:
    settings = load_settings(scopes(instruments={"north/S1-USDT": {"spoofing": {"enabled": False}}}))
    assert settings.thresholds(SPOOFING, instruments(2))["instrument_id"].to_list() == [2]


def test_of_detectors_that_nobody_has_enabled_nothing_is_said() -> None:
    settings = load_settings(scopes(default={"spoofing": {"enabled": False}}))
    asked = (DETECTORS["spoofing"], DETECTORS["layering"])
    ((detector, thresholds),) = settings.enabled(asked, instruments(2))
    assert detector.name == "layering"
    assert thresholds.equals(settings.thresholds(detector, instruments(2)))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([], "the file is []: a mapping of keys"),
        ({"quiet": 1}, "quiet is no key; there are completeness_floor, models, detectors"),
        ({"completeness_floor": 2}, "completeness_floor is 2: Input should be less than or equal to 1"),
        (
            {"models": {"isolation_forest": {"tree": 1}}},
            "models.isolation_forest.tree is no key; there are trees, ",
        ),
        (
            scopes(default={"spoofin": {}}),
            "detectors.default.spoofin is no detector; there are basis_stress, ",
        ),
        (
            scopes(kinds={"spot": {"spoofing": {"imbalance": "x"}}}),
            "detectors.kinds.spot.spoofing.imbalance is 'x': ",
        ),
        (
            scopes(instruments={"BTC": {}}),
            "detectors.instruments.BTC is no instrument; the form is venue/symbol",
        ),
    ],
)
def test_what_is_wrong_is_named(raw: Any, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(raw)
    assert str(caught.value).startswith(message)


def test_the_hash_is_of_the_meaning() -> None:
    same = load_settings({"completeness_floor": 0.8, "detectors": {"default": {}}})
    assert same.config_hash == load_settings({}).config_hash
    assert load_settings(scopes(default={"spoofing": {"cool_down_s": 60}})).config_hash != same.config_hash


def test_the_committed_file_says_the_defaults() -> None:
    raw = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    settings = load_settings(raw)
    assert settings.isolation_forest == ModelParameters()
    assert settings.completeness_floor == 0.8
    for name, detector in DETECTORS.items():
        assert raw["detectors"]["default"][name] == detector.thresholds().model_dump(
            exclude={"enabled", "cool_down_s"}
        )


def test_a_cool_down_is_inherited_like_a_threshold() -> None:
    settings = load_settings(
        scopes(
            default={"spoofing": {"cool_down_s": 60}},
            instruments={"north/S2-USDT": {"spoofing": {"cool_down_s": 90, "imbalance": 0.9}}},
        )
    )
    said = settings.cool_downs(["spoofing", "decoupling", "one that is gone"], instruments(2))
    assert [(row[0], row[1], row[2].total_seconds()) for row in said.iter_rows()] == [
        ("decoupling", 1, 300.0),
        ("decoupling", 2, 300.0),
        ("spoofing", 1, 60.0),
        ("spoofing", 2, 90.0),
    ]


@pytest.mark.parametrize(
    ("seconds", "accepted"), [(1801, "less than or equal to 1800"), (0, "than or equal to 5")]
)
def test_a_cool_down_has_bounds(seconds: int, accepted: str) -> None:
    with pytest.raises(SettingsError, match=f"spoofing.cool_down_s is {seconds}: .*{accepted}"):
        load_settings(scopes(default={"spoofing": {"cool_down_s": seconds}}))

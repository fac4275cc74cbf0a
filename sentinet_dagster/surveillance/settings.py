"""config/surveillance.yaml as a value: thresholds by scope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sentinet_dagster.surveillance.models import ModelParameters

__all__ = ["SettingsError", "SurveillanceSettings", "load_settings"]


class SettingsError(ValueError):
    """A key of config/surveillance.yaml is wrong. The message names the key and the accepted form."""


@dataclass(frozen=True, slots=True)
class SurveillanceSettings:
    """Frozen; what every function here takes its thresholds from."""

    completeness_floor: float
    isolation_forest: ModelParameters
    config_hash: str


def load_settings(raw: Mapping[str, object]) -> SurveillanceSettings:
    """Settings from the parsed YAML. Raises SettingsError."""
    raise NotImplementedError

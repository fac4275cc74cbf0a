"""config/surveillance.yaml as a value: thresholds by scope, and what they come to for an instrument.

What lives here: validation and inheritance. What never does: reading the file. Thresholds are inherited: a
detector's own defaults, then the file's `default`, then the instrument's venue, then its kind, then the
instrument itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final, TypeVar

import polars as pl
from pydantic import BaseModel, Field, ValidationError

from sentinet_dagster.surveillance.detectors import DETECTORS
from sentinet_dagster.surveillance.detectors.base import Detector, limit
from sentinet_dagster.surveillance.models import ModelParameters

__all__ = ["COOL_DOWN", "LONGEST_COOL_DOWN", "SettingsError", "SurveillanceSettings", "load_settings"]

COOL_DOWN: Final = timedelta(minutes=5)
"""Of a detector that is not enabled any more, and so has none of its own."""

LONGEST_COOL_DOWN: Final = timedelta(minutes=30)

_Model = TypeVar("_Model", bound=BaseModel)
_NOT_A_MAPPING: Final = ("model_type", "dict_type")
_SCOPE_KEYS: Final = ("venue", "kind", "symbol")
_COOL_DOWNS: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "detector": pl.String,
    "instrument_id": pl.Int16,
    "cool_down": pl.Duration("us"),
}
_Overrides = dict[str, dict[str, Any]]  # detector → threshold → value


class SettingsError(ValueError):
    """A key of config/surveillance.yaml is wrong. The message names key, value and accepted form."""


class _Models(BaseModel, frozen=True, extra="forbid"):
    isolation_forest: ModelParameters = ModelParameters()


class _Scopes(BaseModel, frozen=True, extra="forbid"):
    default: _Overrides = {}
    venues: dict[str, _Overrides] = {}
    kinds: dict[str, _Overrides] = {}
    instruments: dict[str, _Overrides] = {}  # venue/symbol

    def over(self, venue: str, kind: str, symbol: str) -> tuple[str, ...]:
        """The scopes that say something of an instrument, the widest first, as keys for `at`."""
        wanted = (("venues", venue), ("kinds", kind), ("instruments", f"{venue}/{symbol}"))
        return "default", *(f"{name}.{key}" for name, key in wanted if key in getattr(self, name))

    def at(self, scope: str) -> _Overrides:
        """What is said in a scope, as `overrides` names it."""
        if scope == "default":
            return self.default
        name, _, key = scope.partition(".")
        found: _Overrides = getattr(self, name)[key]
        return found

    def overrides(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """(where in the file, detector, thresholds), for every entry."""
        scopes = {"default": self.default}
        for name in ("venues", "kinds", "instruments"):
            scopes |= {f"{name}.{key}": value for key, value in getattr(self, name).items()}
        for scope, detectors in scopes.items():
            for detector, thresholds in detectors.items():
                yield f"detectors.{scope}.{detector}", detector, thresholds


class _File(BaseModel, frozen=True, extra="forbid"):
    completeness_floor: float = Field(default=0.8, ge=0, le=1)
    models: _Models = _Models()
    detectors: _Scopes = _Scopes()


@dataclass(frozen=True, slots=True)
class SurveillanceSettings:
    """Frozen; what every function of this package takes its thresholds from."""

    completeness_floor: float
    """Data less whole than this raises no alert, and breaks the past that scores are held against."""
    isolation_forest: ModelParameters
    config_hash: str
    """sha256 of everything in the file, defaults included: two files that mean the same have the same."""
    _scopes: _Scopes = field(repr=False)

    def thresholds(self, detector: Detector, instruments: pl.DataFrame) -> pl.DataFrame:
        """The thresholds in force, one row an instrument for which the detector is enabled.

        Args:
            instruments: schema.INSTRUMENTS.

        Returns:
            instrument_id, and a column `limit(name)` for each threshold but `enabled`.
        """
        return self._thresholds(detector, self._scopes_of(instruments))

    def enabled(
        self, detectors: Iterable[Detector], instruments: pl.DataFrame
    ) -> Iterator[tuple[Detector, pl.DataFrame]]:
        """Those of the detectors that are enabled for some instrument, each with its thresholds."""
        scopes = self._scopes_of(instruments)
        for detector in detectors:
            thresholds = self._thresholds(detector, scopes)
            if not thresholds.is_empty():
                yield detector, thresholds

    def cool_downs(self, detectors: Iterable[str], instruments: pl.DataFrame) -> pl.DataFrame:
        """How far apart windows may fire and be one alert: detector, instrument_id, cool_down (Duration).

        Args:
            detectors: names; of one that is no key of DETECTORS there is no row, nor where it is not enabled.
            instruments: schema.INSTRUMENTS.
        """
        seconds = pl.col(limit("cool_down_s")) * 1_000_000
        known = (DETECTORS[name] for name in sorted(set(detectors) & DETECTORS.keys()))
        parts = [
            thresholds.select(
                pl.lit(detector.name).alias("detector"),
                "instrument_id",
                seconds.cast(pl.Int64).cast(pl.Duration("us")).alias("cool_down"),
            )
            for detector, thresholds in self.enabled(known, instruments)
        ]
        return pl.concat([pl.DataFrame(schema=_COOL_DOWNS), *parts])

    def _scopes_of(self, instruments: pl.DataFrame) -> list[tuple[int, tuple[str, ...]]]:
        """Each instrument with the scopes that say something of it."""
        rows = instruments.select("instrument_id", *_SCOPE_KEYS).iter_rows()
        return [(number, self._scopes.over(*keys)) for number, *keys in rows]

    def _thresholds(self, detector: Detector, scopes: list[tuple[int, tuple[str, ...]]]) -> pl.DataFrame:
        fields = detector.thresholds.model_fields
        names = [name for name in fields if name != "enabled"]
        known: dict[tuple[str, ...], list[float | str]] = {}  # where it is enabled
        for each in {each for _, each in scopes}:
            merged: dict[str, Any] = {}
            for scope in each:
                merged |= self._scopes.at(scope).get(detector.name, {})
            thresholds = detector.thresholds.model_validate(merged)
            if thresholds.enabled:
                known[each] = [getattr(thresholds, name) for name in names]
        rows = [(number, *known[each]) for number, each in scopes if each in known]
        schema: dict[str, pl.DataType | type[pl.DataType]] = {"instrument_id": pl.Int16}
        schema |= {limit(name): pl.String if fields[name].annotation is str else pl.Float64 for name in names}
        return pl.DataFrame(rows, schema=schema, orient="row")


def load_settings(raw: Mapping[str, object]) -> SurveillanceSettings:
    """Settings from the parsed YAML.

    Raises:
        SettingsError: an unknown key or detector, or a value that is not accepted.

    >>> load_settings({"detectors": {"default": {"spoofing": {"imbalance": 2}}}})
    Traceback (most recent call last):
    ...
    sentinet_dagster.surveillance.settings.SettingsError: detectors.default.spoofing.imbalance is 2: \
Input should be less than 1
    """
    file = _validated(_File, raw, "")
    for where, name, thresholds in file.detectors.overrides():
        if name not in DETECTORS:
            raise SettingsError(f"{where} is no detector; there are {', '.join(sorted(DETECTORS))}")
        _validated(DETECTORS[name].thresholds, thresholds, where)
    for key in file.detectors.instruments:
        if key.count("/") != 1:
            raise SettingsError(f"detectors.instruments.{key} is no instrument; the form is venue/symbol")
    defaults = {name: detector.thresholds().model_dump() for name, detector in DETECTORS.items()}
    meaning = json.dumps([file.model_dump(), defaults], sort_keys=True)
    return SurveillanceSettings(
        completeness_floor=file.completeness_floor,
        isolation_forest=file.models.isolation_forest,
        config_hash=sha256(meaning.encode()).hexdigest(),
        _scopes=file.detectors,
    )


def _validated(model: type[_Model], raw: object, where: str) -> _Model:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(part for part in (where, *map(str, first["loc"])) if part)
        if first["type"] == "extra_forbidden":
            known = ", ".join(_fields_at(model, first["loc"][:-1]))
            raise SettingsError(f"{key} is no key; there are {known}") from error
        accepted = "a mapping of keys" if first["type"] in _NOT_A_MAPPING else first["msg"]
        raise SettingsError(f"{key or 'the file'} is {first['input']!r}: {accepted}") from error


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys of the model at `path` below `model`."""
    for part in path:
        inner = model.model_fields[str(part)].annotation
        assert isinstance(inner, type)
        assert issubclass(inner, BaseModel)
        model = inner
    return list(model.model_fields)

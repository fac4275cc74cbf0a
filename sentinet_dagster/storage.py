"""How the database keeps what is written: editions, and config/storage.yaml as a value. Pure.

What lives here: which relations are kept how, the file's accepted form, what an edition can do. What never
does: reading files, talking to a database (`runtime/database.py` brings it to `ops.storage`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError

__all__ = [
    "STORED",
    "Chunks",
    "Edition",
    "Retention",
    "StorageError",
    "StorageSettings",
    "Stored",
    "edition_of",
    "load_storage",
]

_SPAN: Final = re.compile(r"([0-9]{1,6}) (hour|day|week)s?")
_SPAN_FORM: Final = "a number of hours, days or weeks such as 30 days"
_FOR_EVER: Final = "forever"


class Edition(StrEnum):
    """What the database can do. They differ in who keeps the promises of config/storage.yaml."""

    PLAIN = "postgresql"
    APACHE = "timescaledb-apache"
    COMMUNITY = "timescaledb-community"

    @property
    def has_hypertables(self) -> bool:
        """Whether facts are cut into chunks, which are dropped whole."""
        return self is not Edition.PLAIN

    @property
    def has_policies(self) -> bool:
        """Whether the server itself compresses, drops and refreshes: columnstore, continuous aggregates."""
        return self is Edition.COMMUNITY


def edition_of(extension: str | None, licence: str | None) -> Edition:
    """The edition, by the version of the extension in this database and `timescaledb.license`.

    Every edition has every function: the others raise SQLSTATE 0A000 when they are called.

    >>> edition_of("2.19.3", "apache")
    <Edition.APACHE: 'timescaledb-apache'>
    """
    if extension is None:
        return Edition.PLAIN
    return Edition.COMMUNITY if licence == "timescale" else Edition.APACHE


class StorageError(ValueError):
    """A key of config/storage.yaml is wrong. The message names key, value and accepted form."""


def _span(value: object) -> object:
    if isinstance(value, timedelta):  # from code; YAML has none
        return value
    match = _SPAN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(value)
    return timedelta(**{f"{match[2]}s": int(match[1])})


def _span_or_never(value: object) -> object:
    return None if value == _FOR_EVER else _span(value)


def _in_whole(shortest: timedelta, longest: timedelta) -> AfterValidator:
    def check(span: timedelta | None) -> timedelta | None:
        if span is not None and not shortest <= span <= longest:
            raise ValueError(span)
        return span

    return AfterValidator(check)


_DAY: Final = timedelta(days=1)
_Chunk = Annotated[
    timedelta,
    BeforeValidator(_span),
    _in_whole(timedelta(hours=1), 366 * _DAY),
    Field(description=f"{_SPAN_FORM}, from 1 hour to 366 days"),
]
_Keep = Annotated[
    timedelta | None,
    BeforeValidator(_span_or_never),
    _in_whole(_DAY, 36_525 * _DAY),
    Field(description=f"{_SPAN_FORM}, from 1 day to 36525 days; or {_FOR_EVER}"),
]


class Chunks(BaseModel, frozen=True, extra="forbid"):
    """How much time a chunk of a hypertable spans."""

    facts: _Chunk = timedelta(hours=1)
    judgement: _Chunk = _DAY


class Retention(BaseModel, frozen=True, extra="forbid"):
    """For how long rows are kept, by their own time; None: for ever."""

    facts: _Keep = 30 * _DAY
    judgement: _Keep = 365 * _DAY
    rollups: _Keep = 365 * _DAY
    ledger: _Keep = 30 * _DAY


class StorageSettings(BaseModel, frozen=True, extra="forbid"):
    """config/storage.yaml. A field's description is its accepted form, as messages quote it."""

    chunks: Chunks = Field(default=Chunks(), description="a mapping of keys")
    columnstore_after: _Keep = 7 * _DAY
    retention: Retention = Field(default=Retention(), description="a mapping of keys")


@dataclass(frozen=True, slots=True)
class Stored:
    """A relation that grows with time, and how it is kept.

    `rollup.*` stands for every table of that schema, as dbt makes them, that has the column.
    """

    relation: str
    time_column: str
    keep: Literal["facts", "judgement", "rollups", "ledger"]
    chunks: Literal["facts", "judgement"] | None = None  # None: never a hypertable
    segment_by: str | None = None
    order_by: str | None = None

    def row(self, settings: StorageSettings) -> dict[str, Any]:
        """The relation's row of `ops.storage`."""
        return {
            "relation": self.relation,
            "time_column": self.time_column,
            "keep": getattr(settings.retention, self.keep),
            "chunk": getattr(settings.chunks, self.chunks) if self.chunks else None,
            "columnstore_after": settings.columnstore_after if self.chunks else None,
            "segment_by": self.segment_by,
            "order_by": self.order_by,
        }


# A unique key's columns are all among segment_by and order_by: a late row is held against the few rows of its
# own instrument and time, not against the whole chunk. Alerts, their life and models are kept for ever.
STORED: Final = (
    Stored("market.trades", "time", "facts", "facts", "instrument_id", "time, trade_id"),
    Stored("market.quotes", "time", "facts", "facts", "instrument_id", "time, update_id"),
    Stored("market.books", "time", "facts", "facts", "instrument_id", "time, update_id"),
    Stored(
        "market.book_flows", "time", "facts", "facts", "instrument_id", "time, side, distance_bps, is_partial"
    ),
    Stored("market.reference_prices", "time", "facts", "facts", "instrument_id", "time"),
    Stored("market.rejected_frames", "received_at", "facts"),
    Stored("market.feed_gaps", "ended_at", "judgement"),
    Stored("surveillance.windows", "window_start", "judgement", "judgement", "instrument_id", "window_start"),
    Stored(
        "surveillance.features", "window_start", "judgement", "judgement", "instrument_id", "window_start"
    ),
    Stored("surveillance.correlations", "window_start", "judgement", "judgement", None, "window_start"),
    Stored(
        "surveillance.scores",
        "window_start",
        "judgement",
        "judgement",
        "instrument_id, model",
        "window_start",
    ),
    Stored(
        "surveillance.findings",
        "window_start",
        "judgement",
        "judgement",
        "detector, instrument_id",
        "window_start",
    ),
    Stored("surveillance.quarantined_facts", "time", "facts"),
    Stored("ops.ingest_batches", "committed_at", "ledger"),
    Stored("ops.check_results", "checked_at", "judgement"),
    Stored("ops.latency_1m", "minute", "judgement"),
    Stored("ops.runs_1h", "hour", "judgement"),
    Stored("ops.sizes_1h", "hour", "judgement"),
    Stored("rollup.*", "bucket", "rollups"),
)


def load_storage(raw: object) -> StorageSettings:
    """Settings from the parsed YAML; None, an empty file, is the defaults.

    Raises:
        StorageError: an unknown key, or a value that is not accepted.

    >>> load_storage({"retention": {"facts": "a month"}})
    Traceback (most recent call last):
    ...
    sentinet_dagster.storage.StorageError: retention.facts is 'a month': expected a number of hours, days or \
weeks such as 30 days, from 1 day to 36525 days; or forever
    """
    if not isinstance(raw, Mapping | None):
        raise StorageError(f"the file is {raw!r}: expected a mapping of keys")
    try:
        return StorageSettings.model_validate(raw or {})
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        path = [str(part) for part in fault["loc"]]
        models: dict[str, type[BaseModel]] = {"chunks": Chunks, "retention": Retention}
        fields = (models[path[0]] if len(path) > 1 else StorageSettings).model_fields
        key = ".".join(path)
        if fault["type"] == "extra_forbidden":
            raise StorageError(f"{key} is no key; there are {', '.join(fields)}") from None
        accepted = fields[path[-1]].description
        raise StorageError(f"{key} is {fault['input']!r}: expected {accepted}") from None

"""The outside as Dagster resources: the database, the store of models, the thresholds.

What lives here: connections, transactions, locks, copying frames in and out. What never does: market
knowledge, and statements (they are in `queries.sql`). Drivers that are slow to import are imported where they
are used.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of resources as objects.

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import psycopg
import yaml
from dagster import ConfigurableResource, InitResourceContext
from psycopg import sql
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from pydantic import PrivateAttr

from sentinet_dagster.planning import effective_from
from sentinet_dagster.queries import queries
from sentinet_dagster.superset.target import Target, TargetError
from sentinet_dagster.surveillance import models
from sentinet_dagster.surveillance.schema import WINDOW, Relation
from sentinet_dagster.surveillance.settings import SurveillanceSettings, load_settings

if TYPE_CHECKING:
    from adbc_driver_postgresql.dbapi import Connection as AdbcConnection

__all__ = [
    "ModelStore",
    "NamedSuperset",
    "SurveillanceConfig",
    "Timescale",
    "Value",
    "surveillance_code_hash",
]

Value = str | int | float | datetime | bytes | Sequence[str] | None

_UUID_OID = 2950
_JSONB_OID = 3802
_CONNECT_TIMEOUT_S = 5


class Timescale(ConfigurableResource[Any]):
    """The database. One connection a run for reading frames, one for everything else, opened when first
    used."""

    url: str
    """libpq's form: postgresql://user:password@host:port/database."""

    _reader: "AdbcConnection | None" = PrivateAttr(default=None)
    _connection: psycopg.Connection[DictRow] | None = PrivateAttr(default=None)

    def teardown_after_execution(self, context: InitResourceContext) -> None:  # noqa: ARG002
        """Close what the run opened."""
        self.close()

    def close(self) -> None:
        """Close what was opened. Locks end with their connection."""
        if self._reader is not None:
            self._reader.close()
        if self._connection is not None:
            self._connection.close()
        self._reader = self._connection = None

    def read(
        self,
        relation: Relation,
        query: str,
        *,
        instruments: Sequence[int] | None = None,
        **parameters: datetime | str,
    ) -> pl.DataFrame:
        """The rows of a query as one contiguous frame of the relation's shape.

        Args:
            relation: the shape.
            query: a name in `queries.sql`.
            instruments: only the rows of these; None: of all.
            parameters: the query's.

        Raises:
            adbc_driver_manager.Error: the database is away or refuses the statement.
        """
        statement = queries()[query] if instruments is None else queries()[query].of_instruments
        texts = {
            name: value if isinstance(value, str) else value.isoformat() for name, value in parameters.items()
        }
        texts["instruments"] = f"{{{','.join(map(str, instruments or ()))}}}"
        with self._open_reader().cursor() as cursor:
            if statement.parameters:
                values = [texts[name] for name in statement.parameters]
                cursor.execute(statement.settings_sql, values)
                cursor.fetchall()
            cursor.execute(statement.sql_of_settings)
            frame = pl.from_arrow(cursor.fetch_arrow_table())
        assert isinstance(frame, pl.DataFrame)
        return relation.conform(frame).rechunk()

    def fetch(self, query: str, **parameters: Value) -> list[DictRow]:
        """The rows of a query as dictionaries, for the few rows that are not a frame."""
        return self._open_connection().execute(queries()[query].sql, parameters).fetchall()

    def replace(
        self,
        relation: Relation,
        frame: pl.DataFrame,
        start: datetime,
        end: datetime,
        instruments: Sequence[int] | None = None,
    ) -> None:
        """Make the relation's windows of [start, end) be exactly `frame`, in one transaction.

        With `instruments`, the rows of these; those of others stay.
        """
        table = sql.Identifier(*relation.name.split("."))
        columns = sql.SQL(", ").join(map(sql.Identifier, relation.names))
        connection = self._open_connection()
        with connection.transaction(), connection.cursor() as cursor:
            delete = sql.SQL("delete from {} where window_start >= %s and window_start < %s").format(table)
            if instruments is None:
                cursor.execute(delete, (start, end))
            else:
                cursor.execute(
                    delete + sql.SQL(" and instrument_id = any(%s)"), (start, end, list(instruments))
                )
            cursor.execute(sql.SQL("select {} from {} limit 0").format(columns, table))
            types = [column.type_code for column in cursor.description or ()]
            frame = relation.conform(frame)
            with cursor.copy(
                sql.SQL("copy {} ({}) from stdin with (format binary)").format(table, columns)
            ) as copy:
                copy.set_types(types)
                for row in frame.iter_rows():
                    copy.write_row(_as_stored(row, types))

    @contextmanager
    def hour_lock(self, relation: Relation, hour: datetime) -> Iterator[None]:
        """Read, compute and write an hour alone: a backfill and a live run of one hour take turns, whole."""
        number = int(hour.timestamp()) // 3600
        self.fetch("lock_hour", relation=relation.name, hour=number)
        try:
            yield
        finally:
            self.fetch("unlock_hour", relation=relation.name, hour=number)

    @property
    def connection(self) -> psycopg.Connection[DictRow]:
        """The connection for everything but frames. It commits each statement, outside of transactions."""
        return self._open_connection()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What `fetch` does inside is done together or not at all."""
        with self._open_connection().transaction():
            yield

    def _open_connection(self) -> psycopg.Connection[DictRow]:
        if self._connection is None:
            self._connection = psycopg.connect(
                self.url, autocommit=True, row_factory=dict_row, connect_timeout=_CONNECT_TIMEOUT_S
            )
            self._connection.execute("set time zone 'UTC'")  # frames compare with no other zone
        return self._connection

    def _open_reader(self) -> "AdbcConnection":
        if self._reader is None:
            from adbc_driver_postgresql import dbapi

            self._reader = dbapi.connect(self.url, autocommit=True)
        return self._reader


class SurveillanceConfig(ConfigurableResource[Any]):
    """The thresholds of config/surveillance.yaml, read anew by every run."""

    directory: str

    def load(self) -> SurveillanceSettings:
        """The settings.

        Raises:
            SettingsError: a key is wrong; the message names it and the accepted form.
        """
        path = Path(self.directory) / "surveillance.yaml"
        return load_settings(yaml.safe_load(path.read_text(encoding="utf-8")) or {})


class NamedSuperset(ConfigurableResource[Any]):
    """The Superset that the environment names. It is looked for when a run needs it: without one the code
    location is as ever, and its password is in no configuration that Dagster shows."""

    def target(self) -> Target:
        """Where to publish.

        Raises:
            TargetError: the environment names none, or something is missing.
        """
        found = Target.from_environment(os.environ)
        if found is None:
            raise TargetError("no Superset is named: set SENTINET_SUPERSET_URL, such as http://host:8088")
        return found


class ModelStore:
    """`model.models`: what was learnt, and from which window on it judges. Uses the run's own connection."""

    def __init__(self, timescale: Timescale) -> None:
        self.timescale = timescale

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Until the block ends no model is registered: scores are stored before the next one asks how far
        they go."""
        self.timescale.fetch("lock_models_shared")
        try:
            yield
        finally:
            self.timescale.fetch("unlock_models_shared")

    def in_force(self, model: str, start: datetime, end: datetime) -> Sequence[models.ModelInForce]:
        """The models that judge windows of [start, end), the earliest first."""
        return [
            models.ModelInForce(row["model_id"], row["effective_from"], models.from_bytes(row["artefact"]))
            for row in self.timescale.fetch("models_for", model=model, start=start, end=end)
        ]

    def register(
        self, fitted: models.FittedModel, trained_from: datetime, trained_through: datetime
    ) -> tuple[str | None, datetime]:
        """Store a model. Returns its id and the first window it judges; no id where one judges from there
        already.

        It judges no window that was scored before: no run is scoring while the newest scored window is looked
        up.
        """
        artefact = models.to_bytes(fitted)
        digest = hashlib.sha256(artefact).hexdigest()
        with self.timescale.transaction():
            self.timescale.fetch("lock_models")
            newest = self.timescale.fetch("newest_scored")[0]["window_start"]
            first = effective_from(trained_through, None if newest is None else newest + WINDOW)
            stored = self.timescale.fetch(
                "register_model",
                model_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{fitted.model} {digest} {first.isoformat()}")),
                model=fitted.model,
                trained_from=trained_from,
                trained_through=trained_through,
                effective_from=first,
                feature_names=list(fitted.feature_names),
                parameters=json.dumps(dict(fitted.parameters)),
                threshold=fitted.threshold,
                samples=fitted.samples,
                artefact=artefact,
                artefact_sha256=digest,
                library_versions=json.dumps(dict(fitted.library_versions)),
            )
        return (stored[0]["model_id"] if stored else None), first


def surveillance_code_hash() -> str:
    """SHA-256 over the sources of `surveillance/`: names and contents, in the order of names."""
    root = Path(models.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _as_stored(row: tuple[Any, ...], types: Sequence[int]) -> Sequence[Any]:
    """The row with uuids and JSON as such: frames hold them as text."""
    if _UUID_OID not in types and _JSONB_OID not in types:
        return row
    return [
        value if value is None or oid not in _FROM_TEXT else _FROM_TEXT[oid](value)
        for value, oid in zip(row, types, strict=True)
    ]


_FROM_TEXT: Mapping[int, Callable[[str], object]] = {
    _UUID_OID: uuid.UUID,
    _JSONB_OID: lambda text: Jsonb(text, dumps=str),  # it is JSON already
}

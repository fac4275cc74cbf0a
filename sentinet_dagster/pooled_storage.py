"""Dagster's PostgreSQL storage over one small pool: a connection per process instead of one per operation.

    # dagster.yaml
    storage:
      custom:
        module: sentinet_dagster.pooled_storage
        class: PooledPostgresStorage
        config: {postgres_url: {env: DAGSTER_DATABASE_URL}, synchronous_commit: false}

Configured like `postgres:`, with one key more, and the same tables: either can follow the other.
dagster-postgres connects anew for each operation everywhere but in the web server, a hundred times for a run
of five steps, and each is a process at the server; and it asks the catalogue for the same tables and columns
again and again.

With `synchronous_commit: false` no write waits for the disk; a run of five steps commits sixty times. A
server that crashes then forgets the last 0.6 s at most, whole and in order (PostgreSQL's wal_writer_delay): a
run that was created or ended in them. Choose it where such a run is found and done again; without the key,
writes wait.

What never lives here: anything of one project. The file can be taken as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

import sqlalchemy
from dagster import Bool, Field
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.config import PostgresStorageConfig
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage, PostgresRunStorage
from dagster_postgres.auth import PgTokenProvider
from dagster_postgres.utils import (
    create_pg_engine,
    get_token_provider_from_config,
    pg_config,
    pg_url_from_config,
    retry_pg_connection_fn,
)

__all__ = ["PooledPostgresStorage"]

_IDLE: Final = 4  # connections that a process keeps; more are opened when needed, and closed after use
_RENEW_AFTER_S: Final = 3600
_TRUSTED_FOR_S: Final = 1.0  # a connection that was used so lately is not asked whether it lives
_TABLES: Final = ("runs", "event_logs", "jobs", "instance_info")
_USED_AT: Final = "used_at"
_SEEN: Final[set[tuple[str, str]]] = (
    set()
)  # of this process and those forked from it: (address, table or column)


class PooledPostgresStorage(DagsterPostgresStorage):
    """Runs, events and schedules over one pool, which is closed with the instance."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: PgTokenProvider | None = None,
        synchronous_commit: bool = True,
    ) -> None:
        engine = _pooled_engine(postgres_url, token_provider, synchronous_commit)
        creates = should_autocreate_tables and not _has_tables(engine)
        super().__init__(postgres_url, creates, inst_data, token_provider)
        self._run_storage = _PooledRuns(postgres_url, False, token_provider=token_provider)
        self._event_log_storage = _PooledEvents(postgres_url, False, token_provider=token_provider)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            # What `optimize_for_webserver` does for the web server, which still does it over this.
            storage._engine = engine
        # Known before a run asks: a process that is forked after this has it.
        self._run_storage.has_run_stats_index_cols()
        self._event_log_storage.has_asset_key_index_cols()

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The keys of `postgres:`, and `synchronous_commit`."""
        wait = Field(
            Bool, is_required=False, default_value=True, description="Whether writes wait for the disk."
        )
        return {**cast("dict[str, Any]", pg_config()), "synchronous_commit": wait}

    @classmethod
    def from_config_value(  # type: ignore[override]
        cls, inst_data: ConfigurableClassData | None, config_value: PostgresStorageConfig
    ) -> PooledPostgresStorage:
        """Make the storage from validated configuration."""
        return cls(
            pg_url_from_config(config_value),
            bool(config_value.get("should_autocreate_tables", True)),
            inst_data,
            get_token_provider_from_config(config_value),
            bool(config_value.get("synchronous_commit", True)),
        )


class _PooledRuns(PostgresRunStorage):
    """The one of the three that an instance disposes of in any case: it closes the pool."""

    def has_run_stats_index_cols(self) -> bool:
        return _remembered(self.postgres_url, "runs.end_time", super().has_run_stats_index_cols)

    def has_backfill_id_column(self) -> bool:
        return _remembered(self.postgres_url, "runs.backfill_id", super().has_backfill_id_column)

    def dispose(self) -> None:
        super().dispose()
        self._engine.dispose()


class _PooledEvents(PostgresEventLogStorage):
    """Asks once which tables and columns there are."""

    def has_table(self, table_name: str) -> bool:
        return _remembered(self.postgres_url, table_name, partial(super().has_table, table_name))

    def _has_asset_key_col_on_connection(self, conn: sqlalchemy.Connection, column_name: str) -> bool:
        ask = partial(super()._has_asset_key_col_on_connection, conn, column_name)
        return _remembered(self.postgres_url, f"asset_keys.{column_name}", ask)

    def has_asset_key_col(self, column_name: str) -> bool:
        ask = partial(super().has_asset_key_col, column_name)
        return _remembered(self.postgres_url, f"asset_keys.{column_name}", ask)


def _remembered(url: str, name: str, ask: Callable[[], bool]) -> bool:
    """What is there stays there: a migration adds. What is not there is asked for again."""
    if (url, name) not in _SEEN and ask():
        _SEEN.add((url, name))
    return (url, name) in _SEEN


def _pooled_engine(
    url: str, token_provider: PgTokenProvider | None, synchronous_commit: bool
) -> sqlalchemy.Engine:
    engine = create_pg_engine(
        url,
        token_provider,
        isolation_level="AUTOCOMMIT",
        pool_size=_IDLE,
        max_overflow=-1,
        pool_recycle=_RENEW_AFTER_S,
    )

    # Dagster takes times without a zone for UTC, and the server makes some of them.
    settings = ["set timezone = 'UTC'", *([] if synchronous_commit else ["set synchronous_commit = off"])]

    @sqlalchemy.event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("; ".join(settings))
        connection.commit()

    # SQLAlchemy's pool_pre_ping asks at every checkout: a third of all statements of a run.
    @sqlalchemy.event.listens_for(engine, "checkin")
    def note(_connection: Any, record: Any) -> None:
        record.info[_USED_AT] = time.monotonic()

    @sqlalchemy.event.listens_for(engine, "checkout")
    def ask(connection: Any, record: Any, _proxy: Any) -> None:
        used_at = record.info.get(_USED_AT)
        if connection is None or used_at is None or time.monotonic() - used_at < _TRUSTED_FOR_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.dbapi.Error as error:  # type: ignore[union-attr]
            # The pool opens another: a server that was restarted costs a connection, not an error.
            raise sqlalchemy.exc.DisconnectionError from error

    return engine


def _has_tables(engine: sqlalchemy.Engine) -> bool:
    def look() -> bool:
        statement = sqlalchemy.text("select count(to_regclass(name)) from unnest(:names) as name")
        with engine.connect() as connection:
            return bool(connection.execute(statement, {"names": list(_TABLES)}).scalar_one() == len(_TABLES))

    return bool(retry_pg_connection_fn(look))

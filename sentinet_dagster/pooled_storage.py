"""Dagster's PostgreSQL storage over one small pool: a connection per process instead of one per operation.

    # dagster.yaml
    storage:
      custom:
        module: sentinet_dagster.pooled_storage
        class: PooledPostgresStorage
        config: {postgres_url: {env: DAGSTER_DATABASE_URL}}

Configured like `postgres:`, and the same tables: either can follow the other. dagster-postgres connects anew
for each operation everywhere but in the web server, a hundred times for a run of five steps; at the server
each is a process. Opening an instance looks for the tables once instead of three times.

What never lives here: anything of one project. The file can be taken as it is.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy
from dagster._core.storage.config import PostgresStorageConfig
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresRunStorage
from dagster_postgres.auth import PgTokenProvider
from dagster_postgres.utils import (
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
    retry_pg_connection_fn,
)

__all__ = ["PooledPostgresStorage"]

_IDLE: Final = 4  # connections that a process keeps; more are opened when needed, and closed after use
_RENEW_AFTER_S: Final = 3600
_TABLES: Final = frozenset({"runs", "event_logs", "jobs", "instance_info"})


class PooledPostgresStorage(DagsterPostgresStorage):
    """Runs, events and schedules over one pool, which is closed with the instance."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: PgTokenProvider | None = None,
    ) -> None:
        engine = create_pg_engine(
            postgres_url,
            token_provider,
            isolation_level="AUTOCOMMIT",
            pool_size=_IDLE,
            max_overflow=-1,
            pool_recycle=_RENEW_AFTER_S,
            pool_pre_ping=True,  # a server that was restarted costs a connection, not an error
        )
        missing = should_autocreate_tables and not _has_tables(engine)
        super().__init__(postgres_url, missing, inst_data, token_provider)
        self._run_storage = _PooledRuns(postgres_url, False, token_provider=token_provider)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            # What `optimize_for_webserver` does for the web server, which still does it over this.
            storage._engine = engine

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: PostgresStorageConfig
    ) -> PooledPostgresStorage:
        """Make the storage from validated configuration."""
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
            get_token_provider_from_config(config_value),
        )


class _PooledRuns(PostgresRunStorage):
    """The one of the three that an instance disposes of unconditionally: it closes the pool."""

    def dispose(self) -> None:
        super().dispose()
        self._engine.dispose()


def _has_tables(engine: sqlalchemy.Engine) -> bool:
    def look() -> bool:
        with engine.connect() as connection:
            names = {"names": list(_TABLES)}
            found = connection.execute(
                sqlalchemy.text("select count(to_regclass(name)) from unnest(:names) as name"), names
            )
            return found.scalar_one() == len(_TABLES)

    return retry_pg_connection_fn(look)

"""A database with rollups, made once for every test that wants one: deploying takes dbt seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sentinet_dagster.runtime.rollups import deploy
from tests.conftest import PostgresServer


def hold_policies(connection: psycopg.Connection[Any]) -> None:
    """Nobody but the test refreshes: on the community edition a policy does, too, at any moment."""
    if connection.execute("select from pg_extension where extname = 'timescaledb'").fetchone():
        connection.execute(
            "select alter_job(job_id, scheduled => false) from timescaledb_information.jobs"
            " where proc_name = 'policy_refresh_continuous_aggregate'"
        )


def deploy_rollups(url: str) -> None:
    """Instruments, and what dbt makes."""
    home = Path(os.environ["SENTINET_HOME"])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            """
            insert into market.instruments (venue, symbol, venue_symbol, kind, base, quote) values
            ('binance', 'BTC-USDT', 'BTCUSDT', 'spot', 'BTC', 'USDT'),
            ('binance', 'ETH-USDT', 'ETHUSDT', 'spot', 'ETH', 'USDT'),
            ('binance_usdm', 'BTC-USDT-PERP', 'BTCUSDT', 'perpetual', 'BTC', 'USDT')
            """
        )
        assert deploy(url, home)
        assert not deploy(url, home)
        hold_policies(connection)


@pytest.fixture(scope="session")
def deployed_template(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    """A database with instruments and what dbt makes, without facts."""
    with postgres_server.template(deploy_rollups, of=migrated_template) as name:
        yield name


@pytest.fixture
def rollup_url(postgres_server: PostgresServer, deployed_template: str) -> Iterator[str]:
    """A database of the test's own, as that one."""
    with postgres_server.database(deployed_template) as url:
        yield url


@pytest.fixture
def rollup_connection(rollup_url: str) -> Iterator[psycopg.Connection[Any]]:
    """To that database, in autocommit mode; times are read in UTC."""
    with psycopg.connect(rollup_url, autocommit=True) as opened:
        opened.execute("set time zone 'UTC'")
        yield opened

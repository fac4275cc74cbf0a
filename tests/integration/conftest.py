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


@pytest.fixture(scope="session")
def deployed_template(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    """A database with instruments and what dbt makes, without facts."""
    name = postgres_server.create(migrated_template)
    url, home = postgres_server.url(name), Path(os.environ["SENTINET_HOME"])
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
    postgres_server.seal(name)
    yield name
    postgres_server.drop(name)


@pytest.fixture
def rollup_url(postgres_server: PostgresServer, deployed_template: str) -> Iterator[str]:
    """A database of the test's own, as that one."""
    name = postgres_server.create(deployed_template)
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture
def rollup_connection(rollup_url: str) -> Iterator[psycopg.Connection[Any]]:
    """To that database, in autocommit mode; times are read in UTC."""
    with psycopg.connect(rollup_url, autocommit=True) as opened:
        opened.execute("set time zone 'UTC'")
        yield opened

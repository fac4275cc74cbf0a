"""market.instruments follows the file, and an id once given means the same instrument for ever."""

from __future__ import annotations

import psycopg
import pytest

from sentinet_dagster.runtime.database import ROOT, prepare, watch
from sentinet_dagster.runtime.instruments import Instrument, Loaded

pytestmark = pytest.mark.integration


def instrument(symbol: str, venue_symbol: str, **changes: object) -> Instrument:
    base, quote = symbol.split("-")[:2]
    fields: dict[str, object] = {"venue": "binance", "kind": "spot", "base": base, "quote": quote, **changes}
    return Instrument(symbol=symbol, venue_symbol=venue_symbol, **fields)  # type: ignore[arg-type]


BTC = instrument("BTC-USDT", "BTCUSDT", tick_size=0.01)
ETH = instrument("ETH-USDT", "ETHUSDT")
SOL = instrument("SOL-USDT", "SOLUSDT")


def table(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "select instrument_id, symbol, venue_symbol, is_active from market.instruments order by 1"
        ).fetchall()


def test_the_projects_own_configuration_is_loaded(database_url: str) -> None:
    prepared = prepare(database_url, ROOT / "config")
    assert prepared.migrated.applied == ()
    assert prepared.instruments.added == prepared.instruments.active == len(table(database_url)) > 0
    again = prepare(database_url, ROOT / "config").instruments
    assert again == Loaded(active=prepared.instruments.active, added=0, changed=0, deactivated=0)


def test_every_column_follows_the_file(database_url: str) -> None:
    watch(database_url, (BTC,))
    changed = instrument(
        "BTC-USDT",
        "BTCUSDT",
        kind="perpetual",
        quote="USD",
        tick_size=None,
        contract_size=10.0,
        contract_currency="quote",
    )
    assert watch(database_url, (changed,)) == Loaded(active=1, added=0, changed=1, deactivated=0)
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "select venue, kind, base, quote, tick_size, contract_size, contract_currency "
            "from market.instruments"
        ).fetchone()
    assert row == ("binance", "perpetual", "BTC", "USD", None, 10.0, "quote")


def test_what_goes_becomes_inactive_and_what_returns_keeps_its_id(database_url: str) -> None:
    watch(database_url, (BTC, ETH))
    assert watch(database_url, (ETH, SOL)) == Loaded(active=2, added=1, changed=0, deactivated=1)
    assert table(database_url) == [
        (1, "BTC-USDT", "BTCUSDT", False),
        (2, "ETH-USDT", "ETHUSDT", True),
        (3, "SOL-USDT", "SOLUSDT", True),
    ]
    assert watch(database_url, (BTC,)) == Loaded(active=1, added=0, changed=1, deactivated=2)
    assert table(database_url)[0] == (1, "BTC-USDT", "BTCUSDT", True)


def test_loading_draws_no_ids_for_what_is_there(database_url: str) -> None:
    for _ in range(20):
        watch(database_url, (BTC, ETH))
    watch(database_url, (BTC, ETH, SOL))
    assert [row[0] for row in table(database_url)] == [1, 2, 3]


def test_symbols_may_change_places(database_url: str) -> None:
    watch(database_url, (BTC, ETH))
    watch(database_url, (instrument("ETH-USDT", "BTCUSDT"), instrument("BTC-USDT", "ETHUSDT")))
    assert table(database_url) == [(1, "ETH-USDT", "BTCUSDT", True), (2, "BTC-USDT", "ETHUSDT", True)]


def test_a_symbol_may_pass_to_a_new_venue_symbol(database_url: str) -> None:
    watch(database_url, (BTC,))
    watch(database_url, (instrument("BTC-USDT", "XBTUSDT"),))
    assert table(database_url) == [
        (1, "BTC-USDT (was BTCUSDT)", "BTCUSDT", False),
        (2, "BTC-USDT", "XBTUSDT", True),
    ]


def test_nothing_watched_is_possible(database_url: str) -> None:
    watch(database_url, (BTC,))
    assert watch(database_url, ()) == Loaded(active=0, added=0, changed=0, deactivated=1)

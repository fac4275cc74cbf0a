"""From the embedded server of a home to another server, with everything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from ingest_daemon.store import Store
from sentinet_dagster.cli import run
from sentinet_dagster.partitions import in_microseconds
from sentinet_dagster.runtime.copying import copy_database, copy_from_home
from sentinet_dagster.runtime.database import migrate
from sentinet_dagster.runtime.embedded_postgres import EmbeddedPostgres
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.home import Home
from tests.conftest import KEPT_FOR_EVER
from tests.integration.judging import open_desk
from tests.integration.market_facts import batch, events, gap, refused

pytestmark = pytest.mark.integration

START = in_microseconds(datetime(2024, 8, 9, 10, tzinfo=UTC))
KEPT = ("market", "surveillance", "model")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with twenty judged minutes in its database; nothing runs there."""
    place = Home(tmp_path_factory.mktemp("copying") / "home")
    place.prepare("service")
    server = EmbeddedPostgres(place.postgres, place.log_file("postgres"), settings={"fsync": "off"})
    url = server.start().url()
    migrate(url, KEPT_FOR_EVER)
    with open_desk(url) as desk:
        with Store(url) as store:
            store.write(batch([*events((1, 2, 3), START, 1200), gap(START, START + 1), refused(START)]))
        assert all(result.success for result in desk.catch_up())
    server.stop()
    yield place
    server.destroy()


def contents(url: str) -> dict[str, tuple[int, str]]:
    """Table → rows, and a digest of them."""
    with psycopg.connect(url) as connection:
        connection.execute("set time zone 'UTC'")
        tables = connection.execute(
            "select format('%%I.%%I', schemaname, tablename) from pg_tables where schemaname = any (%s)",
            [list(KEPT)],
        ).fetchall()
        return {
            table: connection.execute(
                "select count(*), coalesce(md5(string_agg(md5(kept::text), '' order by md5(kept::text))), '')"
                f" from {table} as kept".encode()
            ).fetchall()[0]
            for (table,) in tables
        }


def test_everything_comes_along(
    home: Home,
    empty_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = home.path.parent / "config"
    config.mkdir(exist_ok=True)
    (config / "venues.yaml").write_text("venues: {binance: {}}\n")
    instruments = [
        f"- {{venue: binance, symbol: {base}-USDT, venue_symbol: {base}USDT, kind: spot, base: {base},"
        " quote: USDT}"
        for base in ("BTC", "ETH", "SOL")
    ]
    (config / "instruments.yaml").write_text("instruments:\n" + "\n".join(instruments) + "\n")
    # The rows are of 2024: here they are to stay.
    (config / "storage.yaml").write_text("retention: {facts: forever, judgement: forever}\n")
    monkeypatch.setenv("SENTINET_CONFIG_DIR", str(config))
    monkeypatch.setenv("SENTINET_DATABASE_URL", empty_database_url)
    assert run(["migrate", "--copy-from-home", str(home.path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["copied"]["market.trades"] > 0
    assert told["instruments"]["added"] == 0

    server = EmbeddedPostgres(home.postgres, home.log_file("postgres"))
    before = contents(server.start().url())
    server.stop()
    assert contents(empty_database_url) == before
    assert before["surveillance.alerts"][0] > 0
    # What comes next has the next number; a duplicate is known; the last hour is judged once more, alike.
    with Store(empty_database_url) as store:
        assert store.reached(["binance"])
        again = store.write(batch([*events((1, 2, 3), START, 1200), gap(START + 5, START + 6)]))
        assert sum(again.rows.values()) == 1
    with open_desk(empty_database_url, instruments=None) as desk:
        alerts = desk.fetch("select alert_id, state from surveillance.alerts order by 1")
        assert all(result.success for result in desk.catch_up())
        assert desk.fetch("select alert_id, state from surveillance.alerts order by 1") == alerts


def test_a_database_with_rows_is_not_written_into(home: Home, database_url: str) -> None:
    assert copy_from_home(home, database_url)["market.trades"] > 0
    before = contents(database_url)
    with pytest.raises(UserError, match=r"has rows in market\.instruments: copy into a new database$"):
        copy_from_home(home, database_url)
    assert contents(database_url) == before


def test_databases_of_different_versions_are_not_mixed(database_url: str, empty_database_url: str) -> None:
    migrate(empty_database_url, KEPT_FOR_EVER)
    with psycopg.connect(empty_database_url) as older:
        older.execute("delete from ops.migrations where version = (select max(version) from ops.migrations)")
    with pytest.raises(UserError, match=r"are at migrations .* and .*: run `sentinet migrate` of the same"):
        copy_database(empty_database_url, database_url)


def test_interrupted_nothing_has_happened(home: Home, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("alter table surveillance.windows add constraint refuse check (instrument_id <> 3)")
        before = contents(database_url)
        with pytest.raises(psycopg.errors.CheckViolation):
            copy_from_home(home, database_url)
        assert contents(database_url) == before
        owner.execute("alter table surveillance.windows drop constraint refuse")
    assert copy_from_home(home, database_url)["surveillance.windows"] > 0


def test_a_folder_that_is_no_home_is_named(tmp_path: Path, database_url: str) -> None:
    with pytest.raises(UserError, match="is no home of Sentinet's: name the folder that SENTINET_HOME named"):
        copy_from_home(Home(tmp_path / "nowhere"), database_url)


def test_a_home_in_use_is_refused(home: Home, database_url: str) -> None:
    with home.claim(), pytest.raises(UserError, match="runs"):
        copy_from_home(home, database_url)

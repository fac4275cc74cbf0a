"""The roles on a real server: each program works under its own, and none can do what it need not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from ingest_daemon.errors import StoreRejected
from ingest_daemon.store import Store
from sentinet_dagster.cli import run
from sentinet_dagster.partitions import in_microseconds
from sentinet_dagster.runtime.database import migrate
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.roles import ROLES, Passwords
from sentinet_dagster.storage import load_storage
from tests.conftest import KEPT_FOR_EVER, PostgresServer
from tests.fake_venue import FakeVenue
from tests.integration.judging import Desk, open_desk
from tests.integration.market_facts import batch, events, gap, refused
from tests.integration.test_daemon import daemon_of, trade_ids, trades, watch_bitcoin

pytestmark = pytest.mark.integration

START = in_microseconds(datetime(2024, 8, 9, 10, tzinfo=UTC))
KEY = "2024-08-09-10:00"
PASSWORDS = Passwords({role: f"the password of {role}" for role in ROLES})
DENIED = psycopg.errors.InsufficientPrivilege


def url_of(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    _, _, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{password.replace(' ', '%20')}@{place}"))


@pytest.fixture
def roles(database_url: str) -> Mapping[str, str]:
    """Role → how it connects; `owner` too."""
    migrate(database_url, KEPT_FOR_EVER, roles=PASSWORDS)
    return {
        "owner": database_url,
        **{role: url_of(database_url, f"sentinet_{role}", PASSWORDS.by_role[role]) for role in ROLES},
    }


@pytest.fixture
def judged(roles: Mapping[str, str]) -> Iterator[Desk]:
    """Facts written by ingest, judged by surveillance; its desk."""
    with open_desk(roles["owner"]), Store(roles["ingest"]) as store:
        store.write(batch(list(events((1, 2, 3), START, 1200))))
    with open_desk(roles["surveillance"], instruments=None) as desk:
        assert desk.judge(KEY).success
        yield desk


def denied(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("set transaction read write")  # read-only by default is a convenience, no wall
        with pytest.raises(DENIED):
            connection.execute(statement.encode())


def fetch(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def test_the_store_works_as_ingest(roles: Mapping[str, str]) -> None:
    facts = [*events((1, 2), START, 20), gap(START, START + 1), refused(START)]
    with Store(roles["ingest"]) as store:
        assert set(store.load_instruments(["binance"])) == {"binance"}
        assert "/" in store.identity()
        written = store.write(batch(facts))
        assert sum(written.duplicates.values()) == 0
        # Again: by way of a temporary table.
        assert store.write(batch(facts)).duplicates == written.rows
        assert store.reached(["binance"])


async def test_the_daemon_works_as_ingest(roles: Mapping[str, str], tmp_path: Path) -> None:
    watch_bitcoin(roles["owner"])
    async with FakeVenue({}).serve() as venue, daemon_of(venue, roles["ingest"], tmp_path) as daemon:
        await venue.accept()
        await venue.send(*trades(0, 500))
        await daemon.until("sentinet_ingest_rows_total", lambda rows: rows == 500)
        assert await daemon.stop() == 0
    assert trade_ids(roles["owner"]) == list(range(500))


@pytest.mark.parametrize(
    "statement",
    [
        "select * from surveillance.alerts",
        "select * from surveillance.windows",
        "select * from model.models",
        "select * from ops.migrations",
        "update market.trades set price = 0",
        "delete from market.trades",
        "truncate market.trades",
        "insert into market.instruments (venue, symbol, venue_symbol, kind, base, quote)"
        " values ('a', 'b', 'c', 'spot', 'B', 'Q')",
        "update ops.ingest_batches set rows = 0",
        "select ops.delete_expired('market.trades', 0, 1)",
        "create table market.mine ()",
        "create table public.mine ()",
        "create table rollup.mine ()",
    ],
)
def test_ingest_cannot(roles: Mapping[str, str], statement: str) -> None:
    denied(roles["ingest"], statement)


def test_dagster_works_as_surveillance(judged: Desk, roles: Mapping[str, str]) -> None:
    assert fetch(roles["owner"], "select count(*) > 0 from surveillance.alerts") == [(True,)]
    judged.fetch(
        "insert into surveillance.features select (jsonb_populate_record(features, jsonb_build_object("
        "'window_start', window_start - make_interval(hours => h)))).*"
        " from surveillance.features, generate_series(1, 2) as h"
    )
    assert judged.execute("retrain_models_daily").success
    assert judged.execute("check_judgement_hourly").success
    with Store(roles["ingest"]) as store:
        store.write(batch(list(events((1, 2, 3), START + 1_200_000_000, 60))))
    assert all(result.success for result in judged.catch_up())


def test_retention_works_as_surveillance(judged: Desk, roles: Mapping[str, str]) -> None:
    migrate(roles["owner"], load_storage({"retention": {"facts": "1 day", "judgement": "forever"}}))
    judged.fetch("create table rollup.bars as select now() - interval '2 years' as bucket")
    assert judged.execute("maintain_storage_daily").success
    for relation in ("market.trades", "market.quotes", "rollup.bars"):
        assert fetch(roles["owner"], f"select count(*) from {relation}") == [(0,)]
    assert fetch(roles["owner"], "select count(*) > 0 from surveillance.alerts") == [(True,)]


@pytest.mark.parametrize(
    "statement",
    [
        "insert into market.trades select * from market.trades",
        "delete from market.trades",
        "delete from surveillance.alerts",
        "delete from surveillance.alert_events",
        "update surveillance.alert_events set actor = 'nobody'",
        "update ops.storage set keep = '1 day'",
        "update ops.ingest_batches set rows = 0",
        "delete from ops.migrations",
        "delete from model.models",
        "create table surveillance.mine ()",
        "drop table surveillance.windows",
    ],
)
def test_surveillance_cannot(roles: Mapping[str, str], statement: str) -> None:
    denied(roles["surveillance"], statement)


def test_an_officer_takes_alerts_through_their_life_and_nobody_writes_past_it(
    judged: Desk,
    roles: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ((number,),) = fetch(roles["owner"], "select alert_id from surveillance.alerts limit 1")
    monkeypatch.setenv("SENTINET_DATABASE_URL", roles["analyst"])
    assert run(["alerts", "ack", str(number)]) == 2
    assert "take sentinet_officer" in capsys.readouterr().err
    monkeypatch.setenv("SENTINET_DATABASE_URL", roles["officer"])
    assert run(["alerts", "ack", str(number), "--by", "somebody else"]) == 0
    assert run(["alerts", "replay", str(number), "--json"]) == 0
    done = "select actor, login from surveillance.alert_events where event = 'acknowledged'"
    assert fetch(roles["officer"], done) == [("somebody else", "sentinet_officer")]
    for statement in (
        "update surveillance.alerts set state = 'closed'",
        "insert into surveillance.alert_events (alert_id, event, actor) values (gen_random_uuid(), 'a', 'b')",
        "insert into surveillance.snoozes (detector, instrument_id, ends_at, actor)"
        " values ('a', 1, now(), 'b')",
        "delete from surveillance.alert_events",
    ):
        denied(roles["officer"], statement)
    denied(roles["analyst"], "select surveillance.snooze('a', 1::smallint, now(), 'b', '')")
    denied(roles["surveillance"], "select surveillance.snooze('a', 1::smallint, now(), 'b', '')")


def test_the_analyst_reads_judgement(
    judged: Desk,
    roles: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    judged.fetch("create table rollup.bars as select now() as bucket")
    monkeypatch.setenv("SENTINET_DATABASE_URL", roles["analyst"])
    monkeypatch.setenv("SENTINET_HOME", "/nonexistent")
    assert run(["alerts", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["alerts"]
    assert run(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["storage"]["relations"]["market.trades"]["mb"] > 0
    for relation in (
        "surveillance.windows", "surveillance.correlation_pairs", "market.instruments", "market.feed_gaps",
        "rollup.bars",
    ):  # fmt: skip
        fetch(roles["analyst"], f"select * from {relation}")
    fetch(roles["analyst"], "select model, threshold from model.models")


@pytest.mark.parametrize(
    "statement",
    [
        "insert into surveillance.alert_events (alert_id, event, actor) values (gen_random_uuid(), 'a', 'b')",
        "update surveillance.alerts set state = 'closed'",
        "delete from surveillance.windows",
        "create table rollup.mine ()",
        "create table public.mine ()",
        "create temporary table mine ()",
        "select * from market.trades",
        "select * from market.rejected_frames",
        "select artefact from model.models",
        "select rolpassword from pg_authid",
        "select pg_read_file('postgresql.conf')",
        "copy (select 1) to program 'true'",
        "set role sentinet_surveillance",
    ],
)
def test_the_analyst_cannot(roles: Mapping[str, str], statement: str) -> None:
    denied(roles["analyst"], statement)


def test_nobody_is_more_than_a_role(roles: Mapping[str, str]) -> None:
    found = fetch(
        roles["owner"],
        "select rolname from pg_roles where rolname like 'sentinet\\_%' and"
        " (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls)",
    )
    assert found == []
    owned = "select count(*) from pg_class where relowner::regrole::text like 'sentinet\\_%'"
    assert fetch(roles["owner"], owned) == [(0,)]


def test_what_a_role_got_otherwise_is_taken_away_by_the_next_migrate(roles: Mapping[str, str]) -> None:
    with psycopg.connect(roles["owner"], autocommit=True) as owner:
        owner.execute("grant select on market.trades to sentinet_analyst")
        owner.execute("grant update on surveillance.alerts to sentinet_analyst")
    # Not asked for them: they are in force here, so they are kept up.
    assert migrate(roles["owner"], KEPT_FOR_EVER).roles is True
    denied(roles["analyst"], "select * from market.trades")
    denied(roles["analyst"], "update surveillance.alerts set state = 'closed'")


def test_nothing_is_done_for_roles_unless_asked(database_url: str) -> None:
    assert migrate(database_url, KEPT_FOR_EVER).roles is False


def test_a_password_is_changed_by_migrating_with_another(
    roles: Mapping[str, str], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTINET_DATABASE_URL", database_url)
    monkeypatch.setenv("SENTINET_ROLE_ANALYST_PASSWORD", "quite another one")
    assert run(["migrate", "--roles"]) == 0
    fetch(url_of(database_url, "sentinet_analyst", "quite another one"), "select 1")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        fetch(roles["analyst"], "select 1")
    fetch(roles["ingest"], "select 1")  # it was not named: it stays


def test_a_role_with_too_many_rights_is_refused_by_name(roles: Mapping[str, str]) -> None:
    with psycopg.connect(roles["owner"], autocommit=True) as owner:
        owner.execute("alter role sentinet_ingest createdb")
        try:
            with pytest.raises(UserError, match="the role sentinet_ingest has more rights than it may"):
                migrate(roles["owner"], KEPT_FOR_EVER, roles=Passwords())
        finally:
            owner.execute("alter role sentinet_ingest nocreatedb")


@pytest.fixture
def plain_owner(postgres_server: PostgresServer, roles: Mapping[str, str]) -> Iterator[str]:
    """A database whose owner is no superuser, as managed servers give it."""
    name = postgres_server.create()
    with psycopg.connect(postgres_server.admin_url, autocommit=True) as admin:
        admin.execute("create role test_owner login createrole password 'the password of owner'")
        for role in ROLES:
            admin.execute(f"grant sentinet_{role} to test_owner with admin option".encode())
        admin.execute(f"alter database {name} owner to test_owner".encode())
    yield url_of(postgres_server.url(name), "test_owner", "the password of owner")
    postgres_server.drop(name)
    with psycopg.connect(postgres_server.admin_url, autocommit=True) as admin:
        admin.execute("drop role test_owner")


def test_an_owner_who_is_no_superuser_can_migrate_and_make_roles(plain_owner: str) -> None:
    done = migrate(plain_owner, load_storage({"retention": {"facts": "1 day"}}), roles=PASSWORDS)
    assert done.roles is True
    ingest, surveillance = (
        url_of(plain_owner, f"sentinet_{role}", PASSWORDS.by_role[role])
        for role in ("ingest", "surveillance")
    )
    with Store(ingest) as store:
        store.write(batch(list(events((1, 2, 3), START, 20))))
    with open_desk(surveillance, instruments=None) as desk:
        assert desk.execute("maintain_storage_daily").success
    assert fetch(plain_owner, "select count(*) from market.trades") == [(0,)]


def test_an_owner_who_may_not_make_roles_is_told_so(
    plain_owner: str, postgres_server: PostgresServer
) -> None:
    with psycopg.connect(postgres_server.admin_url, autocommit=True) as admin:
        admin.execute("alter role test_owner nocreaterole")
    with pytest.raises(UserError, match=r"roles cannot be made here .*: migrate as a superuser, or as the"):
        migrate(plain_owner, KEPT_FOR_EVER, roles=PASSWORDS)
    assert migrate(plain_owner, KEPT_FOR_EVER).applied == ()


def test_dagsters_database_is_given_to_surveillance(
    postgres_server: PostgresServer, database_url: str
) -> None:
    name = postgres_server.create()
    try:
        migrate(database_url, KEPT_FOR_EVER, roles=Passwords(PASSWORDS.by_role, dagster_database=name))
        as_dagster = url_of(
            postgres_server.url(name), "sentinet_surveillance", PASSWORDS.by_role["surveillance"]
        )
        with psycopg.connect(as_dagster) as connection:
            connection.execute("create table public.runs (id bigint)")
    finally:
        postgres_server.drop(name)


def test_a_frame_for_a_table_that_is_not_ingests_is_rejected(roles: Mapping[str, str]) -> None:
    """A right that is missing is an error a human must see, not one to retry for ever."""
    with psycopg.connect(roles["owner"], autocommit=True) as owner:
        owner.execute("revoke insert on market.quotes from sentinet_ingest")
    with Store(roles["ingest"]) as store, pytest.raises(StoreRejected, match="42501"):
        store.write(batch(list(events((1,), START, 2))))

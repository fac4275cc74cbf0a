"""What config/storage.yaml promises, kept on a real server: chunks, retention, and live undisturbed by it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ingest_daemon.store import Store
from sentinet_dagster.partitions import in_microseconds
from sentinet_dagster.runtime import readings, status
from sentinet_dagster.runtime.database import SQL, migrate
from sentinet_dagster.storage import STORED, Edition, StorageSettings, Stored, load_storage
from tests.integration.judging import Desk, open_desk
from tests.integration.market_facts import batch, events

pytestmark = pytest.mark.integration

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def this_hour() -> datetime:
    """It moves on while tests run."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


NOW = this_hour()
# An hour of facts that is expired, one that is not, under a day of retention.
LONG_AGO, LATELY = NOW - 3 * DAY, NOW - 2 * HOUR
ONE_DAY = load_storage({"retention": {"facts": "1 day", "ledger": "1 day", "rollups": "1 day"}})


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set time zone 'UTC'")
        yield connection


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    """Facts of long ago and of lately."""
    with open_desk(database_url) as opened, Store(database_url) as store:
        for start in (LONG_AGO, LATELY):
            store.write(batch(list(events((1, 2, 3), in_microseconds(start), 300))))
        yield opened


def maintain(desk: Desk) -> dict[str, Any]:
    """Run the job; its metadata."""
    run = desk.execute("maintain_storage_daily")
    assert run.success
    (materialised,) = run.asset_materializations_for_node("ops__storage")
    return {name: entry.value for name, entry in materialised.metadata.items()}


def hours_of(owner: psycopg.Connection[Any], relation: str, column: str = "time") -> list[datetime]:
    query = sql.SQL("select distinct date_trunc('hour', {}) from {} order by 1")
    return [
        row[0]
        for row in owner.execute(query.format(sql.Identifier(column), sql.Identifier(*relation.split("."))))
    ]


def edition_of(owner: psycopg.Connection[Any]) -> Edition:
    return readings.server(owner).edition


def test_what_is_expired_goes_and_the_rest_stays(
    desk: Desk, owner: psycopg.Connection[Any], database_url: str
) -> None:
    migrate(database_url, ONE_DAY)
    owner.execute("update ops.ingest_batches set committed_at = %s where batch_id <= 4", [LONG_AGO])
    before = owner.execute("select count(*) from market.trades where time > %s", [LATELY]).fetchone()
    report = maintain(desk)
    for relation in ("trades", "quotes", "books", "reference_prices"):
        assert hours_of(owner, f"market.{relation}") == [LATELY]
    assert owner.execute("select count(*) from market.trades").fetchone() == before
    if edition_of(owner) is Edition.PLAIN:
        assert report["market.trades rows"] > 0
    elif edition_of(owner) is Edition.APACHE:
        assert report["market.trades chunks"] == 1
        assert report["market.trades bytes"] > 0
    # Of the ledger the old half went: its venue has newer batches.
    assert report["ops.ingest_batches rows"] == 4
    assert report["postponed"] == []


def test_a_second_run_finds_nothing(desk: Desk, database_url: str) -> None:
    migrate(database_url, ONE_DAY)
    maintain(desk)
    again = maintain(desk)
    assert again.pop("postponed") == []
    assert set(again.values()) == {0}


def test_how_far_a_venue_was_received_is_not_forgotten(desk: Desk, database_url: str) -> None:
    migrate(database_url, ONE_DAY)
    desk.fetch("update ops.ingest_batches set committed_at = %s", LONG_AGO)
    with Store(database_url) as store:
        before = store.reached(["binance"])
        maintain(desk)
        assert store.reached(["binance"]) == before
    assert desk.fetch("select count(distinct max_received_at) as kept from ops.ingest_batches") == [
        {"kept": 1}
    ]


def test_sums_expire_with_their_tables_whatever_dbt_calls_them(desk: Desk, database_url: str) -> None:
    migrate(database_url, ONE_DAY)
    desk.fetch("create table rollup.bars as select generate_series(%s, %s, '1 h') as bucket", LONG_AGO, NOW)
    desk.fetch("create table rollup.names as select 1 as instrument_id")
    begun = this_hour()
    report = maintain(desk)
    # Whole hours: what began a day before this hour is kept.
    (left,) = desk.fetch("select min(bucket) as first, count(*) as bars from rollup.bars")
    assert begun - DAY <= left["first"] <= this_hour() - DAY
    assert left["bars"] == (NOW - left["first"]) // HOUR + 1
    assert report["rollup.bars rows"] == (left["first"] - LONG_AGO) // HOUR
    assert not any(name.startswith("rollup.names") for name in report)


def test_alerts_outlive_their_facts(desk: Desk, owner: psycopg.Connection[Any], database_url: str) -> None:
    key = LONG_AGO.strftime("%Y-%m-%d-%H:%M")
    assert desk.judge(key).success
    judged = {relation: desk.rows(relation, "infinity") for relation in ("windows", "features")}
    alerts = desk.fetch("select alert_id, state, evidence from surveillance.alerts order by alert_id")
    assert alerts
    migrate(database_url, ONE_DAY)
    maintain(desk)
    assert hours_of(owner, "market.trades") == [LATELY]
    # Windows built again of nothing would take back what was found: they stay, and are judged as before.
    run = desk.judge(key)
    assert run.success
    assert {relation: desk.rows(relation, "infinity") for relation in judged} == judged
    assert desk.fetch("select alert_id, state, evidence from surveillance.alerts order by 1") == alerts


def test_for_ever_is_for_ever(desk: Desk, owner: psycopg.Connection[Any]) -> None:
    maintain(desk)  # the tests' template keeps everything
    assert hours_of(owner, "market.trades") == [LONG_AGO, LATELY]


def test_whoever_holds_a_table_is_not_waited_for(
    desk: Desk, owner: psycopg.Connection[Any], database_url: str
) -> None:
    if edition_of(owner) is Edition.COMMUNITY:
        pytest.skip("the server's own policies drop chunks here")
    migrate(database_url, ONE_DAY)
    with psycopg.connect(database_url) as holder:
        holder.execute("lock table market.trades in access exclusive mode")
        # Each attempt is given up after 2 s.
        report = maintain(desk)
        assert report["postponed"] == ["market.trades"]
        assert hours_of(owner, "market.quotes") == [LATELY]
    assert maintain(desk)["postponed"] == []
    assert hours_of(owner, "market.trades") == [LATELY]


def test_a_batch_under_way_and_maintenance_do_not_wait_for_each_other(
    desk: Desk, owner: psycopg.Connection[Any], database_url: str
) -> None:
    migrate(database_url, ONE_DAY)
    with psycopg.connect(database_url) as live:
        live.execute(
            "insert into market.trades values (1, 999999, %(now)s, %(now)s, %(now)s, 1, 1, 1, 1)",
            {"now": LATELY},
        )
        assert maintain(desk)["postponed"] == []
    assert owner.execute("select count(*) from market.trades where trade_id = 999999").fetchone() == (1,)


def test_the_room_of_deleted_rows_does_not_blind_the_time_index(
    owner: psycopg.Connection[Any], database_url: str
) -> None:
    """New rows go where old ones were: a search for seconds must not read all of these blocks."""
    if edition_of(owner) is not Edition.PLAIN:
        pytest.skip("chunks are dropped whole: their room is not used again")
    fill = """
        insert into market.quotes
        select 1, %(first)s + n, t, t, t, 1, 1, 2, 1
        from generate_series(1, 100000) as n,
        lateral (select %(start)s::timestamptz + n * interval '30 ms') as x (t)
    """
    owner.execute(fill, {"first": 0, "start": LONG_AGO})
    owner.execute("vacuum market.quotes")
    migrate(database_url, ONE_DAY)
    with open_desk(database_url) as desk:
        assert maintain(desk)["market.quotes rows"] == 100_000
    owner.execute("vacuum (truncate false) market.quotes")
    owner.execute(fill, {"first": 10**6, "start": LATELY})
    owner.execute("select brin_summarize_new_values('market.quotes_time')")
    owner.execute("alter table market.quotes drop constraint quotes_instrument_id_update_id_time_key")
    owner.execute("set enable_seqscan = off")
    plan = owner.execute(
        "explain (analyze, format json) select count(*) from market.quotes where time >= %s and time < %s",
        [LATELY + timedelta(minutes=20), LATELY + timedelta(minutes=20, seconds=5)],
    ).fetchone()
    assert plan is not None
    scan = plan[0][0]["Plan"]["Plans"][0]
    assert scan["Node Type"] == "Bitmap Heap Scan"
    assert scan["Rows Removed by Index Recheck"] < 20_000


def test_nothing_but_what_is_expired_can_be_removed(
    desk: Desk, owner: psycopg.Connection[Any], database_url: str
) -> None:
    """Whatever blocks a caller names: the functions know the limit themselves."""
    if edition_of(owner) is not Edition.PLAIN:
        pytest.skip("rows are deleted on plain PostgreSQL")
    migrate(database_url, ONE_DAY)
    owner.execute("select ops.delete_expired('market.trades', 0, 1000000)")
    assert hours_of(owner, "market.trades") == [LATELY]
    for relation in ("surveillance.alerts", "pg_catalog.pg_class", "market.trades; drop table market.trades"):
        with pytest.raises(psycopg.errors.NoDataFound):
            owner.execute("select ops.delete_expired(%s, 0, 1000)", [relation])


def test_a_changed_value_is_applied_and_the_rest_left_alone(
    owner: psycopg.Connection[Any], database_url: str
) -> None:
    def stored() -> dict[str, tuple[timedelta, datetime]]:
        rows = owner.execute("select relation, keep, applied_at from ops.storage")
        return {relation: (keep, applied_at) for relation, keep, applied_at in rows}

    migrate(database_url)
    before = stored()
    assert before["market.trades"][0] == 30 * DAY
    assert before["rollup.*"][0] == 365 * DAY
    migrate(database_url)
    assert stored() == before
    migrate(database_url, load_storage({"retention": {"ledger": "2 weeks"}}))
    after = stored()
    changed = {relation for relation in after if after[relation] != before[relation]}
    assert changed == {"ops.ingest_batches"}
    assert after["ops.ingest_batches"][0] == 14 * DAY


# Rows that stay: instruments, alerts with their life and incidents, models, what is remembered in a few rows.
KEPT_WHATEVER_THEIR_AGE = {
    "market.instruments",
    "model.models",
    "ops.migrations",
    "ops.plans",
    "ops.storage",
    "surveillance.alert_events",
    "surveillance.alerts",
    "surveillance.failed_ranges",
    "surveillance.incidents",
    "surveillance.late_hours",
    "surveillance.snoozes",
}


def test_every_relation_is_either_kept_or_said_for_how_long(owner: psycopg.Connection[Any]) -> None:
    """A migration that makes a table which grows, and does not say how long its rows stay, fails here."""
    tables = owner.execute(
        "select format('%I.%I', schemaname, tablename) from pg_tables"
        " where schemaname in ('market', 'surveillance', 'model', 'ops')"
    ).fetchall()
    growing = {stored.relation for stored in STORED if not stored.relation.startswith("rollup.")}
    assert {name for (name,) in tables} == growing | KEPT_WHATEVER_THEIR_AGE
    assert not growing & KEPT_WHATEVER_THEIR_AGE


@pytest.mark.parametrize(
    "stored", [stored for stored in STORED if stored.chunks], ids=lambda stored: stored.relation
)
def test_a_late_row_is_held_against_few_rows_of_the_columnstore(
    owner: psycopg.Connection[Any], stored: Stored
) -> None:
    """The columns of a hypertable's keys, all of them, decide where in the columnstore a row lies."""
    keys = owner.execute(
        "select array(select attname::text from pg_attribute"
        " where attrelid = indrelid and attnum = any (indkey)) from pg_index"
        " where indrelid = %s::regclass and indisunique",
        [stored.relation],
    ).fetchall()
    placed = f"{stored.segment_by or ''}, {stored.order_by}".split(", ")
    assert keys
    for (columns,) in keys:
        assert set(columns) <= set(placed), stored.relation


def test_status_says_what_the_edition_means(desk: Desk, owner: psycopg.Connection[Any]) -> None:
    told = status.storage_status(owner)
    edition = edition_of(owner)
    assert told["edition"] == edition.value
    assert told["compression"] is (edition is Edition.COMMUNITY)
    assert told["to_move"] == []
    trades = told["relations"]["market.trades"]
    assert trades["mb"] > 0
    assert trades["kept_days"] is None
    assert trades["removed_by"] == ("rows" if edition is Edition.PLAIN else "chunks")


def test_a_database_before_storage_was_kept_track_of_has_none_to_tell(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        assert status.storage_status(connection)["relations"] == {}


def test_the_names_of_the_community_edition_are_the_servers(
    owner: psycopg.Connection[Any], database_url: str
) -> None:
    """Without a community server at hand: this one knows each name and refuses it for its licence alone."""
    if edition_of(owner) is not Edition.APACHE:
        pytest.skip("this server is not of the Apache edition")
    migrate(database_url, StorageSettings())
    as_if = (SQL / "timescale.sql").read_text().replace("'timescale'\n", "'apache'\n")
    assert as_if != (SQL / "timescale.sql").read_text()
    owner.execute("select set_config('sentinet.to_hypertables', 'off', false)")
    known = "select count(*) from pg_settings where name = %s"
    for setting in ("timescaledb.license", "timescaledb.max_tuples_decompressed_per_dml_transaction"):
        assert owner.execute(known, [setting]).fetchone() == (1,)
    with pytest.raises(psycopg.errors.FeatureNotSupported) as refusal:
        owner.execute(as_if.encode())
    assert "timescaledb.enable_columnstore" in str(refusal.value.diag.context)
    for call in (
        "call add_columnstore_policy('market.trades', after => interval '7 days', if_not_exists => true)",
        "call remove_columnstore_policy('market.trades', if_exists => true)",
        "select add_retention_policy('market.trades', drop_after => interval '1 day', if_not_exists => true)",
        "select remove_retention_policy('market.trades', if_exists => true)",
        "alter table market.trades set (timescaledb.enable_columnstore,"
        " timescaledb.segmentby = 'instrument_id', timescaledb.orderby = 'time, trade_id')",
    ):
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            owner.execute(call.encode())


def test_the_shipped_files_are_repeatable(database_url: str, tmp_path: Path) -> None:
    for _ in range(2):
        assert migrate(database_url).applied == ()

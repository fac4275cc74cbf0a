"""What only TimescaleDB's community edition keeps: columnstore and policies, as config/storage.yaml says.

Run with SENTINET_TEST_COMMUNITY_URL; skipped elsewhere, with the reason. Written from the edition's
documentation (the names since 2.18); no such server was at hand. Continuous aggregates: test_rollups.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ingest_daemon.events import Event, Trade
from ingest_daemon.store import Store
from sentinet_dagster.partitions import in_microseconds
from sentinet_dagster.runtime import status
from sentinet_dagster.runtime.database import SQL, migrate
from sentinet_dagster.storage import STORED, Edition, StorageSettings, Stored, load_storage
from tests.conftest import KEPT_FOR_EVER
from tests.integration.judging import open_desk
from tests.integration.market_facts import batch, events

pytestmark = pytest.mark.integration

DAY = timedelta(days=1)
HYPERTABLES = [stored for stored in STORED if stored.chunks]
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
LONG_AGO, LATELY = NOW - 10 * DAY, NOW - timedelta(hours=2)
# A columnstore that is switched on, and a policy that has nothing to do for a hundred years.
BY_HAND = load_storage(
    {
        "columnstore_after": "36525 days",
        "retention": dict.fromkeys(("facts", "judgement", "rollups", "ledger"), "forever"),
    }
)

JOBS = """
select
    format('%I.%I', hypertable_schema, hypertable_name) as relation,
    job_id,
    (config ->> 'compress_after')::interval as compress_after,
    (config ->> 'drop_after')::interval as drop_after
from timescaledb_information.jobs
where proc_name = any (array['policy_compression', 'policy_retention'])
order by 1, proc_name
"""


@pytest.fixture
def url(community_database_url: str) -> str:
    return community_database_url


@pytest.fixture
def owner(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set time zone 'UTC'")
        yield connection


def jobs(owner: psycopg.Connection[Any]) -> dict[str, tuple[timedelta | None, timedelta | None]]:
    """Relation → age for the columnstore, age for removal; of policies that are there."""
    found: dict[str, tuple[timedelta | None, timedelta | None]] = {}
    for relation, _, compress_after, drop_after in owner.execute(JOBS):
        before = found.get(relation, (None, None))
        found[relation] = (compress_after or before[0], drop_after or before[1])
    return found


def job_ids(owner: psycopg.Connection[Any]) -> list[int]:
    return [job_id for _, job_id, _, _ in owner.execute(JOBS)]


def run_policies(owner: psycopg.Connection[Any], relation: str) -> None:
    """What the server's scheduler does, now and to the end."""
    for name, job_id, _, _ in owner.execute(JOBS).fetchall():
        owner.execute("select alter_job(%s, scheduled => false)", [job_id])
        if name == relation:
            owner.execute("call run_job(%s)", [job_id])


def to_columnstore(owner: psycopg.Connection[Any], relation: str) -> int:
    """Store every chunk by columns; how many there are."""
    chunks = owner.execute("select show_chunks(%s)::text", [relation]).fetchall()
    for (chunk,) in chunks:
        owner.execute("call convert_to_columnstore(%s::regclass, if_not_columnstore => true)", [chunk])
    return len(chunks)


def columnstore_chunks(owner: psycopg.Connection[Any], relation: str) -> int:
    row = owner.execute(
        "select count(*) filter (where is_compressed) from timescaledb_information.chunks"
        " where format('%%I.%%I', hypertable_schema, hypertable_name) = %s",
        [relation],
    ).fetchone()
    assert row is not None
    return int(row[0])


def contents(owner: psycopg.Connection[Any], relation: str) -> list[tuple[Any, ...]]:
    table = sql.Identifier(*relation.split("."))
    rows = owner.execute(sql.SQL("select * from {} as stored order by stored::text").format(table))
    return rows.fetchall()


def facts(start: datetime, seconds: int = 300) -> list[Event]:
    return list(events((1, 2, 3), in_microseconds(start), seconds))


def test_policies_say_what_the_file_says(url: str, owner: psycopg.Connection[Any]) -> None:
    done = migrate(url, StorageSettings())
    assert done.edition is Edition.COMMUNITY
    kept = {"facts": 30 * DAY, "judgement": 365 * DAY}
    assert jobs(owner) == {stored.relation: (7 * DAY, kept[stored.keep]) for stored in HYPERTABLES}


@pytest.mark.parametrize("stored", HYPERTABLES, ids=lambda stored: stored.relation)
def test_columns_are_segmented_and_ordered_as_said(
    url: str, owner: psycopg.Connection[Any], stored: Stored
) -> None:
    migrate(url, StorageSettings())
    row = owner.execute(
        "select segmentby, orderby from timescaledb_information.hypertable_columnstore_settings"
        " where hypertable = %s::regclass",
        [stored.relation],
    ).fetchone()
    assert row is not None
    segment_by, order_by = (
        [word.split()[0].strip('"') for word in (text or "").split(",") if word] for text in row
    )
    assert segment_by == [word for word in (stored.segment_by or "").split(", ") if word]
    assert order_by == (stored.order_by or "").split(", ")


def test_migrating_again_leaves_the_policies_alone(url: str, owner: psycopg.Connection[Any]) -> None:
    migrate(url, StorageSettings())
    before = job_ids(owner)
    migrate(url, StorageSettings())
    assert job_ids(owner) == before


def test_a_changed_value_changes_its_policies_and_no_other(url: str, owner: psycopg.Connection[Any]) -> None:
    migrate(url, StorageSettings())
    before = jobs(owner)
    migrate(url, load_storage({"retention": {"facts": "14 days"}, "columnstore_after": "2 days"}))
    after = jobs(owner)
    assert {compress for compress, _ in after.values()} == {2 * DAY}
    for stored in HYPERTABLES:
        expected = 14 * DAY if stored.keep == "facts" else before[stored.relation][1]
        assert after[stored.relation][1] == expected


def test_for_ever_removes_the_policies(url: str, owner: psycopg.Connection[Any]) -> None:
    migrate(url, StorageSettings())
    migrate(url, KEPT_FOR_EVER)
    assert jobs(owner) == {}


def test_status_says_what_compression_gives(url: str, owner: psycopg.Connection[Any]) -> None:
    migrate(url, BY_HAND)
    with open_desk(url), Store(url) as store:
        store.write(batch(facts(LONG_AGO, 3000)))
    told = status.storage_status(owner)
    assert told["compression"] is True
    assert told["retention_by"] == "policies of the server"
    assert told["relations"]["market.trades"]["columnstore"] is None
    to_columnstore(owner, "market.quotes")
    quotes = status.storage_status(owner)["relations"]["market.quotes"]
    assert 0 < quotes["columnstore"]["to_mb"] < quotes["columnstore"]["from_mb"]


@pytest.mark.parametrize("relation", ["market.trades", "market.quotes", "market.books", "market.book_flows"])
def test_rows_are_the_same_by_columns(url: str, owner: psycopg.Connection[Any], relation: str) -> None:
    migrate(url, BY_HAND)
    with open_desk(url), Store(url) as store:
        store.write(batch(facts(LONG_AGO)))
    owner.execute(
        "insert into market.book_flows"
        " select 1, side, distance, partial, %s::timestamptz + n * interval '1 s', now(),"
        " 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, null, 1, 1"
        " from generate_series(1, 60) as n, unnest(array[-1, 1]) as side, unnest(array[0, 5]) as distance,"
        " unnest(array[false, true]) as partial",
        [LONG_AGO],
    )
    before = contents(owner, relation)
    assert before
    assert to_columnstore(owner, relation) == columnstore_chunks(owner, relation) > 0
    assert contents(owner, relation) == before


def test_what_is_written_again_is_still_known(url: str, owner: psycopg.Connection[Any]) -> None:
    """Exactly once holds in the columnstore, too: for COPY, and for what comes through staging."""
    migrate(url, BY_HAND)
    found = facts(LONG_AGO)
    with open_desk(url), Store(url) as store:
        first = store.write(batch(found))
        before = contents(owner, "market.trades")
        for relation in ("market.trades", "market.quotes", "market.books", "market.reference_prices"):
            to_columnstore(owner, relation)
        assert store.write(batch(found)).duplicates == first.rows
        assert contents(owner, "market.trades") == before
        # A late trade of the same hour is new.
        late = next(event for event in found if isinstance(event, Trade))
        again = Trade(late.instrument_id, 10**9, late.occurred_at, late.received_at, late.price, late.size, 1)
        assert store.write(batch([again])).rows == {"trades": 1}
    assert len(contents(owner, "market.trades")) == len(before) + 1


def test_hours_in_the_columnstore_are_judged_again(url: str, owner: psycopg.Connection[Any]) -> None:
    """A run deletes its windows and writes them anew: a backfill of last month does, too."""
    migrate(url, BY_HAND)
    key = LONG_AGO.strftime("%Y-%m-%d-%H:%M")
    with open_desk(url) as desk:
        with Store(url) as store:
            store.write(batch(facts(LONG_AGO, 1200)))
        assert desk.judge(key).success
        before = {relation: desk.rows(relation, "infinity") for relation in ("windows", "features")}
        assert before["windows"]
        for stored in HYPERTABLES:
            to_columnstore(owner, stored.relation)
        assert desk.judge(key).success
        assert {relation: desk.rows(relation, "infinity") for relation in before} == before


def test_a_backfill_of_many_instruments_is_no_operation_too_big(url: str) -> None:
    """By default a statement that decompresses more than 100,000 rows is refused."""
    migrate(url, BY_HAND)
    with psycopg.connect(url) as later:  # the setting is the database's: of sessions to come
        shown = later.execute(
            "select current_setting('timescaledb.max_tuples_decompressed_per_dml_transaction')"
        ).fetchone()
    assert shown == ("0",)


def test_the_server_removes_what_is_expired(url: str, owner: psycopg.Connection[Any]) -> None:
    migrate(url, KEPT_FOR_EVER)
    with open_desk(url) as desk:
        with Store(url) as store:
            store.write(batch(facts(LONG_AGO)))
            store.write(batch(facts(LATELY)))
        assert desk.judge(LONG_AGO.strftime("%Y-%m-%d-%H:%M")).success
        alerts = desk.fetch("select alert_id from surveillance.alerts order by 1")
        migrate(url, load_storage({"retention": {"facts": "1 day"}, "columnstore_after": "forever"}))
        for relation in ("market.trades", "market.quotes", "market.books"):
            run_policies(owner, relation)
            assert desk.fetch(f"select min(time) >= %s as is_new from {relation}", LATELY) == [
                {"is_new": True}
            ]
        assert desk.fetch("select count(*) > 0 as kept from surveillance.windows") == [{"kept": True}]
        assert desk.fetch("select alert_id from surveillance.alerts order by 1") == alerts


def test_the_server_compresses_what_is_old(url: str, owner: psycopg.Connection[Any]) -> None:
    migrate(url, KEPT_FOR_EVER)
    with open_desk(url), Store(url) as store:
        store.write(batch(facts(LONG_AGO)))
        store.write(batch(facts(LATELY)))
    before = contents(owner, "market.trades")
    migrate(url, load_storage({"retention": {"facts": "forever"}, "columnstore_after": "7 days"}))
    run_policies(owner, "market.trades")
    assert columnstore_chunks(owner, "market.trades") == 1
    assert contents(owner, "market.trades") == before


def test_the_nightly_job_leaves_to_the_server_what_is_the_servers(url: str) -> None:
    migrate(url, load_storage({"retention": {"facts": "1 day", "ledger": "1 day"}}))
    with open_desk(url) as desk:
        desk.fetch(
            "insert into market.rejected_frames (venue, received_at, last_received_at, error, frame)"
            " select 'binance', at, at, 'no JSON', '{' from (values (%s::timestamptz)) as rows (at)",
            LONG_AGO,
        )
        run = desk.execute("maintain_storage_daily")
        assert run.success
        (materialised,) = run.asset_materializations_for_node("ops__storage")
        told = {name: entry.value for name, entry in materialised.metadata.items()}
        assert told["market.rejected_frames rows"] == 1
        assert not any(name.startswith("market.trades ") for name in told)


def test_tables_with_rows_become_hypertables_with_policies(
    url: str, owner: psycopg.Connection[Any], tmp_path: Path
) -> None:
    plain = Path(shutil.copytree(SQL, tmp_path / "sql"))
    (plain / "timescale.sql").write_text("select 1;\n")  # as of before the extension came
    migrate(url, KEPT_FOR_EVER, plain)
    with open_desk(url), Store(url) as store:
        store.write(batch(facts(LATELY)))
    before = contents(owner, "market.trades")
    assert "market.trades" in migrate(url, StorageSettings()).to_move
    assert migrate(url, StorageSettings(), to_hypertables=True).to_move == ()
    assert contents(owner, "market.trades") == before
    assert set(jobs(owner)) == {stored.relation for stored in HYPERTABLES}

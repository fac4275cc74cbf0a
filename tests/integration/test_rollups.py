"""Schema rollup on real servers: the rows of every edition, of every refresh, and of polars are the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from dagster import (
    AssetKey,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunRequest,
    SkipReason,
    build_schedule_context,
)
from polars.testing import assert_frame_equal
from psycopg.conninfo import make_conninfo

from ingest_daemon.events import ReferencePrice, Trade
from ingest_daemon.replay import replay_files
from ingest_daemon.store import Store
from sentinet_dagster.partitions import in_microseconds
from sentinet_dagster.quality.checking import check_range
from sentinet_dagster.quality.full_pass import full_pass
from sentinet_dagster.quality.rollup_suites import ROLLUPS
from sentinet_dagster.resources import Timescale
from sentinet_dagster.rollup_automation import refresh_rollups_minutely_schedule
from sentinet_dagster.rollups.catalogue import Catalogue, encode
from sentinet_dagster.rollups.project import DbtFailed, RollupProject
from sentinet_dagster.rollups.refreshing import rebuild, refresh, rollups
from sentinet_dagster.runtime.database import migrate
from sentinet_dagster.runtime.roles import Passwords
from sentinet_dagster.runtime.rollups import deploy
from sentinet_dagster.storage import load_storage
from tests.conftest import KEPT_FOR_EVER
from tests.integration import rollup_reference as reference
from tests.integration.conftest import hold_policies
from tests.integration.judging import Desk
from tests.integration.market_facts import batch, events, gap, refused

pytestmark = pytest.mark.integration

HOUR = datetime(2024, 8, 9, 10, tzinfo=UTC)
START = in_microseconds(HOUR)
MINUTE = 60_000_000
VENUES = {"binance_spot": "binance", "binance_usdm": "binance_usdm"}
HOME = Path(os.environ["SENTINET_HOME"])
WITH_ROWS = (
    "trade_bars_1m", "trade_bars_5m", "trade_bars_15m", "trade_bars_1h", "trade_bars_1d", "quote_spreads_1m",
    "book_depth_1m", "reference_prices_1m", "feed_quality_1h", "technical_indicators_1m",
)  # fmt: skip
MARTS = ("quote_bars_1m", "basis_1m", "spread_monitor", "price_with_bands", "market_overview")
_SEEN: dict[str, pl.DataFrame] = {}  # of the server that was asked first

Connection = psycopg.Connection[Any]


@pytest.fixture
def url(rollup_url: str) -> str:
    return rollup_url


@pytest.fixture
def connection(rollup_connection: Connection) -> Connection:
    return rollup_connection


def write(url: str, *facts: Any) -> None:
    with Store(url) as store:
        store.write(batch(list(facts)))


def trade(minute: float, number: int, price: float = 100.0, instrument: int = 1) -> Trade:
    time = START + int(minute * MINUTE)
    return Trade(instrument, number, time, time + 1000, price, 1.0, 1)


def rows(connection: Connection, name: str) -> pl.DataFrame:
    return reference.fetch(connection, f"select * from rollup.{name} order by 1, 2, 3")


def everything(connection: Connection) -> dict[str, pl.DataFrame]:
    return {name: rows(connection, name) for name in (*WITH_ROWS, *MARTS)}


def test_a_recording_is_summed_as_polars_sums_it_and_the_same_everywhere(
    url: str, connection: Connection, shared_data: Path
) -> None:
    files = [
        shared_data / "binance_recordings" / name
        for name in ("spot/btcusdt_20240808.gz", "usdm/btcusdt_20240808.gz")
    ]
    with Store(url) as store:
        replay_files(files, store, VENUES)
        (began,) = connection.execute("select min(time) from market.quotes").fetchone() or (HOUR,)
        store.write(batch(list(marks(in_microseconds(began)))))  # the recording has none
    refresh(connection)
    found = everything(connection)
    expectations = reference.rollups(connection)
    for name, expected in expectations.items():
        # Sums are in one order and so the same bits; deviations, powers, divisions by a constant are not.
        loose = ("spread_bps_std", "latency_ms_sum", "latency_ms_max", "liquidity_score")
        exact = [each for each in expected.columns if each not in loose]
        if name not in ("technical_indicators_1m", "feed_quality_1h", "basis_1m"):
            assert_frame_equal(found[name][exact], expected[exact], check_exact=True, check_dtypes=False)
        assert_frame_equal(found[name], expected, rel_tol=1e-9, abs_tol=1e-9, check_dtypes=False)
        assert len(expected) >= 2  # instruments
    # The rest repeats columns of these: dbt's unit tests say how.
    assert {*expectations, "spread_monitor", "price_with_bands", "market_overview"} == set(found)
    basis = found["basis_1m"].drop_nulls("basis_spot_bps")
    assert len(basis) >= 5
    assert basis["basis_spot_bps"].abs().max() < 20  # the perpetual trades near spot: a real market
    for name, frame in found.items():
        assert_frame_equal(frame, _SEEN.setdefault(name, frame), check_exact=True)


def marks(start: int) -> Iterator[ReferencePrice]:
    """Of the perpetual, each 7 s; not every message says everything."""
    for number in range(40):
        time, price = start + number * 7_000_000, 61_000 + number / 8
        yield ReferencePrice(
            3, time, time + 1000, price, price + 1 if number % 2 else None, 1e-4 if number % 9 == 0 else None
        )


def test_indicators_are_what_polars_makes_of_them(url: str, connection: Connection) -> None:
    minutes = [minute for minute in range(420) if minute % 7 and not 120 < minute < 195]
    write(url, *(trade(m + 0.5, m, 100 + (m * 37 % 41) / 7, i) for m in minutes for i in (1, 2)))
    refresh(connection)
    expected = reference.indicators(
        reference.trade_bars(reference.fetch(connection, "select * from market.trades"))
    )
    found = rows(connection, "technical_indicators_1m")
    assert_frame_equal(found, expected, rel_tol=1e-9, check_dtypes=False)
    assert found.null_count().row(0).count(0) == 3  # the keys and the close: everything else warms up
    assert found.drop_nulls().height > 0


def test_refreshed_again_and_again_is_rebuilt_at_once(url: str, connection: Connection) -> None:
    """In parts, late, out of order: what refreshes leave is what a rebuild makes, bit for bit."""
    whole = [*events((1, 2, 3), START, 900), gap(START + MINUTE, START + 2 * MINUTE), refused(START + 5)]
    for part in (whole[1::3], whole[2::3], whole[0::3]):
        write(url, *part)
        refresh(connection)
    found = everything(connection)
    for name in rollups(connection):
        rebuild(connection, name)
    for name, frame in everything(connection).items():
        assert_frame_equal(frame, found[name], check_exact=True)
        assert len(frame), name


def test_a_late_tick_makes_anew_its_own_buckets_and_no_others(url: str, connection: Connection) -> None:
    write(url, *(trade(minute, minute) for minute in range(120)))
    refresh(connection)
    before = stamps(connection, "trade_bars_1m")
    write(url, trade(30.5, 1000, price=500.0))
    done = {each.name: each.rows for each in refresh(connection)}
    if not native(connection):  # TimescaleDB does not say
        assert done["trade_bars_1m"] == done["trade_bars_5m"] == done["trade_bars_1d"] == 1
        after = stamps(connection, "trade_bars_1m")
        assert {bucket for bucket in after if after[bucket] != before[bucket]} == {
            HOUR + timedelta(minutes=30)
        }
    for name in ("trade_bars_1m", "trade_bars_5m", "trade_bars_15m", "trade_bars_1h", "trade_bars_1d"):
        assert rows(connection, name)["high"].max() == 500.0
    assert rows(connection, "technical_indicators_1m").filter(pl.col("sma_20") > 100).height == 20


def stamps(connection: Connection, name: str) -> dict[datetime, str]:
    """Bucket → which transaction wrote its row; a continuous aggregate is a view, whose rows have none."""
    if native(connection):
        return {}
    return dict(connection.execute(f"select bucket, xmin::text from rollup.{name}").fetchall())  # type: ignore[call-overload]


# In place of the community edition's: it notes what it was told, but is twice at the same buckets itself.
PROCEDURE = """
create sequence public.calls;
create table public.refreshed (name text, low timestamptz, high timestamptz, forced boolean);
create procedure public.refresh_continuous_aggregate(
    name regclass, low timestamptz, high timestamptz, force boolean default false
)
language plpgsql as $$
begin
    if nextval('public.calls') < 3 then
        raise exception 'due to a concurrent refresh' using errcode = 'lock_not_available';
    end if;
    insert into public.refreshed values (name, low, high, force);
end
$$;
update rollup.continuous_aggregates set is_native = true where name = 'trade_bars_5m'
"""


def test_timescaledb_is_told_which_buckets_and_again_while_it_is_at_them_itself(
    url: str, connection: Connection
) -> None:
    if connection.execute("select from pg_extension where extname = 'timescaledb'").fetchone():
        pytest.skip("this server has the procedure itself")
    connection.execute(PROCEDURE.encode())
    write(url, trade(1, 1), trade(7, 2))
    for _ in range(2):
        refresh(connection)
    rebuild(connection, "trade_bars_5m")
    assert connection.execute("select * from public.refreshed order by forced").fetchall() == [
        ("rollup.trade_bars_5m", HOUR, HOUR + timedelta(minutes=10), False),
        ("rollup.trade_bars_5m", HOUR, None, True),
    ]
    assert connection.execute("select last_value from public.calls").fetchone() == (4,)


def test_nothing_new_is_nothing_to_do(url: str, connection: Connection) -> None:
    write(url, *(trade(minute, minute) for minute in range(5)))
    assert any(each.rows != 0 for each in refresh(connection))
    assert all(not each.rows for each in refresh(connection))


def test_a_batch_that_commits_behind_the_refresh_is_not_missed(url: str, connection: Connection) -> None:
    """While it runs, a refresh takes nothing that began later for seen: it could not tell it apart."""
    write(url, trade(3, 4))  # the chunk: who makes one is waited for
    refresh(connection)
    with psycopg.connect(url) as slow:
        insert_trade(slow, trade(0, 1))
        write(url, trade(1, 2))
        refresh(connection)
        assert rows(connection, "trade_bars_1m").height == 1
        slow.commit()
    write(url, trade(2, 3))
    refresh(connection)
    assert rows(connection, "trade_bars_1m").height == 4


def insert_trade(connection: Connection, late: Trade) -> None:
    """What the store does with a batch of one, without its commit."""
    time = datetime.fromtimestamp(late.occurred_at / 1e6, UTC)
    connection.execute(
        "insert into market.trades values (1, %s, %s, %s, %s, %s, 1, 1, 1)",
        [late.trade_id, time, time, time, late.price],
    )
    connection.execute(
        "insert into ops.ingest_batches (venue, relation, rows, duplicates, bytes, touched, max_received_at)"
        " values ('binance', 'trades', 1, 0, 1, tstzmultirange(tstzrange(%s, %s, '[]')), %s)",
        [time, time, time],
    )


def test_the_horizon_of_another_server_is_no_horizon(url: str, connection: Connection) -> None:
    """After a restore transactions are counted anew, from less than the horizon that came along."""
    write(url, trade(0, 1))
    refresh(connection)
    connection.execute("update rollup.continuous_aggregates set refreshed_to = '9000000000000'")
    write(url, trade(1, 2))
    refresh(connection)
    assert rows(connection, "trade_bars_1m").height == 2
    assert all(not each.rows for each in refresh(connection))


def test_buckets_whose_facts_are_gone_stay(url: str, connection: Connection) -> None:
    write(url, *(trade(minute, minute) for minute in range(10)))
    refresh(connection)
    found = rows(connection, "trade_bars_1m")
    connection.execute("delete from market.trades where time < %s", [HOUR + timedelta(minutes=4)])
    rebuild(connection, "trade_bars_1m")
    assert_frame_equal(rows(connection, "trade_bars_1m"), found)


def test_dbt_tests_pass_on_a_market_and_fail_on_a_broken_one(url: str, connection: Connection) -> None:
    """By Dagster, as asset checks: what the hourly job does."""
    # The last trade is far enough behind the judged minute that no late data is waited for.
    write(url, *events((1, 2, 3), START, 300), gap(START, START + MINUTE), trade(20, 10**6))
    with DagsterInstance.ephemeral() as instance:
        desk = Desk(url, instance)
        refreshed = desk.execute("refresh_rollups_minutely")
        assert refreshed.success
        made = {event.asset_key.path[-1] for event in refreshed.get_asset_materialization_events()}
        assert made == set(WITH_ROWS)
        (bars,) = [
            event.materialization
            for event in refreshed.get_asset_materialization_events()
            if event.asset_key == AssetKey(["rollup", "trade_bars_1m"])
        ]
        if not native(connection):  # TimescaleDB does not say
            count = rows(connection, "trade_bars_1m").height
            assert bars.metadata["dagster/partition_row_count"].value == count
        judge_too_much(connection, minute=1)
        connection.execute("update rollup.trade_bars_1m set buy_volume = 2 * volume where instrument_id = 1")
        checked = desk.execute("check_rollups_hourly").get_asset_check_evaluations()
    failed = {check.check_name: check.metadata["failures"].value for check in checked if not check.passed}
    assert failed == {
        "trade_bars_1m_buy_no_more_than_they_trade": 6,
        "trade_bars_1m_agree_with_judged_windows": 1,
    }
    assert len(checked) > 30


BREAKS = {
    ("trade_bars_1m", "close_is_there"): "close = null",
    ("trade_bars_5m", "vwap_is_between_low_and_high"): "vwap = high * 2",
    ("trade_bars_1h", "ohlc_are_consistent"): "low = high + 1",
    ("quote_spreads_1m", "no_more_are_timed_than_counted"): "timed_count = quote_count + 1",
    ("book_depth_1m", "bid_depth_10bps_is_not_negative"): "bid_depth_10bps = -1",
    ("reference_prices_1m", "mark_price_is_positive"): "mark_price = 'NaN'",
    ("feed_quality_1h", "minutes_are_of_an_hour"): "minutes_with_facts = 61",
    ("technical_indicators_1m", "rsi_is_a_percentage"): "rsi_14 = 101",
}
ECHOES = {("trade_bars_1h", "vwap_is_between_low_and_high")}  # of a low above the high


def test_suites_hold_on_a_market_and_tell_of_a_broken_one(url: str, connection: Connection) -> None:
    write(url, *events((1, 2, 3), START, 300), gap(START, START + MINUTE), refused(START + MINUTE))
    refresh(connection)
    day = HOUR.replace(hour=0)

    def broken() -> set[tuple[str, str]]:
        both = [
            [each for suite in ROLLUPS for each in check_range(connection, suite, day, day + timedelta(1))],
            full_pass(url, ROLLUPS, day, day + timedelta(days=1)),
        ]
        told = [
            {(each.relation, each.expectation): each.failing for each in results if not each.passed}
            for results in both
        ]
        assert told[0] == told[1]
        assert {each.error for each in both[1]} == {None}
        return {(relation.removeprefix("rollup."), name) for relation, name in told[0]}

    # The perpetual of this market costs three times what its spot does.
    assert broken() == {("basis_1m", "basis_to_spot_is_near")}
    for (name, _), change in BREAKS.items():
        connection.execute(f"update rollup.{name} set {change} where instrument_id = 1")
    assert broken() - {("basis_1m", "basis_to_spot_is_near")} == {*BREAKS, *ECHOES}


def judge_too_much(connection: Connection, minute: int) -> None:
    """Windows of a minute that say of instrument 1 one trade more than there was."""
    connection.execute(
        """
        insert into surveillance.windows (
            instrument_id, window_start, volume, buy_volume, sell_volume, notional, trade_count, quote_count,
            book_count, order_trade_ratio, completeness, book_completeness, trade_completeness, gap_seconds,
            refused_frames
        )
        select
            1, bars.bucket + n * interval '5 seconds', bars.volume / 12, 0, 0, 0,
            case n when 0 then bars.trade_count + 1 else 0 end, 0, 0, 0, 1, 1, 1, 0, 0
        from rollup.trade_bars_1m as bars
        cross join generate_series(0, 11) as n
        where bars.instrument_id = 1 and bars.bucket = %s
        """,
        [HOUR + timedelta(minutes=minute)],
    )


def test_dbt_unit_tests_pass(url: str, tmp_path: Path) -> None:
    project = RollupProject(HOME)
    results = project.test(url, ["test_type:unit"], tmp_path)
    assert {each.unique_id: each.message for each in results if each.status != "pass"} == {}
    assert len(results) >= 17


def test_a_schedule_tick_asks_for_one_run_where_facts_came(
    url: str, connection: Connection, tmp_path: Path
) -> None:
    def tick() -> object:
        with build_schedule_context(
            scheduled_execution_time=HOUR, resources={"timescale": Timescale(url=url)}, instance=instance
        ) as context:
            return refresh_rollups_minutely_schedule(context)

    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert isinstance(tick(), SkipReason)
        write(url, trade(0, 1))
        assert isinstance(tick(), RunRequest)
        refresh(connection)
        assert isinstance(tick(), SkipReason)
        connection.execute("update rollup.continuous_aggregates set refreshed_to = null")  # never filled
        assert isinstance(tick(), RunRequest)
        at_work = DagsterRun("refresh_rollups_minutely", status=DagsterRunStatus.STARTED)
        instance.add_run(at_work)
        assert isinstance(tick(), SkipReason)


def test_a_database_without_rollups_is_a_skipped_tick(database_url: str) -> None:
    with build_schedule_context(
        scheduled_execution_time=HOUR, resources={"timescale": Timescale(url=database_url)}
    ) as context:
        skipped = refresh_rollups_minutely_schedule(context)
    assert isinstance(skipped, SkipReason)
    assert "sentinet migrate" in (skipped.skip_message or "")


@pytest.fixture
def small(tmp_path: Path) -> RollupProject:
    """The project with one rollup and what is made of it, for tests that change its definition."""
    source = tmp_path / "dbt_project"
    shutil.copytree(RollupProject(HOME).source, source, ignore=shutil.ignore_patterns("marts", "staging"))
    for path in (source / "models" / "rollups").iterdir():
        if path.name not in ("trade_bars_1m.sql", "trade_bars_5m.sql"):
            path.unlink()
    return RollupProject(tmp_path / "home", source)


def define(project: RollupProject, url: str, old: str, new: str, *, full_refresh: bool = False) -> None:
    """Change the definition and deploy it."""
    path = project.source / "models" / "rollups" / "trade_bars_1m.sql"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    # The catalogue of these models is of no interest here, and takes a process of its own.
    project.target.mkdir(parents=True, exist_ok=True)
    (project.target / "catalogue.json").write_bytes(encode(Catalogue((), ())))
    project.run(url, full_refresh=full_refresh)
    with psycopg.connect(url, autocommit=True) as connection:
        hold_policies(connection)
        refresh(connection)


def test_what_was_made_before_there_were_roles_is_dagsters_afterwards(url: str) -> None:
    """And stays so: every migrate takes away what a role has and gives it back."""
    passwords = Passwords({"surveillance": "kept by Dagster", "analyst": "kept by people"})
    migrate(url, KEPT_FOR_EVER, roles=passwords)
    assert deploy(url, HOME)
    migrate(url, KEPT_FOR_EVER)
    write(url, trade(0, 1))
    surveillance, analyst = (
        make_conninfo(url, user=f"sentinet_{role}", password=password)
        for role, password in passwords.by_role.items()
    )
    with psycopg.connect(surveillance, autocommit=True) as dagster:
        refresh(dagster)
        rebuild(dagster, "trade_bars_1d")
    with psycopg.connect(analyst) as person:
        person.execute("set time zone 'UTC'")
        assert rows(person, "trade_bars_1d").height == 1
        assert rows(person, "market_overview").height == 3
        # What stands on facts and models that an analyst cannot read, and on a function.
        for name in ("feed_status", "feed_troubles", "trained_models", "relation_sizes"):
            rows(person, name)
        assert rows(person, "alert_queue").is_empty()  # whose function it may call
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)):
            person.execute("delete from rollup.trade_bars_1m")


def test_the_names_of_the_community_edition_are_the_servers(connection: Connection) -> None:
    """Without a community server at hand: this one knows each function and refuses its licence alone."""
    if connection.execute("select current_setting('timescaledb.license', true)").fetchone() != ("apache",):
        pytest.skip("this server is not of the Apache edition")
    connection.execute(
        "update rollup.continuous_aggregates set is_native = true where name = 'trade_bars_1m'"
    )
    for call in (
        "select rollup.apply_policies()",
        "select add_continuous_aggregate_policy('rollup.trade_bars_1m', start_offset => interval '30 days',"
        " end_offset => null::interval, schedule_interval => interval '1 minute')",
        "select remove_retention_policy('rollup.trade_bars_1m', if_exists => true)",
        "select add_retention_policy('rollup.trade_bars_1m', drop_after => interval '1 year')",
        "call refresh_continuous_aggregate('rollup.trade_bars_1m', null::timestamptz, null, force => true)",
    ):
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            connection.execute(call.encode())


def test_the_community_edition_keeps_rollups_itself(community_database_url: str) -> None:
    """Refresh and retention are its policies, by config/storage.yaml, and change with it."""

    def apply(kept: str) -> dict[str, tuple[str, timedelta | None]]:
        storage = load_storage({"columnstore_after": "forever", "retention": {"rollups": kept}})
        migrate(community_database_url, storage)
        assert deploy(community_database_url, HOME)
        found = connection.execute("select relation, removed_by, keep from ops.expiring()").fetchall()
        return {name.removeprefix("rollup."): rest for name, *rest in found if name.startswith("rollup.")}

    with psycopg.connect(community_database_url, autocommit=True) as connection:
        kept = apply("36500 days")
        tables = {"feed_quality_1h", "technical_indicators_1m"}
        assert {name for name, (by, _) in kept.items() if by == "policy"} == set(WITH_ROWS) - tables
        assert {name for name, (by, _) in kept.items() if by == "rows"} == tables
        assert {keep for _, keep in kept.values()} == {timedelta(days=36500)}
        (refreshing,) = connection.execute(
            "select count(*) from timescaledb_information.jobs"
            " where proc_name = 'policy_refresh_continuous_aggregate'"
        ).fetchone() or (0,)
        assert refreshing == len(WITH_ROWS) - len(tables)
        assert {by for by, _ in apply("forever").values()} == {"chunks", "rows"}


def test_a_definition_is_made_once_and_anew_when_it_changed(database_url: str, small: RollupProject) -> None:
    write(database_url, trade(0, 1, price=3.0), trade(5, 2, price=4.0))
    with psycopg.connect(database_url, autocommit=True) as connection:

        def bars(column: str, name: str = "trade_bars_1m") -> list[Any]:
            return rows(connection, name)[column].to_list()

        def state() -> Any:
            return connection.execute(
                "select 'rollup.trade_bars_1m'::regclass::oid, definition_hash, refreshed_at"
                " from rollup.continuous_aggregates where name = 'trade_bars_1m'"
            ).fetchall()

        define(small, database_url, "(trades.price)", "(trades.price)")
        assert bars("high") == [3.0, 4.0]
        before = state()

        define(
            small, database_url, "max(trades.price) as high", "max(trades.price)\n        as high"
        )  # only its looks
        assert state()[0][:2] == before[0][:2]

        define(small, database_url, "as high", "+ 1 as high")
        assert bars("high") == bars("high", "trade_bars_5m") == [4.0, 5.0]
        if not native(connection):  # the same columns: the relation stays, with all that stands on it
            assert state()[0][0] == before[0][0]

        connection.execute("delete from market.trades where trade_id = 1")
        lost = r"would lose what lies between.*trade_bars_1m_v2.*--full-refresh"
        with pytest.raises(DbtFailed, match=lost):
            define(small, database_url, "max(trades.price)", "count(*) as row_count, max(trades.price)")
        assert bars("high") == [4.0, 5.0]

        define(small, database_url, "count(*) as row_count", "count(*) as rows_seen", full_refresh=True)
        assert bars("rows_seen") == [1]


def native(connection: Connection) -> bool:
    (found,) = connection.execute(
        "select bool_or(is_native) from rollup.continuous_aggregates"
    ).fetchone() or (0,)
    return bool(found)


def test_facts_that_come_while_it_is_made_anew_are_not_missed(url: str, connection: Connection) -> None:
    """The horizon is that of before: what commits meanwhile is seen twice rather than not."""
    write(url, trade(0, 1))
    with psycopg.connect(url) as slow:
        insert_trade(slow, trade(1, 2))
        rebuild(connection, "trade_bars_1m")
        slow.commit()
        refresh(connection)
        assert rows(connection, "trade_bars_1m").height == 2

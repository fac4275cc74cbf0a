"""Migrating real databases: again, at once, interrupted, newer, edited; hypertables where TimescaleDB is."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from sentinet_dagster.cli import run
from sentinet_dagster.runtime.database import SQL, Migrated, migrate
from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.migrations import read_migrations
from sentinet_dagster.storage import load_storage
from tests.conftest import KEPT_FOR_EVER

pytestmark = pytest.mark.integration

ALL = tuple(migration.version for migration in read_migrations(SQL / "migrations"))
BLOCKER = 4242


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.fixture
def sql_directory(tmp_path: Path) -> Path:
    """A copy of sql/ to which a test may add."""
    return Path(shutil.copytree(SQL, tmp_path / "sql"))


def add_migration(sql_directory: Path, statements: str) -> str:
    version = f"{len(ALL) + 1:04}"
    (sql_directory / "migrations" / f"{version}_create_things.sql").write_text(statements)
    return version


def test_a_new_database_gets_all_and_a_second_time_nothing(empty_database_url: str) -> None:
    assert migrate(empty_database_url).applied == ALL
    journal = "select version, name, sha256, applied_at from ops.migrations order by version"
    before = rows(empty_database_url, journal)
    assert [row[0] for row in before] == list(ALL)
    again = migrate(empty_database_url)
    assert (again.applied, again.version) == ((), ALL[-1])
    assert rows(empty_database_url, journal) == before
    assert rows(empty_database_url, "select version_num from alembic_version") == [(ALL[-1],)]


def test_a_file_reaches_the_server_as_it_is(empty_database_url: str, sql_directory: Path) -> None:
    """No client splits it at semicolons or looks for parameters in it."""
    add_migration(
        sql_directory,
        "create function public.odd() returns text language plpgsql as $$\n"
        "begin return format('%s; :name; 100%%', 'é'); end\n$$;\n"
        "-- a comment with ' and ;\nselect public.odd();\n",
    )
    migrate(empty_database_url, sql_directory=sql_directory)
    assert rows(empty_database_url, "select public.odd()") == [("é; :name; 100%",)]


def _migrate(url: str, together: Barrier, said: Queue[Migrated]) -> None:
    together.wait(240)
    said.put(migrate(url))


def test_two_at_once_both_succeed_and_apply_each_migration_once(empty_database_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    together, said = spawn.Barrier(2), spawn.Queue()
    processes = [spawn.Process(target=_migrate, args=(empty_database_url, together, said)) for _ in range(2)]
    for process in processes:
        process.start()
    results = [said.get(timeout=240) for _ in processes]
    for process in processes:
        process.join()
        assert process.exitcode == 0
        process.close()
    assert sorted(result.applied for result in results) == [(), ALL]
    assert {result.version for result in results} == {ALL[-1]}


def _migrate_from(url: str, sql_directory: Path) -> None:
    migrate(url, sql_directory=sql_directory)


def test_a_migration_killed_between_statements_is_run_again(
    empty_database_url: str, sql_directory: Path
) -> None:
    version = add_migration(
        sql_directory,
        "create table public.first ();\n"
        f"select pg_advisory_xact_lock({BLOCKER});\n"
        "create table public.second ();\n",
    )
    with psycopg.connect(empty_database_url, autocommit=True) as blocker:
        blocker.execute("select pg_advisory_lock(%s)", [BLOCKER])
        spawn = multiprocessing.get_context("spawn")
        process = spawn.Process(target=_migrate_from, args=(empty_database_url, sql_directory))
        process.start()
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and objid = %s and not granted"
        while blocker.execute(waiting, [BLOCKER]).fetchone() == (0,):
            assert process.is_alive()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        process.close()
    # All before it is kept, nothing of the interrupted one; the lock of the dead holds nobody up.
    assert migrate(empty_database_url, sql_directory=sql_directory).applied == (version,)
    assert rows(empty_database_url, "select to_regclass('first'), to_regclass('second')") == [
        ("first", "second")
    ]


def test_a_failing_migration_leaves_the_ones_before_it(empty_database_url: str, sql_directory: Path) -> None:
    version = add_migration(sql_directory, "create table public.first ();\ncreate tabel public.second ();\n")
    with pytest.raises(psycopg.errors.SyntaxError) as failure:
        migrate(empty_database_url, sql_directory=sql_directory)
    assert failure.value.__notes__ == [f"in migration {version}_create_things"]
    assert rows(empty_database_url, "select max(version), to_regclass('first') from ops.migrations") == [
        (ALL[-1], None)
    ]
    assert migrate(empty_database_url).applied == ()


def test_a_newer_database_is_refused_by_name_and_left_alone(
    empty_database_url: str, sql_directory: Path
) -> None:
    add_migration(sql_directory, "create table public.things ();")
    newer = migrate(empty_database_url, sql_directory=sql_directory)
    with pytest.raises(
        UserError, match=f"newer than this Sentinet: it has migration {newer.version}_create_things"
    ):
        migrate(empty_database_url)


def test_an_edited_migration_is_refused_by_name(empty_database_url: str, sql_directory: Path) -> None:
    migrate(empty_database_url)
    edited = sorted((sql_directory / "migrations").iterdir())[1]
    edited.write_bytes(edited.read_bytes() + b"-- harmless\n")
    with pytest.raises(UserError, match=f"migration {edited.stem} was edited after it was applied"):
        migrate(empty_database_url, sql_directory=sql_directory)


def test_an_unreachable_database_is_one_line() -> None:
    with pytest.raises(
        UserError, match=r"^cannot connect to postgresql://a@127\.0\.0\.1:1/b: Connection refused$"
    ):
        migrate("postgresql://a:secret@127.0.0.1:1/b")


@pytest.fixture
def has_timescale(empty_database_url: str) -> bool:
    found = rows(
        empty_database_url,
        "select from pg_available_extensions where name = 'timescaledb' "
        "and current_setting('shared_preload_libraries') ~ 'timescaledb'",
    )
    return bool(found)


def test_plain_postgresql_stays_plain(empty_database_url: str, has_timescale: bool) -> None:
    if has_timescale:
        pytest.skip("this server has TimescaleDB")
    assert migrate(empty_database_url).timescale is None


HYPERTABLES = """
select h.hypertable_schema || '.' || h.hypertable_name, d.column_name, d.time_interval
from timescaledb_information.hypertables as h
join timescaledb_information.dimensions as d using (hypertable_schema, hypertable_name)
order by 1
"""


def test_timescaledb_gets_hypertables_that_follow_the_settings(
    empty_database_url: str, has_timescale: bool
) -> None:
    if not has_timescale:
        pytest.skip("this server is plain PostgreSQL: the test runs on TimescaleDB")
    assert migrate(empty_database_url, KEPT_FOR_EVER).timescale is not None
    hour, day = timedelta(hours=1), timedelta(days=1)
    expected: Callable[[timedelta, timedelta], list[tuple[object, ...]]] = lambda facts, judgement: [  # noqa: E731
        *(
            (f"market.{name}", "time", facts)
            for name in ("book_flows", "books", "quotes", "reference_prices", "trades")
        ),
        *(
            (f"surveillance.{name}", "window_start", judgement)
            for name in ("correlations", "features", "findings", "scores", "windows")
        ),
    ]
    assert rows(empty_database_url, HYPERTABLES) == expected(hour, day)
    migrate(empty_database_url, load_storage({"chunks": {"facts": "4 hours", "judgement": "1 week"}}))
    assert rows(empty_database_url, HYPERTABLES) == expected(timedelta(hours=4), timedelta(days=7))


@pytest.fixture
def plain_tables_url(empty_database_url: str, has_timescale: bool, tmp_path: Path) -> str:
    """As of a server that had no TimescaleDB when it was migrated: plain tables, one of them filled."""
    if not has_timescale:
        pytest.skip("this server is plain PostgreSQL: the test runs on TimescaleDB")
    plain = Path(shutil.copytree(SQL, tmp_path / "plain"))
    (plain / "timescale.sql").write_text("select 1;\n")
    migrate(empty_database_url, KEPT_FOR_EVER, plain)
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(
            "insert into market.trades select 1, n, t, t, t, 1, 1, 1, 1 "
            "from generate_series(1, 100) as n, "
            "lateral (select timestamptz '2024-08-08' + n * interval '5 min') as x (t)"
        )
    return empty_database_url


def test_tables_with_rows_become_hypertables_on_request_and_keep_them(plain_tables_url: str) -> None:
    found = "select * from market.trades order by trade_id"
    before = rows(plain_tables_url, found)
    done = migrate(plain_tables_url, KEPT_FOR_EVER)
    # The empty ones are moved by the way; the filled one is locked and copied when somebody says so.
    assert done.to_move == ("market.trades",)
    assert ("market.trades",) not in rows(plain_tables_url, f"select name from ({HYPERTABLES}) as h (name)")
    assert migrate(plain_tables_url, KEPT_FOR_EVER, to_hypertables=True).to_move == ()
    assert rows(plain_tables_url, found) == before
    assert rows(plain_tables_url, "select count(*) from show_chunks('market.trades')") == [(9,)]
    with pytest.raises(psycopg.errors.UniqueViolation), psycopg.connect(plain_tables_url) as connection:
        connection.execute("insert into market.trades select * from market.trades limit 1")
    assert migrate(plain_tables_url, KEPT_FOR_EVER, to_hypertables=True).to_move == ()


def test_the_command_tells_what_could_be_moved(
    plain_tables_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SENTINET_DATABASE_URL", plain_tables_url)
    for _ in range(2):
        assert run(["migrate", "--json"]) == 0
        said = capsys.readouterr()
        assert json.loads(said.out)["to_move"] == ["market.trades"]
        assert "market.trades has rows and is no hypertable: see `sentinet migrate --to-hyper" in said.err
    assert run(["migrate", "--to-hypertables", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["to_move"] == []
    assert "no hypertable" not in said.err


# At the n-th statement that defines something, the server ends the session, as a kill or a lost line would.
# The count is a sequence: what ends with the transaction is not it.
EXECUTIONER = """
create sequence public.seen;
create sequence public.fatal;
create function public.end_at_fatal() returns event_trigger language plpgsql as $$
begin
    if nextval('public.seen') = (select last_value from public.fatal) then
        perform pg_terminate_backend(pg_backend_pid());
    end if;
end
$$;
create event trigger executioner on ddl_command_start execute function public.end_at_fatal();
"""
SCHEMA = """
select 'column', table_schema || '.' || table_name, column_name, data_type, column_default, is_nullable
from information_schema.columns
where table_schema in ('market', 'surveillance', 'model', 'ops', 'rollup')
union all
select 'index', schemaname || '.' || tablename, indexname, indexdef, null, null
from pg_indexes
where schemaname in ('market', 'surveillance', 'model', 'ops')
union all
select 'function', proname, pg_get_functiondef(pg_proc.oid), null, null, null
from pg_proc
where pronamespace = 'ops'::regnamespace
union all
select 'storage', relation, keep::text, chunk::text, segment_by, order_by
from ops.storage
order by 1, 2, 3
"""


def test_interrupted_at_any_statement_it_is_run_again(
    empty_database_url: str, database_url: str, has_timescale: bool
) -> None:
    """Ended at the first statement of what is missing, the second … until it comes through."""
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        if has_timescale:  # half a second each time
            connection.execute("create extension if not exists timescaledb")
        connection.execute(EXECUTIONER.encode())
        fatal, ended, reached = 1, 0, 0
        while True:
            connection.execute("select setval('public.seen', 1, false), setval('public.fatal', %s)", [fatal])
            try:
                migrate(empty_database_url, KEPT_FOR_EVER)
                break
            except (psycopg.OperationalError, OperationalError):
                ended += 1
            applied = count_applied(connection)
            # A migration that came through is not run again: count from the first statement of the next.
            fatal = 1 if applied > reached else fatal + 1
            reached = applied
        connection.execute("drop event trigger executioner")
    assert ended > 60
    assert rows(empty_database_url, SCHEMA) == rows(database_url, SCHEMA)
    assert migrate(empty_database_url, KEPT_FOR_EVER).applied == ()


def count_applied(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    if connection.execute("select to_regclass('ops.migrations')").fetchone() == (None,):
        return 0
    return len(connection.execute("select from ops.migrations").fetchall())


def test_a_newer_database_is_one_line_and_two(
    empty_database_url: str,
    sql_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_migration(sql_directory, "create table public.things ();")
    migrate(empty_database_url, sql_directory=sql_directory)
    monkeypatch.setenv("SENTINET_DATABASE_URL", empty_database_url)
    capsys.readouterr()  # what the newer one logged
    assert run(["migrate"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "the database is newer than this Sentinet" in said.err
    # Nothing of the older code's was applied to it.
    assert rows(empty_database_url, "select to_regclass('public.things')") == [("things",)]

"""Data quality on a real database: a replayed recording is clean, twelve faults in it are caught by name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dagster import AssetCheckSeverity, build_schedule_context

from ingest_daemon.replay import replay_files
from ingest_daemon.store import Store
from sentinet_dagster import checks
from sentinet_dagster.assets.soundness import suite_check_key
from sentinet_dagster.automation import check_quality_daily_schedule
from sentinet_dagster.cli import run as run_command
from sentinet_dagster.definitions import defs
from sentinet_dagster.partitions import partition_key
from sentinet_dagster.quality.checking import CheckResult, check_range, existing
from sentinet_dagster.quality.fact_suites import TRADES
from sentinet_dagster.quality.full_pass import full_pass
from sentinet_dagster.quality.suites import SUITES, WINDOWS
from sentinet_dagster.runtime.quality_check import QualityReport, check_quality
from tests.conftest import PostgresServer
from tests.integration.faults import ECHOES, FAULTS, Catch, inject, read_lines, table_of, write_lines
from tests.integration.judging import Desk, environment, open_desk

pytestmark = pytest.mark.integration

SPAN = datetime(2024, 8, 8, 23, 50, tzinfo=UTC), datetime(2024, 8, 9, 0, 20, tzinfo=UTC)
VENUES = {"binance_spot": "binance"}


@dataclass
class Market:
    """A database with the recording in it, judged; spoiled or not."""

    desk: Desk
    report: QualityReport
    html: Path

    def failing(self) -> dict[tuple[str, str], CheckResult]:
        return {(each.relation, each.expectation): each for each in self.report.results if not each.passed}


def take_in(url: str, files: Sequence[Path]) -> None:
    with Store(url) as store:
        replay_files(files, store, VENUES)


@pytest.fixture(scope="module")
def recordings(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    """The recording of two instruments, and the same with what the faults do to it."""
    found = shared_data / "binance_recordings/spot"
    bitcoin = read_lines(found / "btcusdt_20240808.gz", books=True)
    # Without a book, so that silence is silence and no broken book.
    ether = read_lines(found / "ethusdt_20240808.gz", books=False)
    spoiled = bitcoin
    for fault in FAULTS:
        spoiled = fault.spoil(spoiled) if fault.spoil else spoiled
    folder = tmp_path_factory.mktemp("recordings")
    for name, lines in (("clean", bitcoin), ("spoiled", spoiled), ("ether", ether)):
        write_lines(folder / name, lines)
    return [folder / "clean", folder / "ether"], [folder / "spoiled", folder / "ether"]


@contextmanager
def judged(server: PostgresServer, template: str, files: Sequence[Path], html: Path) -> Iterator[Market]:
    """The recordings in a database of their own, with all faults where they are spoiled; judged, checked."""
    name = server.create(template)
    url = server.url(name)
    is_spoiled = any(file.name == "spoiled" for file in files)
    with open_desk(url, ("BTC", "ETH")) as desk, psycopg.connect(url, autocommit=True) as connection:
        take_in(url, files)
        if is_spoiled:
            inject(connection, FAULTS, after_judging=False)
        assert all(run.success for run in desk.catch_up())
        if is_spoiled:
            inject(connection, FAULTS, after_judging=True)
        yield Market(desk, check_quality(url, SPAN, html), html)
    server.drop(name)


@pytest.fixture(scope="module")
def clean(
    postgres_server: PostgresServer,
    migrated_template: str,
    recordings: tuple[list[Path], list[Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Market]:
    html = tmp_path_factory.mktemp("docs")
    with judged(postgres_server, migrated_template, recordings[0], html) as market:
        yield market


@pytest.fixture(scope="module")
def spoiled(
    postgres_server: PostgresServer,
    migrated_template: str,
    recordings: tuple[list[Path], list[Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Market]:
    html = tmp_path_factory.mktemp("docs")
    with judged(postgres_server, migrated_template, recordings[1], html) as market:
        yield market


def test_a_clean_recording_passes(clean: Market, capsys: pytest.CaptureFixture[str]) -> None:
    assert clean.failing() == {}
    assert clean.report.passed.set_aside == 0
    assert len(clean.report.results) == sum(
        len(suite.expectations) for suite in SUITES.values() if not suite.relation.startswith("rollup.")
    )
    (windows,) = clean.desk.fetch(
        "select count(*) as n, min(completeness) as least from surveillance.windows"
    )
    assert windows["n"] > 60
    assert windows["least"] == 1.0
    assert "surveillance.windows" in (clean.html / "index.html").read_text(encoding="utf-8")
    rows = sum({each.relation: each.rows or 0 for each in clean.report.results}.values())
    with capsys.disabled():
        print(f"\n  clean recording: {len(clean.report.results)} expectations of {rows} rows, none is broken")


def test_every_fault_is_caught_by_name(spoiled: Market, capsys: pytest.CaptureFixture[str]) -> None:
    caught = {
        fault.name: [caught_by(spoiled, fault.refused, each) for each in fault.catches] for fault in FAULTS
    }
    with capsys.disabled():
        print(f"\n{table_of(FAULTS, caught)}")
    named = {(catch.by, catch.name) for fault in FAULTS for catch in fault.catches if "." in catch.by}
    assert set(spoiled.failing()) == named | ECHOES
    assert spoiled.report.errors


def caught_by(spoiled: Market, refused: Sequence[tuple[str, str]], catch: Catch) -> str:
    """What caught it, in words; the assertion fails where it did not."""
    desk = spoiled.desk
    match catch.by:
        case "ledger":
            (row,) = desk.fetch(
                "select sum(duplicates) as n from ops.ingest_batches where relation = 'trades'"
            )
            assert row["n"] == 1
        case "refused frame":
            rows = desk.fetch(
                "select error from market.rejected_frames where error like %s", f"%{catch.name}%"
            )
            assert len(rows) == 1, catch
        case "constraint":
            statement = next(text for text, error in refused if error == catch.name)
            with pytest.raises(getattr(psycopg.errors, catch.name)):
                desk.fetch(statement)
        case relation:
            found = spoiled.failing()[relation, catch.name]
            assert found.keys, catch
            assert found.error is None
            return f"{relation} {catch.name} ({found.severity})"
    return f"{catch.by} {catch.name}"


def test_both_engines_say_the_same(clean: Market, spoiled: Market) -> None:
    """GX in its own words, and the statements of micro-batches: of every expectation the same rows."""

    def said(results: Sequence[CheckResult]) -> dict[tuple[str, str], tuple[int, Any]]:
        return {
            (each.relation, each.expectation): (each.failing, sorted(map(key_text, each.keys)))
            for each in results
        }

    for market in (clean, spoiled):
        assert said(held_by_sql(market.desk.url, *SPAN)) == said(market.report.results)


def held_by_sql(url: str, start: datetime, end: datetime) -> list[CheckResult]:
    with psycopg.connect(url, autocommit=True) as connection:
        suites = existing(connection, SUITES.values())
        return [result for suite in suites for result in check_range(connection, suite, start, end)]


def key_text(key: Any) -> str:
    """Times as both engines mean them: one leaves out zeros."""
    return json.dumps({name: moment_of(str(value)) for name, value in key.items()}, sort_keys=True)


def moment_of(text: str) -> str:
    return datetime.fromisoformat(text).isoformat() if "T" in text and "+" in text else text


def test_what_is_not_sound_is_set_aside_and_stays(spoiled: Market) -> None:
    desk = spoiled.desk
    asides = desk.fetch(
        "select relation, instrument_id, row_id, time, reasons from surveillance.quarantined_facts"
        " where lifted_at is null and instrument_id = 1 order by relation, row_id"
    )
    reasons = {(row["relation"], reason) for row in asides for reason in row["reasons"]}
    assert reasons == {
        ("market.books", "best_bids_are_below_best_asks"),
        ("market.books", "best_levels_come_first"),
        ("market.quotes", "bids_are_below_asks"),
        ("market.reference_prices", "something_is_said"),
        ("market.trades", "size_is_positive"),
        ("market.trades", "times_are_not_ahead"),
        ("market.trades", "trades_are_executed_once"),
    }
    for relation in ("trades", "quotes", "books"):
        ids = [row["row_id"] for row in asides if row["relation"] == f"market.{relation}"]
        column = "trade_id" if relation == "trades" else "update_id"
        kept = desk.fetch(
            f"select count(distinct {column}) as n from market.{relation} where {column} = any(%s)", ids
        )
        assert kept == [{"n": len(set(ids))}]
    # The windows of all of them count them as refused, and are less than whole; none took them for prices.
    less = desk.fetch(
        "select window_start, completeness, refused_frames from surveillance.windows"
        " where instrument_id = 1 and refused_frames > 0"
    )
    touched = {
        row["time"].replace(microsecond=0) - timedelta(seconds=row["time"].second % 5)
        for row in asides
        if row["relation"] != "market.reference_prices" and "times_are_not_ahead" not in row["reasons"]
    }
    assert touched <= {row["window_start"] for row in less}
    assert all(0 < row["completeness"] < 1 for row in less)
    assert desk.fetch("select 1 from surveillance.windows where spread_bps_min < 0 or volume < 0") == []


def test_the_nightly_pass_runs_in_dagster(
    spoiled: Market, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checks, "DATA_DOCS", tmp_path / "docs")
    desk = spoiled.desk
    day = datetime(2024, 8, 8, tzinfo=UTC)
    with build_schedule_context(
        scheduled_execution_time=day + timedelta(days=1, hours=2, minutes=20)
    ) as tick:
        (request,) = check_quality_daily_schedule(tick)
    run = desk.execute("check_quality_daily", tags=dict(request.tags))
    assert run.success
    found = {check.check_name: check for check in run.get_asset_check_evaluations()}
    there = [suite for suite in SUITES.values() if not suite.relation.startswith("rollup.")]
    assert set(found) == {f"{suite.table}_are_sound" for suite in there}
    broken = {
        (each.relation, each.expectation): each.failing
        for each in held_by_sql(desk.url, day, day + timedelta(days=1))
        if not each.passed
    }
    assert ("market.trades", "size_is_positive") in broken
    tables = {relation.partition(".")[2] for relation, _ in broken}
    assert {name for name, check in found.items() if not check.passed} == {f"{t}_are_sound" for t in tables}
    trades = found["trades_are_sound"]
    assert trades.severity is AssetCheckSeverity.ERROR
    told = trades.metadata["market.trades size_is_positive"].value
    assert isinstance(told, dict)
    assert told["failing"] == len(told["keys"]) == 1
    index = (tmp_path / "docs/index.html").read_text(encoding="utf-8")
    assert "error: size_is_positive, 1 failing" in index
    (page,) = re.findall(r'<td><a href="([^"]+)">market\.trades</a>', index)  # needs no script
    assert "Expectation Validation Result" in (tmp_path / "docs" / page).read_text(encoding="utf-8")
    kept = desk.fetch(
        "select relation, expectation, failing from ops.check_results"
        " where engine = 'full' and range_start = %s and range_end = %s and failing > 0",
        day,
        day + timedelta(days=1),
    )
    assert {(row["relation"], row["expectation"]): row["failing"] for row in kept} == broken


def test_a_run_of_a_partition_checks_that_hour(spoiled: Market) -> None:
    desk = spoiled.desk
    whole = defs.resolve_implicit_global_asset_job_def()
    job = whole.get_subset(asset_selection=[], asset_check_selection={suite_check_key(TRADES)})
    hour = datetime(2024, 8, 8, 23, tzinfo=UTC)
    with environment(SENTINET_DATABASE_URL=desk.url):
        run = job.execute_in_process(instance=desk.instance, tags={"dagster/partition": partition_key(hour)})
    (check,) = run.get_asset_check_evaluations()
    assert check.metadata["range_start"].value == hour.isoformat()
    assert check.metadata["range_end"].value == (hour + timedelta(hours=1)).isoformat()


def test_counts_are_held_against_the_same_hour_of_past_days(
    clean: Market, postgres_server: PostgresServer
) -> None:
    name = postgres_server.copy(clean.desk.url.rpartition("/")[2])
    url = postgres_server.url(name)
    # Both of its hours, and a part of an hour before: which is not whole, and is left alone.
    start, end = SPAN[0] - timedelta(hours=3), SPAN[1] + timedelta(hours=1)
    with psycopg.connect(url, autocommit=True) as connection:

        def unusual() -> set[int]:
            found = [check_range(connection, WINDOWS, start, end), full_pass(url, [WINDOWS], start, end)]
            told = [
                {key["instrument_id"] for key in result.keys}
                for results in found
                for result in results
                if result.expectation == "row_counts_are_usual"
            ]
            assert told[0] == told[1]
            return told[0]

        assert unusual() == set()  # nothing is known of other days
        for day in (1, 2, 4):
            connection.execute(
                "insert into surveillance.windows select (jsonb_populate_record(windows, jsonb_build_object("
                "'window_start', window_start - make_interval(hours => 24 * %s)))).*"
                " from surveillance.windows where window_start >= %s",
                [day, SPAN[0]],
            )
        assert unusual() == set()  # other days were like this one
        today = (
            "update surveillance.windows set quote_count = {} where instrument_id = {} and window_start >= %s"
        )
        connection.execute(today.format("quote_count * 60 + 100", 1).encode(), [SPAN[0]])
        connection.execute(today.format("0", 2).encode(), [SPAN[0]])
        connection.execute("update surveillance.windows set trade_count = 0 where instrument_id = 2")
        assert unusual() == {1, 2}  # too many of one, none of the other
        connection.execute("update market.instruments set is_active = false where instrument_id = 2")
        assert unusual() == {1}
        connection.execute(
            "delete from surveillance.windows where window_start < %s", [SPAN[0] - timedelta(days=3)]
        )
        assert unusual() == set()  # two days are no habit
    postgres_server.drop(name)


def test_the_command_ends_with_1_where_an_error_is_broken(
    clean: Market,
    spoiled: Market,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ["check", "--range", "/".join(f"{moment:%Y-%m-%dT%H:%MZ}" for moment in SPAN)]
    monkeypatch.setenv("SENTINET_DATABASE_URL", clean.desk.url)
    assert run_command([*asked, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["passed"]
    assert len(answer["results"]) == len(clean.report.results)
    monkeypatch.setenv("SENTINET_DATABASE_URL", spoiled.desk.url)
    assert run_command([*asked, "--html", str(tmp_path / "docs")]) == 1
    told = capsys.readouterr().out
    for each in spoiled.failing().values():
        assert (
            f"{each.severity.value:<8} {each.relation} {each.expectation}: {each.failing:,}, first: " in told
        )
    assert f"{len(spoiled.report.errors)} broken with severity error" in told
    assert (tmp_path / "docs/index.html").is_file()


def test_a_mended_fact_is_judged_again(spoiled: Market) -> None:
    desk = spoiled.desk
    (bad,) = desk.fetch("select time from market.trades where instrument_id = 1 and size < 0")
    desk.fetch("update market.trades set size = -size where size < 0")
    before = window_of(desk, bad["time"])
    report = check_quality(desk.url, SPAN)
    assert report.passed.lifted == 1
    assert all(run.success for run in desk.catch_up())  # nothing was ingested: the plan saw what was lifted
    after = window_of(desk, bad["time"])
    assert after["volume"] > before["volume"]
    assert after["refused_frames"] == before["refused_frames"] - 1


def window_of(desk: Desk, time: datetime) -> dict[str, Any]:
    (row,) = desk.fetch(
        "select volume, refused_frames from surveillance.windows"
        " where instrument_id = 1 and window_start = date_bin('5 seconds', %s, 'epoch')",
        time,
    )
    return row

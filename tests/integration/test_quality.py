"""Data quality on a real database: a replayed recording is clean, twelve faults in it are caught by name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest_daemon.replay import replay_files
from ingest_daemon.store import Store
from sentinet_dagster.quality.checking import CheckResult, check_range, existing
from sentinet_dagster.quality.suites import SUITES
from sentinet_dagster.runtime.quality_check import QualityReport, check_quality
from tests.conftest import PostgresServer
from tests.integration.faults import ECHOES, FAULTS, Catch, inject, read_lines, table_of, write_lines
from tests.integration.judging import Desk, open_desk

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

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


@pytest.fixture(scope="module")
def clean(
    postgres_server: PostgresServer,
    migrated_template: str,
    recordings: tuple[list[Path], list[Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Market]:
    name = postgres_server.create(migrated_template)
    url = postgres_server.url(name)
    with open_desk(url, ("BTC", "ETH")) as desk:
        take_in(url, recordings[0])
        assert all(run.success for run in desk.catch_up())
        html = tmp_path_factory.mktemp("docs")
        yield Market(desk, check_quality(url, SPAN, html), html)
    postgres_server.drop(name)


@pytest.fixture(scope="module")
def spoiled(
    postgres_server: PostgresServer,
    migrated_template: str,
    recordings: tuple[list[Path], list[Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Market]:
    name = postgres_server.create(migrated_template)
    url = postgres_server.url(name)
    with open_desk(url, ("BTC", "ETH")) as desk:
        take_in(url, recordings[1])
        with psycopg.connect(url, autocommit=True) as connection:
            inject(connection, FAULTS, after_judging=False)
            assert all(run.success for run in desk.catch_up())
            inject(connection, FAULTS, after_judging=True)
        html = tmp_path_factory.mktemp("docs")
        yield Market(desk, check_quality(url, SPAN, html), html)
    postgres_server.drop(name)


def test_a_clean_recording_passes(clean: Market) -> None:
    assert clean.failing() == {}
    assert clean.report.set_aside == 0
    assert len(clean.report.results) == sum(
        len(suite.expectations) for suite in SUITES.values() if not suite.relation.startswith("rollup.")
    )
    (windows,) = clean.desk.fetch(
        "select count(*) as n, min(completeness) as least from surveillance.windows"
    )
    assert windows["n"] > 60
    assert windows["least"] == 1.0
    assert "surveillance.windows" in (clean.html / "index.html").read_text(encoding="utf-8")


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
        with psycopg.connect(market.desk.url, autocommit=True) as connection:
            compiled = [
                result
                for suite in existing(connection, SUITES.values())
                for result in check_range(connection, suite, *SPAN)
            ]
        assert said(compiled) == said(market.report.results)


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


def test_a_mended_fact_is_judged_again(spoiled: Market) -> None:
    desk = spoiled.desk
    (bad,) = desk.fetch("select time from market.trades where instrument_id = 1 and size < 0")
    desk.fetch("update market.trades set size = -size where size < 0")
    before = window_of(desk, bad["time"])
    report = check_quality(desk.url, SPAN)
    assert report.lifted == 1
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

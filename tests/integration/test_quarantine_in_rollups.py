"""Facts that are set aside are judged and summed by nobody, and summed again once they are mended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from dagster import DagsterInstance, RunRequest, SkipReason, build_schedule_context
from polars.testing import assert_frame_equal

from ingest_daemon.events import Book, Quote, ReferencePrice, Trade
from ingest_daemon.store import Store
from sentinet_dagster.partitions import in_microseconds
from sentinet_dagster.quality.checking import check_rows
from sentinet_dagster.quality.suites import FACTS
from sentinet_dagster.resources import Timescale
from sentinet_dagster.rollup_automation import refresh_rollups_minutely_schedule
from sentinet_dagster.rollups.refreshing import rebuild, refresh, rollups
from tests.integration import rollup_reference as reference
from tests.integration.market_facts import batch

pytestmark = pytest.mark.integration

HOUR = datetime(2024, 8, 9, 10, tzinfo=UTC)
START = in_microseconds(HOUR)
MINUTE = 60_000_000
SPAN = HOUR, HOUR + timedelta(hours=1)
SUMS = ("trade_bars_1m", "quote_spreads_1m", "book_depth_1m", "reference_prices_1m")

Connection = psycopg.Connection[Any]


def good(minute: int) -> list[Any]:
    time = START + minute * MINUTE
    return [
        Trade(1, 10 * minute, time, time + 1000, 100.0, 1.0, 1),
        Quote(1, 10 * minute, time, time + 1000, 99.0, 1.0, 101.0, 1.0),
        Book(1, 10 * minute, time, time + 1000, (99.95,), (1.0,), (100.05,), (1.0,)),
        ReferencePrice(1, time, time + 1000, 100.0, 100.0, 1e-4),
    ]


def bad(minute: int) -> list[Any]:
    """Right after the good ones: received before they happened, crossed, and of an absurd price."""
    time = START + minute * MINUTE + 1_000_000
    return [
        Trade(1, 10 * minute + 1, time, time - 2 * MINUTE, 900.0, 5.0, -1),
        Quote(1, 10 * minute + 1, time, time + 1000, 101.0, 1.0, 99.0, 1.0),
        Book(1, 10 * minute + 1, time, time + 1000, (101.0,), (1.0,), (99.0,), (1.0,)),
        ReferencePrice(1, time, time + 1000, 2e15, 100.0, 1e-4),
    ]


def write(url: str, *facts: Any) -> None:
    with Store(url) as store:
        store.write(batch(list(facts)))


def check(connection: Connection) -> tuple[int, int]:
    """What every run of windows does before it reads: how many facts were set aside, how many taken back."""
    checked = [check_rows(connection, suite, *SPAN, is_judged=True) for suite in FACTS]
    return sum(each.marked for each in checked), sum(each.lifted for each in checked)


def everything(connection: Connection) -> dict[str, pl.DataFrame]:
    return {
        name: reference.fetch(connection, f"select * from rollup.{name} order by 1, 2")
        for name in rollups(connection)
    }


def test_sums_leave_out_what_is_set_aside_whenever_that_is_found(
    rollup_url: str, rollup_connection: Connection
) -> None:
    for minute in range(4):
        write(rollup_url, *good(minute))
    refresh(rollup_connection)
    clean = everything(rollup_connection)
    write(rollup_url, *bad(1), *bad(2))
    refresh(rollup_connection)  # before anybody has looked at them
    assert everything(rollup_connection)["trade_bars_1m"]["high"].to_list() == [100.0, 900.0, 900.0, 100.0]

    assert check(rollup_connection) == (8, 0)
    refresh(rollup_connection)
    found = everything(rollup_connection)
    for name in SUMS:
        assert_frame_equal(found[name], clean[name], check_exact=True)
    (quality,) = found["feed_quality_1h"].to_dicts()
    assert (quality["trade_count"], quality["quote_count"], quality["book_count"]) == (4, 4, 4)
    assert quality["refused_frames"] == 6  # of trades, quotes and books, as windows count them
    assert quality["completeness"] == 12 / 18
    for name in rollups(rollup_connection):
        rebuild(rollup_connection, name)
    for name, frame in everything(rollup_connection).items():
        assert_frame_equal(frame, found[name], check_exact=True)
    assert all(not each.rows for each in refresh(rollup_connection))


def test_what_is_mended_is_summed_again(rollup_url: str, rollup_connection: Connection) -> None:
    write(rollup_url, *good(0), *bad(0))
    assert check(rollup_connection) == (4, 0)
    refresh(rollup_connection)
    assert everything(rollup_connection)["trade_bars_1m"]["volume"].to_list() == [1.0]
    rollup_connection.execute("update market.trades set received_at = time where price = 900")
    assert check(rollup_connection) == (0, 1)
    refresh(rollup_connection)
    (bar,) = everything(rollup_connection)["trade_bars_1m"].to_dicts()
    assert (bar["close"], bar["volume"], bar["trade_count"]) == (900.0, 6.0, 2)


def test_a_mark_alone_is_something_to_refresh(
    rollup_url: str, rollup_connection: Connection, tmp_path: Path
) -> None:
    def tick() -> object:
        with (
            DagsterInstance.local_temp(str(tmp_path)) as instance,
            build_schedule_context(
                scheduled_execution_time=HOUR,
                resources={"timescale": Timescale(url=rollup_url)},
                instance=instance,
            ) as context,
        ):
            return refresh_rollups_minutely_schedule(context)

    write(rollup_url, *good(0), *bad(0))
    refresh(rollup_connection)
    assert isinstance(tick(), SkipReason)
    assert check(rollup_connection) == (4, 0)
    assert isinstance(tick(), RunRequest)


def test_judgement_reads_none_of_it(rollup_url: str, rollup_connection: Connection) -> None:
    write(rollup_url, *good(0), *bad(0))
    timescale = Timescale(url=rollup_url)
    try:

        def read() -> dict[str, int]:
            bounds = {"start": SPAN[0], "end": SPAN[1]}
            names = ("trades", "quotes", "books", "reference_prices")
            return {name: len(timescale.fetch(name, **bounds)) for name in names}

        assert set(read().values()) == {2}
        check(rollup_connection)
        assert set(read().values()) == {1}
    finally:
        timescale.close()

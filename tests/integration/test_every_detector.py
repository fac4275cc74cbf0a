"""Every detector's abuse through the database: judged as it happens, some windows late, is judged at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

import polars as pl
import pytest
from dagster import AssetKey, materialize

from sentinet_dagster.assets.surveillance import SURVEILLANCE_ASSETS
from sentinet_dagster.partitions import RANGE_END_TAG, RANGE_START_TAG
from sentinet_dagster.resources import ModelStore, SurveillanceConfig, Timescale
from sentinet_dagster.settings import SETTINGS
from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.detectors import DETECTORS
from sentinet_dagster.surveillance.findings import JUDGE_LOOKBACK
from tests.integration.abuse_market import AT, END, START, market, model
from tests.integration.judging import Desk, open_desk

pytestmark = pytest.mark.integration

JUDGED: Final = [
    AssetKey(["surveillance", name]) for name in ("features", "correlations", "scores", "findings", "alerts")
]
HOUR: Final = timedelta(hours=1)
# Batches end here; within the abuse they are small.
CUTS: Final = tuple(AT + timedelta(seconds=seconds) for seconds in (0, 25, 60, 95, 240, 1460, 1500, 1600))
# Of these windows something else was known at first, and what was true comes when that much is judged.
WRONG: Final = AT - timedelta(seconds=70), AT - timedelta(seconds=50)
CORRECTED_AT: Final = CUTS[5]


@pytest.fixture
def live(database_url: str) -> Iterator[Desk]:
    with open_desk(database_url, instruments=()) as desk:
        yield desk


@pytest.fixture
def past(second_database_url: str) -> Iterator[Desk]:
    with open_desk(second_database_url, instruments=()) as desk:
        yield desk


def test_live_equals_backfill(live: Desk, past: Desk) -> None:
    """15 runs in place of one a window: what a detector looks back on is cut in the midst of its abuse."""
    _, windows = market()
    for desk in (live, past):
        prepare(desk)

    for start, end in pairwise((START, *CUTS, END)):
        store(
            live,
            wrong(windows.filter(pl.col("window_start").is_between(start, end, closed="left"))),
            start,
            end,
        )
        judge(live, start, end)
        if end == CORRECTED_AT:
            before = alerts(live)
            store(live, windows.filter(pl.col("window_start").is_between(*WRONG, closed="left")), *WRONG)
            judge(live, WRONG[0], min(WRONG[1] + JUDGE_LOOKBACK, end))
            assert alerts(live) != before
    store(past, windows, START, END)
    judge(past, START, END)

    found, standing = live.rows("findings", END.isoformat()), alerts(live)
    assert found == past.rows("findings", END.isoformat())
    assert standing == alerts(past)
    assert {row["detector"] for row in found} == {row["detector"] for row in standing} == DETECTORS.keys()


def prepare(desk: Desk) -> None:
    """The instruments, and the model."""
    known, _ = market()
    for row in known.iter_rows():
        desk.fetch(
            "insert into market.instruments (instrument_id, venue, symbol, venue_symbol, kind, base, quote,"
            " tick_size, contract_size, is_active)"
            " overriding system value values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            *row,
        )
    with closing(Timescale(url=desk.url)) as timescale:
        ModelStore(timescale).register(model().fitted, START, START + timedelta(minutes=27))


def wrong(windows: pl.DataFrame) -> pl.DataFrame:
    """What is known at first: of some windows another price, and twice the volume."""
    late = pl.col("window_start").is_between(*WRONG, closed="left")
    prices, sums = pl.col("close", "mid_close"), pl.col("volume", "buy_volume", "quote_count", "trade_count")
    return windows.with_columns(
        pl.when(late).then(prices * 1.03).otherwise(prices), pl.when(late).then(sums * 2).otherwise(sums)
    )


def store(desk: Desk, windows: pl.DataFrame, start: datetime, end: datetime) -> None:
    with closing(Timescale(url=desk.url)) as timescale:
        timescale.replace(schema.WINDOWS, windows, start, end)


def judge(desk: Desk, start: datetime, end: datetime) -> None:
    """What the sensor asks for, without the windows: a run of the range in each hour."""
    for low, high in in_hours(start, end):
        tags = {RANGE_START_TAG: low.isoformat(), RANGE_END_TAG: high.isoformat()}
        key = low.strftime("%Y-%m-%d-%H:00")
        resources = {
            "timescale": Timescale(url=desk.url),
            "surveillance_config": SurveillanceConfig(directory=str(SETTINGS.config_dir)),
        }
        assert materialize(
            SURVEILLANCE_ASSETS,
            selection=JUDGED,
            instance=desk.instance,
            partition_key=key,
            tags=tags,
            resources=resources,
        ).success


def in_hours(start: datetime, end: datetime) -> Sequence[tuple[datetime, datetime]]:
    edges, edge = [start], start.replace(minute=0, second=0) + HOUR
    while edge < end:
        edges.append(edge)
        edge += HOUR
    return list(pairwise([*edges, end]))


def alerts(desk: Desk) -> list[dict[str, object]]:
    return desk.fetch(
        "select alert_id, detector, severity, score, summary, evidence, window_start, last_window_start,"
        " closes_at, windows_fired, peak_score, peak_window_start, incident_id from surveillance.alerts"
        " where state <> 'retracted' order by alert_id"
    )

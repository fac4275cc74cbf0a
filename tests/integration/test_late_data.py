"""Facts that come late, on a real database: what is judged again, what becomes of alerts, what is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingest_daemon.events import Event, Quote, Trade
from ingest_daemon.store import Store
from sentinet_dagster.partitions import (
    RULES,
    TOUCHED_TAG,
    in_microseconds,
    moment,
    tagged_pieces,
    tagged_range,
)
from tests.integration.judging import Desk, open_desk
from tests.integration.market_facts import SECOND, batch, events

pytestmark = pytest.mark.integration

HOUR = datetime(2024, 8, 9, 10, tzinfo=UTC)
START = in_microseconds(HOUR)
MINUTES = 15
SHOCK = START + 600 * SECOND  # where the market of `events` jumps
SPIKE = "detector = 'volatility_spike' and instrument_id = 1"


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    """Fifteen minutes of three instruments, judged."""
    with open_desk(database_url) as opened:
        commit(opened, list(events((1, 2, 3), START, MINUTES * 60)))
        assert all(result.success for result in opened.catch_up())
        yield opened


def commit(desk: Desk, facts: Sequence[Event]) -> None:
    with Store(desk.url) as store:
        store.write(batch(facts))


def at(seconds: float) -> datetime:
    return HOUR + timedelta(seconds=seconds)


def judged_since(desk: Desk, relation: str, before: datetime) -> list[datetime]:
    rows = desk.fetch(
        f"select distinct window_start from surveillance.{relation} where computed_at > %s order by 1", before
    )
    return [row["window_start"] for row in rows]


def clock(desk: Desk) -> datetime:
    now: datetime = desk.fetch("select clock_timestamp() as now")[0]["now"]
    return now


def late_trade(seconds: float, received: float, number: int = 900_000) -> Trade:
    return Trade(2, number, START + round(seconds * SECOND), START + round(received * SECOND), 200.0, 1.0, 1)


def test_a_tick_ten_minutes_late_judges_what_it_touches_and_what_looks_back_on_it(desk: Desk) -> None:
    before = clock(desk)
    commit(desk, [late_trade(302.5, received=900.5)])  # which closes no window
    (request,) = desk.tick()
    assert tagged_pieces(request.tags) == [
        (at(300), at(365))
    ]  # a window, and the minute in which it is heard
    assert tagged_range(request.tags) == (at(300), at(895))
    assert desk.run(request).success
    assert judged_since(desk, "windows", before) == [at(second) for second in range(300, 365, 5)]
    assert judged_since(desk, "features", before) == [at(second) for second in range(300, 895, 5)]
    assert desk.tick() == []


def test_what_nothing_late_can_reach_is_left_alone(desk: Desk) -> None:
    """The look-back ends: in 80 minutes of data, a late tick does not have all that follows judged."""
    reach, end = (RULES.lookback + RULES.silence) // SECOND + 5, 80 * 60
    commit(desk, list(events((1, 2, 3), START + MINUTES * 60 * SECOND, end - MINUTES * 60)))
    assert all(result.success for result in desk.catch_up())
    commit(desk, [late_trade(2.5, received=end + 0.5)])
    requests = desk.tick()  # one an hour
    assert sorted(tagged_range(request.tags) or () for request in requests) == [
        (at(0), at(3600)),
        (at(3600), at(reach)),
    ]
    assert 3600 < reach < end - 300


def test_an_alert_that_no_longer_holds_is_retracted_with_the_batch_that_did_it_and_reopened(
    desk: Desk,
) -> None:
    (alert,) = desk.fetch(f"select alert_id, window_start, state from surveillance.alerts where {SPIKE}")
    prices = closing_prices(desk)
    commit(
        desk,
        [quote(start, 4.90, price * (1.01 if n % 2 else 0.99)) for n, (start, price) in enumerate(prices)],
    )
    assert all(result.success for result in desk.catch_up())
    assert standing(desk, alert["alert_id"]) == "retracted"
    # Later in the same windows the market is where it was.
    commit(desk, [quote(start, 4.95, price) for start, price in prices])
    assert all(result.success for result in desk.catch_up())
    assert standing(desk, alert["alert_id"]) == "open"

    life = desk.fetch(
        "select event, note, cause, cause -> 'late_batches' as batches from surveillance.alert_events"
        " where alert_id = %s order by alert_event_id",
        alert["alert_id"],
    )
    batches = [row["batch_id"] for row in desk.fetch("select batch_id from ops.ingest_batches order by 1")][
        -2:
    ]
    assert [row["event"] for row in life] == ["opened", "retracted", "reopened"]
    assert [row["batches"] for row in life] == [None, [batches[0]], [batches[1]]]
    assert [row["note"].partition(", run ")[0] for row in life[1:]] == [
        f"late data: batches {number} (quotes)" for number in batches
    ]
    assert life[1]["cause"] == {
        "late_batches": [batches[0]],
        "code_changed": False,
        "thresholds_changed": False,
    }


def closing_prices(desk: Desk) -> list[tuple[int, float]]:
    rows = desk.fetch(
        "select window_start, mid_close from surveillance.windows where instrument_id = 1"
        " and window_start >= %s and window_start < %s order by 1",
        moment(SHOCK - 300 * SECOND),
        moment(SHOCK),
    )
    return [(in_microseconds(row["window_start"]), row["mid_close"]) for row in rows]


def quote(window: int, seconds: float, mid: float) -> Quote:
    """Of instrument 1, in the window, received a quarter of an hour later."""
    time = window + round(seconds * SECOND)
    return Quote(1, time, time, START + 905 * SECOND, mid * 0.9999, 1.0, mid * 1.0001, 1.0)


def standing(desk: Desk, alert_id: object) -> Any:
    return desk.fetch("select state from surveillance.alerts where alert_id = %s", alert_id)[0]["state"]


def test_what_comes_beyond_the_horizon_is_counted_and_left_to_a_backfill(desk: Desk) -> None:
    next_day = 26 * 3600
    late = [
        late_trade(second, received=next_day, number=number)
        for number, second in enumerate((61, 62, 120, 3700))
    ]
    commit(desk, late)
    (request,) = desk.tick()  # of what their arrival has closed
    assert tagged_range(request.tags) == (at(895), at(960))
    assert desk.run(request).success
    assert waiting(desk) == [
        (HOUR, 2, "open"),  # windows with late facts
        (HOUR + timedelta(hours=1), 1, "open"),
    ]
    assert desk.judge("2024-08-09-10:00", {TOUCHED_TAG: ""}).success  # not a run of the whole hour
    assert desk.judge("2024-08-09-10:00").success
    assert [state for *_, state in waiting(desk)] == ["judged", "open"]
    assert desk.fetch(
        "select max(trade_count) as n from surveillance.windows where window_start = %s", at(120)
    )
    commit(desk, [late_trade(500, received=next_day + 1, number=77)])
    assert desk.tick() == []
    assert waiting(desk)[0] == (HOUR, 1, "open")


def waiting(desk: Desk) -> list[tuple[datetime, int, str]]:
    rows = desk.fetch(
        "select hour, state, (select count(*) from unnest(touched) as span,"
        " generate_series(lower(span), upper(span) - interval '1 us', '5 s')) as windows"
        " from surveillance.late_hours order by hour"
    )
    return [(row["hour"], row["windows"], row["state"]) for row in rows]

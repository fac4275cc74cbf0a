"""Events are played in their order, at the market's pace or faster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sentinet_dagster.runtime.alert_replay import event_line, paced

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def trade(seconds: float) -> dict[str, Any]:
    moment = START + timedelta(seconds=seconds)
    return {"time": moment, "kind": "trade", "price": 61204.5, "size": 0.25, "side": -1}


def test_the_pace_is_the_markets() -> None:
    slept: list[float] = []
    events = [trade(0), trade(1.5), trade(1.5), trade(100)]
    assert list(paced(events, 2.0, slept.append)) == events
    assert slept == [0.75, 5.0]  # a lull is cut short


def test_without_a_pace_nobody_waits() -> None:
    slept: list[float] = []
    assert len(list(paced([trade(0), trade(60)], None, slept.append))) == 2
    assert slept == []


def test_what_lies_in_the_alert_is_marked() -> None:
    first, last_end = START + timedelta(seconds=5), START + timedelta(seconds=10)
    marks = [event_line(trade(at), first, last_end)[0] for at in (4.9, 5, 9.9, 10)]
    assert marks == [" ", ">", ">", " "]
    assert event_line(trade(5), first, last_end) == "> 12:00:05.000000  trade  sold 0.25 at 61204.5"


def test_a_quote_shows_both_sides() -> None:
    quote = {"time": START, "kind": "quote", "bid_price": 99.5, "bid_size": 2.0, "ask_price": 100.5}
    line = event_line(quote | {"ask_size": 1.0}, START, START)
    assert line == "  12:00:00.000000  quote  2 at 99.5 | 1 at 100.5"

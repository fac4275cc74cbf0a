"""The protocol of the pump scorecard, rule by rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sentinet_dagster.surveillance.evaluation import LabelledEvent, score_event, summarise

START = datetime(2020, 5, 1, 17, tzinfo=UTC)
EVENT = LabelledEvent("one", "ONE", START, START - timedelta(days=3), START + timedelta(days=1))


def scored(*seconds: float):
    return score_event(EVENT, [START + timedelta(seconds=moment) for moment in seconds])


@pytest.mark.parametrize(
    ("second", "delay"), [(-61, None), (-60, -60.0), (0, 0.0), (300, 300.0), (301, None)]
)
def test_a_hit_is_from_a_minute_before_to_five_after(second: float, delay: float | None) -> None:
    assert scored(second).delay_s == delay


@pytest.mark.parametrize(("second", "false_alerts"), [(-3601, 1), (-3600, 0), (7200, 0), (7201, 1)])
def test_a_false_alert_lies_outside_the_event(second: float, false_alerts: int) -> None:
    assert scored(second).false_alerts == false_alerts


def test_alerts_within_half_an_hour_of_the_first_are_one() -> None:
    assert len(scored(10_000, 10_900, 11_800).alerts) == 1
    assert len(scored(10_000, 11_801).alerts) == 2
    assert scored(-120, 10).delay_s is None, "joined with one that came too early"


def test_the_order_of_alerts_does_not_matter() -> None:
    assert scored(20_000, 5, 90) == scored(5, 90, 20_000)


def test_the_days_counted_are_those_outside_the_event() -> None:
    assert scored().symbol_days == 4 - 3 / 24
    early = LabelledEvent("two", "TWO", START, START - timedelta(minutes=30), START + timedelta(days=1))
    assert score_event(early, []).symbol_days == pytest.approx(22 / 24)


def test_the_sum_of_many() -> None:
    score = summarise([scored(10), scored(70, 20_000), scored()])
    assert (score.events, score.hits, score.within_60s, score.false_alerts) == (3, 2, 1, 1)
    assert (score.delay_p50_s, score.precision) == (40.0, 2 / 3)
    assert score.recall == pytest.approx(2 / 3)
    assert score.false_per_symbol_day == pytest.approx(1 / (3 * 3.875))


def test_the_sum_of_nothing_divides_by_nothing() -> None:
    score = summarise([])
    assert (score.events, score.recall, score.delay_p50_s, score.precision) == (0, None, None, None)

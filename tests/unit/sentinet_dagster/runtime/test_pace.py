"""The arithmetic of the benchmarks, on numbers whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from sentinet_dagster.runtime.pace import Pace, Probe, Search, delays_ms, is_sustained, judge, spread

MS = 1_000_000


def test_each_frame_has_its_delay_whatever_the_order_of_the_commits() -> None:
    sent = np.array([[10, 12, 0], [12, 15, 5 * MS]])
    committed = np.array([[13, 15, 30 * MS], [10, 13, 20 * MS]])
    assert delays_ms(sent, committed).tolist() == [20.0, 20.0, 15.0, 25.0, 25.0]


@pytest.mark.parametrize(
    "committed", [[[0, 3, 1]], [[0, 2, 1], [3, 5, 1]], [[0, 3, 1], [2, 5, 1]], [[1, 5, 1]]]
)
def test_a_frame_without_a_commit_of_its_own_is_an_error(committed: list[list[int]]) -> None:
    with pytest.raises(ValueError, match=r"missing|sent 0 to 5"):
        delays_ms(np.array([[0, 5, 0]]), np.array(committed))


def test_a_pace_is_the_rate_that_was_sent_and_how_late_its_parts_were() -> None:
    sent = np.array([[number, number + 10, number * MS] for number in range(0, 100, 10)])
    delays = np.array([5.0] * 50 + [7.0] * 49 + [1000.0])
    pace = judge(sent, delays)
    assert pace.sent_per_s == pytest.approx(1_000.0)
    assert (pace.early_ms, pace.late_ms) == (5.0, 7.0)
    assert pace.p50_ms == 6.0
    assert 7.0 < pace.p99_ms < 1000.0


@pytest.mark.parametrize(
    ("pace", "is_kept_up"),
    [
        (Pace(1_000, 10, 30, 10, 12), True),
        (Pace(985, 10, 30, 10, 12), True),
        (Pace(950, 10, 30, 10, 12), False),  # the sender did not send what it was told to
        (Pace(1_000, 100, 400, 50, 140), False),  # falls back
        (Pace(1_000, 1_500, 1_600, 1_500, 1_500), False),  # fell back before
    ],
)
def test_lag_that_grows_is_no_pace_that_is_kept_up(pace: Pace, is_kept_up: bool) -> None:
    assert is_sustained(pace, 1_000) is is_kept_up


@pytest.mark.parametrize("limit", [900.0, 5_000.0, 30_000.0, 44_000.0, 130_000.0])
def test_the_search_comes_close_to_the_limit_from_below(limit: float) -> None:
    probes = Search(30_000.0, most_probes=20).run(lambda rate: rate <= limit)
    highest = max(probe.frames_per_s for probe in probes if probe.is_sustained)
    assert limit / 1.09 <= highest <= limit


def test_the_search_believes_a_yes_and_asks_twice_before_a_no() -> None:
    asked: list[float] = []
    answers = iter([False, True, False, False])

    def try_rate(rate: float) -> bool:
        asked.append(rate)
        return next(answers)

    assert Search(100.0, most_probes=2).run(try_rate) == [Probe(100.0, True), Probe(150.0, False)]
    assert asked == [100.0, 100.0, 150.0, 150.0]


def test_the_search_ends_where_nothing_is_kept_up() -> None:
    probes = Search(64.0, most_probes=5).run(lambda _: False)
    assert [probe.frames_per_s for probe in probes] == [64.0, 32.0, 16.0, 8.0, 4.0]


def test_a_spread_names_the_best_round_and_the_noise() -> None:
    assert spread([20.0, 10.0, 16.0], less_is_better=True) == {"best": 10.0, "median": 16.0, "noise": 0.625}
    assert spread([0.0]) == {"best": 0.0, "median": 0.0, "noise": 0.0}

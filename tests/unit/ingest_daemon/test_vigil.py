"""Who is silent for too long, and who is only quiet."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon.venues import Stream
from ingest_daemon.vigil import Finding, Vigil

TRADES = Stream("trade", "BTCUSDT", (1,))
QUOTES = Stream("bookTicker", "BTCUSDT", (1,))
US = 1_000_000
PATIENCE_S = 30.0


def observe(
    vigil: Vigil, seconds: range, speaks: Callable[[int], Sequence[Stream]]
) -> list[tuple[int, Finding]]:
    """A roll call every second."""
    found = []
    for second in seconds:
        heard = dict.fromkeys(speaks(second), second * US)
        found += [(second, finding) for finding in vigil.call(heard, float(second), second * US)]
    return found


def steps(found: Sequence[tuple[int, Finding]]) -> list[tuple[int, str]]:
    return [(second, finding.step) for second, finding in found if finding.step != "tell"]


def spans(found: Sequence[tuple[int, Finding]]) -> list[tuple[float, float]]:
    told = [finding for _, finding in found if finding.step == "tell"]
    return [(finding.started_at / US, finding.ended_at / US) for finding in told]


def test_a_stream_that_falls_silent_is_found_while_the_others_speak() -> None:
    vigil = Vigil(PATIENCE_S, {})
    found = observe(vigil, range(300), lambda at: [TRADES, QUOTES] if at < 100 or at >= 250 else [QUOTES])

    assert {finding.stream for _, finding in found} == {TRADES}
    assert steps(found) == [(160, "resubscribe"), (220, "reconnect")]
    assert spans(found) == [(99, 160), (160, 220), (220, 250)]  # one silence, told in parts, without a hole


def test_a_silence_that_lasts_is_asked_about_ever_more_seldom() -> None:
    vigil = Vigil(PATIENCE_S, {})
    found = observe(vigil, range(20_000), lambda at: [TRADES] if at < 100 else [])
    at = [second for second, _ in steps(found)]
    pauses = [later - earlier for earlier, later in pairwise(at)]
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]
    told = spans(found)
    assert told[0][0] == 99
    assert all(earlier[1] == later[0] for earlier, later in pairwise(told))
    assert told[-1][1] > 19_930


@given(st.integers(0, 2**32), st.sampled_from([1.0, 10.0, 60.0, 300.0]))
def test_quiet_symbols_raise_no_alarm(seed: int, mean_s: float) -> None:
    """Trades come at random, by the hour: whatever the mean, silence of their own kind is no news."""
    rng = random.Random(seed)
    speaks, second = set(), 0.0
    while second < 10_000:
        second += rng.expovariate(1 / mean_s)
        speaks.add(int(second))
    found = observe(Vigil(PATIENCE_S, {}), range(10_000), lambda at: [TRADES] if at in speaks else [])
    assert found == []


def test_a_market_that_calms_down_is_learnt() -> None:
    """Ten times fewer trades from one hour to the next, step by step."""
    rng = random.Random(3)
    speaks, second = set(), 0.0
    while second < 20_000:
        second += rng.expovariate(1 / (1 + second / 1_000))
        speaks.add(int(second))
    found = observe(Vigil(PATIENCE_S, {}), range(20_000), lambda at: [TRADES] if at in speaks else [])
    assert found == []


def test_a_stream_heard_too_seldom_is_not_watched() -> None:
    vigil = Vigil(PATIENCE_S, {})
    assert observe(vigil, range(50_000), lambda at: [TRADES] if at < 29 else []) == []


@pytest.mark.parametrize(("limit", "found_at"), [(5.0, [16]), (0.0, [])])
def test_the_operators_word_holds_before_the_past(limit: float, found_at: list[int]) -> None:
    vigil = Vigil(PATIENCE_S, {"trade": limit})
    vigil.begin([TRADES, QUOTES], 0.0, 0)
    found = observe(vigil, range(1, 20), lambda at: [TRADES] if at <= 10 else [])
    assert [second for second, step in steps(found) if step == "resubscribe"] == found_at


def test_by_the_operators_word_a_stream_that_never_spoke_is_stale() -> None:
    vigil = Vigil(PATIENCE_S, {"trade": 5.0})
    vigil.begin([TRADES, QUOTES], 0.0, 7 * US)
    found = observe(vigil, range(1, 8), lambda at: [QUOTES])
    assert [finding.stream for _, finding in found] == [TRADES, TRADES]
    assert found[-1][1].started_at == 7 * US


def test_nobody_is_stale_while_nobody_listens() -> None:
    vigil = Vigil(PATIENCE_S, {})
    observe(vigil, range(100), lambda at: [TRADES])
    for second in range(100, 400):
        vigil.forgive(float(second), second * US)
    assert observe(vigil, range(400, 450), lambda at: []) == []


def test_when_the_socket_is_lost_the_rest_is_told_and_silence_begins_anew() -> None:
    vigil = Vigil(PATIENCE_S, {})
    observe(vigil, range(180), lambda at: [TRADES] if at < 100 else [])
    assert spans([(0, finding) for finding in vigil.end(185 * US)]) == [(160, 185)]
    assert vigil.end(186 * US) == []
    vigil.begin([], 200.0, 200 * US)
    found = observe(vigil, range(200, 262), lambda at: [])
    assert steps(found) == [(261, "resubscribe")]
    assert spans(found) == [(200, 261)]


def test_what_a_new_subscription_revived_teaches_nothing() -> None:
    def speaks(at: int) -> Sequence[Stream]:
        return [TRADES] if at < 100 or 165 <= at < 200 else []

    vigil = Vigil(PATIENCE_S, {})
    assert steps(observe(vigil, range(262), speaks)) == [(160, "resubscribe"), (260, "resubscribe")]


def test_what_ended_by_itself_is_learnt() -> None:
    def speaks(at: int) -> Sequence[Stream]:
        return [TRADES] if at < 100 or 230 <= at < 300 else []

    vigil = Vigil(PATIENCE_S, {})
    found = observe(vigil, range(300 + 8 * 131), speaks)
    assert steps(found) == [(160, "resubscribe"), (220, "reconnect")]


def test_a_clock_that_is_set_back_makes_no_span_that_ends_before_it_starts() -> None:
    vigil = Vigil(PATIENCE_S, {})
    heard: Mapping[Stream, int] = {TRADES: 1_000 * US}
    for second in range(100):
        vigil.call(heard, float(second), 1_000 * US)
    found = vigil.call({}, 161.0, 900 * US)
    assert [(finding.started_at, finding.ended_at) for finding in found if finding.step == "tell"] == [
        (1_000 * US, 1_000 * US)
    ]

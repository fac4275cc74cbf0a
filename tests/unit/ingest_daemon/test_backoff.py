"""How long to wait before the next try."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon.backoff import backoff_s, login_backoff_s


@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_back_off_is_jittered_and_capped(attempt: int, rng: random.Random) -> None:
    assert 0.0 <= backoff_s(attempt, rng) <= min(30.0, 0.5 * 2.0 ** min(attempt, 16))


def test_back_off_spreads_over_the_whole_span() -> None:
    rng = random.Random(7)
    delays = [backoff_s(20, rng) for _ in range(1_000)]
    assert min(delays) < 3.0
    assert max(delays) > 27.0


@pytest.mark.parametrize(("attempt", "longest"), [(0, 0.5), (1, 1.0), (3, 4.0), (6, 30.0), (50, 30.0)])
def test_back_off_doubles_up_to_its_cap(attempt: int, longest: float) -> None:
    class Longest(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    assert backoff_s(attempt, Longest()) == longest


@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_the_pause_after_a_refused_login_is_long_and_capped(attempt: int, rng: random.Random) -> None:
    assert 30.0 <= login_backoff_s(attempt, rng) <= 900.0

"""The plan of the chaos: as much as was asked for, the same for the same seed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from tests.chaos.plan import Amounts, Kind, plan

AMOUNTS = Amounts(seconds=150, kills=20, restarts=10, cuts=50, silences=3, overflows=2)


def test_a_seed_makes_the_same_plan_and_another_one_another() -> None:
    assert plan(AMOUNTS, 1) == plan(AMOUNTS, 1) != plan(AMOUNTS, 2)


def test_it_has_what_was_asked_for_and_the_database_is_back_before_it_goes_again() -> None:
    for seed in range(50):
        steps = plan(AMOUNTS, seed)
        assert Counter(step.kind for step in steps) == {
            Kind.KILL: 20, Kind.AWAY: 10, Kind.CUT: 50, Kind.SILENCE: 3,
        }  # fmt: skip
        assert all(0 < step.at_s < 150 for step in steps if step.kind is not Kind.SILENCE)
        away = [step for step in steps if step.kind is Kind.AWAY]
        for one, other in pairwise(away):
            assert one.at_s + one.for_s <= other.at_s
        assert sum(step.is_overflow for step in away) == 2

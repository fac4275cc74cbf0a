"""What will go wrong, and when. Pure: a seed and amounts make the same plan every time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_QUIET_AT_THE_START_S = 2.0
_QUIET_AT_THE_END_S = 3.0
_SHORT_S = (0.0, 1.5)  # how long the database is away
_AROUND_S = 2.0
_RECEIVING_S = (0.0, 1.0)


class Kind(StrEnum):
    KILL = "kill"  # SIGKILL of the daemon, some time after it receives; it is started again at once
    AWAY = "away"  # the database is away for some time
    CUT = "cut"  # every socket is dropped
    SILENCE = "silence"  # every socket stays open, and nothing comes on it any more, until it is given up


@dataclass(frozen=True, order=True)
class Step:
    at_s: float
    kind: Kind
    for_s: float = 0.0
    is_crash: bool = False  # of the database: it has no time to shut down
    is_overflow: bool = False  # it stays away until the spool is full


@dataclass(frozen=True)
class Amounts:
    """How much goes wrong."""

    seconds: float
    kills: int
    restarts: int  # of the database
    cuts: int
    silences: int = 0
    overflows: int = 1  # of the restarts: away until the spool is full, and so long
    overflow_s: float = 10.0


def plan(amounts: Amounts, seed: int) -> Sequence[Step]:
    """The steps in order. Half of the kills come while the database is away, or soon after it is back."""
    rng = random.Random(seed)
    first, last = _QUIET_AT_THE_START_S, amounts.seconds - _QUIET_AT_THE_END_S
    away = _spread(amounts, first, last, rng)
    steps = list(away)
    for number in range(amounts.kills):
        if away and number % 2:
            around = away[rng.randrange(len(away))]
            at_s = rng.uniform(around.at_s, around.at_s + around.for_s + _AROUND_S)
        else:
            at_s = rng.uniform(first, last)
        steps.append(Step(min(at_s, last), Kind.KILL, rng.uniform(*_RECEIVING_S)))
    steps += [Step(rng.uniform(first, last), Kind.CUT) for _ in range(amounts.cuts)]
    # One after the other when all else is over: to be noticed it needs a daemon that lives.
    steps += [Step(amounts.seconds, Kind.SILENCE) for _ in range(amounts.silences)]
    return sorted(steps)


def _spread(amounts: Amounts, first: float, last: float, rng: random.Random) -> list[Step]:
    """Times at which the database is away: one after the other, in parts of the whole as long as they are."""
    kinds = [number < amounts.overflows for number in range(amounts.restarts)]
    rng.shuffle(kinds)
    lengths = [amounts.overflow_s if is_overflow else rng.uniform(*_SHORT_S) for is_overflow in kinds]
    spare = (last - first - sum(lengths)) / max(1, len(lengths))
    steps = []
    at_s = first
    for is_overflow, for_s in zip(kinds, lengths, strict=True):
        begins_s = at_s + rng.uniform(0, max(0.0, spare) / 2)
        steps.append(Step(begins_s, Kind.AWAY, for_s, rng.random() < 0.5, is_overflow))
        at_s += for_s + spare
    return steps

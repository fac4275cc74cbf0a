"""How long to wait before the next try. Pure: the attempt and the dice are arguments."""

from __future__ import annotations

import random
from typing import Final

__all__ = ["backoff_s", "login_backoff_s"]

_FIRST_S: Final = 0.5
_LONGEST_S: Final = 30.0
_FIRST_LOGIN_S: Final = 60.0
_LONGEST_LOGIN_S: Final = 900.0


def backoff_s(attempt: int, rng: random.Random) -> float:
    """Seconds to wait before the `attempt`-th try in a row, the first being 0: full jitter, capped.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return rng.uniform(0.0, min(_LONGEST_S, _FIRST_S * 2.0 ** min(attempt, 16)))


def login_backoff_s(attempt: int, rng: random.Random) -> float:
    """Seconds to wait after the `attempt`-th refused login in a row, the first being 0: half of it jitter."""
    longest = min(_LONGEST_LOGIN_S, _FIRST_LOGIN_S * 2.0 ** min(attempt, 16))
    return rng.uniform(longest / 2, longest)

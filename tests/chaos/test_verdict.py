"""The verdict on the chaos can be bad: each fault of the daemon that it is for is found."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.plan import Kind
from tests.chaos.verdict import Fault, Found, Gap, Told, judge

KEY = ("here", "BTCUSDT")
SECOND = 1_000_000
KILLED = Fault(Kind.KILL, 40 * SECOND, 49 * SECOND)
GAP = Gap("here", None, "trades", 40 * SECOND, 50 * SECOND, "not_running", "why", None, False)


def told() -> Told:
    """A trade a second for 100 s, and a damaged frame every ten."""
    account = Told()
    account.happened[KEY] = {number: number * SECOND for number in range(100)}
    account.sent[KEY] = set(range(100))
    account.first_at["here"] = 0
    account.damaged["here"] = [number * SECOND for number in range(5, 100, 10)]
    return account


def found(**changes: Any) -> Found:
    """What a good daemon has of it after a kill."""
    trades = [number for number in range(100) if not 40 <= number < 50]
    good: dict[str, Any] = {"trades": {KEY: trades}, "gaps": [GAP], "refused": {"here": 9}}
    return Found(**{**good, **changes})


def test_a_good_account_is_good() -> None:
    account = judge(told(), found(), [KILLED])

    assert account["wrong"] == []
    assert account["trades"]["missing_in_gaps"] == {"not_running": 10}
    assert account["refused_frames"] == {"sent": 10, "outside_of_gaps": 9, "counted": 9, "shed": 0}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"trades": {}}, "no trade is there"),
        ({"trades": {KEY: range(39)}}, "missing and in no gap"),
        ({"trades": {KEY: [*range(100), 3]}}, "1 trades are there twice"),
        ({"trades": {KEY: range(101)}}, "1 trades never happened"),
        ({"gaps": []}, "no gap at all"),
        ({"gaps": [GAP._replace(relation="quotes")]}, "missing and in no gap"),
        ({"gaps": [GAP._replace(venue="there")]}, "missing and in no gap"),
        ({"gaps": [GAP._replace(symbol="ETHUSDT")]}, "missing and in no gap"),
        ({"gaps": [GAP._replace(is_repaired=True)]}, "missing and in no gap"),
        ({"gaps": [GAP._replace(started_at=40 * SECOND + 1)]}, "here BTCUSDT 40 (sent)"),
        ({"gaps": [GAP._replace(ended_at=49 * SECOND)]}, "here BTCUSDT 49 (sent)"),
        ({"gaps": [GAP, GAP._replace(started_at=70 * SECOND, ended_at=71 * SECOND)]}, "nothing was done"),
        ({"gaps": [GAP, GAP._replace(cause="disconnected")]}, "nothing was done"),
        ({"gaps": [GAP, GAP._replace(detail="")]}, "has no detail"),
        ({"gaps": [GAP, GAP._replace(ended_at=0)]}, "ends before it starts"),
        ({"refused": {"here": 8}}, "8 refused frames counted"),
        ({"refused": {"here": 11}}, "11 refused frames counted"),
    ],
)
def test_whatever_is_wrong_is_said(changes: dict[str, Any], word: str) -> None:
    assert word in "\n".join(judge(told(), found(**changes), [KILLED])["wrong"])

"""A bad line: what it does to messages, in what measure, and that nothing is withheld."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon.errors import ParseError
from ingest_daemon.venues import VENUES, Listing
from sentinet_dagster.runtime.venue_dialects import Message
from sentinet_dagster.runtime.venue_faults import CALM, Disturber, Faults

TEXT = (
    '{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT",'
    '"t":%d,"p":"61837.63","q":"0.02","T":1723161255342,"m":true,"M":true}}'
)
SHARES = st.floats(0, 1)


def messages(count: int) -> list[Message]:
    return [Message("btcusdt@trade", (TEXT % number).encode(), number) for number in range(count)]


@given(SHARES, SHARES, SHARES, st.integers(1, 5), st.integers(0, 9))
def test_everything_is_sent_and_nothing_is_later_than_it_may(
    malformed: float, duplicated: float, reordered: float, within: int, seed: int
) -> None:
    disturber = Disturber(Faults(malformed, duplicated, reordered, within), str(seed))
    sent = [each for one in messages(40) for each in disturber.disturb([one])]
    sent += disturber.flush()

    told = Counter(each.received_ns for each in sent if not each.is_damaged)
    assert told.keys() == set(range(40))
    assert max(told.values()) <= 2
    newest = 0
    for each in sent:
        newest = max(newest, each.received_ns)
        assert newest - each.received_ns <= within


def test_shares_are_kept_and_a_seed_chooses() -> None:
    faults = Faults(malformed=0.1, duplicated=0.2, reordered=0.3)
    sent = Disturber(faults, "1").disturb(messages(10_000))

    assert (
        sent
        == Disturber(faults, "1").disturb(messages(10_000))
        != Disturber(faults, "2").disturb(messages(10_000))
    )
    assert sum(each.is_damaged for each in sent) == pytest.approx(1_000, rel=0.15)
    assert len(sent) == pytest.approx(13_000, rel=0.02)
    assert Disturber(CALM, "1").disturb(messages(9)) == messages(9)


def test_no_parser_reads_what_is_damaged() -> None:
    session = VENUES["binance_spot"].open_session("x", {"BTCUSDT": Listing(1)}, ["trade"])
    for each in Disturber(Faults(malformed=1), "1").disturb(messages(500)):
        if each.is_damaged:
            with pytest.raises(ParseError):
                session.parse(each.text, 1)
        else:
            assert json.loads(each.text)
            assert session.parse(each.text, 1)


def test_a_cut_line_forgets_what_is_late() -> None:
    disturber = Disturber(Faults(reordered=1, within=5), "1")
    disturber.disturb(messages(1))
    disturber.forget()

    assert disturber.flush() == []


@pytest.mark.parametrize(
    "bad", [{"malformed": 1.5}, {"duplicated": -0.1}, {"reordered": float("nan")}, {"within": 0}]
)
def test_what_is_no_share_is_refused_by_name(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Faults(**bad)  # type: ignore[arg-type]

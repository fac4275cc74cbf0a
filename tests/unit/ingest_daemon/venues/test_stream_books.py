"""Asking again with patience, and what a session without REST says to answers."""

from __future__ import annotations

import pytest

from ingest_daemon.errors import ParseError
from ingest_daemon.venues import Request
from ingest_daemon.venues.stream_books import Pauses, StreamSession

S = 1_000_000


def asked_at(until_s: int, pauses: Pauses, since_s: int = 0) -> list[int]:
    return [second for second in range(since_s, until_s) if pauses.are_over(second * S)]


def test_pauses_double_up_to_a_minute() -> None:
    assert asked_at(300, Pauses()) == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]


def test_after_ten_calm_minutes_pauses_start_anew() -> None:
    pauses = Pauses()
    asked_at(64, pauses)
    assert asked_at(700, pauses, since_s=663) == [663, 664, 666, 670, 678, 694]


def test_a_session_without_requests_refuses_an_answer() -> None:
    session = StreamSession()
    assert session.pending_requests() == ()
    with pytest.raises(ParseError, match="/depth"):
        session.answer(Request("BTC", "/depth"), b"{}", 0)

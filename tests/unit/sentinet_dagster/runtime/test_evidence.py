"""Evidence in one line: every kind of value it can hold."""

from __future__ import annotations

from sentinet_dagster.runtime.evidence import evidence_line


def test_numbers_come_with_their_figures() -> None:
    numbers = {"score": 0.712345, "volume": 12345.678, "windows": 3, "past_mean_bps": 6.0}
    assert (
        evidence_line({"numbers": numbers}) == "score 0.7123 · volume 12,345.68 · windows 3 · past mean bps 6"
    )


def test_words_times_and_short_lists_are_shown_and_the_rest_is_left_to_the_json() -> None:
    numbers = {
        "side": "bid",
        "since": "2026-01-31T12:00:05+00:00",
        "levels": [0.5, 0.25],
        "nothing": None,
        "nested": {"a": 1},
        "long": [1, 2, 3, 4],
    }
    assert evidence_line({"numbers": numbers}) == "side bid · since 12:00:05 · levels 0.5/0.25"


def test_ticks_and_what_was_lowered_follow() -> None:
    evidence = {
        "numbers": {"z": 4.0},
        "ticks": {"trade": 41, "quote": 90, "book": 50},
        "downgraded": "data 90.0% whole: critical lowered to warning",
    }
    assert evidence_line(evidence) == ("z 4 · ticks 41/90/50 · data 90.0% whole: critical lowered to warning")


def test_only_the_first_numbers_are_shown() -> None:
    assert evidence_line({"numbers": {f"n{i}": i for i in range(9)}}).count("·") == 4


def test_no_evidence_is_an_empty_line() -> None:
    assert evidence_line({}) == ""

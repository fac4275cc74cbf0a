"""Ids made of what is there: stable over runs and machines, and in the range of a bigint."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest_daemon.venues.derived_ids import id_of_numbers, id_of_text


def test_they_are_what_they_were() -> None:
    # In the database: another id for the same quote would be a second row of it.
    assert id_of_numbers(1_717_421_613_002_960, 192.9, 1.0, 194.0, 14.0) == 6467784204276112346
    assert id_of_text("4c7b6bdc-b4a3") == 9041378608493814211


def test_a_number_is_itself() -> None:
    assert [id_of_text(text) for text in ("0", "72815", str(2**63 - 1))] == [0, 72_815, 2**63 - 1]


@given(st.text())
def test_any_text_has_an_id_of_63_bits(text: str) -> None:
    assert 0 <= id_of_text(text) < 2**63


def test_what_looks_alike_is_not_the_same() -> None:
    texts = ["1", "01", "1.0", " 1", "¹", str(2**63), "9" * 19, "9" * 40, ""]
    assert len({id_of_text(text) for text in texts}) == len(texts)
    quotes = {
        id_of_numbers(7, *prices) for prices in ((1, 2, 3, 4), (2, 1, 3, 4), (1, 2, 4, 3), (1, 2, 3, 5))
    }
    assert len(quotes) == 4

"""Relations shape frames and refuse what does not fit."""

from __future__ import annotations

import polars as pl
import pytest

from sentinet_dagster.surveillance.schema import RELATIONS, TRADES, Column, Relation

PAIR = Relation(
    "some.pairs", (Column("a", pl.Int16, "an integer"), Column("b", pl.String, "text", nullable=True))
)


def test_conform_orders_casts_and_drops() -> None:
    shaped = PAIR.conform(pl.DataFrame({"c": [1.5], "b": [None], "a": [3]}))
    assert shaped.schema == PAIR.schema
    assert shaped.rows() == [(3, None)]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"a": [1]}, "some.pairs lacks the columns b"),
        ({"a": [None], "b": ["x"]}, r"some.pairs.a is null in 1 rows"),
        ({"a": [1 << 20], "b": ["x"]}, "some.pairs does not fit its schema"),
    ],
)
def test_conform_names_what_does_not_fit(frame: dict[str, list[object]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PAIR.conform(pl.DataFrame(frame))


def test_empty_has_the_shape() -> None:
    assert TRADES.empty().schema == TRADES.schema


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.name)
def test_every_column_says_what_it_means(relation: Relation) -> None:
    assert all(column.meaning for column in relation.columns)
    assert len(set(relation.names)) == len(relation.columns)

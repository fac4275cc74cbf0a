"""What is missing where a channel is: in every dialect, from what its channels give."""

from __future__ import annotations

import pytest

from ingest_daemon.events import Book, Quote, ReferencePrice, Trade
from ingest_daemon.venues import VENUES
from ingest_daemon.venues.telling import told
from tests.unit.ingest_daemon.venues.examples import EXAMPLES

RELATIONS = {Trade: "trades", Quote: "quotes", Book: "books", ReferencePrice: "reference_prices"}


@pytest.mark.parametrize("name", sorted(VENUES))
def test_a_channel_alone_tells_at_least_what_its_example_gives(name: str) -> None:
    venue = VENUES[name]
    for channel, (_, kinds) in EXAMPLES[name].frames.items():
        said = {relation for told_by, relation in venue.tells([channel]) if told_by == channel}
        assert {RELATIONS[kind] for kind in kinds if kind in RELATIONS} <= said, channel


@pytest.mark.parametrize("name", sorted(VENUES))
def test_who_tells_the_flow_of_books_reads_both_books_and_trades(name: str) -> None:
    venue = VENUES[name]
    said = venue.tells(venue.channels)
    tellers = [channel for channel, relation in said if relation == "book_flows"]
    assert len(tellers) <= 1
    for channel in tellers:
        assert (channel, "books") in said
        assert "book_flows" not in {relation for _, relation in venue.tells([channel])}


def test_of_several_books_the_deepest_has_the_flow() -> None:
    relations = {"trades": "trades", "five": "books", "fifty": "books", "top": "books"}
    said = told(["fifty", "trades", "five", "top"], relations, ["five", "fifty"])  # type: ignore[arg-type]
    assert said == [
        ("fifty", "books"), ("fifty", "quotes"), ("fifty", "book_flows"), ("trades", "trades"),
        ("five", "books"), ("five", "quotes"), ("top", "books"),
    ]  # fmt: skip

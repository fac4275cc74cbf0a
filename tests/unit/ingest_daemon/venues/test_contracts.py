"""Contracts to base units: what is converted, and what is none of its business."""

from __future__ import annotations

import pytest

from ingest_daemon.events import Book, Event, FeedGap, GapCause, Quote, ReferencePrice, Trade
from ingest_daemon.venues import Listing
from ingest_daemon.venues.contracts import in_base_units, to_base_units

TRADE = Trade(1, 2, 3, 4, 50.0, 10.0, -1, 6)
QUOTE = Quote(1, 2, 3, 4, 40.0, 10.0, 50.0, 20.0)
BOOK = Book(1, 2, 3, 4, (40.0, 20.0), (10.0, 20.0), (50.0,), (30.0,))
OTHERS = [
    ReferencePrice(1, 2, 3, 50.0, 51.0, 0.1, 7),
    FeedGap("here", "depth", 1, 2, 3, GapCause.CROSSED_BOOK),
]


def test_contracts_of_the_base_currency() -> None:
    assert to_base_units(Listing(1, 0.5))([TRADE, QUOTE, BOOK]) == [
        Trade(1, 2, 3, 4, 50.0, 5.0, -1, 6),
        Quote(1, 2, 3, 4, 40.0, 5.0, 50.0, 10.0),
        Book(1, 2, 3, 4, (40.0, 20.0), (5.0, 10.0), (50.0,), (15.0,)),
    ]


def test_contracts_of_the_quote_currency_at_the_price_of_each() -> None:
    assert to_base_units(Listing(1, 100.0, "quote"))([TRADE, QUOTE, BOOK]) == [
        Trade(1, 2, 3, 4, 50.0, 20.0, -1, 6),
        Quote(1, 2, 3, 4, 40.0, 25.0, 50.0, 40.0),
        Book(1, 2, 3, 4, (40.0, 20.0), (25.0, 100.0), (50.0,), (60.0,)),
    ]


@pytest.mark.parametrize("listing", [Listing(1), Listing(1, 0.5), Listing(1, 100.0, "quote")])
@pytest.mark.parametrize("event", OTHERS)
def test_what_has_no_size_stays_what_it_is(listing: Listing, event: Event) -> None:
    assert list(to_base_units(listing)([event])) == [event]


def test_a_contract_of_one_base_unit_costs_nothing() -> None:
    def read(frame: bytes, received_at: int) -> list[Event]:
        return [TRADE]

    assert in_base_units(Listing(1), read) is read
    assert in_base_units(Listing(1, 2.0), read)(b"", 0) == [Trade(1, 2, 3, 4, 50.0, 20.0, -1, 6)]
    # One unit of the quote currency is something else.
    assert in_base_units(Listing(1, 1.0, "quote"), read)(b"", 0) == [Trade(1, 2, 3, 4, 50.0, 0.2, -1, 6)]

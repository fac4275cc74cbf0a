"""Which venue a recording belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.history import venues_by_protocol

REPOSITORY = Path(__file__).resolve().parents[4]


def test_the_first_venue_of_a_protocol_is_its_own() -> None:
    venues = venues_by_protocol(REPOSITORY / "config")
    assert venues["binance_spot"] == "binance"
    assert venues["binance_usdm"] == "binance_usdm"


@pytest.mark.parametrize("text", ["", "venues: [a, b]", "venues: {binance: {}}", "{"])
def test_what_is_no_list_of_venues_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "venues.yaml").write_text(text)
    with pytest.raises(UserError, match=r"venues\.yaml"):
        venues_by_protocol(tmp_path)

"""Orders are held against what rests on their side; where nothing does, nothing can be said of them."""

from __future__ import annotations

import pytest

from sentinet_dagster.surveillance import schema
from sentinet_dagster.surveillance.detectors import Detector
from sentinet_dagster.surveillance.detectors.book_spoofing import BOOK_SPOOFING
from sentinet_dagster.surveillance.detectors.layering import LAYERING
from sentinet_dagster.surveillance.findings import build_findings
from sentinet_dagster.surveillance.schema import WINDOW
from sentinet_dagster.surveillance.settings import load_settings
from tests.unit.sentinet_dagster.surveillance.facts import START, frame, instruments

PAST = 60


@pytest.mark.parametrize("detector", [BOOK_SPOOFING, LAYERING], ids=lambda detector: detector.name)
@pytest.mark.parametrize(("depth", "found"), [(300.0, 1), (0.0, 0), (None, 0)])
def test_of_a_side_without_depth_nothing_is_found(
    detector: Detector, depth: float | None, found: int
) -> None:
    """A spread of more than 20 bps leaves nothing within 10 of the mid: a share of it is not a number."""
    rows = [
        {
            "instrument_id": 1,
            "window_start": START + number * WINDOW,
            "bid_withdrawn_max": size,
            "bid_layered_max": size,
            "bid_layers": 3,
            "ask_traded_near": size,
            "bid_depth_10bps": depth,
        }
        for number, size in enumerate([1.0] * PAST + [200.0])
    ]
    seen = frame(
        schema.WINDOWS, rows, mid_close=1000.0, flow_seconds=5, bid_traded_near=0.0, bid_withdrawn_life_s=2.0
    )
    start = START + PAST * WINDOW
    nothing = schema.FEATURES.empty(), schema.CORRELATIONS.empty(), schema.SCORES.empty()
    findings = build_findings(
        seen, *nothing, instruments(1), load_settings({}), start, start + WINDOW, "code", [detector]
    )
    assert findings.height == found

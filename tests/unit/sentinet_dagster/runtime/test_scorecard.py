"""When an episode counts as found: ground truth and alerts by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ingest_daemon.venues.simulated.episodes import EpisodeKind
from sentinet_dagster.runtime.scorecard import EXPECTED, GRACE, Raised, Scripted, judge
from sentinet_dagster.surveillance.detectors import DETECTORS

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
BITCOIN = ("simulated", "BTC-USDT")
PERPETUAL = ("simulated_usdm", "BTC-USDT-PERP")
DECOUPLING = Scripted("decoupling", (PERPETUAL, BITCOIN), START, START + 60 * SECOND)
ALERT = Raised("decoupling", BITCOIN, START + 30 * SECOND, START + 34.5 * SECOND)


def test_every_kind_that_can_be_scripted_has_detectors() -> None:
    assert set(EXPECTED) == set(EpisodeKind)
    assert all(EXPECTED.values())
    assert set().union(*EXPECTED.values()) <= set(DETECTORS)


def test_an_alert_on_either_leg_finds_a_decoupling() -> None:
    for instrument in DECOUPLING.instruments:
        (verdict,) = judge([DECOUPLING], [replace(ALERT, instrument=instrument)])
        assert verdict.found_by is not None
        assert verdict.delay_s == 34.5


@pytest.mark.parametrize(
    ("alert", "found"),
    [
        (replace(ALERT, raised_at=START), True),
        (replace(ALERT, raised_at=DECOUPLING.ends_at + GRACE), True),
        (replace(ALERT, raised_at=START - SECOND), False),
        (replace(ALERT, raised_at=DECOUPLING.ends_at + GRACE + SECOND), False),
        (replace(ALERT, detector="spoofing"), False),
        (replace(ALERT, instrument=("simulated", "ETH-USDT")), False),
    ],
)
def test_time_detector_and_instrument_must_all_fit(alert: Raised, found: bool) -> None:
    (verdict,) = judge([DECOUPLING], [alert])
    assert (verdict.found_by is not None) is found


def test_the_alert_written_first_finds_it() -> None:
    later = replace(ALERT, created_at=ALERT.created_at + SECOND)
    (verdict,) = judge([DECOUPLING], [later, ALERT])
    assert verdict.found_by == ALERT


def test_time_to_be_found_ends_with_the_grace() -> None:
    assert not DECOUPLING.had_time(DECOUPLING.ends_at + GRACE - SECOND)
    assert DECOUPLING.had_time(DECOUPLING.ends_at + GRACE)


def test_the_summary_says_what_was_missed() -> None:
    (verdict,) = judge([DECOUPLING], [])
    told = verdict.as_json(DECOUPLING.ends_at + GRACE)
    assert (told["had_time"], told["found_by"], told["delay_s"]) == (True, None, None)
    assert told["instruments"] == ["simulated_usdm/BTC-USDT-PERP", "simulated/BTC-USDT"]

"""The short scorecard against the one that is committed: recall must not fall, false alerts must not rise.

`make scorecard` writes tests/scorecard.json anew; a change that makes it worse has to say why.
"""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sentinet_dagster.runtime.injected import SHORT, evaluate_injected
from sentinet_dagster.surveillance.detectors import DETECTORS
from sentinet_dagster.surveillance.injection import ABUSES

BASELINE = json.loads((Path(__file__).resolve().parents[3] / "scorecard.json").read_text())
# The same options give the same card; one episode that stands on the edge may fall to either side where
# another processor rounds otherwise.
SLACK = 1


@cache
def card() -> dict[str, Any]:
    return evaluate_injected(SHORT)


def worse(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """In what `now` falls behind `before`."""
    found = []
    for name, scored in before["injected"].items():
        sizes = {each["size"]: each for each in now["injected"].get(name, {"by_size": []})["by_size"]}
        for each in scored["by_size"]:
            there = sizes.get(each["size"], {"found": 0, "episodes": 0})
            if there["episodes"] < each["episodes"] or there["found"] < each["found"] - SLACK:
                found.append(
                    f"{name} of {each['size']:g}: {there['found']} of {there['episodes']} found, "
                    f"{each['found']} of {each['episodes']} before"
                )
    for name, calm in now["calm"].items():
        was = before["calm"].get(name, {"alerts": 0})["alerts"]
        if calm["alerts"] > was + SLACK:
            found.append(f"{name} in calm: {calm['alerts']} alerts, {was} before")
    return found


def test_the_judgement_is_no_worse_than_it_was() -> None:
    assert worse(card(), BASELINE) == []


def test_the_committed_card_says_how_and_when_it_was_made() -> None:
    assert BASELINE["made_by"] == "sentinet evaluate injected --short"
    assert BASELINE["made_at"].startswith("20")


def test_it_covers_every_abuse_and_every_detector() -> None:
    assert card()["injected"].keys() == ABUSES.keys()
    assert all(scored["by_size"] for scored in card()["injected"].values())
    # Without enough to learn from there is no model, and nothing to say of it.
    assert card()["calm"].keys() >= DETECTORS.keys() - {"isolation_forest"}


@pytest.mark.parametrize("lost", [2, 5])
def test_lost_recall_is_noticed(lost: int) -> None:
    now = copy.deepcopy(BASELINE)
    now["injected"]["spoofing"]["by_size"][-1]["found"] -= lost
    (line,) = worse(now, BASELINE)
    assert line.startswith("spoofing of 20: ")


def test_what_is_not_played_any_more_is_noticed() -> None:
    now = copy.deepcopy(BASELINE)
    del now["injected"]["layering"]
    assert len(worse(now, BASELINE)) == len(BASELINE["injected"]["layering"]["by_size"])


def test_more_false_alerts_are_noticed() -> None:
    now = copy.deepcopy(BASELINE)
    now["calm"]["ramping"]["alerts"] += 2
    (line,) = worse(now, BASELINE)
    assert line.startswith("ramping in calm: ")

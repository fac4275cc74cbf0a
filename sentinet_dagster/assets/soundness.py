"""Whether what a run reads and writes is sound, checked where it is cheapest: at the rows of its own range.

What lives here: the checks inside a run of `windows`, their results in Dagster's words. What never does:
rules (`quality/`), the checks that run by themselves (`checks.py`).

Facts are checked under the lock of their hour, right before windows are built from them: what is not sound is
set aside before anybody reads it, and what comes later is checked by the run that it causes. Windows are
checked when they are written; the blocking check then keeps features, scores and alerts from them.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of decorated functions as objects.

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from dagster import AssetCheckKey, AssetCheckResult, AssetCheckSeverity, AssetCheckSpec, AssetKey

from sentinet_dagster.quality.checking import Checked, CheckResult, check_rows, store
from sentinet_dagster.quality.expectations import Suite
from sentinet_dagster.quality.rollup_suites import ROLLUPS
from sentinet_dagster.quality.suites import ALERTS, FACTS, WINDOWS
from sentinet_dagster.resources import Timescale

__all__ = ["CHECKED_ALONE", "ENGINE_TAG", "FULL", "SOUNDNESS", "Soundness", "metadata_of", "suite_check_key"]

ENGINE_TAG: Final = "sentinet/checks"
"""Of a run of checks: FULL for Great Expectations; without it, the statements that micro-batches use."""

FULL: Final = "full"

CHECKED_ALONE: Final[Sequence[Suite]] = (*FACTS, WINDOWS, ALERTS, *ROLLUPS)
"""The suites with an asset check of their own, over any range."""

_WINDOWS: Final = AssetKey(["surveillance", "windows"])

SOUNDNESS: Final = (
    AssetCheckSpec(
        "facts_were_sound",
        asset=_WINDOWS,
        description="The facts that were judged hold their suites; those that do not were set aside.",
    ),
    AssetCheckSpec(
        "new_windows_are_sound",
        asset=_WINDOWS,
        description="The windows just written hold their suite; otherwise nothing is judged from them.",
        blocking=True,
    ),
)
"""What `windows` says of itself with every run."""


class Soundness:
    """Of one run. Uses the run's own connection."""

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale
        self._facts: list[Checked] = []
        self._windows: list[CheckResult] = []

    def check_facts(self, start: datetime, end: datetime) -> None:
        """Set aside what is not sound of [start, end), before it is read."""
        connection = self._timescale.connection
        checked = [check_rows(connection, suite, start, end, is_judged=True) for suite in FACTS]
        self._facts += checked
        self._keep([result for each in checked for result in each.broken], start, end)

    def check_windows(self, start: datetime, end: datetime) -> None:
        """Hold the windows of [start, end) against their suite, when they are written."""
        checked = check_rows(self._timescale.connection, WINDOWS, start, end, is_judged=True)
        self._windows += checked.broken
        self._keep(checked.broken, start, end)

    def results(self) -> Sequence[AssetCheckResult]:
        """What became of it, for Dagster."""
        broken = [result for each in self._facts for result in each.broken]
        return (
            AssetCheckResult(
                check_name=SOUNDNESS[0].name,
                asset_key=_WINDOWS,
                passed=not broken,
                severity=AssetCheckSeverity.WARN,  # what is not sound is set aside: the rest is judged
                metadata={
                    "set_aside": sum(each.marked for each in self._facts),
                    "judged_again": sum(each.lifted for each in self._facts),
                    **metadata_of(broken),
                },
            ),
            AssetCheckResult(
                check_name=SOUNDNESS[1].name,
                asset_key=_WINDOWS,
                passed=not self._windows,
                severity=_severity(self._windows),
                metadata=metadata_of(self._windows),
            ),
        )

    def _keep(self, broken: Sequence[CheckResult], start: datetime, end: datetime) -> None:
        if broken:
            store(self._timescale.connection, "incremental", start, end, broken)


def suite_check_key(suite: Suite) -> AssetCheckKey:
    """`<table>_are_sound`, of the relation's asset."""
    return AssetCheckKey(AssetKey(suite.relation.split(".")), f"{suite.table}_are_sound")


def metadata_of(results: Sequence[CheckResult]) -> dict[str, Any]:
    """What is broken, by name: how often, and the keys of the first."""
    return {
        f"{result.relation} {result.expectation}": {
            "severity": result.severity.value,
            "failing": result.failing,
            "keys": list(result.keys),
            **({"error": result.error} if result.error else {}),
        }
        for result in results
        if not result.passed
    }


def _severity(broken: Sequence[CheckResult]) -> AssetCheckSeverity:
    is_error = any(result.is_error for result in broken)
    return AssetCheckSeverity.ERROR if is_error else AssetCheckSeverity.WARN
